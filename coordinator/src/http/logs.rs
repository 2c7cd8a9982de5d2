//! Logs of a workload: the lines of all its instances, merged as they come, each with its host and instance.
//!
//! ```text
//! {"host":"web-1","instance":"web.0","t":"...","s":"out","m":"..."}      a line
//! {"host":"web-2","instance":"web.0","error":"..."}                      an instance whose log could not be had
//! (an empty line)                                                        still there, nothing new
//! ```

use super::auth::Admin;
use super::error::ApiError;
use super::places::{Place, places, reachable};
use super::{App, Shared};
use crate::sessions::{Lines, SessionError};
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use coord_shared::names::{HostName, WorkloadName};
use coord_shared::wire::LogsRequest;
use jiff::Timestamp;
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Lines of the past that are asked of one instance at most.
const TAIL_MAX_LINES: u32 = 10_000;
const TAIL_DEFAULT_LINES: u32 = 100;
/// Instances whose logs are followed at a time by one request.
const INSTANCES_MAX: usize = 200;
/// While nothing comes, a sign of life for whatever sits between.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Merged lines that wait for the reader.
const LINES_MAX: usize = 64;

#[derive(Deserialize)]
pub(super) struct LogsQuery {
    host: Option<HostName>,
    index: Option<u32>,
    tail: Option<u32>,
    #[serde(default)]
    follow: bool,
    since: Option<Timestamp>,
}

/// `GET /v1/workloads/{name}/logs`.
pub(super) async fn logs(
    State(app): Shared,
    _: Admin,
    Path(name): Path<String>,
    query: Result<Query<LogsQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let name: WorkloadName = name.parse()?;
    let Query(query) = query.map_err(ApiError::bad_request)?;
    // Whoever says from when on means all of it.
    let usual = if query.since.is_some() { TAIL_MAX_LINES } else { TAIL_DEFAULT_LINES };
    let tail = query.tail.unwrap_or(usual).min(TAIL_MAX_LINES);
    let places = places(&app, &name, query.host.as_ref(), query.index)?;
    if places.len() > INSTANCES_MAX {
        let message = format!("workload {name} has {} instances, more than {INSTANCES_MAX} logs at a time", places.len());
        return Err(ApiError::bad_request(message).hint("ask for one host"));
    }
    let (merged, out) = mpsc::channel(LINES_MAX);
    let (opened, mut answers) = mpsc::channel(places.len());
    // The tasks live as long as the answer does: a reader who goes away ends them, and with them the agents' streams.
    let tasks: Vec<_> = places
        .into_iter()
        .map(|place| {
            let one = One { app: Arc::clone(&app), place, tail, follow: query.follow, since: query.since };
            AbortOnDropHandle::new(tokio::spawn(one.run(opened.clone(), merged.clone())))
        })
        .collect();
    drop((opened, merged));
    // The status line can be sent once: it waits for the first instance that answers, or for all of them to have failed.
    let mut first_error = None;
    loop {
        match answers.recv().await {
            Some(Ok(())) => break,
            Some(Err(error)) => first_error = first_error.or(Some(error)),
            None => return Err(first_error.unwrap_or_else(|| ApiError::unavailable("no agent answered"))),
        }
    }
    let lines = futures_util::stream::unfold((out, tasks), async |(mut out, tasks)| {
        match tokio::time::timeout(HEARTBEAT, out.recv()).await {
            Ok(line) => line.map(|line| (Ok::<Bytes, Infallible>(line), (out, tasks))),
            Err(_) => Some((Ok(Bytes::from_static(b"\n")), (out, tasks))),
        }
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// The log of one instance.
struct One {
    app: Arc<App>,
    place: Place,
    tail: u32,
    follow: bool,
    since: Option<Timestamp>,
}

impl One {
    async fn run(self, opened: mpsc::Sender<Result<(), ApiError>>, merged: mpsc::Sender<Bytes>) {
        match self.open().await {
            Ok(mut lines) => {
                // Gone receivers mean that another instance was first, or the reader went away; the next send tells.
                let _ = opened.send(Ok(())).await;
                drop(opened);
                while let Some(line) = lines.recv().await {
                    let Some(line) = self.addressed(&line) else { continue };
                    if merged.send(line).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                let _ = merged.try_send(self.failure(&error.body.message));
                let _ = opened.send(Err(error)).await;
            }
        }
    }

    async fn open(&self) -> Result<Lines, ApiError> {
        let (host, instance) = &self.place;
        reachable(&self.app, host)?;
        let asked = LogsRequest { instance: instance.clone(), tail: self.tail, follow: self.follow, since: self.since };
        let session = self.app.sessions.logs(&self.app.hosts, host, asked);
        session.await.map_err(|e: SessionError| e.into())
    }

    /// The agent's line with host and instance in front. What is not a JSON object is passed on as a message.
    fn addressed(&self, line: &[u8]) -> Option<Bytes> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return None;
        }
        let mut out = self.address();
        match line.strip_prefix(b"{") {
            Some(rest) => {
                out.push(b',');
                out.extend_from_slice(rest);
            }
            None => {
                let message = serde_json::Value::from(String::from_utf8_lossy(line));
                out.extend_from_slice(format!(",\"m\":{message}}}").as_bytes());
            }
        }
        out.push(b'\n');
        Some(Bytes::from(out))
    }

    fn failure(&self, message: &str) -> Bytes {
        let mut out = self.address();
        out.extend_from_slice(format!(",\"error\":{}}}\n", serde_json::Value::from(message)).as_bytes());
        Bytes::from(out)
    }

    /// `{"host":...,"instance":...`, without its end. Names hold nothing that JSON would escape.
    fn address(&self) -> Vec<u8> {
        let (host, instance) = &self.place;
        format!("{{\"host\":\"{host}\",\"instance\":\"{instance}\"").into_bytes()
    }
}
