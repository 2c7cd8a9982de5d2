//! Why a request came to nothing, and what to do about it.

use crate::failure::Failure;
use coord_shared::quantity::Span;
use coord_shared::wire::ErrorBody;
use reqwest::StatusCode;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot read the certificates in {}", path.display())]
    ReadCa { path: PathBuf, source: std::io::Error },
    #[error("{} holds no usable certificates", path.display())]
    BadCa { path: PathBuf },
    #[error("cannot set up the HTTP client")]
    Setup { source: reqwest::Error },
    #[error("cannot {what}: no connection to the coordinator at {url}")]
    Unreachable { what: String, url: String, source: reqwest::Error },
    #[error("cannot {what}: no secure connection to the coordinator at {url}")]
    Tls { what: String, url: String, source: reqwest::Error },
    #[error("cannot {what}: no whole answer from the coordinator at {url} within {}", Span(*after))]
    Timeout { what: String, url: String, after: Duration },
    #[error("cannot {what}: the connection to {url} broke off")]
    Cut { what: String, url: String, source: reqwest::Error },
    #[error("cannot {what}: the connection to {url} broke off in the middle of a line")]
    CutLine { what: String, url: String },
    #[error("cannot {what}: {url} does not answer as a coordinator does ({problem})")]
    Garbage { what: String, url: String, problem: String },
    #[error("cannot {what}: {message} [{code}]", message = body.message, code = body.code)]
    Refused { what: String, status: StatusCode, body: Box<ErrorBody>, request_id: Option<String> },
}

impl ClientError {
    /// Sorts an error of the transport: each kind has a cure of its own.
    pub(crate) fn of_transport(what: &str, url: &str, timeout: Duration, source: reqwest::Error) -> Self {
        let (what, url) = (what.to_owned(), url.to_owned());
        if is_tls(&source) {
            Self::Tls { what, url, source }
        } else if source.is_connect() {
            Self::Unreachable { what, url, source }
        } else if source.is_timeout() {
            Self::Timeout { what, url, after: timeout }
        } else {
            Self::Cut { what, url, source }
        }
    }

    /// Whether it may go well a moment later: the coordinator starts, is upgraded, or the network is.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Cut { .. } | Self::CutLine { .. } => true,
            Self::Refused { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::ReadCa { .. } | Self::BadCa { .. } | Self::Setup { .. } | Self::Tls { .. } | Self::Garbage { .. } => false,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::ReadCa { .. } | Self::BadCa { .. } => {
                "--ca (COORD_CA, or ca in the configuration file) names a file with PEM certificates".to_owned()
            }
            Self::Setup { .. } => "are the system's CA certificates installed (Debian: package ca-certificates)?".to_owned(),
            Self::Unreachable { .. } => "is the coordinator running (`systemctl status coordinator`), and is the address right \
                                         (--url, COORD_URL, url in ~/.config/coord/config.toml)?"
                .to_owned(),
            // rustls has no public type for it; without the word the general hint is right, too.
            Self::Tls { source, .. } if Failure::of(source).message.contains("CaUsedAsEndEntity") => {
                "the coordinator's certificate is its own authority, which is not accepted; make an authority, sign a certificate \
                 with it (docs/operations.md shows how), and name the authority with --ca"
                    .to_owned()
            }
            Self::Tls { .. } => {
                "give the authority that signed the coordinator's certificate with --ca, and use a name that is in the \
                 certificate; a coordinator without TLS is reached by http, and only on its own machine"
                    .to_owned()
            }
            Self::Timeout { .. } => {
                "is the coordinator overloaded or the network slow? --request-timeout gives it longer".to_owned()
            }
            Self::Cut { .. } | Self::CutLine { .. } => "did the coordinator stop or restart? Try again".to_owned(),
            Self::Garbage { .. } => {
                "does something else listen there, or a proxy? Check --url; if it is a coordinator, is it as new as coordctl?"
                    .to_owned()
            }
            Self::Refused { body, request_id, .. } => return refusal_hint(body, request_id.as_deref()),
        })
    }
}

/// The coordinator's own hint, or ours where it gives none.
fn refusal_hint(body: &ErrorBody, request_id: Option<&str>) -> Option<String> {
    let hint = body.hint.clone();
    if body.code == "unauthorized" {
        return hint.or_else(|| Some("check the token: --token-file, COORD_TOKEN_FILE".to_owned()));
    }
    // Of its other refusals the coordinator says all that it knows.
    if body.code != "internal" {
        return hint;
    }
    let log = request_id.map(|id| format!("the coordinator's log says more under request id {id}"));
    match (hint, log) {
        (Some(hint), Some(log)) => Some(format!("{hint}; {log}")),
        (hint, log) => hint.or(log),
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = Self::of(&error).maybe_hint(error.hint());
        if let ClientError::Refused { body, .. } = error { failure.detail(body.detail) } else { failure }
    }
}

/// rustls reports through `io::Error`s, whose `source` skips the error that they wrap.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || wrapped.is_some_and(|wrapped| is_tls(wrapped)) || error.source().is_some_and(is_tls)
}
