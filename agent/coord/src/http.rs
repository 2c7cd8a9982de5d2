//! HTTP over a Unix socket: one connection for each request, bodies streamed both ways.
//!
//! Knows neither the door nor an engine; [`Trouble`] says only what did not work. Deliberately absent: keep-alive (a command asks once or
//! twice), TLS, and time limits: whoever waits for a pull or an end waits as long as it takes.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as HttpBody, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// Largest answer that is read whole: the list of a full cache is lines, and all else is short.
const ANSWER_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Largest line of an answer that consists of lines: one of a log, every byte of it escaped.
const LINE_MAX_BYTES: usize = 8 * 1024 * 1024;
/// What may stand in a part of a path, or in a query's value, as it is (RFC 3986, unreserved).
const AS_IT_IS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a request carries.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// Nobody listens; nothing was asked.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection broke; what was asked may have been done.
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    /// The answer makes no sense.
    #[error("the answer is not understood: {0}")]
    NotUnderstood(String),
}

/// A question.
#[derive(Debug)]
pub(crate) struct Asked {
    method: Method,
    path: String,
    body: Body,
    upgrade: Option<&'static str>,
    content: &'static str,
}

impl Asked {
    /// One without a body.
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        let body = whole(Bytes::new());
        Self { method, path: path.into(), body, upgrade: None, content: "application/json" }
    }

    /// One for something.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// One that carries JSON.
    pub(crate) fn post(path: impl Into<String>, body: &impl Serialize) -> Self {
        // Plain data, which always serialises.
        let body = whole(serde_json::to_vec(body).unwrap_or_default().into());
        Self { body, ..Self::new(Method::POST, path) }
    }

    /// One that carries a stream of bytes.
    pub(crate) fn put(path: impl Into<String>, content: &'static str, body: Body) -> Self {
        Self { body, content, ..Self::new(Method::PUT, path) }
    }

    /// The same, asked by another method.
    pub(crate) fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    /// The same, on a connection that becomes something else.
    pub(crate) fn upgrade(self, protocol: &'static str) -> Self {
        Self { upgrade: Some(protocol), ..self }
    }

    fn request(self) -> Result<Request<Body>, Trouble> {
        let uri = self.path.parse().map_err(|e| Trouble::NotUnderstood(format!("{} is no path: {e}", self.path)))?;
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("coord"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content));
        if let Some(protocol) = self.upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static(protocol));
        }
        Ok(request)
    }
}

/// Connects and asks.
pub(crate) async fn ask(socket: &Path, asked: Asked) -> Result<Response<Incoming>, Trouble> {
    send(UnixStream::connect(socket).await.map_err(Trouble::Connect)?, asked).await
}

/// Asks on a connection that was made.
pub(crate) async fn send(stream: UnixStream, asked: Asked) -> Result<Response<Incoming>, Trouble> {
    let request = asked.request()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Trouble::Broken)?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.map_err(Trouble::Broken)
}

/// An answer that is one piece: its status and its bytes.
pub(crate) async fn read(response: Response<Incoming>) -> Result<(StatusCode, Bytes), Trouble> {
    let status = response.status();
    let limited = http_body_util::Limited::new(response.into_body(), ANSWER_MAX_BYTES);
    match limited.collect().await {
        Ok(body) => Ok((status, body.to_bytes())),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(Trouble::Broken(*error)),
            Err(error) => Err(Trouble::NotUnderstood(error.to_string())),
        },
    }
}

/// An answer that consists of lines, until `on_line` says that it is enough or there are no more. Lines come without their newline.
pub(crate) async fn lines(
    response: Response<Incoming>,
    mut on_line: impl FnMut(&[u8]) -> Result<bool, Trouble>,
) -> Result<(), Trouble> {
    let mut body = response.into_body();
    let mut pending = Vec::new();
    while let Some(frame) = body.frame().await {
        pending.extend_from_slice(&frame.map_err(Trouble::Broken)?.into_data().unwrap_or_default());
        let mut start = 0;
        while let Some(end) = pending[start..].iter().position(|byte| *byte == b'\n') {
            if !on_line(&pending[start..start + end])? {
                return Ok(());
            }
            start += end + 1;
        }
        pending.drain(..start);
        if pending.len() > LINE_MAX_BYTES {
            return Err(Trouble::NotUnderstood("it has a line without end".to_owned()));
        }
    }
    Ok(())
}

/// A body that is there already.
pub(crate) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A body that comes piece by piece; one that ends with an error is told from one that is whole.
pub(crate) fn streamed(pieces: mpsc::Receiver<io::Result<Bytes>>) -> Body {
    Pieces(pieces).boxed_unsync()
}

/// The receiver, as a body wants it.
struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// A name as a part of a path, or a value in a query.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, AS_IT_IS).to_string()
}
