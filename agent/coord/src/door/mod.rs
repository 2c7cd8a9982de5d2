//! The door: what `coord` asks an agent for, through the socket that the agent has put into this container.
//!
//! An agent that is replaced is away for a moment: whoever asks then waits for it. Deliberately absent: any judgement; what is allowed is
//! the agent's to say.

mod caches;
mod containers;
mod handover;

pub(crate) use handover::letters;

use crate::clock::Watch;
use crate::failure::failure;
use crate::http::{self, Asked, Trouble};
use crate::output::Output;
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::Info;
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// How long an agent that is away is waited for: a restart takes a second, an upgrade a few.
const PATIENCE: Duration = Duration::from_secs(60);
/// After this, whoever looks on is told what is waited for.
const SILENT: Duration = Duration::from_secs(2);
/// Between two tries to connect, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The door of this container.
#[derive(Debug)]
pub(crate) struct Door {
    socket: PathBuf,
    patience: Duration,
    output: Output,
    /// Whether it was said that the agent is waited for.
    is_said: Cell<bool>,
}

impl Door {
    /// The one at `socket`. Connects for each request anew.
    pub(crate) fn new(socket: PathBuf, output: Output) -> Self {
        Self { socket, patience: PATIENCE, output, is_said: Cell::new(false) }
    }

    /// Beside which the socket is that takes standard files.
    fn folder(&self) -> &Path {
        self.socket.parent().unwrap_or(Path::new("/"))
    }

    pub(crate) async fn info(&self) -> Result<Info, ErrorBody> {
        self.look("/v1/info").await
    }

    /// Asks for something that is only looked at: again, where an agent is replaced before it answers.
    async fn look<T: DeserializeOwned>(&self, path: &str) -> Result<T, ErrorBody> {
        self.surely(async || self.answer(Asked::get(path)).await).await
    }

    /// Does something that may be done again, through as many agents as it takes: until there is an answer that is not about the agent's own
    /// end.
    async fn surely<T>(&self, mut work: impl AsyncFnMut() -> Result<T, ErrorBody>) -> Result<T, ErrorBody> {
        let mut breaking: Option<Watch> = None;
        loop {
            let watch = Watch::start();
            let error = match work().await {
                Err(error) if is_interrupted(&error) => error,
                answer => return answer,
            };
            // One that was there for a while went away just now; one that breaks off at once, again and again, is no agent.
            if watch.ran() >= PAUSE_MAX {
                breaking = None;
            }
            if breaking.get_or_insert_with(Watch::start).ran() > self.patience {
                return Err(error);
            }
            tokio::time::sleep(PAUSE_MIN).await;
        }
    }

    async fn answer<T: DeserializeOwned>(&self, asked: Asked) -> Result<T, ErrorBody> {
        let response = self.response(asked).await?;
        let (_, bytes) = http::read(response).await.map_err(|trouble| self.trouble(&trouble))?;
        serde_json::from_slice(&bytes).map_err(|e| self.trouble(&Trouble::NotUnderstood(e.to_string())))
    }

    /// An answer that is no refusal.
    async fn response(&self, asked: Asked) -> Result<Response<Incoming>, ErrorBody> {
        let stream = self.connect(&self.socket).await?;
        let response = http::send(stream, asked).await.map_err(|trouble| self.trouble(&trouble))?;
        if response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let (_, bytes) = http::read(response).await.map_err(|trouble| self.trouble(&trouble))?;
        Err(serde_json::from_slice(&bytes).unwrap_or_else(|e| self.trouble(&Trouble::NotUnderstood(e.to_string()))))
    }

    /// Connects to one of the door's sockets, and waits for an agent that is away: nothing was asked yet, so nothing is done twice.
    async fn connect(&self, socket: &Path) -> Result<UnixStream, ErrorBody> {
        let watch = Watch::start();
        let mut pause = PAUSE_MIN;
        loop {
            let error = match UnixStream::connect(socket).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            if !is_away(&error) || watch.ran() > self.patience {
                let message = format!("no agent answers at {}: {error}", socket.display());
                return Err(failure("unreachable", message, Some("is coord-agent running on the host?")));
            }
            if watch.ran() > SILENT && !self.is_said.replace(true) {
                self.output.note(&format!("waiting for coord-agent, which does not answer at {}", socket.display()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn trouble(&self, trouble: &Trouble) -> ErrorBody {
        let at = self.socket.display();
        match trouble {
            Trouble::Connect(error) => failure("unreachable", format!("no agent answers at {at}: {error}"), None),
            Trouble::Broken(error) => {
                let hint = Some("it may have been restarted; see `coord ps -a` and `coord cache ls` for what was done");
                failure(BROKEN, format!("the agent at {at} broke off: {error}"), hint)
            }
            Trouble::NotUnderstood(problem) => {
                let hint = Some("is the agent of another version than this program?");
                failure("invalid_answer", format!("the answer of the agent at {at} is not understood: {problem}"), hint)
            }
        }
    }
}

/// The code of our own for a connection that broke after something was asked.
const BROKEN: &str = "broken_off";

/// Whether an agent went away before it answered.
pub(crate) fn is_interrupted(error: &ErrorBody) -> bool {
    [BROKEN, "ending", "unavailable"].contains(&error.code.as_str())
}

/// Whether an agent that is being replaced looks like this.
fn is_away(error: &io::Error) -> bool {
    let kinds =
        [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound, io::ErrorKind::WouldBlock, io::ErrorKind::ConnectionReset];
    kinds.contains(&error.kind())
}
