//! From an HTTP answer to bytes or an error: one place says what a status means and how much of a body we are willing to hold.

use crate::RegistryError;
use crate::clock;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use std::time::Duration;

/// Longest pause that a registry can ask of us; beyond it the caller's own schedule is as good.
const RETRY_AFTER_MAX_S: u64 = 600;

/// Passes success on; anything else becomes the error that it means.
pub(crate) fn check_status(response: Response, object: &str, had_credentials: bool) -> Result<Response, RegistryError> {
    let status = response.status();
    let object = object.to_owned();
    match status {
        _ if status.is_success() => Ok(response),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(unauthorized(object, had_credentials)),
        StatusCode::NOT_FOUND => Err(RegistryError::NotFound { object }),
        StatusCode::TOO_MANY_REQUESTS => Err(RegistryError::RateLimited { object, retry_after: retry_after(&response) }),
        // The asker of a part knows what to do without it.
        StatusCode::RANGE_NOT_SATISFIABLE => Ok(response),
        _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
            Err(RegistryError::Server { object, status: status.as_u16(), retry_after: retry_after(&response) })
        }
        _ => Err(RegistryError::BadAnswer { object, problem: format!("status {status}, which no registry should send here") }),
    }
}

pub(crate) fn unauthorized(object: String, had_credentials: bool) -> RegistryError {
    let cure = if had_credentials {
        "check the username and password of its [[registry]] entry or docker config, and that they may pull this repository"
    } else {
        "add username and password to a [[registry]] entry that covers it, or log in with docker login"
    };
    RegistryError::Unauthorized { object, cure }
}

fn retry_after(response: &Response) -> Option<Duration> {
    parse_retry_after(response.headers().get(RETRY_AFTER)?.to_str().ok()?, clock::today())
}

/// Seconds, or a date (RFC 9110, 10.2.3).
pub(crate) fn parse_retry_after(text: &str, now: jiff::Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            // A date in the past means: at once.
            Duration::try_from(date.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(Duration::from_secs(RETRY_AFTER_MAX_S)))
}

/// Turns a transport error into ours, with the cure for what people meet most.
pub(crate) fn transport(error: reqwest::Error, object: &str) -> RegistryError {
    let error = error.without_url();
    let problem = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() && mentions(&error, &["InvalidContentType", "corrupt message", "handshake eof"]) {
        "cannot connect: it does not answer in TLS; if it serves plain HTTP, set insecure = true in a [[registry]] entry that covers it"
    } else if error.is_connect() && mentions(&error, &["certificate", "UnknownIssuer"]) {
        "cannot connect: its certificate is not trusted; set ca in a [[registry]] entry that covers it"
    } else if error.is_connect() {
        "cannot connect; check the registry's name, port and network"
    } else if error.is_redirect() {
        "redirected to where we do not go (too often, or between TLS and plain HTTP)"
    } else {
        "the connection broke"
    };
    RegistryError::Unreachable { object: object.to_owned(), problem: problem.to_owned(), source: Some(Box::new(error)) }
}

fn mentions(error: &reqwest::Error, words: &[&str]) -> bool {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        text.push_str(&error.to_string());
        next = error.source();
    }
    words.iter().any(|word| text.contains(word))
}

/// A whole body, at most `limit_bytes` of it, within `patience` from first to last byte.
pub(crate) async fn read_limited(
    mut response: Response,
    object: &str,
    limit_bytes: usize,
    patience: Duration,
) -> Result<Vec<u8>, RegistryError> {
    let too_large = || RegistryError::BadAnswer {
        object: object.to_owned(),
        problem: format!("larger than the limit of {limit_bytes} bytes"),
    };
    if response.content_length().is_some_and(|length| length > limit_bytes as u64) {
        return Err(too_large());
    }
    let read = async {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| transport(e, object))? {
            if body.len() + chunk.len() > limit_bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    tokio::time::timeout(patience, read).await.unwrap_or_else(|_| Err(timed_out(object, patience)))
}

pub(crate) fn timed_out(object: &str, patience: Duration) -> RegistryError {
    let problem = format!("no complete answer within {} ms; check the registry's load and the network", patience.as_millis());
    RegistryError::Unreachable { object: object.to_owned(), problem, source: None }
}
