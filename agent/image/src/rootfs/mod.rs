//! From an image's layers to a mounted root file system.
//!
//! ```text
//!   chain     a list of layers as one EROFS image
//!   probe     what this host can do, once, when the store is opened
//!   attach    mounting an EROFS image from files or loop devices
//!   table     what is mounted already
//!   view      an image for people to look at
//! ```
//! A list of layers (a chain) is mounted at most once on a host, at `mnt/HEX`, so that all containers of it share the page cache.
//! Nothing is written down about mounts: the kernel's table is the truth. Whoever uses a mount keeps it alive, also when it has lost
//! its place; so a place can be cleared at any time.

pub(crate) mod attach;
mod chain;
mod probe;
mod table;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use chain::{is_intact, mount, prepare};
pub(crate) use probe::probe;
pub use probe::{Host, Shortcoming};
pub(crate) use view::{hide, show};

use crate::error::StoreError;
use crate::store::{crash, disk};
use std::io;
use std::path::{Path, PathBuf};

/// What an EROFS image and its contents are mounted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// The files themselves.
    File,
    /// Loop devices.
    Loop,
}

/// An EROFS image, and the files with the contents, in the order of its device table.
pub(crate) struct Source<'a> {
    pub(crate) meta: &'a Path,
    pub(crate) devices: &'a [PathBuf],
}

/// Whether a chain is mounted at `place`, a folder of `mnt/` in the store. Anything else that is mounted there is taken away.
fn is_mounted(store: &Path, place: &Path) -> Result<bool, StoreError> {
    let mounts = mounts_at(place)?;
    if let [only] = &mounts[..]
        && table::is_ours(only, store)
    {
        return Ok(true);
    }
    for mount in mounts {
        let (kind, source) = (mount.kind.display(), mount.source.display());
        tracing::warn!(place = %place.display(), %kind, %source, "mounted by somebody else; taken away");
        clear_once(place)?;
    }
    Ok(false)
}

/// Mounts at `place`, where nothing is mounted. For one caller at a time.
fn mount_source(host: &Host, source: &Source<'_>, place: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::io("mount", source.meta, error);
    let backing = host.backing.ok_or_else(|| failed(io::ErrorKind::Unsupported.into()))?;
    if !place.is_dir() {
        disk::create_dir_all(place, disk::PRIVATE)?;
    }
    let mounted = attach::erofs(source.meta, source.devices, backing, host.direct_io).map_err(failed)?;
    crash::point("mount");
    mounted.attach(place).map_err(failed)
}

/// Takes whatever is mounted at a folder, or nothing, away. Who uses it keeps it.
pub(crate) fn clear(place: &Path) -> Result<(), StoreError> {
    mounts_at(place)?.iter().try_for_each(|_| clear_once(place))
}

fn clear_once(place: &Path) -> Result<(), StoreError> {
    crash::point("unmount");
    attach::detach(place).map_err(|error| StoreError::io("unmount", place, error))
}

/// The folders in `folder` at which something is mounted.
pub(crate) fn mounted_in(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut places: Vec<PathBuf> = table::mounts_in(folder)?.into_iter().map(|mount| mount.place).collect();
    places.dedup();
    Ok(places)
}

fn mounts_at(place: &Path) -> Result<Vec<table::Mount>, StoreError> {
    let mut mounts = table::mounts_in(place.parent().unwrap_or(place))?;
    mounts.retain(|mount| mount.place.file_name() == place.file_name());
    Ok(mounts)
}
