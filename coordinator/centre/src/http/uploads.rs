//! Uploads: end-4a, 4b (monolithic), end-5 (a piece), end-6 (the end), end-11 (mount), end-13 (where it stands), and giving one up.

use super::error::{Code, Refused};
use super::range::piece;
use super::{CONTENT_DIGEST, Call, Door, empty, set};
use crate::access::Action;
use crate::error::CentreError;
use crate::uploads::Upload;
use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use coord_shared::names::{Digest, Repository};
use futures_util::StreamExt as _;
use std::time::Duration;

/// Docker's name for an upload; older clients show it.
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// Of a body that is refused in its middle: most layers' rest, at the speed of a local network.
const HEARD_OUT_MAX_BYTES: usize = 1024 * 1024 * 1024;
/// The same, in time: as long as a person waits for an error.
const HEARD_OUT_MAX: Duration = Duration::from_secs(10);

impl Door {
    /// `POST /v2/NAME/blobs/uploads/`
    pub(super) async fn start(&self, name: &Repository, call: &Call, body: Body) -> Result<Response, Refused> {
        if call.method != Method::POST {
            return Err(Refused::method());
        }
        let by = self.allow(call, name, Action::Push)?;
        if let Some(response) = self.mount(name, call).await? {
            return Ok(response);
        }
        let digest = call.query("digest").map(parse_digest).transpose()?;
        let announced = call.length().filter(|_| digest.is_some());
        let upload = self.centre.upload(name, &by, announced).await?;
        match digest {
            Some(digest) => self.end(&upload, &digest, call, body).await,
            None => stands(StatusCode::ACCEPTED, &upload, 0),
        }
    }

    /// Mounts a blob of a repository that the caller may read; otherwise, as the spec has it, an ordinary upload begins.
    async fn mount(&self, name: &Repository, call: &Call) -> Result<Option<Response>, Refused> {
        let (Some(digest), Some(from)) = (call.query("mount"), call.query("from")) else { return Ok(None) };
        let digest = parse_digest(digest)?;
        let from: Repository = from.parse().map_err(|error| Refused::new(Code::NameInvalid, format!("{error}")))?;
        if self.allow(call, &from, Action::Pull).is_err() || !self.centre.mount(&from, name, &digest).await? {
            return Ok(None);
        }
        created(name, &digest).map(Some)
    }

    /// Everything below `/v2/NAME/blobs/uploads/ID`
    pub(super) async fn upload(&self, name: &Repository, id: &str, call: &Call, body: Body) -> Result<Response, Refused> {
        self.allow(call, name, Action::Push)?;
        match call.method {
            Method::GET | Method::HEAD => {
                let upload = self.centre.resume(name, id)?;
                let bytes = upload.offset().await?;
                stands(StatusCode::NO_CONTENT, &upload, bytes)
            }
            Method::PATCH => {
                let upload = self.centre.resume(name, id)?;
                let bytes = match append(&upload, &call.headers, call.length(), body).await {
                    Err(error) => return refused(error, &upload),
                    Ok(bytes) => bytes,
                };
                stands(StatusCode::ACCEPTED, &upload, bytes)
            }
            Method::PUT => {
                let digest = call.query("digest").ok_or_else(|| Refused::new(Code::DigestInvalid, "add ?digest=sha256:..."))?;
                let digest = parse_digest(digest)?;
                let upload = self.centre.resume(name, id)?;
                self.end(&upload, &digest, call, body).await
            }
            Method::DELETE => {
                self.centre.resume(name, id)?.cancel().await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            _ => Err(Refused::method()),
        }
    }

    /// Takes what the body still has, and makes a blob of it all.
    async fn end(&self, upload: &Upload, digest: &Digest, call: &Call, body: Body) -> Result<Response, Refused> {
        if let Err(error) = append(upload, &call.headers, call.length(), body).await {
            return refused(error, upload);
        }
        self.centre.finish(upload, digest).await?;
        created(upload.repository(), digest)
    }
}

/// Appends a request's body where its `Content-Range`, if it has one, says.
async fn append(upload: &Upload, headers: &HeaderMap, length: Option<u64>, body: Body) -> Result<u64, CentreError> {
    let range = headers.get(header::CONTENT_RANGE).map(|value| value.to_str().ok().and_then(piece));
    let (starts, announced) = match range {
        None => (None, length),
        // Garbage continues nowhere.
        Some(None) => return Err(CentreError::OutOfOrder { stands: upload.offset().await?, starts: u64::MAX }),
        Some(Some((starts, announced))) => match length {
            Some(found) if found != announced => return Err(CentreError::WrongLength { announced, found }),
            Some(_) | None => (Some(starts), Some(announced)),
        },
    };
    let mut body = body.into_data_stream();
    let appended = upload.append(starts, announced, &mut body).await;
    // From whom nothing more came, nothing more comes.
    if appended.as_ref().is_err_and(|error| !matches!(error, CentreError::Interrupted(_))) {
        hear_out(body).await;
    }
    appended
}

/// Reads on for a while: a client that still sends when its connection ends may never see why it was refused.
async fn hear_out(mut body: BodyDataStream) {
    let rest = async {
        let mut bytes = 0;
        while let Some(Ok(piece)) = body.next().await
            && bytes < HEARD_OUT_MAX_BYTES
        {
            bytes += piece.len();
        }
    };
    // Who sends for longer than that learns it from the connection's end.
    let _ = tokio::time::timeout(HEARD_OUT_MAX, rest).await;
}

/// An error about a piece says where the upload stands, so that a client can go on from there.
fn refused(error: CentreError, upload: &Upload) -> Result<Response, Refused> {
    let CentreError::OutOfOrder { stands, .. } = error else { return Err(error.into()) };
    let mut response = Refused::from(error).into_response();
    place(&mut response, upload, stands)?;
    Ok(response)
}

fn stands(status: StatusCode, upload: &Upload, bytes: u64) -> Result<Response, Refused> {
    let mut response = empty(status);
    place(&mut response, upload, bytes)?;
    Ok(response)
}

/// Where an upload is and stands. The range of nothing is `0-0`, as everybody writes it.
fn place(response: &mut Response, upload: &Upload, bytes: u64) -> Result<(), Refused> {
    let (name, id) = (upload.repository(), upload.id());
    set(response, header::LOCATION, &format!("/v2/{name}/blobs/uploads/{id}"))?;
    set(response, header::RANGE, &format!("0-{}", bytes.saturating_sub(1)))?;
    set(response, UPLOAD_ID, id)
}

fn created(name: &Repository, digest: &Digest) -> Result<Response, Refused> {
    let mut response = empty(StatusCode::CREATED);
    set(&mut response, header::LOCATION, &format!("/v2/{name}/blobs/{digest}"))?;
    set(&mut response, CONTENT_DIGEST, digest.as_str())?;
    Ok(response)
}

fn parse_digest(text: &str) -> Result<Digest, Refused> {
    text.parse().map_err(|error| Refused::new(Code::DigestInvalid, format!("{error}")))
}
