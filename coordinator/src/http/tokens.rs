//! The admins' side of tokens.

use super::auth::Admin;
use super::error::ApiError;
use super::{Shared, body};
use crate::clock;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use coord_shared::names::TokenName;
use coord_shared::wire::{NewToken, NewTokenAnswer, TokenRights, TokensView};

/// Largest body of a request for a token: a name and some patterns.
const NEW_TOKEN_MAX_BYTES: usize = 64 * 1024;

/// `GET /v1/tokens`.
pub(super) async fn list(State(app): Shared, _: Admin) -> Result<Json<TokensView>, ApiError> {
    Ok(Json(TokensView { now: clock::wall(), tokens: app.identity.tokens().await? }))
}

/// `POST /v1/tokens`.
pub(super) async fn add(
    State(app): Shared,
    Admin { name: by }: Admin,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<NewTokenAnswer>), ApiError> {
    let NewToken { name, rights } = body::json(&headers, body, NEW_TOKEN_MAX_BYTES).await?;
    if let TokenRights::Registry { pull, push } = &rights
        && pull.is_empty()
        && push.is_empty()
    {
        return Err(ApiError::bad_request(format!("the token {name} would open nothing"))
            .hint("say which repositories it may pull or push, for example `--push 'shop/*'`"));
    }
    let token = app.identity.add_token(&name, &rights, &by).await?;
    tracing::info!(token = %name, admin = by, ?rights, "token made");
    Ok((StatusCode::CREATED, Json(NewTokenAnswer { name, token })))
}

/// `DELETE /v1/tokens/{name}`.
pub(super) async fn remove(
    State(app): Shared,
    Admin { name: by }: Admin,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let name: TokenName = name.parse()?;
    app.identity.remove_token(&name).await?;
    tracing::info!(token = %name, admin = by, "token ended");
    Ok(StatusCode::NO_CONTENT)
}
