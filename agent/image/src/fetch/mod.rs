//! One blob's bytes from the registry to a channel, whatever the network does meanwhile.
//!
//! ```text
//!   retry      how often to try again, and after which pause
//!   spool      what has arrived of a slow download, kept for the next try
//!   bandwidth  what all downloads together may take of the line
//! ```
//! A cut is no reason to start over: the next request asks for the rest (Range), after a pause that grows while nothing comes. What
//! cannot get better by waiting (401, 404, a wrong size) ends at once.

mod bandwidth;
mod clock;
mod retry;
mod spool;
#[cfg(test)]
mod tests;

pub use retry::Retry;

use super::pipeline::Feed;
use super::pull::Progress;
use bandwidth::Bandwidth;
use bytes::Bytes;
use coord_registry::{Mirror, Registry, RegistryError};
use coord_shared::names::{Digest, ImageReference};
use spool::{Spool, Spools};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// What a request must bring to count as progress. Less, and a registry that drips and breaks could hold a pull for days.
const PROGRESS_MIN_BYTES: u64 = 64 * 1024;
/// A download that has waited longer than this for the network is kept on disk from then on: beginning anew would hurt.
pub(crate) const SPOOL_AFTER: Duration = Duration::from_secs(2);

/// What all downloads of a store share.
#[derive(Debug)]
pub(crate) struct Downloads {
    spools: Arc<Spools>,
    bandwidth: Bandwidth,
    spool_after: Duration,
}

impl Downloads {
    /// `dir` holds what is kept of slow downloads, and must be there; `reserve_bytes` of its disk are not touched.
    pub(crate) fn new(dir: PathBuf, reserve_bytes: u64, bandwidth_bytes_per_s: Option<u64>, spool_after: Duration) -> Downloads {
        let spools = Arc::new(Spools::new(dir, reserve_bytes));
        Downloads { spools, bandwidth: Bandwidth::new(bandwidth_bytes_per_s), spool_after }
    }
}

/// Where a pull fetches from.
pub(crate) struct Source<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) image: &'a ImageReference,
    pub(crate) retry: Retry,
    downloads: &'a Downloads,
    /// What the bytes of each blob were made of.
    origins: Mutex<BTreeMap<Digest, Origin>>,
}

/// Who is to blame if bytes turn out to be wrong, besides the location itself.
#[derive(Clone, Default)]
struct Origin {
    mirrors: Vec<Mirror>,
    had_parts: bool,
    counted_bytes: u64,
    is_second_try: bool,
}

/// One download under way.
struct Download<'a> {
    digest: &'a Digest,
    size: u64,
    received: u64,
    sink: &'a mpsc::Sender<Feed>,
    progress: &'a Progress,
    spool: Option<Spool>,
    /// For the network, until now.
    waited: Duration,
}

/// The receiver has gone away: it has an error of its own.
struct Deaf;

impl<'a> Source<'a> {
    pub(crate) fn new(registry: &'a Registry, image: &'a ImageReference, retry: Retry, downloads: &'a Downloads) -> Source<'a> {
        Source { registry, image, retry, downloads, origins: Mutex::default() }
    }

    /// Sends the blob, exactly `size` bytes, then the end. A receiver that goes away ends it quietly.
    pub(crate) async fn stream(
        &self,
        digest: &Digest,
        size: u64,
        sink: &mpsc::Sender<Feed>,
        progress: &Progress,
    ) -> Result<(), RegistryError> {
        let spool = self.downloads.spools.open(digest, size);
        let mut download = Download { digest, size, received: 0, sink, progress, spool, waited: Duration::ZERO };
        let done = self.download(&mut download).await;
        if let Some(spool) = &mut download.spool {
            spool.finish().await;
        }
        self.with_origin(digest, |origin| origin.counted_bytes = download.received);
        done
    }

    /// To be told when the bytes of `stream` were not those of the digest. Throws away what was kept of an earlier download, and passes
    /// over the mirrors that took part. True if another try may bring other bytes; once for each blob.
    pub(crate) async fn reject(&self, digest: &Digest, progress: &Progress) -> bool {
        let origin = self.with_origin(digest, |origin| {
            let wrong = origin.clone();
            *origin = Origin { is_second_try: true, ..Origin::default() };
            wrong
        });
        progress.done_bytes.fetch_sub(origin.counted_bytes, Ordering::Relaxed);
        self.registry.distrust(&origin.mirrors, digest);
        self.settle(digest).await;
        let is_worth_it = !origin.is_second_try && (origin.had_parts || !origin.mirrors.is_empty());
        if is_worth_it {
            tracing::warn!(blob = %digest, "wrong bytes from a mirror or an earlier download; fetching it anew");
        }
        is_worth_it
    }

    /// To be told when nothing more is wanted of a blob: the layer is complete, or refused for what it holds.
    pub(crate) async fn settle(&self, digest: &Digest) {
        let (spools, digest) = (Arc::clone(&self.downloads.spools), digest.clone());
        // Removing a large file takes a disk a moment. What stays is swept a day later.
        let _ = tokio::task::spawn_blocking(move || spools.remove(&digest)).await;
    }

    fn with_origin<T>(&self, digest: &Digest, change: impl FnOnce(&mut Origin) -> T) -> T {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        change(origins.entry(digest.clone()).or_default())
    }

    async fn download(&self, download: &mut Download<'_>) -> Result<(), RegistryError> {
        let mut failed = 0;
        while download.received < download.size {
            if download.covered().is_some() {
                self.with_origin(download.digest, |origin| origin.had_parts = true);
                if download.send_kept().await.is_err() {
                    return Ok(());
                }
                continue;
            }
            let before = download.received;
            let error = match self.fetch(download).await {
                Ok(Ok(())) => continue,
                Ok(Err(Deaf)) => return Ok(()),
                Err(error) => error,
            };
            failed = if download.received - before >= PROGRESS_MIN_BYTES { 1 } else { failed + 1 };
            let started = clock::now();
            self.retry.wait(failed, error).await?;
            download.waited += started.elapsed();
        }
        // Nobody listening any more is no error of the fetch.
        let _ = download.sink.send(Feed::End).await;
        Ok(())
    }

    /// One request, for what is missing until the end or the next part that is there.
    async fn fetch(&self, download: &mut Download<'_>) -> Result<Result<(), Deaf>, RegistryError> {
        let range = download.missing();
        let started = clock::now();
        let opened = self.registry.blob(self.image, download.digest, download.size, range).await;
        download.waited += started.elapsed();
        let mut blob = opened?;
        let done = loop {
            let started = clock::now();
            let bytes = match blob.chunk().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break Ok(Ok(())),
                Err(error) => break Err(error),
            };
            self.downloads.bandwidth.take(bytes.len() as u64).await;
            download.waited += started.elapsed();
            download.keep(&bytes, self.downloads.spool_after).await;
            if download.send(bytes).await.is_err() {
                break Ok(Err(Deaf));
            }
        };
        self.with_origin(download.digest, |origin| origin.mirrors.extend_from_slice(blob.mirrors()));
        done
    }

    /// A small blob as a whole, verified.
    pub(crate) async fn small(&self, digest: &Digest, size: u64, limit_bytes: u64) -> Result<Bytes, RegistryError> {
        let bad = |problem: String| RegistryError::BadAnswer {
            object: format!("blob {digest} of {}/{}", self.image.registry(), self.image.repository()),
            problem,
        };
        if size > limit_bytes {
            return Err(bad(format!("it has {size} bytes, more than the limit of {limit_bytes}")));
        }
        let nobody = Progress::default();
        loop {
            let (sink, mut pieces) = mpsc::channel(1);
            let collect = async {
                let mut whole = Vec::new();
                while let Some(Feed::Bytes(piece)) = pieces.recv().await {
                    whole.extend_from_slice(&piece);
                }
                whole
            };
            // The channel's end must not outlive the stream, or the collector would wait for more.
            let stream = async { self.stream(digest, size, &{ sink }, &nobody).await };
            let (streamed, whole) = futures_util::future::join(stream, collect).await;
            streamed?;
            let actual = Digest::of(&whole);
            if actual == *digest {
                self.settle(digest).await;
                return Ok(whole.into());
            }
            if !self.reject(digest, &nobody).await {
                return Err(bad(format!("its content has the digest {actual}; the registry or something before it is broken")));
            }
        }
    }
}

impl Download<'_> {
    fn covered(&self) -> Option<u64> {
        self.spool.as_ref()?.covered_until(self.received)
    }

    fn missing(&self) -> std::ops::Range<u64> {
        let end = self.spool.as_ref().and_then(|spool| spool.next_start(self.received)).unwrap_or(self.size);
        self.received..end
    }

    /// Sends what an earlier download has left of here.
    async fn send_kept(&mut self) -> Result<(), Deaf> {
        while self.covered().is_some() {
            let Some(spool) = &mut self.spool else { break };
            match spool.read(self.received).await {
                Some(bytes) => self.send(bytes).await?,
                None => break,
            }
        }
        Ok(())
    }

    /// Keeps what came from the network if it was slow, or continues what was kept.
    async fn keep(&mut self, bytes: &Bytes, spool_after: Duration) {
        if let Some(spool) = &mut self.spool
            && (self.waited >= spool_after || spool.ends_at(self.received))
        {
            spool.keep(self.received, bytes).await;
        }
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), Deaf> {
        let length = bytes.len() as u64;
        self.sink.send(Feed::Bytes(bytes)).await.map_err(|_| Deaf)?;
        self.received += length;
        self.progress.done_bytes.fetch_add(length, Ordering::Relaxed);
        Ok(())
    }
}
