//! The agents' side: the long poll, the report, the dial-in.

use super::auth::{Agent, Reader};
use super::error::ApiError;
use super::{Shared, body};
use crate::clock;
use crate::hosts::{Compiled, Poll};
use crate::records::{self, HostRecord, encode, host_key};
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use coord_shared::names::{HostName, Labels, check_label_key, check_label_value};
use coord_shared::quantity::Span;
use coord_shared::wire::{REPORT_MAX_BYTES, Report, ReportAnswer, Session, WIRE_VERSION};
use coord_store::{Committed, SharedStore, Txn};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest wait of one poll: shorter than the minute after which middleboxes forget idle connections.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Labels of one host; they are kept in the store and compared with every document.
const LABELS_MAX: usize = 64;
/// Longest line of a log that is passed on, in bytes; agents cut at 16 KiB, and JSON may double that and more.
const LINE_MAX_BYTES: usize = 256 * 1024;
/// Attempts at a compare-and-set of a host's labels.
const TXN_ATTEMPTS_MAX: u32 = 10;

#[derive(Deserialize)]
pub(super) struct StateQuery {
    wait: Option<String>,
}

/// `GET /v1/hosts/{host}/state`.
pub(super) async fn state(
    State(app): Shared,
    Reader { host }: Reader,
    query: Result<Query<StateQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(ApiError::bad_request)?;
    let wait = match query.wait.as_deref() {
        None => Duration::ZERO,
        Some(text) => text.parse::<Span>().map_err(|e| ApiError::bad_request(format!("wait: {e}")))?.0.min(WAIT_MAX),
    };
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut ending = app.ending.clone();
    let poll = tokio::select! {
        poll = app.hosts.poll(&host, known, wait) => poll?,
        _ = ending.wait_for(|ending| *ending) => Poll::Unchanged,
    };
    match poll {
        Poll::State(state, sessions) => Ok(state_answer(&state, sessions)),
        Poll::Unchanged => Ok(StatusCode::NOT_MODIFIED.into_response()),
        Poll::NotYet => Err(ApiError::unavailable(format!("the state of host {host} is not compiled yet"))),
    }
}

#[derive(Serialize)]
struct OnlySessions {
    session: Vec<Session>,
}

fn state_answer(state: &Compiled, sessions: Vec<Session>) -> Response {
    let body = if sessions.is_empty() {
        state.body.clone()
    } else {
        let sessions = toml::to_string(&OnlySessions { session: sessions });
        let sessions = sessions.expect("sessions hold only strings and integers");
        Bytes::from([&*state.body, b"\n", sessions.as_bytes()].concat())
    };
    let headers = [(CONTENT_TYPE, "application/toml"), (ETAG, &state.etag), (CACHE_CONTROL, "no-store")];
    (headers, body).into_response()
}

/// `POST /v1/hosts/{host}/report`.
pub(super) async fn report(
    State(app): Shared,
    Agent { host }: Agent,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<ReportAnswer>, ApiError> {
    let report: Report = body::json(&headers, body, REPORT_MAX_BYTES).await?;
    if report.version > WIRE_VERSION {
        let message = format!("the report has version {}, and this coordinator reads up to {WIRE_VERSION}", report.version);
        return Err(ApiError::bad_request(message).hint("upgrade the coordinator"));
    }
    if report.host != host {
        return Err(ApiError::forbidden(format!("the report is about host {}, sent as host {host}", report.host))
            .hint("check `host` in agent.toml"));
    }
    if let Some(full) = &report.full {
        check_labels(&full.labels)?;
        keep_labels(&app.store, &host, &full.labels).await?;
    }
    Ok(axum::Json(app.hosts.report(report, clock::now())?))
}

fn check_labels(labels: &Labels) -> Result<(), ApiError> {
    if labels.len() > LABELS_MAX {
        let message = format!("the report has {} labels, more than {LABELS_MAX}", labels.len());
        return Err(ApiError::bad_request(message).hint("remove some from [labels] in agent.toml"));
    }
    for (key, value) in labels {
        check_label_key(key)?;
        check_label_value(value)?;
    }
    Ok(())
}

/// Labels outlive a restart, so that it changes nobody's targets. They are written only when they change.
async fn keep_labels(store: &SharedStore, host: &HostName, labels: &Labels) -> Result<(), ApiError> {
    for _ in 0..TXN_ATTEMPTS_MAX {
        let Some((record, revision)) = records::load::<HostRecord>(&**store, &host_key(host)).await? else {
            return Err(ApiError::unknown_host(host));
        };
        if record.labels == *labels {
            return Ok(());
        }
        let record = HostRecord { labels: labels.clone(), ..record };
        let txn = Txn::default().expect(host_key(host), Some(revision)).put(host_key(host), encode(&record));
        if let Committed::Yes(_) = store.txn(txn).await? {
            tracing::info!(host = %host, ?labels, "labels changed");
            return Ok(());
        }
    }
    Err(ApiError::unavailable(format!("host {host} is being changed by others")))
}

/// `POST /v1/hosts/{host}/sessions/{id}`: the body streams to the admin who waits.
pub(super) async fn session(
    State(app): Shared,
    Agent { host }: Agent,
    Path((_, id)): Path<(String, String)>,
    headers: HeaderMap,
    mut body: Body,
) -> Result<StatusCode, ApiError> {
    let gone = || ApiError::not_found(format!("session {id} of host {host} is not waited for (any more)"));
    if let Some(error) = headers.get("x-coord-error") {
        let message = String::from_utf8_lossy(error.as_bytes()).into_owned();
        return if app.sessions.refuse(&host, &id, message) { Ok(StatusCode::NO_CONTENT) } else { Err(gone()) };
    }
    let lines = app.sessions.answer(&host, &id).ok_or_else(gone)?;
    let mut rest: Vec<u8> = Vec::new();
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = lines.closed() => return Ok(StatusCode::NO_CONTENT),
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|e| ApiError::bad_request(format!("the body broke off: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if lines.send(Bytes::from(line)).await.is_err() {
                return Ok(StatusCode::NO_CONTENT);
            }
        }
        if rest.len() > LINE_MAX_BYTES {
            let message = format!("a line is longer than {LINE_MAX_BYTES} bytes");
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
        }
    }
    if !rest.is_empty() {
        rest.push(b'\n');
        let _ = lines.send(Bytes::from(rest)).await;
    }
    Ok(StatusCode::NO_CONTENT)
}
