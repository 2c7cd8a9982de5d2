//! A blob's body as it arrives, guarded against stalling.
//!
//! An idle timeout alone lets a peer drip one byte before each deadline and hold a pull for days. So the guard is a rate: in every
//! window at least `STALL_MIN_BYTES` must come. The time that the caller takes between chunks is not held against the registry.

use crate::RegistryError;
use crate::answer::transport;
use crate::clock;
use bytes::Bytes;
use reqwest::Response;
use std::time::Duration;

/// What must arrive per window: with the default of 30 s a modem passes, a drip does not.
const STALL_MIN_BYTES: u64 = 16 * 1024;

/// The bytes of one blob from an offset on. The caller verifies the digest; this only promises progress.
pub struct BlobStream {
    response: Response,
    object: String,
    total_bytes: Option<u64>,
    /// Bytes before the wanted offset, where the registry ignored our Range.
    skip_bytes: u64,
    window: Duration,
    window_left: Duration,
    window_bytes: u64,
}

impl BlobStream {
    pub(crate) fn new(
        response: Response,
        object: String,
        total_bytes: Option<u64>,
        skip_bytes: u64,
        window: Duration,
    ) -> BlobStream {
        BlobStream { response, object, total_bytes, skip_bytes, window, window_left: window, window_bytes: 0 }
    }

    /// The size of the whole blob, offset included, as the registry declares it.
    pub fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// The next bytes, or none at the end. Safe to drop while it waits.
    ///
    /// # Errors
    /// `Unreachable` when the connection breaks or stalls: ask for the rest with a new stream.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let Some(mut chunk) = self.raw_chunk().await? else { return Ok(None) };
            if self.skip_bytes > 0 {
                let skipped = self.skip_bytes.min(chunk.len() as u64);
                self.skip_bytes -= skipped;
                chunk = chunk.split_off(usize::try_from(skipped).unwrap_or(chunk.len()));
            }
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
    }

    async fn raw_chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let started = clock::now();
        let answer = tokio::time::timeout(self.window_left, self.response.chunk()).await;
        self.window_left = self.window_left.saturating_sub(started.elapsed());
        match answer {
            Ok(Ok(chunk)) => {
                self.window_bytes += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
                if self.window_bytes >= STALL_MIN_BYTES {
                    self.open_window();
                }
                Ok(chunk)
            }
            Ok(Err(error)) => Err(transport(error, &self.object)),
            Err(_elapsed) => Err(self.stalled()),
        }
    }

    fn open_window(&mut self) {
        self.window_left = self.window;
        self.window_bytes = 0;
    }

    fn stalled(&self) -> RegistryError {
        let problem = format!(
            "stalled: {} bytes in {} ms; check the registry's load and the network",
            self.window_bytes,
            self.window.as_millis()
        );
        RegistryError::Unreachable { object: self.object.clone(), problem, source: None }
    }
}
