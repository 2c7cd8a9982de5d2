//! One blob's bytes from the registry to a channel, whatever the network does meanwhile.
//!
//! A cut is no reason to start over: the next request asks for the rest (Range), after a pause that grows while nothing comes. What
//! cannot get better by waiting (401, 404, a wrong size) ends at once.

use super::pipeline::Feed;
use super::pull::Progress;
use bytes::Bytes;
use coord_registry::{Registry, RegistryError};
use coord_shared::names::{Digest, ImageReference};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;

/// What a request must bring to count as progress. Less, and a registry that drips and breaks could hold a pull for days.
const PROGRESS_MIN_BYTES: u64 = 64 * 1024;

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Requests in a row that bring next to nothing, before the pull fails.
    pub attempts: u32,
    /// Before the second of them; doubles from there.
    pub pause_min: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl Default for Retry {
    /// About half a minute of trouble; whoever wants the image for longer pulls again, and keeps the layers that arrived.
    fn default() -> Self {
        Retry { attempts: 7, pause_min: Duration::from_millis(250), pause_max: Duration::from_secs(10) }
    }
}

impl Retry {
    /// The pause before attempt `failed + 1`, spread by up to a half so that a fleet does not come back in step.
    fn pause(&self, failed: u32, error: &RegistryError) -> Duration {
        let doubled = self.pause_min.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(self.pause_max);
        let jittered = doubled.mul_f64(fastrand::f64().mul_add(0.5, 0.5));
        error.retry_after().map_or(jittered, |asked| asked.max(jittered))
    }

    /// Does something until it succeeds, fails for good, or has been tried often enough.
    pub(super) async fn run<T>(&self, mut attempt: impl AsyncFnMut() -> Result<T, RegistryError>) -> Result<T, RegistryError> {
        let mut failed = 0;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            failed += 1;
            self.wait(failed, error).await?;
        }
    }

    /// Waits for the next attempt, or gives the error back when there is none.
    async fn wait(&self, failed: u32, error: RegistryError) -> Result<(), RegistryError> {
        if !error.is_retryable() || failed >= self.attempts {
            return Err(error);
        }
        let pause = self.pause(failed, &error);
        tracing::warn!(error = %coord_registry::chain(&error), attempt = failed, pause_ms = pause.as_millis(), "registry trouble, trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// What to fetch, and where it is known from.
pub(super) struct Source<'a> {
    pub(super) registry: &'a Registry,
    pub(super) image: &'a ImageReference,
    pub(super) retry: Retry,
}

impl Source<'_> {
    /// Sends the blob, exactly `size` bytes, then the end. A receiver that goes away ends it quietly: it has an error of its own.
    pub(super) async fn stream(
        &self,
        digest: &Digest,
        size: u64,
        sink: &mpsc::Sender<Feed>,
        progress: &Progress,
    ) -> Result<(), RegistryError> {
        let (mut received, mut failed) = (0, 0);
        while received < size {
            let before = received;
            let sent = self.stream_from(digest, size, &mut received, sink, progress).await;
            match sent {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => {
                    failed = if received - before >= PROGRESS_MIN_BYTES { 1 } else { failed + 1 };
                    self.retry.wait(failed, error).await?;
                }
            }
        }
        // Nobody listening any more is no error of the fetch.
        let _ = sink.send(Feed::End).await;
        Ok(())
    }

    /// One request. False when nobody listens any more.
    async fn stream_from(
        &self,
        digest: &Digest,
        size: u64,
        received: &mut u64,
        sink: &mpsc::Sender<Feed>,
        progress: &Progress,
    ) -> Result<bool, RegistryError> {
        let mut blob = self.registry.blob(self.image, digest, size, *received..size).await?;
        while let Some(bytes) = blob.chunk().await? {
            let length = bytes.len() as u64;
            if sink.send(Feed::Bytes(bytes)).await.is_err() {
                return Ok(false);
            }
            *received += length;
            progress.done_bytes.fetch_add(length, Ordering::Relaxed);
        }
        Ok(true)
    }

    /// A small blob as a whole, verified.
    pub(super) async fn small(&self, digest: &Digest, size: u64, limit_bytes: u64) -> Result<Bytes, RegistryError> {
        let bad = |problem: String| RegistryError::BadAnswer {
            object: format!("blob {digest} of {}/{}", self.image.registry(), self.image.repository()),
            problem,
        };
        if size > limit_bytes {
            return Err(bad(format!("it has {size} bytes, more than the limit of {limit_bytes}")));
        }
        let (sink, mut pieces) = mpsc::channel(1);
        let collect = async {
            let mut whole = Vec::new();
            while let Some(Feed::Bytes(piece)) = pieces.recv().await {
                whole.extend_from_slice(&piece);
            }
            whole
        };
        // The channel's end must not outlive the stream, or the collector would wait for more.
        let nobody = Progress::default();
        let stream = async move { self.stream(digest, size, &sink, &nobody).await };
        let (streamed, whole) = futures_util::future::join(stream, collect).await;
        streamed?;
        let actual = Digest::of(&whole);
        if actual == *digest {
            Ok(whole.into())
        } else {
            Err(bad(format!("its content has the digest {actual}; the registry or something before it is broken")))
        }
    }
}
