//! Who asks: the bearer token of a request, as an argument of its handler.
//!
//! A handler that takes [`Admin`] cannot be reached by anyone else; one that takes [`Agent`] has its own host's name from the path.

use super::App;
use super::error::ApiError;
use crate::records::{RegistryRights, TokenRecord};
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use coord_shared::names::HostName;
use std::sync::Arc;

/// An admin, by the name of the token.
pub(super) struct Admin {
    pub(super) name: String,
}

/// The agent of a known host, on a path of that host.
pub(super) struct Agent {
    pub(super) host: HostName,
}

/// Whoever may read a host's state: its agent, or an admin.
pub(super) struct Reader {
    pub(super) host: HostName,
}

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        match who(parts, app)? {
            TokenRecord::Admin(name) => Ok(Self { name }),
            TokenRecord::Agent(host) => {
                let message = format!("the token of host {host}'s agent opens only its own state and report");
                Err(ApiError::forbidden(message).hint("use an admin token"))
            }
            TokenRecord::Registry(rights) => Err(registry_only(&rights)),
        }
    }
}

impl FromRequestParts<Arc<App>> for Agent {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let token = who(parts, app)?;
        let host = path_host(parts, app).await?;
        match token {
            TokenRecord::Agent(own) if own == host => known(app, host).map(|host| Self { host }),
            TokenRecord::Agent(other) => Err(other_host(&other, &host)),
            TokenRecord::Admin(_) => {
                Err(ApiError::forbidden(format!("only the agent of host {host} may do this")).hint("use the host's own token"))
            }
            TokenRecord::Registry(rights) => Err(registry_only(&rights)),
        }
    }
}

impl FromRequestParts<Arc<App>> for Reader {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let token = who(parts, app)?;
        let host = path_host(parts, app).await?;
        match token {
            TokenRecord::Agent(other) if other != host => Err(other_host(&other, &host)),
            TokenRecord::Agent(_) | TokenRecord::Admin(_) => known(app, host).map(|host| Self { host }),
            TokenRecord::Registry(rights) => Err(registry_only(&rights)),
        }
    }
}

fn registry_only(rights: &RegistryRights) -> ApiError {
    ApiError::forbidden(format!("the token {} opens only the image centre", rights.name)).hint("use an admin token")
}

fn other_host(own: &HostName, asked: &HostName) -> ApiError {
    ApiError::forbidden(format!("this is the token of host {own}, and the request is about host {asked}"))
        .hint("check `host` and `token` in agent.toml")
}

fn known(app: &App, host: HostName) -> Result<HostName, ApiError> {
    if app.hosts.is_known(&host) { Ok(host) } else { Err(ApiError::unknown_host(&host)) }
}

fn who(parts: &Parts, app: &App) -> Result<TokenRecord, ApiError> {
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, token)) = header.and_then(|value| value.split_once(' ')) else {
        return Err(ApiError::unauthorized("no token").hint("send `Authorization: Bearer TOKEN`"));
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(ApiError::unauthorized("not a bearer token").hint("send `Authorization: Bearer TOKEN`"));
    }
    app.identity.who(token.trim()).ok_or_else(|| {
        ApiError::unauthorized("the token is not known here")
            .hint("an agent's token is made by `coordctl hosts add HOST`; the first admin token is in the coordinator's data_dir")
    })
}

async fn path_host(parts: &mut Parts, app: &Arc<App>) -> Result<HostName, ApiError> {
    let params = RawPathParams::from_request_parts(parts, app).await.map_err(ApiError::bad_request)?;
    let host = params.iter().find(|(key, _)| *key == "host").map_or("", |(_, value)| value);
    Ok(host.parse()?)
}
