//! A pull: from a digest to a complete image.
//!
//! Layers are made three at a time, largest first, by whoever comes first: a pull that needs a layer which another one is making
//! waits for it. When one layer fails the others are stopped and waited for, so that a failed pull leaves no thread and no file
//! behind. A pull that is dropped halfway is cleaned up by its threads, within moments.

mod finish;
mod flight;
mod layer;

pub(crate) use flight::Flights;

use super::config;
use super::error::{LayerError, PullError, StoreError};
use super::fetch::Source;
use super::pipeline::FEED_PIECES;
use super::record::{ImageRecord, NewImage};
use super::store::{Inner, Pins};
use super::{Image, ImageStore};
use coord_registry::{HostPlatform, ManifestOrIndex, Registry, RegistryError};
use coord_shared::names::{Digest, ImageReference};
use finish::finish;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use layer::{MakeError, make_layer};
use oci_client::manifest::OciImageManifest;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, mpsc};

/// Largest config blob; real ones are some kilobytes. The OCI spec draws the line for manifests here.
const CONFIG_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// An index may name another index; more than this is a joke.
const INDEX_DEPTH_MAX: usize = 3;

/// How far a pull has come; read it at any time. Bytes are as downloaded.
#[derive(Debug, Default)]
pub struct Progress {
    /// Of all layers, those already here included. Zero until the manifest is known.
    pub total_bytes: AtomicU64,
    /// Of these, how many are here.
    pub done_bytes: AtomicU64,
    /// Number of layers.
    pub total_layers: AtomicU64,
    /// Of these, how many are complete.
    pub done_layers: AtomicU64,
}

/// A layer to be made.
#[derive(Clone)]
struct Wanted {
    digest: Digest,
    size: u64,
    diff_id: Digest,
}

/// Who makes a layer holds its turn, one of the slots, and the pins.
type Held = (OwnedMutexGuard<()>, OwnedSemaphorePermit, Arc<Pins>);

/// One pull's constants.
struct Pull<'a> {
    inner: &'a Arc<Inner>,
    source: Source<'a>,
    /// For messages.
    name: String,
    progress: &'a Progress,
    /// Closed when a layer has failed.
    stop: Semaphore,
}

impl ImageStore {
    /// The image with this digest (of a manifest, or of an index: then this host's part of it), from the store or else the registry.
    ///
    /// # Errors
    /// Any; the store is then as before. `is_retryable` says whether to try again unchanged.
    pub async fn pull(
        &self,
        registry: &Registry,
        image: &ImageReference,
        digest: &Digest,
        progress: Arc<Progress>,
    ) -> Result<Image, PullError> {
        let inner = &self.inner;
        let name = if image.digest().is_some() { image.to_string() } else { format!("{image}@{digest}") };
        let seat = inner.flights.join(image, digest);
        let pulled = seat.fly(&progress, async |progress| {
            let source = Source::new(registry, image, inner.options.retry, &inner.downloads);
            let pull = Pull { inner, source, name, progress, stop: Semaphore::new(0) };
            Box::pin(pull.run(self, digest)).await
        });
        pulled.await
    }

    /// The image if it is here; then it has one name more.
    async fn known(&self, digest: &Digest, image: &ImageReference) -> Result<Option<Image>, StoreError> {
        let (store, digest, reference) = (self.clone(), digest.clone(), image.to_string());
        blocking(move || {
            let image = store.get(&digest)?;
            if image.is_some() {
                store.remember(&digest, &reference);
            }
            Ok(image)
        })
        .await
    }
}

impl Pull<'_> {
    async fn run(&self, store: &ImageStore, digest: &Digest) -> Result<Image, PullError> {
        let image = self.source.image;
        match store.known(digest, image).await {
            Ok(Some(image)) => return Ok(image),
            Ok(None) => {}
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(image = self.name, error = %coord_registry::chain(&error), "repairing")
            }
            Err(error) => return Err(self.store_error(error)),
        }
        let manifest = self.manifest(digest).await?;
        let (config_digest, config, wanted) = self.config(&manifest).await?;
        let diff_ids: Vec<Digest> = wanted.iter().map(|layer| layer.diff_id.clone()).collect();
        let pins = Arc::new(Pins::new(self.inner, diff_ids.clone()));
        self.layers(wanted, &pins).await?;
        let record = ImageRecord::new(NewImage {
            digest: digest.clone(),
            reference: image.to_string(),
            annotations: manifest.annotations.clone().unwrap_or_default(),
            download_bytes: manifest.layers.iter().filter_map(|layer| u64::try_from(layer.size).ok()).sum(),
            config_digest,
            config,
        });
        let store = store.clone();
        let finished = blocking(move || {
            let result = finish(&store, &record, &diff_ids);
            drop(pins);
            result
        });
        finished.await.map_err(|error| self.store_error(error))
    }

    /// From the digest to the manifest for this host.
    async fn manifest(&self, digest: &Digest) -> Result<OciImageManifest, PullError> {
        let host = self.inner.options.platform.clone().unwrap_or_else(HostPlatform::current);
        let mut digest = digest.clone();
        for _ in 0..INDEX_DEPTH_MAX {
            let Source { registry, image, retry, .. } = &self.source;
            let answer = retry.run(async || registry.manifest(image, &digest).await).await.map_err(|e| self.registry_error(e))?;
            let index = match answer {
                ManifestOrIndex::Manifest(manifest) => return Ok(*manifest),
                ManifestOrIndex::Index(index) => index,
            };
            let chosen = host.select(&index).ok_or_else(|| self.platform_error(&host, HostPlatform::offered(&index)))?;
            digest = self.digest_of(&chosen.digest)?;
        }
        Err(self.bad_image("its index names an index that names an index".to_owned()))
    }

    /// The config, and the layers that it and the manifest agree on, bottom first.
    async fn config(&self, manifest: &OciImageManifest) -> Result<(Digest, String, Vec<Wanted>), PullError> {
        let digest = self.digest_of(&manifest.config.digest)?;
        let bytes = self
            .source
            .small(&digest, self.size_of(manifest.config.size)?, CONFIG_MAX_BYTES)
            .await
            .map_err(|e| self.registry_error(e))?;
        let text = String::from_utf8(bytes.to_vec()).map_err(|_| self.bad_image("its config is not text".to_owned()))?;
        let config::ImageConfig { config, diff_ids, .. } =
            config::parse(text.as_bytes()).map_err(|problem| self.bad_image(problem))?;
        let host = self.inner.options.platform.clone().unwrap_or_else(HostPlatform::current);
        let (os, architecture) = (config.os().to_string(), config.architecture().to_string());
        if os != "linux" || architecture != host.architecture {
            return Err(self.platform_error(&host, format!("{os}/{architecture}")));
        }
        let layers = &manifest.layers;
        if layers.len() != diff_ids.len() {
            return Err(self.bad_image(format!("its manifest has {} layers, its config {}", layers.len(), diff_ids.len())));
        }
        let wanted = layers.iter().zip(diff_ids).map(|(layer, diff_id)| {
            Ok(Wanted { digest: self.digest_of(&layer.digest)?, size: self.size_of(layer.size)?, diff_id })
        });
        Ok((digest, text, wanted.collect::<Result<_, PullError>>()?))
    }

    /// Makes all layers; the first failure stops the others.
    async fn layers(&self, mut wanted: Vec<Wanted>, pins: &Arc<Pins>) -> Result<(), PullError> {
        // An image may use a layer twice (empty ones); it is made once.
        wanted.sort_by(|a, b| a.diff_id.cmp(&b.diff_id));
        wanted.dedup_by(|a, b| a.diff_id == b.diff_id);
        wanted.sort_by_key(|layer| std::cmp::Reverse(layer.size));
        self.check_room(&wanted).await?;
        // Whoever had the turn before may have gone away halfway.
        self.progress.done_bytes.store(0, Ordering::Relaxed);
        self.progress.done_layers.store(0, Ordering::Relaxed);
        self.progress.total_layers.store(wanted.len() as u64, Ordering::Relaxed);
        self.progress.total_bytes.store(wanted.iter().map(|layer| layer.size).sum(), Ordering::Relaxed);
        let mut making: FuturesUnordered<_> = wanted.iter().map(|layer| self.layer(layer, pins)).collect();
        let mut first_error = None;
        while let Some(made) = making.next().await {
            if let Err(error) = made {
                self.stop.close();
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Whether what is missing will fit. Nothing has been asked for yet.
    async fn check_room(&self, wanted: &[Wanted]) -> Result<(), PullError> {
        let (inner, wanted) = (Arc::clone(self.inner), wanted.to_vec());
        let room = blocking(move || {
            let missing = wanted.iter().filter(|layer| !matches!(inner.layer(&layer.diff_id), Ok(Some(_))));
            let missing_bytes: u64 = missing.map(|layer| layer.size).fold(0, u64::saturating_add);
            if missing_bytes == 0 { Ok(()) } else { inner.room_for_download(missing_bytes) }
        });
        room.await.map_err(|error| self.store_error(error))
    }

    /// Makes one layer unless it is here, or here after waiting for who is making it.
    async fn layer(&self, wanted: &Wanted, pins: &Arc<Pins>) -> Result<(), PullError> {
        let stopped = || self.layer_error(wanted, LayerError::Stopped);
        let making = pins.making(&wanted.diff_id);
        let turn = tokio::select! { turn = making.lock_owned() => turn, _ = self.stop.acquire() => return Err(stopped()) };
        match self.inner.layer(&wanted.diff_id) {
            Ok(Some(_)) => {
                self.progress.done_bytes.fetch_add(wanted.size, Ordering::Relaxed);
                self.progress.done_layers.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(layer = %wanted.diff_id, error = %coord_registry::chain(&error), "repairing"),
        }
        let slots = Arc::clone(&self.inner.slots);
        let slot = tokio::select! { slot = slots.acquire_owned() => slot.map_err(|_| stopped())?, _ = self.stop.acquire() => return Err(stopped()) };
        let mut held = (turn, slot, Arc::clone(pins));
        loop {
            let (made, given_back) = self.make(wanted, held).await;
            if let Err(PullError::Layer { source: LayerError::Digest { .. }, .. }) = &made
                && let Some(again) = given_back
                && self.source.reject(&wanted.digest, self.progress).await
            {
                held = again;
                continue;
            }
            if !made.as_ref().is_err_and(PullError::is_retryable) {
                self.source.settle(&wanted.digest).await;
            }
            return made;
        }
    }

    /// Fetches and unpacks one layer. What is held comes back, unless the thread that unpacks has died with it.
    async fn make(&self, wanted: &Wanted, held: Held) -> (Result<(), PullError>, Option<Held>) {
        let (sink, feed) = mpsc::channel(FEED_PIECES);
        let inner = Arc::clone(self.inner);
        let (digest, diff_id) = (wanted.digest.clone(), wanted.diff_id.clone());
        // All that is held until then, even when the pull is dropped: nobody else may make this layer now, and nobody prune it.
        let unpacking = tokio::task::spawn_blocking(move || (make_layer(&inner, feed, &digest, &diff_id, inner.format()), held));
        let streamed = tokio::select! {
            streamed = self.source.stream(&wanted.digest, wanted.size, &sink, self.progress) => streamed.map_err(|e| self.registry_error(e)),
            _ = self.stop.acquire() => Err(self.layer_error(wanted, LayerError::Stopped)),
        };
        drop(sink);
        let (unpacked, held) = match unpacking.await {
            Ok((unpacked, held)) => (unpacked, Some(held)),
            Err(_) => (Err(MakeError::Layer(LayerError::Stopped)), None),
        };
        let made = match (unpacked, streamed) {
            (Ok(()), _) => {
                self.progress.done_layers.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            // The unpacker only stopped because the stream did.
            (Err(MakeError::Layer(LayerError::Stopped)), Err(error)) => Err(error),
            (Err(MakeError::Layer(error)), _) => Err(self.layer_error(wanted, error)),
            (Err(MakeError::Store(error)), _) => Err(self.store_error(error)),
        };
        (made, held)
    }

    fn digest_of(&self, text: &str) -> Result<Digest, PullError> {
        text.parse().map_err(|e| self.bad_image(format!("its manifest has a bad digest: {e}")))
    }

    /// The library reads sizes as signed, because JSON has no other numbers.
    fn size_of(&self, size: i64) -> Result<u64, PullError> {
        u64::try_from(size).map_err(|_| self.bad_image(format!("its manifest has the size {size}")))
    }

    fn bad_image(&self, problem: String) -> PullError {
        PullError::BadImage { image: self.name.clone(), problem }
    }

    fn platform_error(&self, host: &HostPlatform, offered: String) -> PullError {
        PullError::Platform { image: self.name.clone(), host: host.to_string(), offered }
    }

    fn registry_error(&self, source: RegistryError) -> PullError {
        PullError::Registry { image: self.name.clone(), source }
    }

    fn layer_error(&self, wanted: &Wanted, source: LayerError) -> PullError {
        PullError::Layer { image: self.name.clone(), layer: wanted.digest.clone(), source }
    }

    fn store_error(&self, source: StoreError) -> PullError {
        PullError::Store { image: self.name.clone(), source }
    }
}

/// File operations on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(StoreError::io("finish work in", "a thread", std::io::Error::other(error))),
    }
}
