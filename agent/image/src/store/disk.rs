//! Every change that the store makes to the disk: one function per kind, each with its error's words and a place to crash at.
//!
//! The order in which a thing becomes visible is always the same: made under `tmp/` (`create_dir`, `create_file`, `write_all`), synced
//! (`sync_file`, or `sync_file_system` for very many), then `rename` and `sync_folder` (`Inner::commit` does both). Leaving goes the
//! other way: `rename` into `tmp/`, then `remove`. Whoever changes the disk by other means (the writer of layers, folders made by
//! descriptors, mounts) passes `crash::point` by himself.
//!
//! Deliberately absent: reading, and any judgement of what should be there.

use super::crash;
use crate::error::StoreError;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

/// For folders and files that are nobody else's business.
pub(crate) const PRIVATE: u32 = 0o700;
/// For a folder that shows as the root of a container.
pub(crate) const OPEN_TO_ALL: u32 = 0o755;

/// Makes a folder that is not there yet, with exactly this mode whatever the umask.
pub(crate) fn create_dir(path: &Path, mode: u32) -> Result<(), StoreError> {
    crash::point("create a folder");
    DirBuilder::new().mode(mode).create(path).map_err(|e| StoreError::io("create", path, e))?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|e| StoreError::io("set the mode of", path, e))
}

/// The same, and its parents; one that is there already is fine, and stays as it is.
pub(crate) fn create_dir_all(path: &Path, mode: u32) -> Result<(), StoreError> {
    crash::point("create folders");
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(|e| StoreError::io("create", path, e))
}

/// A new file, open for reading and writing; one that is there already is an error.
pub(crate) fn create_file(path: &Path) -> Result<File, StoreError> {
    crash::point("create a file");
    let mut options = File::options();
    options.read(true).write(true).create_new(true).open(path).map_err(|e| StoreError::io("create", path, e))
}

/// A file to lock, made if it is not there. Open for reading alone, so that it keeps no disk from becoming read-only.
pub(crate) fn open_lock(path: &Path) -> Result<File, StoreError> {
    crash::point("open a file");
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    opened.map(File::from).map_err(|e| StoreError::io("open", path, e))
}

/// Appends bytes to a file where it stands. `path` is for the error.
pub(crate) fn write_all(mut file: &File, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    crash::point("write");
    file.write_all(bytes).map_err(|e| StoreError::io("write", path, e))
}

/// A new small file with this content, synced.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let file = create_file(path)?;
    write_all(&file, path, bytes)?;
    sync_file(&file, path)
}

/// A file's bytes and size survive a power cut from here on. Not its name: see `sync_folder`.
pub(crate) fn sync_file(file: &File, path: &Path) -> Result<(), StoreError> {
    crash::point("sync a file");
    file.sync_all().map_err(|e| StoreError::io("sync", path, e))
}

/// A new small file with this content, not synced: for `sync_together`.
pub(crate) fn write_unsynced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write_all(&create_file(path)?, path, bytes)
}

/// Files and folders survive a power cut from here on, all that was written to each. They are synced at the same time, because a file
/// system then writes its journal once for all of them: three milliseconds instead of three for each.
pub(crate) fn sync_together(paths: &[&Path]) -> Result<(), StoreError> {
    let Some((last, others)) = paths.split_last() else { return Ok(()) };
    std::thread::scope(|scope| {
        let start = |path: &&Path| {
            let path = path.to_path_buf();
            let work = {
                let path = path.clone();
                move || sync_path(&path)
            };
            let started = std::thread::Builder::new().name("sync".to_owned()).spawn_scoped(scope, work);
            (path, started)
        };
        let started: Vec<_> = others.iter().map(start).collect();
        let mut result = sync_path(last);
        for (path, started) in started {
            let synced = match started {
                Ok(thread) => {
                    thread.join().unwrap_or_else(|_| Err(StoreError::io("sync", &path, io::Error::other("a thread died"))))
                }
                // No thread to be had: one after the other, then.
                Err(_) => sync_path(&path),
            };
            result = result.and(synced);
        }
        result
    })
}

fn sync_path(path: &Path) -> Result<(), StoreError> {
    crash::point("sync one of several");
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| StoreError::io("sync", path, e))
}

/// A folder's names survive a power cut from here on.
pub(crate) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    crash::point("sync a folder");
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|e| StoreError::io("sync", path, e))
}

/// Everything written to the file system of `folder`, in one go: a sync per file would take minutes.
pub(crate) fn sync_file_system(folder: impl AsFd, path: &Path) -> Result<(), StoreError> {
    crash::point("sync the file system");
    rustix::fs::syncfs(folder).map_err(|e| StoreError::io("sync", path, e))
}

/// Gives a file or folder another name, in one step; a file that had that name is gone. To survive a power cut, `sync_folder` the
/// parent.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    crash::point("rename");
    fs::rename(from, to).map_err(|e| StoreError::io("rename into place", to, e))
}

/// The same for what is on its way out: the error names the old name.
pub(crate) fn rename_away(from: &Path, to: &Path) -> Result<(), StoreError> {
    crash::point("rename away");
    fs::rename(from, to).map_err(|e| StoreError::io("remove", from, e))
}

/// Removes a file or a folder with all that is in it; gone already is fine.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    crash::point("remove");
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path, e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Sets the time of last modification to now; that is how the store remembers a last use.
pub(crate) fn touch(path: &Path) -> Result<(), StoreError> {
    crash::point("touch");
    let at = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps { last_access: at(UTIME_OMIT), last_modification: at(UTIME_NOW) };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| StoreError::io("set the time of", path, e))
}
