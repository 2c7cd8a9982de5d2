//! Blobs of copies: fetched once for however many ask, who read the file while it is written.
//!
//! The last piece is held back until the digest is known to be right, so that nobody gets all of a blob that is not what it should be. One
//! that fails leaves nothing, and whoever reads it sees the connection break. Where there is no room to keep a blob, it is handed through.

use super::{Through, refused};
use crate::centre::Centre;
use crate::error::CentreError;
use crate::records::{self, MANIFEST, ManifestRecord, manifest_prefix};
use crate::storage::{BlobStream, blocking};
use crate::uploads::Upload;
use bytes::{Bytes, BytesMut};
use coord_registry::Registry;
use coord_shared::names::{Digest, ImageReference, Repository};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// How much is written at a time, in bytes.
const WRITE_BYTES: usize = 1024 * 1024;
/// How much is read at a time, in bytes.
const READ_BYTES: u64 = 256 * 1024;
/// Who uploads what nobody pushed.
const BY: &str = "upstream";

/// How far a flight is.
#[derive(Debug, Clone)]
enum Progress {
    /// This many bytes can be read.
    Flying(u64),
    /// All of them are, and they are right.
    Landed,
    /// It failed.
    Lost(Arc<str>),
}

/// A blob that is being fetched.
#[derive(Clone)]
struct Flight {
    /// What is written; it stays readable when it gets its final name.
    file: Arc<File>,
    progress: watch::Receiver<Progress>,
}

/// Blobs that are being fetched, by digest.
#[derive(Default)]
pub(super) struct Flights(Arc<Mutex<BTreeMap<Digest, Flight>>>);

/// A blob of a copy that is not kept yet.
pub(crate) struct Blob {
    image: ImageReference,
    /// Its size, by the manifest that names it.
    pub(crate) bytes: u64,
}

impl Through {
    /// A blob that a manifest of the copy names; `None`: no manifest does.
    pub(crate) async fn find(
        &self,
        centre: &Centre,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Blob>, CentreError> {
        if self.rule(repository).is_none() {
            return Ok(None);
        }
        let manifests = records::load_all::<ManifestRecord>(&**centre.store(), &manifest_prefix(repository)).await?;
        for (key, seen) in manifests {
            let Some((_, manifest)) = records::parse_content_key(MANIFEST, &key) else { continue };
            if !seen.record.blobs.contains(digest) {
                continue;
            }
            let Some(manifest) = centre.manifest(repository, &manifest).await? else { continue };
            if let Some(bytes) = size_of(&manifest.bytes, digest) {
                return Ok(Some(Blob { image: self.by_digest(repository, digest)?, bytes }));
            }
        }
        Ok(None)
    }

    /// The bytes of a blob from `offset` on, `length` of them, as they come.
    pub(crate) async fn read(
        &self,
        centre: &Centre,
        repository: &Repository,
        digest: &Digest,
        blob: Blob,
        (offset, length): (u64, u64),
    ) -> Result<BlobStream, CentreError> {
        let size = blob.bytes;
        let flight = match self.board(centre, repository, digest, &blob).await {
            Ok(flight) => flight,
            Err(CentreError::Full(why)) => {
                tracing::warn!(%repository, %digest, %why, "a blob of upstream is handed through and not kept");
                return handed_through((self.upstreams)(), repository, digest, &blob, (offset, length)).await;
            }
            Err(error) => return Err(error),
        };
        Ok(follow(flight, size, offset, offset.saturating_add(length)))
    }

    /// The flight of a blob, begun if there is none.
    async fn board(&self, centre: &Centre, repository: &Repository, digest: &Digest, blob: &Blob) -> Result<Flight, CentreError> {
        let turn = self.turn(repository);
        let _turn = turn.lock().await;
        let known = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned();
        if let Some(flight) = known {
            return Ok(flight);
        }
        let upload = centre.upload(repository, BY, Some(blob.bytes)).await?;
        let path = upload.path();
        let file = blocking(move || File::open(&path).map_err(CentreError::disk("open", &path))).await?;
        let (told, progress) = watch::channel(Progress::Flying(0));
        let flight = Flight { file: Arc::new(file), progress };
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone(), flight.clone());
        let fetch = Fetch { client: (self.upstreams)(), image: blob.image.clone(), digest: digest.clone(), size: blob.bytes };
        let (centre, flights, digest) = (centre.clone(), Arc::clone(&self.flights.0), digest.clone());
        // Goes on when those who asked go away: the next one will ask for the same.
        tokio::spawn(async move {
            let done = fetch.run(&centre, &upload, &told).await;
            let end = match done {
                Ok(()) => Progress::Landed,
                Err(error) => {
                    let error = coord_registry::chain(&error);
                    tracing::warn!(%digest, error, "a blob did not come from upstream");
                    // The upload may be over already; then there is nothing to give up.
                    let _ = upload.cancel().await;
                    Progress::Lost(error.into())
                }
            };
            // Whoever asks from here on finds the blob, or begins anew.
            flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&digest);
            told.send_replace(end);
        });
        Ok(flight)
    }
}

struct Fetch {
    client: Registry,
    image: ImageReference,
    digest: Digest,
    size: u64,
}

impl Fetch {
    async fn run(&self, centre: &Centre, upload: &Upload, told: &watch::Sender<Progress>) -> Result<(), CentreError> {
        let upstream = |error| CentreError::Upstream(Box::new(error));
        let mut body = self.client.blob(&self.image, &self.digest, self.size, 0..self.size).await.map_err(upstream)?;
        let mut gathered = BytesMut::new();
        loop {
            let piece = body.chunk().await.map_err(upstream)?;
            let is_end = piece.is_none();
            gathered.extend_from_slice(&piece.unwrap_or_default());
            if gathered.len() >= WRITE_BYTES || (is_end && !gathered.is_empty()) {
                let written = upload.write(gathered.split().freeze()).await?;
                told.send_replace(Progress::Flying(written));
            }
            if is_end {
                break;
            }
        }
        let finished = centre.finish(upload, &self.digest).await;
        if matches!(finished, Err(CentreError::WrongDigest { .. })) {
            self.client.distrust(body.mirrors(), &self.digest);
        }
        finished.map(drop)
    }
}

/// Reads what a flight has written, up to `end`, as it is written.
fn follow(flight: Flight, size: u64, offset: u64, end: u64) -> BlobStream {
    let pieces = stream::unfold(Some((flight, offset)), move |state| async move {
        let (mut flight, at) = state?;
        if at >= end {
            return None;
        }
        match ready(&mut flight.progress, size, at, end).await {
            Ok(until) => {
                let file = Arc::clone(&flight.file);
                let piece = blocking(move || read_at(&file, at, until.min(at + READ_BYTES))).await;
                let read = piece.as_ref().map_or(0, |piece| u64::try_from(piece.len()).unwrap_or_default());
                let next = (read > 0).then_some((flight, at + read));
                Some((piece, next))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    pieces.boxed()
}

/// How far can be read, once that is farther than `at`. The end of the blob only when it is known to be right.
async fn ready(progress: &mut watch::Receiver<Progress>, size: u64, at: u64, end: u64) -> Result<u64, CentreError> {
    let readable = |progress: &Progress| match progress {
        Progress::Flying(written) => (*written).min(size.saturating_sub(1)),
        Progress::Landed | Progress::Lost(_) => u64::MAX,
    };
    let seen = progress.wait_for(|progress| readable(progress) > at).await;
    let seen = seen.map_err(|_| CentreError::Ending)?.clone();
    match seen {
        Progress::Lost(why) => Err(CentreError::Interrupted(why.to_string())),
        Progress::Flying(_) | Progress::Landed => Ok(readable(&seen).min(end)),
    }
}

fn read_at(file: &File, from: u64, to: u64) -> Result<Bytes, CentreError> {
    let mut piece = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or_default()];
    file.read_exact_at(&mut piece, from).map_err(CentreError::disk("read", "a blob of upstream"))?;
    Ok(Bytes::from(piece))
}

/// Straight from upstream, for this one who asks.
async fn handed_through(
    client: Registry,
    repository: &Repository,
    digest: &Digest,
    blob: &Blob,
    (offset, length): (u64, u64),
) -> Result<BlobStream, CentreError> {
    let range = offset..offset.saturating_add(length).min(blob.bytes);
    let body = client.blob(&blob.image, digest, blob.bytes, range).await;
    let body = body.map_err(|error| refused(repository, digest.as_str(), error))?;
    let pieces = stream::unfold(Some(body), |body| async {
        let mut body = body?;
        match body.chunk().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(body))),
            Ok(None) => None,
            Err(error) => Some((Err(CentreError::Upstream(Box::new(error))), None)),
        }
    });
    Ok(pieces.boxed())
}

/// What a manifest says of a blob's size.
fn size_of(manifest: &[u8], digest: &Digest) -> Option<u64> {
    #[derive(Deserialize)]
    struct Descriptor {
        digest: String,
        size: u64,
    }
    #[derive(Deserialize)]
    struct Shape {
        config: Option<Descriptor>,
        #[serde(default)]
        layers: Vec<Descriptor>,
    }
    let shape: Shape = serde_json::from_slice(manifest).ok()?;
    shape.config.iter().chain(&shape.layers).find(|found| found.digest == digest.as_str()).map(|found| found.size)
}
