//! Bodies: of requests, with their limits, and of answers.

use super::refusal::{refuse, status};
use bytes::Bytes;
use coord_shared::wire::ErrorBody;
use futures_util::StreamExt as _;
use futures_util::stream::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

/// Largest body that is JSON: a command line and an environment.
const JSON_MAX_BYTES: usize = 64 * 1024;

/// What every route answers.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// A body that is JSON. An empty one stands for an object without keys.
pub(super) async fn json<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, ErrorBody> {
    let read = Limited::new(request.into_body(), JSON_MAX_BYTES).collect().await;
    let read = read.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return refuse("too_large", format!("the request's body is larger than {JSON_MAX_BYTES} bytes"));
        }
        refuse("invalid_request", format!("the request's body cannot be read: {error}"))
    })?;
    let bytes = read.to_bytes();
    let text = if bytes.is_empty() { b"{}" } else { bytes.as_ref() };
    serde_json::from_slice(text)
        .map_err(|error| refuse("invalid_request", format!("the request's body is not what was expected: {error}")))
}

/// A body that is as large as it likes, read piece by piece as its reader takes it.
pub(super) fn stream(request: Request<Incoming>) -> impl AsyncRead + Unpin + Send + 'static {
    let pieces = request.into_body().into_data_stream();
    StreamReader::new(pieces.map(|piece| piece.map_err(std::io::Error::other)))
}

pub(super) fn ok(body: &impl Serialize) -> Answer {
    whole(StatusCode::OK, body)
}

pub(super) fn created(body: &impl Serialize) -> Answer {
    whole(StatusCode::CREATED, body)
}

pub(super) fn nothing() -> Answer {
    let mut answer = Response::new(Empty::new().boxed_unsync());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

pub(super) fn refused(error: &ErrorBody) -> Answer {
    whole(status(&error.code), error)
}

/// Lines of JSON, for as long as there are any. One that breaks off ends the answer.
pub(super) fn lines(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Answer {
    let frames = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    respond(StatusCode::OK, "application/x-ndjson", StreamBody::new(frames).boxed_unsync())
}

/// As lines of JSON. Plain data, which always serialises.
pub(super) fn encode_lines<T: Serialize>(lines: &[T]) -> Bytes {
    let mut text = Vec::new();
    for line in lines {
        if serde_json::to_writer(&mut text, line).is_ok() {
            text.push(b'\n');
        }
    }
    text.into()
}

fn whole(status: StatusCode, body: &impl Serialize) -> Answer {
    let text = serde_json::to_vec(body).unwrap_or_default();
    respond(status, "application/json", Full::new(Bytes::from(text)).boxed_unsync())
}

fn respond(status: StatusCode, media_type: &'static str, body: UnsyncBoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}
