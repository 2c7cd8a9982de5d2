//! What can be asked, and who answers it.
//!
//! | route | answer |
//! | --- | --- |
//! | `GET /v1/info` | which agent this is |
//! | `GET /v1/images`, `GET /v1/images/{ref}` | the list, the details of one |
//! | `POST /v1/images/pull` | lines: progress, then how it ended |
//! | `POST /v1/images/{ready,mount,unmount,verify,prune}` | what came of it |
//! | `GET /v1/instances`, `GET /v1/instances/{name}` | the list, the details of one |
//! | `GET /v1/usage`, `GET /metrics` | what containers use: for people, for Prometheus |
//! | `POST /v1/one-off/{lease,connect,release}` | addresses for `coord-agent run` |
//! | `POST /v1/exec` | an upgraded connection that carries a program's streams |
//! | `GET /v1/volumes`, `GET /v1/volumes/{name}` | the list, the details of one |
//! | `POST /v1/volumes/remove` | what came of it |
//! | `GET /v1/events`, `GET /v1/events?follow` | lines: what happened lately, and then what happens |
//!
//! An error is `{code, message, hint}`. A `{ref}` is percent-encoded only where HTTP demands it: its slashes and colons stay.

use super::bodies::{ImageAsked, PruneAsked, PullLine, UnmountAsked, VerifyAsked, ViewAsked};
use super::{Control, containers, exec, one_off, volumes};
use crate::images::{self, ImagesError};
use crate::metrics;
use bytes::Bytes;
use coord_image::StoreError;
use coord_shared::wire::ErrorBody;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use tokio::sync::mpsc;

/// Largest body of a request: a reference and a path.
const BODY_MAX_BYTES: usize = 64 * 1024;
/// Lines of progress that may wait for a slow reader.
const LINES_MAX: usize = 16;

/// What every route answers.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// A refusal on the way to an answer.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: ErrorBody,
}

/// Answers one request.
pub(super) async fn answer(request: Request<Incoming>, control: &Control) -> Answer {
    match route(request, control).await {
        Ok(answer) => answer,
        Err(refusal) => json(refusal.status, &refusal.error),
    }
}

/// What whoever is not root hears.
pub(super) fn forbidden() -> Answer {
    let refusal = refuse(StatusCode::FORBIDDEN, "forbidden", "only root may ask the agent", Some("use sudo"));
    json(refusal.status, &refusal.error)
}

async fn route(request: Request<Incoming>, control: &Control) -> Result<Answer, Refusal> {
    let path = request.uri().path().to_owned();
    let store = &control.images;
    match (request.method(), path.as_str()) {
        (&Method::GET, "/v1/info") => Ok(ok(&control.info)),
        (&Method::GET, "/v1/images") => Ok(ok(&store.list(&images::ask_for_uses(&control.events).await?).await?)),
        (&Method::GET, path) if path.starts_with("/v1/images/") => {
            let wanted = percent_decode_str(&path["/v1/images/".len()..]).decode_utf8_lossy().into_owned();
            Ok(ok(&store.inspect(&wanted, &images::ask_for_uses(&control.events).await?).await?))
        }
        (&Method::POST, "/v1/images/pull") => Ok(pull(body(request).await?, control)),
        (&Method::POST, "/v1/images/mount") => {
            let ViewAsked { image, dir } = body(request).await?;
            Ok(ok(&store.mount(&image, &dir).await?))
        }
        (&Method::POST, "/v1/images/ready") => {
            let ImageAsked { image } = body(request).await?;
            Ok(ok(&store.ready(&image).await?))
        }
        (&Method::POST, "/v1/images/unmount") => {
            let UnmountAsked { dir } = body(request).await?;
            Ok(ok(&store.unmount(&dir).await?))
        }
        (&Method::POST, "/v1/images/verify") => {
            let VerifyAsked { image, repair } = body(request).await?;
            let verified = store.verify(image.as_deref(), repair).await?;
            // Those are whole no longer, and have to be pulled again before they can be started.
            let repaired = verified.findings.iter().filter(|finding| finding.is_repaired);
            images::removed(&control.events, repaired.flat_map(|finding| finding.images.clone()).collect()).await;
            Ok(ok(&verified))
        }
        (&Method::POST, "/v1/images/prune") => {
            let PruneAsked { all } = body(request).await?;
            let uses = images::ask_for_uses(&control.events).await?;
            let pruned = store.prune(&uses, control.policy, all).await?;
            images::removed(&control.events, pruned.images.clone()).await;
            Ok(ok(&pruned))
        }
        (&Method::GET, "/v1/instances") => Ok(ok(&containers::list(control).await?)),
        (&Method::GET, path) if path.starts_with("/v1/instances/") => {
            let wanted = percent_decode_str(&path["/v1/instances/".len()..]).decode_utf8_lossy().into_owned();
            Ok(ok(&containers::inspect(wanted, control).await?))
        }
        (&Method::GET, "/v1/usage") => Ok(ok(&control.metrics.usage().await)),
        (&Method::GET, "/metrics") => {
            let text = Full::new(Bytes::from(control.metrics.text().await)).boxed_unsync();
            Ok(respond(StatusCode::OK, metrics::CONTENT_TYPE, text))
        }
        (&Method::POST, "/v1/one-off/lease") => Ok(ok(&one_off::lease(body(request).await?, control).await?)),
        (&Method::POST, "/v1/one-off/connect") => Ok(ok(&one_off::connect(body(request).await?, control).await?)),
        (&Method::POST, "/v1/one-off/release") => Ok(ok(&one_off::release(body(request).await?, control).await?)),
        (&Method::POST, "/v1/exec") => exec::exec(request, control).await,
        (_, path) if path == "/v1/volumes" || path.starts_with("/v1/volumes/") => volumes::route(request, control).await,
        (&Method::GET, "/v1/events") => Ok(containers::events(request.uri().query() == Some("follow"), control)),
        (method, path) => Err(unknown(method, path)),
    }
}

/// There is no such route.
pub(super) fn unknown(method: &Method, path: &str) -> Refusal {
    let message = format!("this agent does not know {method} {path}");
    refuse(StatusCode::NOT_FOUND, "no_such_route", &message, Some("is the service older than this command? restart it"))
}

/// Begins a pull. It ends early when the reader goes away: whoever asked has changed their mind.
fn pull(asked: ImageAsked, control: &Control) -> Answer {
    let (lines, waiting) = mpsc::channel::<PullLine>(LINES_MAX);
    let images = control.images.clone();
    tokio::task::spawn_local(async move {
        let progress = lines.clone();
        // A line too many is not missed: the next one says more.
        let pulling = images.pull(&asked.image, move |at| drop(progress.try_send(PullLine::Progress(at))));
        let last = tokio::select! {
            pulled = pulling => match pulled {
                Ok(pulled) => PullLine::Done(pulled),
                Err(error) => PullLine::Error(error.into()),
            },
            () = lines.closed() => return,
        };
        let _ = lines.send(last).await;
    });
    lines_answer(waiting)
}

/// An answer that goes on for as long as there are lines.
pub(super) fn lines_answer<T: Serialize + Send + 'static>(waiting: mpsc::Receiver<T>) -> Answer {
    let frames = stream::unfold(waiting, async |mut waiting| {
        let line = waiting.recv().await?;
        let mut text = encode(&line);
        text.push(b'\n');
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), waiting))
    });
    respond(StatusCode::OK, "application/x-ndjson", StreamBody::new(frames).boxed_unsync())
}

pub(super) async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let bad = |problem: String| refuse(StatusCode::BAD_REQUEST, "invalid_request", &problem, None);
    let read = Limited::new(request.into_body(), BODY_MAX_BYTES).collect().await;
    let bytes = read.map_err(|e| bad(format!("the request's body cannot be read: {e}")))?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|e| bad(format!("the request's body is not what was expected: {e}")))
}

pub(super) fn ok(body: &impl Serialize) -> Answer {
    json(StatusCode::OK, body)
}

fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    respond(status, "application/json", Full::new(Bytes::from(encode(body))).boxed_unsync())
}

fn respond(status: StatusCode, media_type: &'static str, body: UnsyncBoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

/// The bodies are plain data, which always serialises.
fn encode(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}

pub(super) fn refuse(status: StatusCode, code: &str, message: &str, hint: Option<&str>) -> Refusal {
    let error = ErrorBody { code: code.to_owned(), message: message.to_owned(), hint: hint.map(str::to_owned), detail: None };
    Refusal { status, error }
}

impl From<ImagesError> for Refusal {
    fn from(error: ImagesError) -> Self {
        let status = match &error {
            ImagesError::NotFound { .. } | ImagesError::Store(StoreError::Missing { .. }) => StatusCode::NOT_FOUND,
            ImagesError::Ambiguous { .. } => StatusCode::CONFLICT,
            ImagesError::BadReference(_) | ImagesError::Place { .. } => StatusCode::BAD_REQUEST,
            ImagesError::Ending => StatusCode::SERVICE_UNAVAILABLE,
            ImagesError::Resolve { .. } | ImagesError::Pull(_) => StatusCode::BAD_GATEWAY,
            ImagesError::Store(_) | ImagesError::Registry(_) | ImagesError::Unknown { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, error: error.into() }
    }
}
