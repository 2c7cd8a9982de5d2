//! Sessions: what an admin asks of this host through the coordinator, which the agent answers by dialling in.
//!
//! So far there is one kind: the log of an instance, streamed up as it grows. The stream ends when the admin goes away, because then
//! the coordinator ends the request.

use crate::execute::log_path;
use crate::logs::{self, Follow, LogLine};
use crate::sync::coordinators::Coordinators;
use bytes::Bytes;
use coord_shared::names::HostName;
use coord_shared::wire::{LogsRequest, Session};
use futures_util::stream::{self, Stream, StreamExt as _};
use reqwest::{Body, Method};
use std::path::{Path, PathBuf};

/// Lines that travel in one piece: enough to fill a packet many times, few enough to hold in memory without a thought.
const PIECE_LINES: usize = 256;

/// Serves one session to its end.
pub async fn serve(session: Session, coordinators: Coordinators, host: HostName, log_dir: PathBuf) {
    let request = coordinators.request(Method::POST, &format!("/v1/hosts/{host}/sessions/{}", session.id));
    let request = match session.logs {
        Some(wanted) => match open_log(&wanted, &log_dir).await {
            Ok(lines) => request.header("content-type", "application/x-ndjson").body(Body::wrap_stream(lines)),
            Err(problem) => request.header("x-coord-error", problem),
        },
        None => request.header("x-coord-error", "this agent is too old for that request; upgrade coord-agent"),
    };
    match request.send().await {
        Ok(response) => tracing::debug!(session = %session.id, status = %response.status(), "session ended"),
        Err(error) => tracing::debug!(session = %session.id, error = %crate::chain(&error), "session ended"),
    }
}

/// The lines that were asked for, in pieces. What is written between the last old line and the first new one is not lost: the place
/// to go on from is taken first, and what both have is sent once.
async fn open_log(
    wanted: &LogsRequest,
    log_dir: &Path,
) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + 'static, String> {
    let path = log_path(log_dir, &wanted.instance);
    if !path.exists() {
        return Err(format!("instance {} has no log on this host; it has not run here", wanted.instance));
    }
    let (count, follows) = (wanted.tail as usize, wanted.follow);
    let begun = tokio::task::spawn_blocking(move || begin(&path, count, follows)).await;
    let unreadable = |error: &dyn std::fmt::Display| format!("cannot read the log of instance {}: {error}", wanted.instance);
    let (old, follow) = begun.map_err(|e| unreadable(&e))?.map_err(|e| unreadable(&e))?;
    let pieces: Vec<_> = old.chunks(PIECE_LINES).map(|lines| Ok(encode(lines))).collect();
    let new = stream::unfold(follow, async |follow| {
        let mut follow = follow?;
        match follow.next().await {
            Ok(lines) => Some((Ok(encode(&lines)), Some(follow))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(stream::iter(pieces).chain(new))
}

/// The last `count` lines, and the place from which to go on.
pub fn begin(path: &Path, count: usize, follows: bool) -> std::io::Result<(Vec<LogLine>, Option<Follow>)> {
    let (lines, follow) = logs::begin(path, count, None)?;
    Ok((lines, follows.then_some(follow)))
}

fn encode(lines: &[LogLine]) -> Bytes {
    let mut text = Vec::new();
    for line in lines {
        // A line is two strings and an enum, which always serialise.
        if serde_json::to_writer(&mut text, line).is_ok() {
            text.push(b'\n');
        }
    }
    text.into()
}
