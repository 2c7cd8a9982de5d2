//! Blobs: end-2 (pull), end-10 (delete).

use super::error::{Code, Refused};
use super::range::{Wanted, wanted};
use super::{CONTENT_DIGEST, Call, Door, empty, set};
use crate::access::Action;
use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use coord_shared::names::{Digest, Repository};

impl Door {
    pub(super) async fn blob(&self, name: &Repository, digest: &Digest, call: &Call) -> Result<Response, Refused> {
        match call.method {
            Method::GET | Method::HEAD => {
                self.allow(call, name, Action::Pull)?;
                self.pull(name, digest, call).await
            }
            Method::DELETE => {
                self.allow(call, name, Action::Delete)?;
                self.centre.delete_blob(name, digest).await?;
                Ok(empty(StatusCode::ACCEPTED))
            }
            _ => Err(Refused::method()),
        }
    }

    async fn pull(&self, name: &Repository, digest: &Digest, call: &Call) -> Result<Response, Refused> {
        let kept = self.centre.has_blob(name, digest).await?;
        let is_asked_by_pusher = call.method == Method::HEAD && self.caller(&call.headers, Some((name, Action::Push))).is_ok();
        if kept.is_some() && is_asked_by_pusher {
            self.centre.promise(digest).await?;
        }
        let upstream = match (&self.through, kept) {
            (Some(through), None) => through.find(&self.centre, name, digest).await?,
            (Some(_) | None, _) => None,
        };
        let bytes = kept.or(upstream.as_ref().map(|blob| blob.bytes));
        let bytes = bytes.ok_or_else(|| Refused::new(Code::BlobUnknown, format!("repository {name} has no blob {digest}")))?;
        let mut response = empty(StatusCode::OK);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        set(&mut response, CONTENT_DIGEST, digest.as_str())?;
        set(&mut response, header::ETAG, &format!("\"{digest}\""))?;
        let range = call.header(&header::RANGE).filter(|_| call.method == Method::GET);
        let (offset, length) = match wanted(range, bytes) {
            Wanted::Whole => (0, bytes),
            Wanted::Part(first, last) => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                set(&mut response, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{bytes}"))?;
                (first, last - first + 1)
            }
            Wanted::Nothing => {
                *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                set(&mut response, header::CONTENT_RANGE, &format!("bytes */{bytes}"))?;
                return Ok(response);
            }
        };
        set(&mut response, header::CONTENT_LENGTH, &length.to_string())?;
        if call.method == Method::GET {
            let stream = match (&self.through, upstream) {
                (Some(through), Some(blob)) => through.read(&self.centre, name, digest, blob, (offset, length)).await?,
                (Some(_) | None, _) => self.centre.read_blob(name, digest, offset, Some(length)).await?,
            };
            *response.body_mut() = Body::from_stream(stream);
        }
        Ok(response)
    }
}
