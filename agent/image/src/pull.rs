//! A pull: from a digest to a complete image.
//!
//! Layers are made three at a time, largest first, by whoever comes first: a pull that needs a layer which another one is making
//! waits for it. When one layer fails the others are stopped and waited for, so that a failed pull leaves no thread and no file
//! behind. A pull that is dropped halfway is cleaned up by its threads, within moments.

use super::config;
use super::error::{LayerError, PullError, StoreError};
use super::fetch::Source;
use super::layer::{FEED_PIECES, unpack_layer};
use super::overlay::{self, OpenLayer};
use super::record::{ImageRecord, LayerRecord, NewImage};
use super::store::disk::{remove, sync_file_system};
use super::store::{Inner, Pins, Scratch};
use super::{Image, ImageStore};
use coord_registry::{HostPlatform, ManifestOrIndex, Registry, RegistryError};
use coord_shared::names::{Digest, ImageReference};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use oci_client::manifest::OciImageManifest;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Semaphore, mpsc};

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
struct Wanted {
    digest: Digest,
    size: u64,
    diff_id: Digest,
}

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
        let source = Source { registry, image, retry: inner.options.retry };
        let name = if image.digest().is_some() { image.to_string() } else { format!("{image}@{digest}") };
        let pull = Pull { inner, source, name, progress: &progress, stop: Semaphore::new(0) };
        let store = self.clone();
        let wanted = digest.clone();
        let reference = image.to_string();
        let known = blocking(move || {
            let image = store.get(&wanted)?;
            if image.is_some() {
                store.remember(&wanted, &reference);
            }
            Ok(image)
        });
        match known.await {
            Ok(Some(image)) => return Ok(image),
            Ok(None) => {}
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(image = pull.name, error = %coord_registry::chain(&error), "repairing")
            }
            Err(error) => return Err(pull.store_error(error)),
        }
        let manifest = pull.manifest(digest).await?;
        let (config_digest, config, wanted) = pull.config(&manifest).await?;
        let pins = Arc::new(Pins::new(inner, wanted.iter().map(|layer| layer.diff_id.clone()).collect()));
        let diff_ids: Vec<Digest> = wanted.iter().map(|layer| layer.diff_id.clone()).collect();
        pull.layers(wanted, &pins).await?;
        let record = ImageRecord::new(NewImage {
            digest: digest.clone(),
            reference: image.to_string(),
            annotations: manifest.annotations.clone().unwrap_or_default(),
            download_bytes: manifest.layers.iter().filter_map(|layer| u64::try_from(layer.size).ok()).sum(),
            config_digest,
            config,
        });
        let store = self.clone();
        let finished = blocking(move || {
            let result = finish(&store, &record, &diff_ids);
            drop(pins);
            result
        });
        finished.await.map_err(|error| pull.store_error(error))
    }
}

impl Pull<'_> {
    /// From the digest to the manifest for this host.
    async fn manifest(&self, digest: &Digest) -> Result<OciImageManifest, PullError> {
        let host = self.inner.options.platform.clone().unwrap_or_else(HostPlatform::current);
        let mut digest = digest.clone();
        for _ in 0..INDEX_DEPTH_MAX {
            let Source { registry, image, retry } = &self.source;
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
        let slot = tokio::select! { slot = slots.acquire_owned() => slot, _ = self.stop.acquire() => return Err(stopped()) };
        let (sink, feed) = mpsc::channel(FEED_PIECES);
        let (inner, pins) = (Arc::clone(self.inner), Arc::clone(pins));
        let (digest, diff_id) = (wanted.digest.clone(), wanted.diff_id.clone());
        let unpacking = tokio::task::spawn_blocking(move || {
            let made = make_layer(&inner, feed, &digest, &diff_id);
            // All of them until here, even when the pull was dropped: nobody else may make this layer now, and nobody prune it.
            drop((turn, slot, pins));
            made
        });
        let streamed = tokio::select! {
            streamed = self.source.stream(&wanted.digest, wanted.size, &sink, self.progress) => streamed.map_err(|e| self.registry_error(e)),
            _ = self.stop.acquire() => Err(stopped()),
        };
        drop(sink);
        let unpacked = unpacking.await.unwrap_or(Err(MakeError::Layer(LayerError::Stopped)));
        match (unpacked, streamed) {
            (Ok(()), _) => {
                self.progress.done_layers.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            // The unpacker only stopped because the stream did.
            (Err(MakeError::Layer(LayerError::Stopped)), Err(error)) => Err(error),
            (Err(MakeError::Layer(error)), _) => Err(self.layer_error(wanted, error)),
            (Err(MakeError::Store(error)), _) => Err(self.store_error(error)),
        }
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

enum MakeError {
    Layer(LayerError),
    Store(StoreError),
}

impl From<StoreError> for MakeError {
    fn from(error: StoreError) -> MakeError {
        MakeError::Store(error)
    }
}

/// Unpacks a layer under `tmp/`, syncs it, and lets it appear.
fn make_layer(
    inner: &Inner,
    feed: mpsc::Receiver<super::layer::Feed>,
    digest: &Digest,
    diff_id: &Digest,
) -> Result<(), MakeError> {
    let scratch = Scratch { path: inner.tmp_path() };
    let diff = scratch.path.join("diff");
    let root = create_folder(&scratch.path).and_then(|_| create_folder(&diff))?;
    let root_again = root.try_clone().map_err(|e| StoreError::io("open", &diff, e))?;
    let summary = unpack_layer(feed, digest, diff_id, root, &inner.options.limits).map_err(MakeError::Layer)?;
    if summary.devices_left_out > 0 {
        tracing::debug!(layer = %diff_id, count = summary.devices_left_out, "device nodes left out");
    }
    LayerRecord::new(diff_id.clone(), summary).save(&scratch.path.join("layer.json"))?;
    sync_file_system(&root_again, &diff)?;
    let place = inner.layer_path(diff_id);
    // Only a damaged one can be there: whoever makes a layer is alone.
    if let Some(old) = inner.discard_if_there(&place)? {
        remove(&old)?;
    }
    Ok(inner.commit(&scratch.path, &place)?)
}

/// Writes the image's record, its last step; before it, attributes that the layers alone would lose.
fn finish(store: &ImageStore, record: &ImageRecord, diff_ids: &[Digest]) -> Result<Image, StoreError> {
    let inner = &store.inner;
    let alone = inner.finishing();
    if let Ok(Some(image)) = store.get(&record.digest) {
        drop(alone);
        record.references.iter().for_each(|reference| store.remember(&record.digest, reference));
        return Ok(image);
    }
    let mut layers = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let missing = || StoreError::Damaged { path: inner.layer_path(diff_id), problem: "it has vanished".to_owned() };
        layers.push(inner.layer(diff_id)?.ok_or_else(missing)?);
    }
    let dirs = inner.dirs_path(&record.digest);
    if let Some(old) = inner.discard_if_there(&dirs)? {
        remove(&old)?;
    }
    let scratch = Scratch { path: inner.tmp_path() };
    if restore_directories(inner, &layers, &scratch.path)? {
        inner.commit(&scratch.path, &dirs)?;
    }
    let scratch = Scratch { path: inner.tmp_path() };
    record.save(&scratch.path)?;
    let place = inner.image_path(&record.digest);
    inner.commit(&scratch.path, &place)?;
    store.get(&record.digest)?.ok_or_else(|| StoreError::Damaged { path: place, problem: "it has vanished".to_owned() })
}

fn restore_directories(inner: &Inner, layers: &[LayerRecord], path: &Path) -> Result<bool, StoreError> {
    let visible: Vec<&LayerRecord> = overlay::visible(layers).collect();
    if !overlay::may_need_restoring(&visible) {
        return Ok(false);
    }
    let mut open = Vec::with_capacity(visible.len());
    for record in visible {
        let diff = inner.diff_path(&record.diff_id);
        open.push(OpenLayer { record, diff: open_folder(&diff)? });
    }
    let target = create_folder(path)?;
    let is_needed = overlay::restore(&open, &target, path)?;
    if is_needed {
        sync_file_system(&target, path)?;
    }
    Ok(is_needed)
}

/// Created and opened; anybody may enter, as in an image's root.
fn create_folder(path: &Path) -> Result<OwnedFd, StoreError> {
    fs::DirBuilder::new().mode(0o755).create(path).map_err(|e| StoreError::io("create", path, e))?;
    // Whatever the umask.
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(|e| StoreError::io("set the mode of", path, e))?;
    open_folder(path)
}

fn open_folder(path: &Path) -> Result<OwnedFd, StoreError> {
    File::open(path).map(OwnedFd::from).map_err(|e| StoreError::io("open", path, e))
}

/// File operations on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(StoreError::io("finish work in", "a thread", std::io::Error::other(error))),
    }
}
