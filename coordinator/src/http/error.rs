//! The one shape of every error answer. The codes are part of the contract.

use crate::documents::publish::PublishError;
use crate::hosts::UnknownHost;
use crate::identity::IdentityError;
use crate::pipeline::PipelineError;
use crate::records::RecordError;
use crate::sessions::SessionError;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use coord_centre::CentreError;
use coord_shared::names::{HostName, NameError};
use coord_shared::wire::ErrorBody;
use coord_store::StoreError;
use std::fmt::Display;

/// An answer that says what went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) body: ErrorBody,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Display) -> Self {
        let body = ErrorBody { code: code.to_owned(), message: message.to_string(), hint: None, detail: None };
        Self { status, body }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.body.hint = Some(hint.into());
        self
    }

    pub(crate) fn detail(mut self, detail: String) -> Self {
        self.body.detail = Some(detail);
        self
    }

    pub(crate) fn bad_request(message: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(crate) fn not_found(message: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn unauthorized(message: impl Display) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub(crate) fn forbidden(message: impl Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    pub(crate) fn unknown_host(host: &HostName) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_host", format!("host {host} is not known"))
            .hint(format!("add it with `coordctl hosts add {host}`"))
    }

    pub(crate) fn unavailable(message: impl Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message).hint("try again")
    }

    /// The store or the machine failed: the caller learns that it was not he, the log learns the rest.
    pub(super) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let message = coord_registry::chain(error);
        tracing::error!(error = message, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message).hint("see the coordinator's log")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 section 11.6.1: a 401 names the scheme.
            let bearer = axum::http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

impl From<NameError> for ApiError {
    fn from(error: NameError) -> Self {
        Self::bad_request(error)
    }
}

impl From<UnknownHost> for ApiError {
    fn from(error: UnknownHost) -> Self {
        Self::unknown_host(&error.0)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::internal(&error)
    }
}

impl From<RecordError> for ApiError {
    fn from(error: RecordError) -> Self {
        Self::internal(&error)
    }
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        match &error {
            IdentityError::UnknownHost(host) => Self::unknown_host(host),
            IdentityError::UnknownToken(_) => Self::not_found(&error).hint("`coordctl tokens` lists them"),
            IdentityError::TokenExists(name) => Self::new(StatusCode::CONFLICT, "conflict", &error)
                .hint(format!("take another name, or end that one first: `coordctl tokens rm {name}`")),
            IdentityError::LastAdmin(_) => Self::new(StatusCode::CONFLICT, "conflict", &error)
                .hint("make another one first: `coordctl tokens add NAME --admin`"),
            IdentityError::Busy(_) => Self::new(StatusCode::CONFLICT, "stale", &error).hint("try again"),
            IdentityError::Record(_) | IdentityError::Store(_) | IdentityError::Random(_) | IdentityError::TokenFile { .. } => {
                Self::internal(&error)
            }
        }
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        match &error {
            PublishError::Invalid { name, diagnostics, text } => {
                let detail = diagnostics.render(&format!("{name}.toml"), text, false);
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_document", &error).detail(detail)
            }
            PublishError::Conflict { .. } => {
                let hint = "change it at its source, or take it over: `--take-over`, in the API `?take_over=true`";
                Self::new(StatusCode::CONFLICT, "conflict", &error).hint(hint)
            }
            PublishError::Deleted { .. } => Self::new(StatusCode::CONFLICT, "conflict", &error),
            PublishError::NotFound(_) => Self::not_found(&error),
            PublishError::Busy(_) => Self::new(StatusCode::CONFLICT, "stale", &error).hint("try again"),
            PublishError::Record(_) | PublishError::Store(_) => Self::internal(&error),
        }
    }
}

impl From<CentreError> for ApiError {
    fn from(error: CentreError) -> Self {
        use CentreError::{Contended, Full, NoBlob, NoManifest, NoRepository, Used};
        // The crate may learn new failures; what is not the caller's to mend is ours.
        if matches!(error, NoBlob { .. } | NoManifest { .. } | NoRepository(_)) {
            Self::not_found(&error).hint("`coordctl image ls` shows what there is")
        } else if matches!(error, Used { .. }) {
            Self::new(StatusCode::CONFLICT, "conflict", &error)
        } else if matches!(error, Contended) {
            Self::new(StatusCode::CONFLICT, "stale", &error).hint("try again")
        } else if matches!(error, Full(_)) {
            Self::new(StatusCode::INSUFFICIENT_STORAGE, "full", &error)
        } else {
            Self::internal(&error)
        }
    }
}

impl From<PipelineError> for ApiError {
    fn from(error: PipelineError) -> Self {
        match &error {
            PipelineError::Invalid { name, diagnostics, text } => {
                let detail = diagnostics.render(&format!("{name}.toml"), text, false);
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_pipeline", &error).detail(detail)
            }
            PipelineError::Conflict { .. } => {
                let hint = "change it at its source, or take it over: `--take-over`, in the API `?take_over=true`";
                Self::new(StatusCode::CONFLICT, "conflict", &error).hint(hint)
            }
            PipelineError::Deleted { .. } => Self::new(StatusCode::CONFLICT, "conflict", &error),
            PipelineError::Unknown(_) => Self::not_found(&error).hint("see `coordctl pipeline ls`"),
            PipelineError::UnknownRun(run) => {
                Self::not_found(&error).hint(format!("see `coordctl pipeline runs {}`", run.pipeline))
            }
            PipelineError::TooLate { .. } => Self::new(StatusCode::CONFLICT, "too_late", &error),
            PipelineError::Busy(_) => Self::new(StatusCode::CONFLICT, "stale", &error).hint("try again"),
            PipelineError::Record(_) | PipelineError::Store(_) => Self::internal(&error),
        }
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        match &error {
            SessionError::TooMany(_) => Self::unavailable(&error),
            SessionError::NoAnswer(_) | SessionError::Other(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "host_unreachable", &error)
            }
            SessionError::Refused { .. } => Self::not_found(&error),
            SessionError::Identity(_) => Self::internal(&error),
        }
    }
}
