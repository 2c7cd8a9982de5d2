//! From an image's layers to a mounted root file system.
//!
//! ```text
//!   probe     what this host can do, once, when the store is opened
//!   attach    mounting an EROFS image from files or loop devices
//!   table     what is mounted already
//! ```
//! A list of layers (a chain) is mounted at most once on a host, at `mnt/HEX`, so that all containers of it share the page cache.
//! Nothing is written down about mounts: the kernel's table is the truth. Whoever uses a mount keeps it alive, also when it has lost
//! its place; so a place can be cleared at any time.

pub(crate) mod attach;
mod probe;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use probe::probe;
pub use probe::{Host, Shortcoming};

use crate::error::StoreError;
use crate::store::{crash, disk};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
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

/// Mounts at `place`, a folder of `mnt/` in the store, unless that was done already. Anything else that is mounted there is taken
/// away. For one caller at a time.
pub(crate) fn mount_at_place(host: &Host, store: &Path, source: &Source<'_>, place: &Path) -> Result<(), StoreError> {
    let Some(backing) = host.backing else {
        return Err(StoreError::io("mount", place, io::ErrorKind::Unsupported));
    };
    if !place.is_dir() {
        disk::create_dir_all(place, disk::PRIVATE)?;
    }
    let mounts = mounts_at(place)?;
    if let [only] = &mounts[..]
        && table::is_ours(only, store)
    {
        return Ok(());
    }
    for mount in mounts {
        tracing::warn!(place = %place.display(), kind = %mount.kind.display(), source = %mount.source.display(), "mounted by somebody else; taken away");
        clear_once(place)?;
    }
    let failed = |error| StoreError::io("mount", source.meta, error);
    let mounted = attach::erofs(source.meta, source.devices, backing, host.direct_io).map_err(failed)?;
    crash::point("mount");
    mounted.attach(place).map_err(failed)
}

/// Takes whatever is mounted at a folder away. Who uses it keeps it.
pub(crate) fn clear(place: &Path) -> Result<(), StoreError> {
    for _ in mounts_at(place)? {
        clear_once(place)?;
    }
    Ok(())
}

fn clear_once(place: &Path) -> Result<(), StoreError> {
    crash::point("unmount");
    attach::detach(place).map_err(|error| StoreError::io("unmount", place, error))
}

/// The folders in `folder` at which something is mounted, by name.
pub(crate) fn mounted_in(folder: &Path) -> Result<BTreeSet<OsString>, StoreError> {
    let mounts = table::mounts_in(folder)?;
    Ok(mounts.iter().filter_map(|mount| mount.place.file_name().map(OsStr::to_owned)).collect())
}

fn mounts_at(place: &Path) -> Result<Vec<table::Mount>, StoreError> {
    let mut mounts = table::mounts_in(place.parent().unwrap_or(place))?;
    mounts.retain(|mount| mount.place.file_name() == place.file_name());
    Ok(mounts)
}
