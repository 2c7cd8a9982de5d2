//! Sending archives: a form, streamed from a file, with an eye on whether it moves.

use super::{Client, ClientError};
use bytes::Bytes;
use coord_shared::wire::{DeploymentView, ImageMade};
use reqwest::{Body, Method};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bytes that are read and sent at a time.
const PIECE_BYTES: usize = 256 * 1024;
/// How often it is looked whether the archive moves.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long the coordinator may take to make an image of an archive that it has: minutes for the largest, and others before it.
const ASSEMBLY_MAX: Duration = Duration::from_secs(30 * 60);

/// A form whose last field is an archive.
#[derive(Debug)]
pub(crate) struct ArchiveForm {
    /// Names and values, in order.
    pub(crate) fields: Vec<(&'static str, String)>,
    pub(crate) archive: File,
    pub(crate) bytes: u64,
    /// How much of the archive is on its way, for whoever watches.
    pub(crate) sent: Arc<AtomicU64>,
}

impl Client {
    /// Makes an image.
    pub(crate) async fn make_image(&self, form: ArchiveForm) -> Result<ImageMade, ClientError> {
        self.send_archive("make an image", "v1/images", form).await
    }

    /// Makes an image, and publishes a document with it.
    pub(crate) async fn deploy(&self, form: ArchiveForm) -> Result<DeploymentView, ClientError> {
        self.send_archive("deploy", "v1/deployments", form).await
    }

    async fn send_archive<T: DeserializeOwned>(&self, what: &str, path: &str, form: ArchiveForm) -> Result<T, ClientError> {
        let (sent, bytes) = (Arc::clone(&form.sent), form.bytes);
        let boundary = format!("coord-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let (head, tail) = frame(&form.fields, &boundary);
        let length = head.len() as u64 + bytes + tail.len() as u64;
        let request = self
            .request(Method::POST, path)
            .header(reqwest::header::CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"))
            .header(reqwest::header::CONTENT_LENGTH, length)
            .body(Body::wrap_stream(pieces(head, form.archive, bytes, tail, form.sent)));
        let exchange = async {
            let response = self.send(what, request).await?;
            let body = self.read(what, response).await?;
            let garbage = |error: serde_json::Error| self.garbage(what, &error);
            serde_json::from_slice(&body).map_err(garbage)
        };
        let mut exchange = std::pin::pin!(exchange);
        let (mut silent, mut before) = (Duration::ZERO, 0);
        loop {
            if let Ok(result) = tokio::time::timeout(LOOK_INTERVAL, &mut exchange).await {
                return result;
            }
            let now = sent.load(Ordering::Relaxed);
            silent = if now > before { Duration::ZERO } else { silent + LOOK_INTERVAL };
            before = now;
            let patience = if now < bytes { self.timeout } else { self.timeout.max(ASSEMBLY_MAX) };
            if silent >= patience {
                return Err(ClientError::Timeout { what: what.to_owned(), url: self.base.clone(), after: patience });
            }
        }
    }
}

/// What comes before the archive, and after it (RFC 7578).
fn frame(fields: &[(&'static str, String)], boundary: &str) -> (Bytes, Bytes) {
    let mut head = String::new();
    for (name, value) in fields {
        head.push_str(&format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
    }
    head.push_str(&format!("--{boundary}\r\nContent-Disposition: form-data; name=\"archive\"; filename=\"archive\"\r\n\r\n"));
    (head.into(), format!("\r\n--{boundary}--\r\n").into())
}

enum Place {
    Head(Bytes),
    Archive,
    End,
}

/// The body. An archive that changes its length meanwhile ends it.
fn pieces(
    head: Bytes,
    archive: File,
    bytes: u64,
    tail: Bytes,
    sent: Arc<AtomicU64>,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static {
    let start = (Place::Head(head), archive, bytes);
    futures_util::stream::try_unfold(start, move |(place, mut archive, left)| {
        let (tail, sent) = (tail.clone(), Arc::clone(&sent));
        async move {
            match place {
                Place::Head(head) => Ok(Some((head, (Place::Archive, archive, left)))),
                Place::Archive if left > 0 => {
                    let mut piece = vec![0; usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES))];
                    // Local files answer at once: a thread for each piece would only cost.
                    let length = archive.read(&mut piece)?;
                    if length == 0 {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive became shorter while it was sent"));
                    }
                    piece.truncate(length);
                    sent.fetch_add(length as u64, Ordering::Relaxed);
                    Ok(Some((Bytes::from(piece), (Place::Archive, archive, left - length as u64))))
                }
                Place::Archive => Ok(Some((tail, (Place::End, archive, 0)))),
                Place::End => Ok(None),
            }
        }
    })
}
