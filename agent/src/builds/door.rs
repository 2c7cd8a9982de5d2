//! What a builder sends to its coordinator, and asks of it: archives, logs, secrets.

use crate::sync::coordinators::{Call, CallError, Coordinators};
use coord_shared::names::{Digest, HostName, RunId, SecretName};
use coord_shared::wire::ErrorBody;
use reqwest::{Method, RequestBuilder, StatusCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One piece of an archive, or a log, on a slow line.
const SEND_TIMEOUT: Duration = Duration::from_secs(120);
/// Largest answer that is read, in bytes: a secret of 64 KiB is larger than any key.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
const ASK_TIMEOUT: Duration = Duration::from_secs(15);

/// Why the coordinator did not take or give something.
#[derive(Debug, thiserror::Error)]
pub(super) enum DoorError {
    /// It may do so later.
    #[error("the coordinator is not to be had: {problem}")]
    Away {
        /// In words.
        problem: String,
    },
    /// It has another part of the file than we thought.
    #[error("the coordinator expects byte {offset}")]
    WrongOffset {
        /// What it has.
        offset: u64,
    },
    /// It will not do so later either.
    #[error("the coordinator refuses: {problem}")]
    Refused {
        /// In words, with the cure.
        problem: String,
    },
}

/// A part of an archive.
#[derive(Debug)]
pub(super) struct Piece {
    /// Where in the file it begins.
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
    /// Of the whole file.
    pub(super) total_bytes: u64,
    pub(super) digest: Digest,
}

#[derive(serde::Deserialize)]
struct WrongOffset {
    offset: u64,
}

/// The way to the coordinator. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Door {
    coordinators: Arc<Mutex<Coordinators>>,
    host: HostName,
}

impl Door {
    pub(super) fn new(coordinators: Coordinators, host: HostName) -> Self {
        Self { coordinators: Arc::new(Mutex::new(coordinators)), host }
    }

    /// A secret's value: while a watch or a run of this host needs it, the coordinator gives it away.
    pub(super) async fn secret(&self, name: &SecretName) -> Result<String, DoorError> {
        let call = Call {
            method: Method::GET,
            path: format!("/v1/hosts/{}/secrets/{name}", self.host),
            json: None,
            etag: None,
            timeout: ASK_TIMEOUT,
            limit: ANSWER_MAX_BYTES,
        };
        let mut coordinators = self.coordinators();
        let answer = coordinators.call(&call).await;
        *self.lock() = coordinators;
        match answer {
            Ok(answer) => String::from_utf8(answer.body.to_vec())
                // The last line's end is the file's, not the secret's.
                .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                .map_err(|_| DoorError::Refused { problem: format!("secret {name} is no text") }),
            Err(CallError::Refused { status, message, hint, .. }) if is_final(status) => {
                let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                Err(DoorError::Refused { problem: format!("{message}{hint}") })
            }
            Err(error) => Err(DoorError::Away { problem: crate::chain(&error) }),
        }
    }

    /// Sends a piece of an archive. An empty one asks how much is there.
    pub(super) async fn archive(&self, run: &RunId, piece: Piece) -> Result<(), DoorError> {
        let Piece { offset, bytes, total_bytes, digest } = piece;
        let end = offset + bytes.len() as u64;
        let range = match bytes.is_empty() {
            true => format!("bytes */{total_bytes}"),
            false => format!("bytes {offset}-{}/{total_bytes}", end - 1),
        };
        let request = self.request(Method::PUT, run, "archive").header("content-range", range);
        let request = if end == total_bytes { request.header("x-coord-digest", digest.as_str()) } else { request };
        self.send(request.header("content-type", "application/octet-stream").body(bytes)).await
    }

    /// Appends to the run's log.
    pub(super) async fn log(&self, run: &RunId, offset: u64, lines: Vec<u8>) -> Result<(), DoorError> {
        let request = self.request(Method::POST, run, "log").header("x-coord-offset", offset.to_string());
        self.send(request.header("content-type", "application/x-ndjson").body(lines)).await
    }

    fn request(&self, method: Method, run: &RunId, what: &str) -> RequestBuilder {
        let path = format!("/v1/hosts/{}/builds/{run}/{what}", self.host);
        self.coordinators().request(method, &path).timeout(SEND_TIMEOUT)
    }

    async fn send(&self, request: RequestBuilder) -> Result<(), DoorError> {
        let away = |error: reqwest::Error| {
            // The next one is asked next time.
            self.lock().prefer_next();
            DoorError::Away { problem: crate::chain(&error) }
        };
        let mut response = request.send().await.map_err(away)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            if body.len() + chunk.len() <= ANSWER_MAX_BYTES {
                body.extend_from_slice(&chunk);
            }
        }
        if status.is_success() {
            return Ok(());
        }
        if status == StatusCode::CONFLICT
            && let Ok(WrongOffset { offset }) = serde_json::from_slice(&body)
        {
            return Err(DoorError::WrongOffset { offset });
        }
        let problem = in_words(status, &body);
        if is_final(status) { Err(DoorError::Refused { problem }) } else { Err(DoorError::Away { problem }) }
    }

    fn coordinators(&self) -> Coordinators {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Coordinators> {
        self.coordinators.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the same request would get the same answer.
fn is_final(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS | StatusCode::UNAUTHORIZED)
}

fn in_words(status: StatusCode, body: &[u8]) -> String {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(ErrorBody { message, hint: Some(hint), .. }) => format!("{message}; {hint}"),
        Ok(ErrorBody { message, .. }) => message,
        Err(_) => format!("it answers {status}"),
    }
}
