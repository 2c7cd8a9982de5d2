//! The admins' side: status, hosts, history.

use super::auth::Admin;
use super::error::ApiError;
use super::{App, Shared, body};
use crate::clock;
use crate::records;
use crate::status::Facts;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use coord_shared::names::{HostName, WorkloadName};
use coord_shared::wire::{HistoryEntry, HistoryView, HostsView, NewHost, NewHostAnswer, StatusView};

/// Largest body of a request that names a host.
const NEW_HOST_MAX_BYTES: usize = 4 * 1024;
/// Entries of a history that are shown, the newest: more than anybody reads.
const HISTORY_SHOWN_MAX: usize = 500;

/// `GET /v1/status`.
pub(super) async fn status(State(app): Shared, _: Admin) -> Json<StatusView> {
    Json(with_facts(&app, |facts| facts.status()))
}

/// `GET /v1/hosts`.
pub(super) async fn hosts(State(app): Shared, _: Admin) -> Json<HostsView> {
    Json(with_facts(&app, |facts| facts.hosts()))
}

/// `POST /v1/hosts`.
pub(super) async fn add_host(
    State(app): Shared,
    Admin { name }: Admin,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<NewHostAnswer>), ApiError> {
    let NewHost { host } = body::json(&headers, body, NEW_HOST_MAX_BYTES).await?;
    let (token, at) = app.identity.add_host(&host).await?;
    tracing::info!(host = %host, admin = name, "host added");
    // The agent may come as soon as it has the token, and must be known by then.
    app.seen(at).await;
    Ok((StatusCode::CREATED, Json(NewHostAnswer { host, token })))
}

/// `DELETE /v1/hosts/{host}`.
pub(super) async fn remove_host(
    State(app): Shared,
    Admin { name }: Admin,
    Path(host): Path<String>,
) -> Result<StatusCode, ApiError> {
    let host: HostName = host.parse()?;
    let at = app.identity.remove_host(&host).await?;
    tracing::info!(host = %host, admin = name, "host removed");
    app.seen(at).await;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/workloads/{name}/history`.
pub(super) async fn history(State(app): Shared, _: Admin, Path(name): Path<String>) -> Result<Json<HistoryView>, ApiError> {
    let name: WorkloadName = name.parse()?;
    let stored = app.store.range(&records::history_prefix(&name)).await?;
    if stored.is_empty() {
        return Err(ApiError::not_found(format!("workload {name} was never published")));
    }
    let newest_first = stored.iter().rev().take(HISTORY_SHOWN_MAX);
    let entries = newest_first.map(|entry| records::decode::<HistoryEntry>(&entry.key, &entry.value));
    Ok(Json(HistoryView { now: clock::wall(), entries: entries.collect::<Result<_, _>>()? }))
}

pub(super) fn with_facts<T>(app: &App, view: impl FnOnce(&Facts<'_>) -> T) -> T {
    let now = clock::now();
    let board = std::sync::Arc::clone(&app.board.borrow());
    view(&Facts {
        board: &board,
        waiting: app.publisher.waiting.list(),
        hosts: app.hosts.summaries(now.mono),
        problems: app.problems.list(),
        now: now.wall,
    })
}
