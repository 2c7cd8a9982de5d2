//! The door: what `coord` asks an agent for, through the socket that the agent has put into this container.
//!
//! An agent that is replaced is away for a moment: whoever asks then waits for it. Deliberately absent: any judgement; what is allowed is
//! the agent's to say.

mod handover;

pub(crate) use handover::letters;

use crate::clock::Watch;
use crate::failure::failure;
use crate::http::{self, Asked, Trouble};
use crate::output::Output;
use coord_attach::{Frames, bytes as carrier};
use coord_shared::names::{CacheName, ChildName};
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{
    CacheView, CachesView, ChildView, ChildrenView, EXEC_PROTOCOL, Entry, ExecAsked, Info, NewCache, NewChild, PutView,
    SignalAsked, Stop, Verified,
};
use http::{Body, encoded};
use hyper::body::Incoming;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
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
        self.answer(Asked::get("/v1/info")).await
    }

    pub(crate) async fn create_cache(&self, asked: &NewCache) -> Result<CacheView, ErrorBody> {
        self.answer(Asked::post("/v1/caches", asked)).await
    }

    pub(crate) async fn caches(&self) -> Result<Vec<CacheView>, ErrorBody> {
        let view: CachesView = self.answer(Asked::get("/v1/caches")).await?;
        Ok(view.caches)
    }

    pub(crate) async fn cache(&self, name: &CacheName) -> Result<CacheView, ErrorBody> {
        self.answer(Asked::get(format!("/v1/caches/{name}"))).await
    }

    /// Puts what a tar archive holds below `below`.
    pub(crate) async fn put_archive(&self, name: &CacheName, below: &str, archive: Body) -> Result<PutView, ErrorBody> {
        let path = format!("/v1/caches/{name}/archive?path={}", encoded(below));
        self.answer(Asked::put(path, "application/x-tar", archive)).await
    }

    /// Puts one file.
    pub(crate) async fn put_file(&self, name: &CacheName, path: &str, mode: u32, content: Body) -> Result<PutView, ErrorBody> {
        let path: Vec<String> = path.split('/').map(encoded).collect();
        let path = format!("/v1/caches/{name}/files/{}?mode={mode:04o}", path.join("/"));
        self.answer(Asked::put(path, "application/octet-stream", content)).await
    }

    pub(crate) async fn entries(&self, name: &CacheName) -> Result<Vec<Entry>, ErrorBody> {
        let response = self.response(Asked::get(format!("/v1/caches/{name}/list"))).await?;
        let mut entries = Vec::new();
        let read = http::lines(response, |line| {
            entries.push(serde_json::from_slice(line).map_err(|e| Trouble::NotUnderstood(e.to_string()))?);
            Ok(true)
        });
        read.await.map_err(|trouble| self.trouble(&trouble))?;
        Ok(entries)
    }

    pub(crate) async fn verify(&self, name: &CacheName) -> Result<Verified, ErrorBody> {
        self.answer(Asked::new(Method::POST, format!("/v1/caches/{name}/verify"))).await
    }

    pub(crate) async fn remove_cache(&self, name: &CacheName) -> Result<(), ErrorBody> {
        self.response(Asked::new(Method::DELETE, format!("/v1/caches/{name}"))).await.map(drop)
    }

    pub(crate) async fn start(&self, asked: &NewChild) -> Result<ChildView, ErrorBody> {
        self.answer(Asked::post("/v1/containers", asked)).await
    }

    pub(crate) async fn children(&self) -> Result<Vec<ChildView>, ErrorBody> {
        let view: ChildrenView = self.answer(Asked::get("/v1/containers")).await?;
        Ok(view.containers)
    }

    pub(crate) async fn child(&self, name: &ChildName) -> Result<ChildView, ErrorBody> {
        self.answer(Asked::get(format!("/v1/containers/{name}"))).await
    }

    /// Waits for an end, through as many agents as it takes: a connection that breaks is made again.
    pub(crate) async fn wait(&self, name: &ChildName) -> Result<ChildView, ErrorBody> {
        let mut breaking: Option<Watch> = None;
        loop {
            let watch = Watch::start();
            let error = match self.answer(Asked::new(Method::POST, format!("/v1/containers/{name}/wait"))).await {
                Err(error) if error.code == BROKEN => error,
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

    pub(crate) async fn stop(&self, name: &ChildName, asked: &Stop) -> Result<ChildView, ErrorBody> {
        self.answer(Asked::post(format!("/v1/containers/{name}/stop"), asked)).await
    }

    pub(crate) async fn signal(&self, name: &ChildName, asked: SignalAsked) -> Result<ChildView, ErrorBody> {
        self.answer(Asked::post(format!("/v1/containers/{name}/signal"), &asked)).await
    }

    /// What it has logged, line by line as the log has them, until `on_line` says that it is enough.
    pub(crate) async fn logs(
        &self,
        name: &ChildName,
        follow: bool,
        tail: Option<u32>,
        on_line: impl FnMut(&[u8]) -> Result<bool, Trouble>,
    ) -> Result<(), ErrorBody> {
        let follow = follow.then(|| "follow=true".to_owned());
        let query: Vec<String> = follow.into_iter().chain(tail.map(|lines| format!("tail={lines}"))).collect();
        let question = if query.is_empty() { "" } else { "?" };
        let response = self.response(Asked::get(format!("/v1/containers/{name}/logs{question}{}", query.join("&")))).await?;
        http::lines(response, on_line).await.map_err(|trouble| self.trouble(&trouble))
    }

    /// Runs a program in a container: a connection that carries its streams.
    pub(crate) async fn exec(&self, name: &ChildName, asked: &ExecAsked) -> Result<Frames, ErrorBody> {
        let asked = Asked::post(format!("/v1/containers/{name}/exec"), asked).upgrade(EXEC_PROTOCOL);
        let response = self.response(asked).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.trouble(&Trouble::NotUnderstood("no upgrade of the connection".to_owned())));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|e| self.trouble(&Trouble::Broken(e)))?;
        let (ours, theirs) = Frames::pair();
        // A connection that breaks is a cut to whoever holds the other end.
        tokio::spawn(async move { drop(carrier::carry(TokioIo::new(upgraded), theirs).await) });
        Ok(ours)
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
pub(crate) const BROKEN: &str = "broken_off";

/// Whether an agent that is being replaced looks like this.
fn is_away(error: &io::Error) -> bool {
    let kinds =
        [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound, io::ErrorKind::WouldBlock, io::ErrorKind::ConnectionReset];
    kinds.contains(&error.kind())
}
