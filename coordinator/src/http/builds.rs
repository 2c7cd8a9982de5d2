//! Builders' uploads: archives in pieces, logs in lines. Each host only for the runs that it builds.

use super::auth::Agent;
use super::error::ApiError;
use super::{Shared, body};
use crate::pipeline::{Piece, Pieces, Received, UploadError};
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::CONTENT_RANGE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use coord_shared::names::{Digest, RunId};
use coord_shared::wire::ErrorBody;
use http_body_util::BodyExt as _;
use serde::Serialize;

/// The digest of a whole archive; comes with its last piece.
const DIGEST: &str = "x-coord-digest";
/// Where in the builder's log the lines begin, in bytes.
const OFFSET: &str = "x-coord-offset";
/// Lines of one request, in bytes.
const LOG_PIECE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// How much is here.
#[derive(Serialize)]
struct Offset {
    offset: u64,
    /// Whether the archive is whole and checked.
    complete: bool,
}

/// The piece does not follow what is here: the shape of errors, and where to go on.
#[derive(Serialize)]
struct WrongOffset {
    #[serde(flatten)]
    error: ErrorBody,
    offset: u64,
}

/// `PUT /v1/hosts/{host}/builds/{run}/archive`.
pub(super) async fn archive(
    State(app): Shared,
    Agent { host }: Agent,
    Path((_, run)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let run: RunId = run.parse()?;
    let piece = piece(&headers)?;
    let received = app.pipelines.uploads.archive(&host, &run, piece, &mut Incoming(body)).await;
    answer(received)
}

/// `POST /v1/hosts/{host}/builds/{run}/log`.
pub(super) async fn log(
    State(app): Shared,
    Agent { host }: Agent,
    Path((_, run)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let run: RunId = run.parse()?;
    let offset = header(&headers, OFFSET)?.ok_or_else(|| ApiError::bad_request(format!("the header {OFFSET} is missing")))?;
    let offset = offset.parse().map_err(|_| ApiError::bad_request(format!("{OFFSET}: {offset:?} is no number of bytes")))?;
    let lines = Bytes::from(body::read(body, LOG_PIECE_MAX_BYTES).await?);
    answer(app.pipelines.uploads.log(&host, &run, offset, lines).await)
}

struct Incoming(Body);

impl Pieces for Incoming {
    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        loop {
            match self.0.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(coord_registry::chain(&error))),
            }
        }
    }
}

fn answer(received: Result<Received, UploadError>) -> Result<Response, ApiError> {
    match received {
        Ok(Received { offset, archive }) => Ok(axum::Json(Offset { offset, complete: archive.is_some() }).into_response()),
        Err(UploadError::WrongOffset { offset, run, given }) => {
            let message = UploadError::WrongOffset { offset, run, given }.to_string();
            let hint = Some("go on from `offset`".to_owned());
            let error = ErrorBody { code: "wrong_offset".to_owned(), message, hint, detail: None };
            Ok((StatusCode::CONFLICT, axum::Json(WrongOffset { error, offset })).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// `Content-Range: bytes A-B/TOTAL` (RFC 9110, section 14.4); `bytes */TOTAL` asks how much is here.
fn piece(headers: &HeaderMap) -> Result<Piece, ApiError> {
    let range = header(headers, CONTENT_RANGE.as_str())?;
    let range = range.ok_or_else(|| ApiError::bad_request("the header content-range is missing"))?;
    let fail = || ApiError::bad_request(format!("content-range: {range:?} is neither `bytes A-B/TOTAL` nor `bytes */TOTAL`"));
    let (which, total) = range.strip_prefix("bytes ").and_then(|range| range.split_once('/')).ok_or_else(fail)?;
    let total: u64 = total.parse().map_err(|_| fail())?;
    let start = match which {
        "*" => None,
        _ => {
            let (start, end) = which.split_once('-').ok_or_else(fail)?;
            let (start, end): (u64, u64) = (start.parse().map_err(|_| fail())?, end.parse().map_err(|_| fail())?);
            if end >= total || start > end {
                return Err(fail());
            }
            Some(start)
        }
    };
    let digest = header(headers, DIGEST)?.map(str::parse::<Digest>).transpose()?;
    Ok(Piece { start, total, digest })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let value = headers.get(name).map(|value| value.to_str());
    value.transpose().map_err(|_| ApiError::bad_request(format!("the header {name} is not text")))
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        match &error {
            UploadError::NotYours(_) => Self::new(StatusCode::NOT_FOUND, "not_yours", &error),
            UploadError::WrongOffset { .. } => Self::new(StatusCode::CONFLICT, "wrong_offset", &error),
            UploadError::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &error).hint("raise `archive_max` in coordinator.toml")
            }
            UploadError::WrongDigest { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_digest", &error).hint("send it again from the beginning")
            }
            UploadError::Malformed(_) => Self::bad_request(&error),
            UploadError::Broken { .. } => Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", &error),
            UploadError::NoSpace { .. } => Self::new(StatusCode::INSUFFICIENT_STORAGE, "no_space", &error),
            UploadError::Io { .. } | UploadError::Record(_) | UploadError::Store(_) => Self::internal(&error),
        }
    }
}
