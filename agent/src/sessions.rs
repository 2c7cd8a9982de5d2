//! Sessions: what an admin asks of this host through the coordinator, which the agent answers by dialling in.
//!
//! So far there is one kind: the log of an instance, streamed up as it grows. The stream ends when the admin goes away, because then
//! the coordinator ends the request.

use crate::execute::log_path;
use crate::logs;
use crate::sync::coordinators::Coordinators;
use bytes::Bytes;
use coord_shared::names::HostName;
use coord_shared::wire::{LogsRequest, Session};
use reqwest::{Body, Method};
use std::path::PathBuf;

/// Most lines that a session begins with, whatever was asked for.
const TAIL_MAX_LINES: u32 = 10_000;

/// Serves one session to its end.
pub async fn serve(session: Session, coordinators: Coordinators, host: HostName, log_dir: PathBuf) {
    let request = coordinators.request(Method::POST, &format!("/v1/hosts/{host}/sessions/{}", session.id));
    let request = match session.logs {
        Some(wanted) => match open_log(&wanted, &log_dir) {
            Ok(body) => request.header("content-type", "application/x-ndjson").body(body),
            Err(problem) => request.header("x-coord-error", problem),
        },
        None => request.header("x-coord-error", "this agent is too old for that request; upgrade coord-agent"),
    };
    match request.send().await {
        Ok(response) => tracing::debug!(session = %session.id, status = %response.status(), "session ended"),
        Err(error) => tracing::debug!(session = %session.id, error = %crate::chain(&error), "session ended"),
    }
}

fn open_log(wanted: &LogsRequest, log_dir: &std::path::Path) -> Result<Body, String> {
    let path = log_path(log_dir, &wanted.instance);
    if !path.exists() {
        return Err(format!("instance {} has no log on this host; it has not run here", wanted.instance));
    }
    let tail = wanted.tail.min(TAIL_MAX_LINES) as usize;
    Err("x".into())
}
