//! The images of a host: what is here, and who may touch it.
//!
//! Things enter by a rename out of `tmp/` after a sync, and leave by a rename into it; so whatever has its name is whole, and
//! cleaning up after a crash is emptying `tmp/`. See `layout` for what lies where.
//!
//! ```text
//!   layout    names and paths                       pins     what pulls in flight hold
//!   disk      every change of the disk              room     what is free, what is in reserve
//!   crash     where tests pull the plug             views    what people and the agent are told
//!   collect   what goes when, and its going         verify   whether it still is what it was
//! ```

mod collect;
pub(crate) mod crash;
pub(crate) mod disk;
pub(crate) mod layout;
mod pins;
mod room;
pub(crate) mod sums;
mod verify;
mod views;

pub use collect::Pruned;
pub(crate) use pins::{Pins, Scratch};
pub use room::Usage;
pub use verify::{Finding, Object};
pub use views::{Format, ImageDetails, ImageSummary, LayerDetails};

use super::Image;
use super::error::StoreError;
use super::fetch::{Downloads, Retry, SPOOL_AFTER};
use super::pipeline::Memory;
use super::pull::Flights;
use super::record::{ImageRecord, LayerRecord};
use super::rootfs::{self, Host};
use coord_registry::HostPlatform;
use coord_shared::names::Digest;
use coord_tar::Limits;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
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
    /// A download that has waited longer than this for the network is kept on disk, so that the next agent need not begin anew.
    pub spool_after: Duration,
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
            spool_after: SPOOL_AFTER,
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
    /// What all pulls fetch through.
    pub(super) downloads: Downloads,
    /// Limits the layers in the making.
    pub(super) slots: Arc<Semaphore>,
    pins: Mutex<pins::Board>,
    /// Held by whoever removes what nobody needs.
    collecting: Mutex<()>,
    /// Pulls under way.
    pub(super) flights: Flights,
    /// Of decoders.
    pub(super) memory: Memory,
    /// Held while records of images are written.
    finishing: Mutex<()>,
    /// Held while images are mounted, or their directories stacked.
    mounting: Mutex<()>,
    host: Host,
    /// Makes names under `tmp/` unique.
    counter: AtomicU64,
    /// Locked for as long as the store is open.
    _lock: File,
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
        layout::create(&dir)?;
        let lock_path = dir.join("lock");
        let lock = disk::open_lock(&lock_path)?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => StoreError::InUse { path: dir.clone() },
            TryLockError::Error(e) => StoreError::io("lock", &lock_path, e),
        })?;
        let host = rootfs::probe(&dir, options.format);
        let (bandwidth, after) = (options.bandwidth_bytes_per_s, options.spool_after);
        let downloads = Downloads::new(dir.join("partial"), options.reserve_bytes, bandwidth, after);
        let inner = Inner {
            dir,
            options,
            downloads,
            slots: Arc::new(Semaphore::new(LAYERS_AT_ONCE)),
            pins: Mutex::default(),
            collecting: Mutex::default(),
            flights: Flights::default(),
            memory: Memory::default(),
            finishing: Mutex::default(),
            mounting: Mutex::default(),
            host,
            counter: AtomicU64::new(0),
            _lock: lock,
        };
        pins::sweep_behind(inner.leftovers()?);
        Ok(ImageStore { inner: Arc::new(inner) })
    }

    /// What this host can do for images, and why not more.
    pub fn host(&self) -> &Host {
        &self.inner.host
    }

    /// An image that is here, complete: its record is read, and that each layer is there with its size, not its bytes.
    ///
    /// # Errors
    /// `Damaged` when its record or a layer is not as it was written: pulling it again repairs it.
    pub fn get(&self, digest: &Digest) -> Result<Option<Image>, StoreError> {
        let path = self.inner.image_path(digest);
        let Some(record) = ImageRecord::load(&path, digest)? else { return Ok(None) };
        let damaged = |problem: String| StoreError::Damaged { path: path.clone(), problem };
        let image = record.config().map_err(damaged)?;
        for diff_id in &image.diff_ids {
            self.inner.layer(diff_id)?.ok_or_else(|| damaged(format!("its layer {diff_id} is missing")))?;
        }
        Ok(Some(Image {
            digest: digest.clone(),
            config: image.config,
            healthcheck: image.healthcheck,
            annotations: record.annotations,
        }))
    }

    /// Notes that an image is used now. One that is not here is nobody's loss.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn touch(&self, digest: &Digest) -> Result<(), StoreError> {
        match disk::touch(&self.inner.image_path(digest)) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Notes one more name for an image that is here, and that it is used now. What cannot be noted is a warning: the image is here.
    pub(crate) fn remember(&self, digest: &Digest, reference: &str) {
        if let Err(error) = self.try_remember(digest, reference) {
            tracing::warn!(image = %digest, error = %coord_registry::chain(&error), "its name or use is not noted");
        }
    }

    fn try_remember(&self, digest: &Digest, reference: &str) -> Result<(), StoreError> {
        let _alone = self.inner.finishing();
        let path = self.inner.image_path(digest);
        let Some(mut record) = ImageRecord::load(&path, digest)? else { return Ok(()) };
        if !record.add_reference(reference) {
            return self.touch(digest);
        }
        let scratch = Scratch { path: self.inner.tmp_path() };
        record.save(&scratch.path)?;
        self.inner.commit(&scratch.path, &path)
    }
}

impl Inner {
    /// A layer that is here, complete: as an archive of the right size, or as a directory.
    pub(super) fn layer(&self, diff_id: &Digest) -> Result<Option<LayerRecord>, StoreError> {
        let Some(record) = LayerRecord::load(&self.layer_path(diff_id).join("layer.json"), diff_id)? else { return Ok(None) };
        if self.has_archive(&record)? || self.diff_path(diff_id).is_dir() {
            return Ok(Some(record));
        }
        Err(StoreError::Damaged { path: self.layer_path(diff_id), problem: "its files are missing".to_owned() })
    }

    /// Whether a layer is here as an archive; one of another size is none.
    pub(super) fn has_archive(&self, layer: &LayerRecord) -> Result<bool, StoreError> {
        let size = |path: PathBuf| match path.symlink_metadata() {
            Ok(meta) => Ok(meta.is_file().then_some(meta.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::io("look at", path, e)),
        };
        let is_whole = size(self.tar_path(&layer.diff_id))? == Some(layer.archive_bytes);
        Ok(is_whole && (layer.expanded_bytes == 0 || size(self.expanded_path(&layer.diff_id))? == Some(layer.expanded_bytes)))
    }

    /// How new layers are kept.
    pub(super) fn format(&self) -> Format {
        if self.host.backing.is_some() { Format::Archive } else { Format::Directory }
    }

    /// Whether layers are to be mounted as an EROFS image: all are here as archives, and the host can.
    pub(super) fn are_archives(&self, diff_ids: &[Digest]) -> Result<bool, StoreError> {
        if diff_ids.is_empty() || self.host.backing.is_none() {
            return Ok(false);
        }
        for diff_id in diff_ids {
            let Some(layer) = self.layer(diff_id)? else { return Ok(false) };
            if !self.has_archive(&layer)? {
                return Ok(false);
            }
        }
        Ok(true)
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

    pub(super) fn finishing(&self) -> MutexGuard<'_, ()> {
        self.finishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn mounting(&self) -> MutexGuard<'_, ()> {
        self.mounting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn collecting(&self) -> MutexGuard<'_, ()> {
        self.collecting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pins(&self) -> MutexGuard<'_, pins::Board> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
