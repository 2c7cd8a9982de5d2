//! The other end of the control socket, for the commands.

use super::bodies::PullLine;
use super::exec::PROTOCOL;
use super::{AgentInfo, ImageAsked, socket_path};
use crate::images::{PullProgress, Pulled};
use bytes::Bytes;
use coord_attach::{Frames, bytes as carrier};
use coord_shared::wire::{ErrorBody, ExecRequest};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// Largest answer that is read: ten thousand images.
const ANSWER_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Largest line of an answer that consists of lines, and of what of it comes at once.
const LINE_MAX_BYTES: usize = 1024 * 1024;
/// What may not stand in a URL's path as it is.
const NOT_IN_PATH: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'%').add(b'`').add(b'{').add(b'}');

/// Reaches the agent that runs on this host.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The agent with this `run_dir`. Connects for each request anew.
    pub fn new(run_dir: &Path) -> Self {
        Self { socket: socket_path(run_dir) }
    }

    /// Which agent answers.
    ///
    /// # Errors
    /// `unreachable` when none does.
    pub async fn info(&self) -> Result<AgentInfo, ErrorBody> {
        self.get("/v1/info").await
    }

    /// Asks for something. `path` is below `/`, its names encoded by [`encode_name`].
    ///
    /// # Errors
    /// Those of the agent; `unreachable`; `invalid_answer`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ErrorBody> {
        self.read(self.send(Method::GET, path, Bytes::new()).await?).await
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// As `get`.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ErrorBody> {
        self.read(self.send(Method::POST, path, encode(body)).await?).await
    }

    /// Pulls an image. Dropped halfway, the agent ends the pull.
    ///
    /// # Errors
    /// As `get`.
    pub async fn pull(&self, asked: &ImageAsked, mut on_progress: impl FnMut(PullProgress)) -> Result<Pulled, ErrorBody> {
        let response = self.send(Method::POST, "/v1/images/pull", encode(asked)).await?;
        if !response.status().is_success() {
            return self.read(response).await;
        }
        let mut end = None;
        self.read_lines(response, |line| {
            match line {
                PullLine::Progress(progress) => on_progress(progress),
                PullLine::Done(pulled) => end = Some(Ok(pulled)),
                PullLine::Error(error) => end = Some(Err(error)),
            }
            end.is_none()
        })
        .await?;
        let broken = || {
            failure("unreachable", "the agent ended in mid-pull".to_owned(), Some("try again; what has arrived whole is kept"))
        };
        end.unwrap_or_else(|| Err(broken()))
    }

    /// Reads an answer that consists of lines, until `on_line` says that it is enough, or there are no more.
    ///
    /// # Errors
    /// As `get`.
    pub async fn lines<T: DeserializeOwned>(&self, path: &str, on_line: impl FnMut(T) -> bool) -> Result<(), ErrorBody> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        if !response.status().is_success() {
            return self.read(response).await;
        }
        self.read_lines(response, on_line).await
    }

    async fn read_lines<T: DeserializeOwned>(
        &self,
        response: Response<Incoming>,
        mut on_line: impl FnMut(T) -> bool,
    ) -> Result<(), ErrorBody> {
        let mut body = response.into_body();
        let mut pending = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| self.broken(&e))?;
            pending.extend_from_slice(&frame.into_data().unwrap_or_default());
            if pending.len() > LINE_MAX_BYTES {
                return Err(self.not_understood("a line without end"));
            }
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                if !on_line(serde_json::from_slice(&line).map_err(|e| self.not_understood(&e.to_string()))?) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Runs a program in a container: a connection that carries its streams.
    ///
    /// # Errors
    /// As `get`; and when the program cannot be started.
    pub async fn exec(&self, asked: &ExecRequest) -> Result<Frames, ErrorBody> {
        let mut request = self.request(Method::POST, "/v1/exec", encode(asked))?;
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(UPGRADE, PROTOCOL);
        let response = self.carry_out(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(match self.read::<serde_json::Value>(response).await {
                Ok(_) => self.not_understood("no upgrade of the connection"),
                Err(error) => error,
            });
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|e| self.broken(&e))?;
        let (ours, theirs) = Frames::pair();
        // A connection that breaks is a cut to whoever holds the other end.
        tokio::spawn(async move { drop(carrier::carry(TokioIo::new(upgraded), theirs).await) });
        Ok(ours)
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, ErrorBody> {
        self.carry_out(self.request(method, path, body)?).await
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, ErrorBody> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|e| self.not_understood(&format!("{path} is no path: {e}")))?;
        request.headers_mut().insert(HOST, HeaderValue::from_static("agent"));
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(request)
    }

    async fn carry_out(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ErrorBody> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| {
            let message = format!("no agent answers at {}: {e}", self.socket.display());
            failure("unreachable", message, Some("is it running? `systemctl status coord-agent`"))
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(&e))?;
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(|e| self.broken(&e))
    }

    async fn read<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, ErrorBody> {
        let is_good = response.status().is_success();
        let limited = http_body_util::Limited::new(response.into_body(), ANSWER_MAX_BYTES);
        let bytes = limited.collect().await.map_err(|e| self.not_understood(&e.to_string()))?.to_bytes();
        if is_good {
            return serde_json::from_slice(&bytes).map_err(|e| self.not_understood(&e.to_string()));
        }
        Err(serde_json::from_slice(&bytes).unwrap_or_else(|e| self.not_understood(&e.to_string())))
    }

    fn broken(&self, error: &hyper::Error) -> ErrorBody {
        failure(
            "unreachable",
            format!("the agent at {} broke off: {error}", self.socket.display()),
            Some("see its log; try again"),
        )
    }

    fn not_understood(&self, problem: &str) -> ErrorBody {
        let message = format!("the answer of the agent at {} is not understood: {problem}", self.socket.display());
        failure("invalid_answer", message, Some("is the service of another version than this command? restart it"))
    }
}

/// A name as a part of a path.
pub fn encode_name(name: &str) -> String {
    utf8_percent_encode(name, NOT_IN_PATH).to_string()
}

/// The bodies are plain data, which always serialises.
fn encode(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).unwrap_or_default().into()
}

fn failure(code: &str, message: String, hint: Option<&str>) -> ErrorBody {
    ErrorBody { code: code.to_owned(), message, hint: hint.map(str::to_owned), detail: None }
}
