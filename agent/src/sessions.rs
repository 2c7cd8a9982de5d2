//! Sessions: what an admin asks of this host through the coordinator, which the agent answers by dialling in.
//!
//! A log is streamed up as it grows; a program in a container has a WebSocket that carries its input and output. Either ends when the
//! admin goes away, because then the coordinator ends the connection.

use crate::builds::Builder;
use crate::execute::log_path;
use crate::logs::{self, Follow, LogLine};
use crate::programs::Programs;
use crate::sync::coordinators::Coordinators;
use crate::volumes::Volumes;
use bytes::Bytes;
use coord_attach::{Frames, program, socket};
use coord_shared::names::HostName;
use coord_shared::wire::{ErrorBody, ExecRequest, LogsRequest, RunLogsRequest, Session, VolumesRequest};
use futures_util::stream::{self, Stream, StreamExt as _};
use jiff::Timestamp;
use reqwest::{Body, Method, RequestBuilder};
use std::path::{Path, PathBuf};

/// Lines that travel in one piece: enough to fill a packet many times, few enough to hold in memory without a thought.
const PIECE_LINES: usize = 256;
/// Of a refusal, which travels in a header.
const REFUSAL_MAX_CHARS: usize = 2000;

/// What sessions are answered with.
#[derive(Clone)]
pub struct Sessions {
    /// To whom the agent dials.
    pub coordinators: Coordinators,
    /// As which host.
    pub host: HostName,
    /// Where logs lie.
    pub log_dir: PathBuf,
    /// Runs programs in containers.
    pub programs: Programs,
    /// What outlives containers.
    pub volumes: Volumes,
    /// Builds, where this host does.
    pub builder: Option<Builder>,
}

impl Sessions {
    /// Serves one session to its end. On the agent's own thread: a program's streams stay on it.
    pub async fn serve(self, session: Session) {
        let id = session.id.clone();
        let ended = if let Some(wanted) = session.logs {
            self.logs(&id, &wanted).await
        } else if let Some(asked) = session.exec {
            self.exec(&id, asked).await
        } else if let Some(asked) = session.volumes {
            self.volumes(&id, &asked).await
        } else if let Some(asked) = session.run_logs {
            self.run_logs(&id, &asked).await
        } else {
            self.refuse(&id, "this agent is too old for that request; upgrade coord-agent").await
        };
        match ended {
            Ok(()) => tracing::debug!(session = %id, "session ended"),
            Err(error) => tracing::debug!(session = %id, %error, "session ended"),
        }
    }

    async fn logs(&self, id: &str, wanted: &LogsRequest) -> Result<(), String> {
        match open_log(wanted, &self.log_dir).await {
            Ok(lines) => {
                let request = self.request(Method::POST, id).header("content-type", "application/x-ndjson");
                send(request.body(Body::wrap_stream(lines))).await
            }
            Err(problem) => self.refuse(id, &problem).await,
        }
    }

    /// The program is started first: what cannot be run is refused before anything is joined.
    async fn exec(&self, id: &str, asked: ExecRequest) -> Result<(), String> {
        let started = match self.programs.start(asked).await {
            Ok(started) => started,
            Err(error) => return self.refuse(id, &in_words(error)).await,
        };
        let connection = match coord_attach::dial(self.request(Method::GET, id)).await {
            Ok(connection) => connection,
            Err(error) => {
                // Nobody waits any more: as if they had gone away a moment later.
                let (ours, theirs) = Frames::pair();
                drop(theirs);
                program::serve(started, ours).await;
                return Err(crate::chain(&error));
            }
        };
        let (ours, theirs) = Frames::pair();
        let ((), carried) = tokio::join!(program::serve(started, ours), socket::carry(connection, theirs));
        carried.map_err(|error| crate::chain(&error))
    }

    async fn run_logs(&self, id: &str, asked: &RunLogsRequest) -> Result<(), String> {
        let Some(builder) = &self.builder else { return self.refuse(id, "this host does not build: it has no [builder]").await };
        match builder.log(asked) {
            Ok(lines) => {
                let request = self.request(Method::POST, id).header("content-type", "application/x-ndjson");
                send(request.body(Body::wrap_stream(lines))).await
            }
            Err(problem) => self.refuse(id, &problem).await,
        }
    }

    async fn volumes(&self, id: &str, asked: &VolumesRequest) -> Result<(), String> {
        match self.volumes.answer(asked).await {
            Ok(answer) => {
                let request = self.request(Method::POST, id).header("content-type", "application/json");
                send(request.body(format!("{answer}\n"))).await
            }
            Err(error) => self.refuse(id, &in_words(error)).await,
        }
    }

    async fn refuse(&self, id: &str, words: &str) -> Result<(), String> {
        // A header holds one line of visible characters.
        let plain: String = words.chars().map(|c| if c.is_ascii_graphic() { c } else { ' ' }).take(REFUSAL_MAX_CHARS).collect();
        send(self.request(Method::POST, id).header("x-coord-error", plain)).await
    }

    fn request(&self, method: Method, id: &str) -> RequestBuilder {
        self.coordinators.request(method, &format!("/v1/hosts/{}/sessions/{id}", self.host))
    }
}

fn in_words(error: ErrorBody) -> String {
    match error.hint {
        Some(hint) => format!("{}; {hint}", error.message),
        None => error.message,
    }
}

async fn send(request: RequestBuilder) -> Result<(), String> {
    let response = request.send().await.map_err(|error| crate::chain(&error))?;
    tracing::debug!(status = %response.status(), "the coordinator ended a session");
    Ok(())
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
    let (count, follows, since) = (wanted.tail as usize, wanted.follow, wanted.since);
    let begun = tokio::task::spawn_blocking(move || begin(&path, count, since, follows)).await;
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

/// The last `count` lines of those not older than `since`, and the place from which to go on.
pub fn begin(
    path: &Path,
    count: usize,
    since: Option<Timestamp>,
    follows: bool,
) -> std::io::Result<(Vec<LogLine>, Option<Follow>)> {
    let (lines, follow) = logs::begin(path, count, since)?;
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
