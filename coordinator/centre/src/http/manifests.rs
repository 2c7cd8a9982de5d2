//! Manifests: end-3 (pull), end-7 (push), end-9 (delete a manifest or a tag).

use super::error::{Code, Refused};
use super::{CONTENT_DIGEST, Call, Door, empty, set};
use crate::access::Action;
use crate::error::CentreError;
use crate::manifests::NewManifest;
use crate::names::Reference;
use crate::outline::MANIFEST_MAX_BYTES;
use axum::body::Body;
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use coord_shared::names::Repository;
use futures_util::StreamExt as _;
use std::time::Duration;

/// Says that the registry keeps referrers itself.
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

impl Door {
    pub(super) async fn manifest(
        &self,
        name: &Repository,
        reference: &Reference,
        call: &Call,
        body: Body,
    ) -> Result<Response, Refused> {
        match call.method {
            Method::GET | Method::HEAD => {
                self.allow(call, name, Action::Pull)?;
                self.pull_manifest(name, reference, call).await
            }
            Method::PUT => {
                let by = self.allow(call, name, Action::Push)?;
                self.push_manifest(name, reference, call, body, &by).await
            }
            Method::DELETE => {
                self.allow(call, name, Action::Delete)?;
                self.centre.delete_manifest(name, reference).await?;
                Ok(empty(StatusCode::ACCEPTED))
            }
            _ => Err(Refused::method()),
        }
    }

    async fn pull_manifest(&self, name: &Repository, reference: &Reference, call: &Call) -> Result<Response, Refused> {
        let none = || CentreError::NoManifest { repository: name.clone(), reference: reference.to_string() };
        if let Some(through) = &self.through {
            through.bring(&self.centre, name, reference).await?;
        }
        let found = self.centre.resolve(name, reference).await?.ok_or_else(none)?;
        let mut response = empty(StatusCode::OK);
        set(&mut response, CONTENT_DIGEST, found.digest.as_str())?;
        set(&mut response, header::ETAG, &format!("\"{}\"", found.digest))?;
        let known = call.header(&header::IF_NONE_MATCH);
        if known.is_some_and(|known| known.contains(found.digest.as_str())) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().remove(header::CONTENT_LENGTH);
            return Ok(response);
        }
        set(&mut response, header::CONTENT_TYPE, &found.media_type)?;
        set(&mut response, header::CONTENT_LENGTH, &found.bytes.to_string())?;
        if call.method == Method::GET {
            let manifest = self.centre.manifest(name, &found.digest).await?.ok_or_else(none)?;
            *response.body_mut() = Body::from(manifest.bytes);
        }
        Ok(response)
    }

    async fn push_manifest(
        &self,
        name: &Repository,
        reference: &Reference,
        call: &Call,
        body: Body,
        by: &str,
    ) -> Result<Response, Refused> {
        let media_type = call.header(&header::CONTENT_TYPE).map(str::to_owned);
        let bytes = read_manifest(call.length(), body, self.centre.inner.silence_max).await?;
        let new =
            NewManifest { repository: name.clone(), reference: Some(reference.clone()), media_type, bytes, by: by.to_owned() };
        let taken = self.centre.put_manifest(new).await?;
        let mut response = empty(StatusCode::CREATED);
        set(&mut response, header::LOCATION, &format!("/v2/{name}/manifests/{}", taken.digest))?;
        set(&mut response, CONTENT_DIGEST, taken.digest.as_str())?;
        if let Some(subject) = &taken.subject {
            set(&mut response, OCI_SUBJECT, subject.as_str())?;
        }
        Ok(response)
    }
}

/// Reads a manifest, but never more than one may have.
async fn read_manifest(length: Option<u64>, body: Body, silence_max: Duration) -> Result<Bytes, Refused> {
    let max_bytes = u64::try_from(MANIFEST_MAX_BYTES).unwrap_or(u64::MAX);
    let too_large = || Refused::from(CentreError::TooLarge { what: "the manifest", max_bytes });
    if length.is_some_and(|length| length > max_bytes) {
        return Err(too_large());
    }
    let mut stream = body.into_data_stream();
    let mut bytes = BytesMut::new();
    while let Some(piece) = tokio::time::timeout(silence_max, stream.next())
        .await
        .map_err(|_| Refused::new(Code::ManifestInvalid, "the sender was silent for too long"))?
    {
        let piece = piece.map_err(|error| Refused::new(Code::ManifestInvalid, format!("the sender stopped: {error}")))?;
        if bytes.len() + piece.len() > MANIFEST_MAX_BYTES {
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}
