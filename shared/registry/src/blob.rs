//! A blob's body as it arrives, guarded against stalling, from one place after the other.
//!
//! An idle timeout alone lets a peer drip one byte before each deadline and hold a pull for days. So the guard is a rate: in every
//! window at least `STALL_MIN_BYTES` must come. The time that the caller takes between chunks is not held against the registry.
//!
//! A place that breaks in the middle is left for the next one, which is asked for the rest; each is tried once in a stream. Where
//! there is no other, the caller hears of it, and knows how long it may wait.

use crate::answer::transport;
use crate::client::Mirror;
use crate::clock;
use crate::http::Use;
use crate::round::Round;
use crate::route::Place;
use crate::send::Asked;
use crate::{Registry, RegistryError};
use bytes::Bytes;
use coord_shared::names::Digest;
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};
use std::ops::Range;
use std::time::Duration;

/// What must arrive per window: with the default of 30 s a modem passes, a drip does not.
const STALL_MIN_BYTES: u64 = 16 * 1024;
/// From here on a connection of its own costs nothing beside the blob.
const LARGE_BYTES: u64 = 1 << 20;

/// Some bytes of one blob. The caller verifies the digest; this only promises progress and the right number.
pub struct BlobStream {
    registry: Registry,
    digest: Digest,
    size: u64,
    /// What has not come yet.
    rest: Range<u64>,
    round: Round,
    body: Option<Body>,
    mirrors: Vec<Mirror>,
}

/// What one place sends.
struct Body {
    place: Place,
    object: String,
    response: Response,
    /// Bytes before the wanted offset, where the registry ignored our Range.
    skip_bytes: u64,
    window: Duration,
    window_left: Duration,
    window_bytes: u64,
}

impl BlobStream {
    /// Opens the body at the first place that answers well.
    pub(crate) async fn open(
        registry: Registry,
        round: Round,
        digest: Digest,
        size: u64,
        range: Range<u64>,
    ) -> Result<BlobStream, RegistryError> {
        let mut stream = BlobStream { registry, digest, size, rest: range, round, body: None, mirrors: Vec::new() };
        stream.open_next().await?;
        Ok(stream)
    }

    /// The mirrors that bytes came from until now: to be distrusted if the bytes are not those of the digest.
    pub fn mirrors(&self) -> &[Mirror] {
        &self.mirrors
    }

    /// The next bytes, or none at the end. Safe to drop while it waits.
    ///
    /// # Errors
    /// `Unreachable` when the connection breaks or stalls, and no other place has the rest: ask for it with a new stream.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        while !self.rest.is_empty() {
            let Some(body) = &mut self.body else {
                self.open_next().await?;
                continue;
            };
            match body.chunk(&self.rest, self.size).await {
                Ok(bytes) => {
                    self.rest.start += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Err(error) => {
                    if let Some(body) = self.body.take() {
                        self.round.failed(&body.place, error);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Asks those not tried yet for the rest.
    async fn open_next(&mut self) -> Result<(), RegistryError> {
        loop {
            let place = self.round.next()?;
            match Body::open(&self.registry, &place, &self.digest, self.size, &self.rest).await {
                Ok(body) => {
                    if place.is_mirror {
                        self.mirrors.push(Mirror(place));
                    }
                    self.body = Some(body);
                    return Ok(());
                }
                Err(error) => self.round.failed(&place, error),
            }
        }
    }
}

impl Body {
    async fn open(
        registry: &Registry,
        place: &Place,
        digest: &Digest,
        size: u64,
        range: &Range<u64>,
    ) -> Result<Body, RegistryError> {
        let object = format!("blob {digest} of {}", place.name);
        let is_whole = *range == (0..size);
        let mut response = ask(registry, place, digest, size, &object, (!is_whole).then_some(range)).await?;
        let part = (response.status() == StatusCode::PARTIAL_CONTENT).then(|| content_range(response.headers())).flatten();
        let (skip_bytes, total) = match part {
            Some((start, total)) if start == range.start => (0, total),
            _ => {
                // A place that does not know its ranges (a wrong part, 416): better all than that.
                if response.status() != StatusCode::OK {
                    response = ask(registry, place, digest, size, &object, None).await?;
                }
                if response.status() != StatusCode::OK {
                    let problem = format!("status {} to a request for the whole", response.status());
                    return Err(RegistryError::BadAnswer { object, problem });
                }
                (range.start, response.content_length())
            }
        };
        if let Some(total) = total.filter(|total| *total != size) {
            return Err(wrong_size(object, total, size));
        }
        let window = registry.sender().timeouts.stall;
        Ok(Body { place: place.clone(), object, response, skip_bytes, window, window_left: window, window_bytes: 0 })
    }

    /// The next bytes, at most those of `rest`.
    async fn chunk(&mut self, rest: &Range<u64>, size: u64) -> Result<Bytes, RegistryError> {
        loop {
            let Some(mut chunk) = self.raw_chunk().await? else {
                let problem = format!("ended after {} of {size} bytes", rest.start);
                return Err(RegistryError::Unreachable { object: self.object.clone(), problem, source: None });
            };
            let skipped = usize::try_from(self.skip_bytes).unwrap_or(usize::MAX).min(chunk.len());
            self.skip_bytes -= skipped as u64;
            let _ = chunk.split_to(skipped);
            let wanted = usize::try_from(rest.end - rest.start).unwrap_or(usize::MAX);
            if chunk.len() > wanted {
                if rest.end == size {
                    return Err(wrong_size(self.object.clone(), rest.start + chunk.len() as u64, size));
                }
                chunk.truncate(wanted);
            }
            if !chunk.is_empty() {
                return Ok(chunk);
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
                    self.window_left = self.window;
                    self.window_bytes = 0;
                }
                Ok(chunk)
            }
            Ok(Err(error)) => Err(transport(error, &self.object)),
            Err(_elapsed) => {
                let (bytes, window) = (self.window_bytes, self.window.as_millis());
                let problem = format!("stalled: {bytes} bytes in {window} ms; check the registry's load and the network");
                Err(RegistryError::Unreachable { object: self.object.clone(), problem, source: None })
            }
        }
    }
}

/// One request for a blob, or a part of it.
async fn ask(
    registry: &Registry,
    place: &Place,
    digest: &Digest,
    size: u64,
    object: &str,
    range: Option<&Range<u64>>,
) -> Result<Response, RegistryError> {
    let mut headers = HeaderMap::new();
    if let Some(range) = range {
        let last = if range.end == size { String::new() } else { range.end.saturating_sub(1).to_string() };
        let value = HeaderValue::from_str(&format!("bytes={}-{last}", range.start));
        headers.extend(value.ok().map(|value| (RANGE, value)));
    }
    let use_for = if size < LARGE_BYTES { Use::Small } else { Use::Large };
    let asked = Asked { method: Method::GET, use_for, headers, kind: "blobs", name: digest.as_ref(), object };
    registry.sender().send(place, &asked).await
}

fn wrong_size(object: String, actual: u64, size: u64) -> RegistryError {
    RegistryError::BadAnswer { object, problem: format!("it has {actual} bytes instead of the manifest's {size}") }
}

/// `bytes 100-199/200` is (100, 200); the total may be `*`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (range, total) = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}
