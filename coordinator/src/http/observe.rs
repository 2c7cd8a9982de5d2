//! Whether it lives, and how it fares.

use super::auth::Admin;
use super::error::ApiError;
use super::serve::Peer;
use super::{App, Shared};
use axum::extract::{FromRequestParts, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// `GET /healthz`: the process serves.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): Shared, _: Observer) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], crate::metrics::render(&app)).into_response()
}

/// Someone on this machine, or an admin.
pub(super) struct Observer;

impl FromRequestParts<Arc<App>> for Observer {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        if parts.extensions.get::<Peer>().is_some_and(|Peer(peer)| peer.ip().to_canonical().is_loopback()) {
            return Ok(Self);
        }
        Admin::from_request_parts(parts, app).await.map(|_| Self)
    }
}
