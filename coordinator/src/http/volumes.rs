//! The volumes of a host: its agent knows them, and answers.

use super::Shared;
use super::auth::Admin;
use super::error::ApiError;
use super::places::reachable;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use coord_shared::names::{HostName, VolumeName};
use coord_shared::wire::VolumesRequest;

/// `GET /v1/hosts/{host}/volumes`.
pub(super) async fn list(state: Shared, admin: Admin, Path(host): Path<String>) -> Result<Response, ApiError> {
    ask(state, admin, &host, VolumesRequest::List).await
}

/// `DELETE /v1/hosts/{host}/volumes/{name}`: the volume and all that is in it.
pub(super) async fn remove(
    state: Shared,
    admin: Admin,
    Path((host, name)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let name: VolumeName = name.parse()?;
    tracing::info!(admin = %admin.name, %host, volume = %name, "removing a volume");
    ask(state, admin, &host, VolumesRequest::Remove { name }).await
}

async fn ask(State(app): Shared, _: Admin, host: &str, asked: VolumesRequest) -> Result<Response, ApiError> {
    let host: HostName = host.parse()?;
    if !app.hosts.is_known(&host) {
        return Err(ApiError::unknown_host(&host));
    }
    reachable(&app, &host)?;
    let body = app.sessions.volumes(&app.hosts, &host, asked).await?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}
