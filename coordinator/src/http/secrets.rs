//! Secrets: their values for hosts that need them now, their names for admins.

use super::auth::{Admin, Agent};
use super::error::ApiError;
use super::{App, Shared};
use crate::secrets::{SecretError, needed_to_build, needed_to_look};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use coord_shared::names::{HostName, SecretName};
use coord_shared::wire::SecretsView;

/// `GET /v1/hosts/{host}/secrets/{name}`: its text, as long as the host looks at a source or builds a run that names it.
pub(super) async fn value(
    State(app): Shared,
    Agent { host }: Agent,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let name: SecretName = name.parse()?;
    if !is_needed(&app, &host, &name) {
        tracing::warn!(host = %host, secret = %name, "a host asked for a secret that it does not need");
        let message = format!("nothing that host {host} looks at or builds names the secret {name}");
        return Err(ApiError::forbidden(message));
    }
    let secret = app.secrets.read(&name)?;
    tracing::info!(host = %host, secret = %name, "secret handed out");
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")], secret.text().to_owned()).into_response())
}

/// `GET /v1/secrets`: their names.
pub(super) async fn list(State(app): Shared, _: Admin) -> Result<Json<SecretsView>, ApiError> {
    Ok(Json(SecretsView { secrets: app.secrets.names()? }))
}

fn is_needed(app: &App, host: &HostName, name: &SecretName) -> bool {
    let orders = app.orders.borrow();
    let Some(orders) = orders.of(host) else { return false };
    let to_look = orders.watches.iter().map(|watch| (&watch.document, false));
    let to_build = orders.builds.iter().map(|order| (&order.document, true));
    to_look.chain(to_build).any(|(text, is_built)| {
        let Ok(pipeline) = coord_shared::pipeline::parse(text) else { return false };
        if is_built { needed_to_build(&pipeline).contains(name) } else { needed_to_look(&pipeline).contains(name) }
    })
}

impl From<SecretError> for ApiError {
    fn from(error: SecretError) -> Self {
        match &error {
            SecretError::Unknown { .. } | SecretError::Open { .. } | SecretError::Unfit { .. } => {
                Self::new(StatusCode::NOT_FOUND, "secret_unavailable", &error)
            }
            SecretError::Read { .. } | SecretError::Folder { .. } => Self::unavailable(coord_registry::chain(&error)),
        }
    }
}
