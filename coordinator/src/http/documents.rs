//! Documents over the API: read, put, delete, and what any of it would do.

use super::auth::Admin;
use super::error::ApiError;
use super::{App, Shared, body};
use crate::clock;
use crate::control::{Board, Preview, preview};
use crate::documents::publish::{self, PublishError, Published, Standing, Submission, Submitted};
use crate::records::{self, Source};
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use coord_shared::decide::reason::Reason;
use coord_shared::document::Document;
use coord_shared::names::{Digest, Revision, WorkloadName};
use coord_shared::wire::{ChangeView, DiffView, HistoryEntry};
use serde::Deserialize;
use std::time::Duration;

/// How long a publish waits for the registry before it answers "accepted, waits for its image".
const RESOLVE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a diff waits for it; a diff without the digest is still a diff.
const DIFF_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
pub(super) struct TakeOver {
    #[serde(default)]
    take_over: bool,
}

type TakeOverQuery = Result<Query<TakeOver>, QueryRejection>;

/// `GET /v1/documents/{name}`.
pub(super) async fn read(State(app): Shared, _: Admin, Path(name): Path<String>) -> Result<Response, ApiError> {
    let name: WorkloadName = name.parse()?;
    let standing = app.publisher.standing(&name).await?;
    let text = standing.published().map(|record| record.text.clone());
    let text = text.or_else(|| standing.waiting.as_ref().map(|(record, _)| record.text.clone()));
    let text = text.ok_or_else(|| ApiError::not_found(format!("workload {name} is not known")))?;
    Ok(([(CONTENT_TYPE, "application/toml")], text).into_response())
}

/// `PUT /v1/documents/{name}`.
pub(super) async fn put(
    State(app): Shared,
    Admin { name: who }: Admin,
    Path(name): Path<String>,
    query: TakeOverQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<DiffView>), ApiError> {
    let name: WorkloadName = name.parse()?;
    let Query(TakeOver { take_over }) = query.map_err(ApiError::bad_request)?;
    let text = body::document(&headers, body).await?;
    let text = text.ok_or_else(|| {
        ApiError::bad_request("the document is empty").hint("to delete a workload, use DELETE or `coordctl delete`")
    })?;
    let document = publish::parse(&name, &text)?;
    let before = std::sync::Arc::clone(&app.board.borrow());
    let submission = Submission { name: name.clone(), text: text.clone(), source: Source::Api(who), take_over };
    let outcome = match app.publisher.submit(submission).await? {
        Submitted::Unchanged(_) => Put::Unchanged,
        Submitted::Published(published) => Put::Published(published),
        Submitted::Waiting(at) => settled(&app, &name, at, &text).await?,
    };
    match outcome {
        Put::Unchanged => Ok((StatusCode::OK, Json(unchanged(&before, &name, &document)))),
        Put::Published(published) => Ok((StatusCode::OK, Json(changed(&app, &before, &name, &document, published).await))),
        Put::Waits(reason) => {
            let standing = app.publisher.standing(&name).await?;
            let changes = changes(&standing, &document, None);
            let mut effect = preview(&before, &name, Some((&document, None)));
            effect.reasons.insert(0, reason);
            Ok((StatusCode::ACCEPTED, Json(view(&before, &name, None, changes, effect))))
        }
    }
}

/// What a text changes that is published already.
pub(super) fn unchanged(before: &Board, name: &WorkloadName, document: &Document) -> DiffView {
    let effect = preview(before, name, Some((document, None)));
    view(before, name, None, Vec::new(), Preview { reasons: effect.reasons, ..Preview::default() })
}

/// What a text changes that has just been published, seen from before that.
pub(super) async fn changed(
    app: &App,
    before: &Board,
    name: &WorkloadName,
    document: &Document,
    published: Published,
) -> DiffView {
    let board = app.seen(published.at).await;
    let newest = board.workloads.get(name).and_then(|w| w.newest.clone());
    let digest = newest.map(|newest| newest.record.digest.clone());
    let effect = preview(before, name, Some((document, digest.as_ref())));
    view(before, name, Some(published.revision), published.changes, effect)
}

fn view(before: &Board, name: &WorkloadName, published: Option<Revision>, changes: Vec<ChangeView>, effect: Preview) -> DiffView {
    DiffView {
        name: name.clone(),
        current: current(before, name),
        published,
        changes,
        starts_on: effect.starts_on,
        replaces_on: effect.replaces_on,
        stops_on: effect.stops_on,
        reasons: effect.reasons,
    }
}

enum Put {
    Unchanged,
    Published(Published),
    Waits(Reason),
}

/// What became of a text that waited for its image.
async fn settled(app: &App, name: &WorkloadName, at: u64, text: &str) -> Result<Put, ApiError> {
    if let Some(reason) = app.publisher.waiting.outcome(name, at, RESOLVE_PATIENCE).await {
        return Ok(Put::Waits(reason));
    }
    let standing = app.publisher.standing(name).await?;
    let newest = standing.workload.as_ref().filter(|(record, _)| !record.deleted);
    match (newest, standing.published()) {
        (Some((record, at)), Some(published)) if published.text == text => {
            let key = records::history_key(name, record.newest);
            let entry = records::load::<HistoryEntry>(&*app.store, &key).await?;
            let changes = entry.map(|(entry, _)| entry.changes).unwrap_or_default();
            Ok(Put::Published(Published { revision: record.newest, changes, at: *at }))
        }
        _ => {
            let message = format!("another change of workload {name} came while this one waited for its image");
            Err(ApiError::new(StatusCode::CONFLICT, "stale", message).hint("look at it and apply again"))
        }
    }
}

/// `DELETE /v1/documents/{name}`.
pub(super) async fn delete(
    State(app): Shared,
    Admin { name: who }: Admin,
    Path(name): Path<String>,
    query: TakeOverQuery,
) -> Result<Json<DiffView>, ApiError> {
    let name: WorkloadName = name.parse()?;
    let Query(TakeOver { take_over }) = query.map_err(ApiError::bad_request)?;
    let before = std::sync::Arc::clone(&app.board.borrow());
    let effect = preview(&before, &name, None);
    let removed = app.publisher.remove(&name, &Source::Api(who), take_over).await?;
    app.seen(removed.at).await;
    Ok(Json(DiffView {
        current: current(&before, &name),
        // What only waited had no revision, and its end makes none.
        published: (!removed.changes.is_empty()).then_some(removed.revision),
        changes: removed.changes,
        starts_on: effect.starts_on,
        replaces_on: effect.replaces_on,
        stops_on: effect.stops_on,
        reasons: effect.reasons,
        name,
    }))
}

/// `POST /v1/diff/{name}`; an empty body asks what a deletion would do.
pub(super) async fn diff(
    State(app): Shared,
    _: Admin,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<DiffView>, ApiError> {
    let name: WorkloadName = name.parse()?;
    let text = body::document(&headers, body).await?;
    let document = text.as_deref().map(|text| publish::parse(&name, text)).transpose()?;
    let board = std::sync::Arc::clone(&app.board.borrow());
    let standing = app.publisher.standing(&name).await?;
    let (effect, changes) = match &document {
        None if standing.active().is_none() => return Err(PublishError::NotFound(name).into()),
        None => (preview(&board, &name, None), publish::changes(standing.published(), None)),
        Some(document) => {
            let is_same = standing.published().map(|record| &record.text) == text.as_ref();
            // A text that is published already would change nothing, wherever its tag has moved to.
            let resolved = if is_same { Ok(None) } else { resolve(&app, document).await.map(Some) };
            let digest = resolved.as_ref().ok().and_then(Option::as_ref);
            let mut effect = preview(&board, &name, Some((document, digest)));
            let changes = if is_same { Vec::new() } else { changes(&standing, document, digest) };
            effect.reasons.splice(0..0, resolved.err());
            (effect, changes)
        }
    };
    Ok(Json(DiffView {
        current: standing.active().map(|record| record.newest),
        published: None,
        changes,
        starts_on: effect.starts_on,
        replaces_on: effect.replaces_on,
        stops_on: effect.stops_on,
        reasons: effect.reasons,
        name,
    }))
}

async fn resolve(app: &App, document: &Document) -> Result<Digest, Reason> {
    let error = match tokio::time::timeout(DIFF_PATIENCE, app.images.resolve(&document.image)).await {
        Ok(Ok(digest)) => return Ok(digest),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("registry {} did not answer within {} s", document.image.registry(), DIFF_PATIENCE.as_secs()),
    };
    Err(Reason::ImageUnresolved { error, retry_at: clock::wall() })
}

fn changes(standing: &Standing, document: &Document, digest: Option<&Digest>) -> Vec<ChangeView> {
    let published = standing.published();
    // Without an answer from the registry, the image is taken for unchanged.
    let assumed = digest.cloned().or_else(|| published.map(|record| record.digest.clone()));
    let assumed = assumed.unwrap_or_else(|| Digest::of(b""));
    publish::changes(published, Some((document, &assumed)))
}

fn current(board: &Board, name: &WorkloadName) -> Option<Revision> {
    board.workloads.get(name).filter(|workload| !workload.record.deleted).map(|workload| workload.record.newest)
}
