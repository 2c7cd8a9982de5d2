//! The store's folder and who may touch it.
//!
//! ```text
//!   lock                            held by the one process that owns the store
//!   images/HEX.json                 an image, by the digest that was asked for
//!   images/HEX.dirs/                the topmost folder of an image that needs one (see `overlay`)
//!   layers/HEX/{layer.json,diff/}   a layer, by its diff id
//!   empty/                          the root of an image without layers
//!   tmp/                            whatever is not finished, or on its way out
//! ```
//! Things enter by a rename out of `tmp/` after a sync, and leave by a rename into it; so whatever has its name is whole, and
//! cleaning up after a crash is emptying `tmp/`. What is in there for removal is removed by a thread of its own: an image of many
//! files can take a disk minutes, and neither the start nor the agent's loop may wait for that.
//!
//! A pull pins the diff ids that it needs; `prune` takes neither those nor what it is told to keep.

pub(crate) mod crash;
#[allow(dead_code, reason = "the writers of layers come next")]
pub(crate) mod disk;
#[allow(dead_code, reason = "the pull comes next")]
mod room;

use super::error::StoreError;
use super::fetch::Retry;
use super::limits::Limits;
use super::overlay;
use super::record::{ImageRecord, LayerRecord};
use super::{Image, RootfsLayers};
use coord_registry::HostPlatform;
use coord_shared::names::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Layers that are fetched and unpacked at the same time, over all pulls: enough to fill a link and a disk, and it bounds memory.
const LAYERS_AT_ONCE: usize = 3;
/// Logs, ledgers and the containers' own files need room to go on while a disk fills up.
const RESERVE_BYTES: u64 = 1 << 30;

/// What may differ between stores.
#[derive(Debug, Clone)]
pub struct Options {
    /// What a layer may have.
    pub limits: Limits,
    /// How hard to try.
    pub retry: Retry,
    /// Instead of this host's own platform.
    pub platform: Option<HostPlatform>,
    /// How layers are kept.
    pub format: FormatChoice,
    /// Of all pulls together; None is no limit.
    pub bandwidth_bytes_per_s: Option<u64>,
    /// Of the disk, never taken by a pull.
    pub reserve_bytes: u64,
}

/// How layers are kept, and images mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FormatChoice {
    /// As archives under one EROFS image if the host can mount that, else as directories.
    #[default]
    Auto,
    /// As directories, whatever the host can.
    Directories,
    /// As archives, mounted through loop devices even if the host could do without.
    Loop,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            limits: Limits::default(),
            retry: Retry::default(),
            platform: None,
            format: FormatChoice::default(),
            bandwidth_bytes_per_s: None,
            reserve_bytes: RESERVE_BYTES,
        }
    }
}

/// All images of this host. Cheap to clone.
#[derive(Clone)]
pub struct ImageStore {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    dir: PathBuf,
    pub(super) options: Options,
    /// Limits the layers in the making.
    pub(super) slots: Arc<Semaphore>,
    pins: Mutex<BTreeMap<Digest, Pin>>,
    /// Held while an image's last files are written.
    finishing: Mutex<()>,
    /// Makes names under `tmp/` unique.
    counter: AtomicU64,
    /// Locked for as long as the store is open.
    _lock: File,
}

struct Pin {
    holders: usize,
    /// Held by whoever is making the layer.
    making: Arc<tokio::sync::Mutex<()>>,
}

/// A line about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// As it was asked for.
    pub digest: Digest,
    /// How people called it when it was pulled.
    pub reference: String,
    /// Number of layers, those shared with other images included.
    pub layers: usize,
    /// Content of its files, shared layers included.
    pub content_bytes: u64,
}

/// What a prune removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Images whose records are gone.
    pub images: Vec<Digest>,
    /// Number of layers.
    pub layers: usize,
    /// Content of the layers' files.
    pub content_bytes: u64,
}

impl ImageStore {
    /// Opens or creates the store in `dir` and removes what a crash left half-done.
    ///
    /// # Errors
    /// `InUse` when another process has it open.
    pub fn open(dir: &Path) -> Result<ImageStore, StoreError> {
        Self::open_with(dir, Options::default())
    }

    /// The same with other limits, retries or platform.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_with(dir: &Path, options: Options) -> Result<ImageStore, StoreError> {
        let dir = std::path::absolute(dir).map_err(|e| StoreError::io("find", dir, e))?;
        for folder in ["images", "layers", "empty", "tmp"] {
            disk::create_dir_all(&dir.join(folder), disk::PRIVATE)?;
        }
        let empty = dir.join("empty");
        fs::set_permissions(&empty, fs::Permissions::from_mode(0o755))
            .map_err(|e| StoreError::io("set the mode of", &empty, e))?;
        let lock_path = dir.join("lock");
        let lock = File::create(&lock_path).map_err(|e| StoreError::io("create", &lock_path, e))?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => StoreError::InUse { path: dir.clone() },
            TryLockError::Error(e) => StoreError::io("lock", &lock_path, e),
        })?;
        let inner = Inner {
            dir,
            options,
            slots: Arc::new(Semaphore::new(LAYERS_AT_ONCE)),
            pins: Mutex::default(),
            finishing: Mutex::default(),
            counter: AtomicU64::new(0),
            _lock: lock,
        };
        sweep(inner.leftovers()?);
        Ok(ImageStore { inner: Arc::new(inner) })
    }

    /// An image that is here, complete.
    ///
    /// # Errors
    /// `Damaged` when its record or a layer is not as it was written: pulling it again repairs it.
    pub fn get(&self, digest: &Digest) -> Result<Option<Image>, StoreError> {
        let path = self.inner.image_path(digest);
        let Some(record) = ImageRecord::load(&path, digest)? else { return Ok(None) };
        let damaged = |problem: String| StoreError::Damaged { path: path.clone(), problem };
        let (config, diff_ids) = record.config().map_err(damaged)?;
        let mut layers = Vec::with_capacity(diff_ids.len());
        for diff_id in &diff_ids {
            let layer = self.inner.layer(diff_id)?;
            layers.push(layer.ok_or_else(|| damaged(format!("its layer {diff_id} is missing")))?);
        }
        Ok(Some(Image { digest: digest.clone(), config, rootfs: self.inner.rootfs(digest, &layers) }))
    }

    /// All images, by digest. Damaged ones are left out with a warning: `get` says what is wrong with one.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<ImageSummary>, StoreError> {
        let mut images = Vec::new();
        for digest in self.inner.image_digests()? {
            match self.inner.summary(&digest) {
                Ok(summary) => images.extend(summary),
                Err(error) => tracing::warn!(image = %digest, %error, "damaged image"),
            }
        }
        Ok(images)
    }

    /// Removes every image that is not in `keep`, and the layers that no image and no pull in flight needs. They are gone at once;
    /// their room on the disk comes back within moments.
    ///
    /// # Errors
    /// When something cannot be removed, or the record of an image in `keep` is damaged; what is already gone stays gone.
    pub fn prune(&self, keep: &BTreeSet<Digest>) -> Result<Pruned, StoreError> {
        let inner = &self.inner;
        let mut pruned = Pruned::default();
        let mut doomed = Vec::new();
        {
            // Pulls pin before they look, so whatever is decided under this lock is true for them.
            let pins = inner.pins();
            let mut needed: BTreeSet<Digest> = pins.keys().cloned().collect();
            for digest in inner.image_digests()? {
                if keep.contains(&digest) {
                    needed.extend(inner.diff_ids_of(&digest)?);
                } else {
                    doomed.push(inner.discard(&inner.image_path(&digest))?);
                    doomed.extend(inner.discard_if_there(&inner.dirs_path(&digest))?);
                    pruned.images.push(digest);
                }
            }
            for diff_id in hex_names(&inner.dir.join("layers"), "")? {
                if !needed.contains(&diff_id) {
                    // A damaged layer goes like any other; only its size is not known.
                    pruned.content_bytes += inner.layer(&diff_id).ok().flatten().map_or(0, |layer| layer.content_bytes);
                    pruned.layers += 1;
                    doomed.push(inner.discard(&inner.layer_path(&diff_id))?);
                }
            }
        }
        sweep(doomed);
        Ok(pruned)
    }
}

impl Inner {
    pub(super) fn image_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("images").join(format!("{}.json", digest.hex()))
    }

    pub(super) fn dirs_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("images").join(format!("{}.dirs", digest.hex()))
    }

    pub(super) fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.dir.join("layers").join(diff_id.hex())
    }

    pub(super) fn diff_path(&self, diff_id: &Digest) -> PathBuf {
        self.layer_path(diff_id).join("diff")
    }

    /// A new name under `tmp/`.
    pub(super) fn tmp_path(&self) -> PathBuf {
        self.dir.join("tmp").join(self.counter.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// A layer that is here, complete.
    pub(super) fn layer(&self, diff_id: &Digest) -> Result<Option<LayerRecord>, StoreError> {
        let record = LayerRecord::load(&self.layer_path(diff_id).join("layer.json"), diff_id)?;
        if record.is_some() && !self.diff_path(diff_id).is_dir() {
            return Err(StoreError::Damaged { path: self.layer_path(diff_id), problem: "its files are missing".to_owned() });
        }
        Ok(record)
    }

    /// The folders of an image, from its layers, bottom first.
    fn rootfs(&self, digest: &Digest, layers: &[LayerRecord]) -> RootfsLayers {
        let mut lowers = Vec::with_capacity(layers.len() + 1);
        let dirs = self.dirs_path(digest);
        if dirs.is_dir() {
            lowers.push(dirs);
        }
        for layer in overlay::visible(layers) {
            let path = self.diff_path(&layer.diff_id);
            // The same layer again, further down, adds nothing, and overlayfs refuses it.
            if !lowers.contains(&path) {
                lowers.push(path);
            }
        }
        if lowers.is_empty() {
            lowers.push(self.dir.join("empty"));
        }
        RootfsLayers { lowers }
    }

    fn summary(&self, digest: &Digest) -> Result<Option<ImageSummary>, StoreError> {
        let path = self.image_path(digest);
        let Some(record) = ImageRecord::load(&path, digest)? else { return Ok(None) };
        let (_, diff_ids) = record.config().map_err(|problem| StoreError::Damaged { path, problem })?;
        let mut content_bytes = 0;
        for diff_id in &diff_ids {
            content_bytes += self.layer(diff_id)?.map_or(0, |layer| layer.content_bytes);
        }
        Ok(Some(ImageSummary { digest: digest.clone(), reference: record.reference, layers: diff_ids.len(), content_bytes }))
    }

    fn image_digests(&self) -> Result<Vec<Digest>, StoreError> {
        hex_names(&self.dir.join("images"), ".json")
    }

    fn diff_ids_of(&self, digest: &Digest) -> Result<Vec<Digest>, StoreError> {
        let path = self.image_path(digest);
        let Some(record) = ImageRecord::load(&path, digest)? else { return Ok(Vec::new()) };
        let (_, diff_ids) = record.config().map_err(|problem| StoreError::Damaged { path, problem })?;
        Ok(diff_ids)
    }

    /// Makes a finished file or folder visible. Its content must have been synced.
    pub(super) fn commit(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        disk::rename(from, to)?;
        disk::sync_folder(to.parent().unwrap_or(to))
    }

    /// Moves something out of sight, into `tmp/`. Returns where it is now.
    pub(super) fn discard(&self, path: &Path) -> Result<PathBuf, StoreError> {
        let tmp = self.tmp_path();
        disk::rename_away(path, &tmp)?;
        Ok(tmp)
    }

    pub(super) fn discard_if_there(&self, path: &Path) -> Result<Option<PathBuf>, StoreError> {
        match self.discard(path) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// What an earlier process left under `tmp/`. New names start after it.
    fn leftovers(&self) -> Result<Vec<PathBuf>, StoreError> {
        let tmp = self.dir.join("tmp");
        let mut paths = Vec::new();
        for entry in fs::read_dir(&tmp).map_err(|e| StoreError::io("read", &tmp, e))? {
            let entry = entry.map_err(|e| StoreError::io("read", &tmp, e))?;
            let number: u64 = entry.file_name().to_str().and_then(|name| name.parse().ok()).unwrap_or(0);
            self.counter.fetch_max(number.saturating_add(1), Ordering::Relaxed);
            paths.push(entry.path());
        }
        Ok(paths)
    }

    pub(super) fn finishing(&self) -> MutexGuard<'_, ()> {
        self.finishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pins(&self) -> MutexGuard<'_, BTreeMap<Digest, Pin>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Layers that a pull needs; no prune takes them while this lives.
pub(super) struct Pins {
    inner: Arc<Inner>,
    diff_ids: Vec<Digest>,
}

impl Pins {
    pub(super) fn new(inner: &Arc<Inner>, diff_ids: Vec<Digest>) -> Pins {
        let mut pins = inner.pins();
        for diff_id in &diff_ids {
            pins.entry(diff_id.clone()).or_insert_with(|| Pin { holders: 0, making: Arc::default() }).holders += 1;
        }
        drop(pins);
        Pins { inner: Arc::clone(inner), diff_ids }
    }

    /// What to hold while making the layer. Only for layers that are pinned here.
    pub(super) fn making(&self, diff_id: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        self.inner.pins().get(diff_id).map(|pin| Arc::clone(&pin.making)).unwrap_or_default()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut pins = self.inner.pins();
        for diff_id in &self.diff_ids {
            if let Some(pin) = pins.get_mut(diff_id) {
                pin.holders -= 1;
                if pin.holders == 0 {
                    pins.remove(diff_id);
                }
            }
        }
    }
}

/// Something under `tmp/` that is removed unless it was renamed away.
pub(super) struct Scratch {
    pub(super) path: PathBuf,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = disk::remove(&self.path) {
            tracing::warn!(error = %coord_registry::chain(&error), "left behind until the next start");
        }
    }
}

/// Removes things under `tmp/`, in a thread of its own; what cannot be removed now is tried again at the next start.
fn sweep(paths: Vec<PathBuf>) {
    if paths.is_empty() {
        return;
    }
    let work = move || {
        for path in &paths {
            if let Err(error) = disk::remove(path) {
                tracing::warn!(error = %coord_registry::chain(&error), "left behind until the next start");
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("sweep".to_owned()).spawn(work) {
        tracing::warn!(%error, "no thread to remove with; left behind until the next start");
    }
}

/// The digests that a folder's names stand for, in order. Other names are none of ours and stay.
fn hex_names(folder: &Path, suffix: &str) -> Result<Vec<Digest>, StoreError> {
    let mut digests = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| StoreError::io("read", folder, e))? {
        let name = entry.map_err(|e| StoreError::io("read", folder, e))?.file_name();
        let digest =
            name.to_str().and_then(|name| name.strip_suffix(suffix)).and_then(|hex| format!("sha256:{hex}").parse().ok());
        digests.extend(digest);
    }
    digests.sort();
    Ok(digests)
}
