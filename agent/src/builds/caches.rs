//! Folders that a pipeline keeps between its runs.
//!
//! An absolute one is mounted into the container. A relative one lies in the workspace while a run uses it and is taken back afterwards,
//! by one rename each way: so what is packed out of it is found there. A cache is a folder `caches/HASH` of its pipeline, named by its
//! path. Deliberately absent: sharing between pipelines, which would let one of them write what another one runs.

use super::disk;
use super::error::BuildError;
use super::places::{Places, make_folder, names};
use crate::volumes;
use coord_shared::names::{Digest, PipelineName};
use coord_shared::pipeline::Pipeline;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Hexadecimal digits of a path's digest: no two caches of a pipeline share them.
const HASH_DIGITS: usize = 16;
/// Caches may take this part of a pipeline's room before a run; the rest is for what it makes.
const CACHES_SHARE: u64 = 2;

/// The folder of a cache.
pub(super) fn folder(places: &Places, pipeline: &PipelineName, path: &str) -> PathBuf {
    let digest = Digest::of(path.as_bytes());
    let digits: String = digest.as_str().rsplit(':').next().unwrap_or_default().chars().take(HASH_DIGITS).collect();
    places.caches(pipeline).join(digits)
}

/// The relative caches of all stages, each once.
pub(super) fn relative(pipeline: &Pipeline) -> Vec<String> {
    let stages = [&pipeline.build, &pipeline.test].into_iter().flatten();
    let mut paths: Vec<String> = stages.flat_map(|stage| &stage.cache).filter(|path| !path.starts_with('/')).cloned().collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Makes the folder of an absolute cache where there is none. `open` is for users of the container that are not its root.
pub(super) fn make(places: &Places, pipeline: &PipelineName, path: &str, open: bool) -> Result<PathBuf, BuildError> {
    let folder = folder(places, pipeline, path);
    if !folder.is_dir() {
        make_folder(&places.caches(pipeline))?;
        fs::create_dir(&folder).map_err(BuildError::file("make", &folder))?;
        let mode = if open { 0o777 } else { 0o755 };
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).map_err(BuildError::file("make", &folder))?;
    }
    touch(&folder);
    Ok(folder)
}

/// Puts a relative cache into the workspace. False where the source has something of this name, which stays. Blocks.
pub(super) fn put(places: &Places, pipeline: &PipelineName, path: &str) -> Result<bool, BuildError> {
    let (from, workspace) = (folder(places, pipeline, path), places.workspace(pipeline));
    let failed = |error: Errno| BuildError::file("put a cache into", &workspace.join(path))(error.into());
    let Some((parent, name)) = parent_of(&workspace, path, true).map_err(failed)? else { return Ok(false) };
    if !from.is_dir() {
        // What the steps make there is kept; what the source brings along is not.
        return Ok(rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).is_err());
    }
    match rustix::fs::renameat_with(CWD, &from, &parent, name, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR | Errno::ISDIR) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// Takes it back, in place of what lies there. What is no folder any more is no cache. Blocks.
pub(super) fn take_back(places: &Places, pipeline: &PipelineName, path: &str) -> Result<(), BuildError> {
    let (to, workspace) = (folder(places, pipeline, path), places.workspace(pipeline));
    let failed = |error: Errno| BuildError::file("take a cache from", &workspace.join(path))(error.into());
    let Ok(Some((parent, name))) = parent_of(&workspace, path, false) else { return Ok(()) };
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::PATH | OFlags::CLOEXEC;
    if rustix::fs::openat(&parent, name, flags, Mode::empty()).is_err() {
        return Ok(());
    }
    make_folder(&places.caches(pipeline))?;
    volumes::delete(&to).map_err(BuildError::Remove)?;
    rustix::fs::renameat(&parent, name, CWD, &to).map_err(failed)?;
    touch(&to);
    Ok(())
}

/// Removes caches, those that were used longest ago first, until they leave room for a run. Blocks. Returns how many went.
pub(super) fn drop_oldest(places: &Places, pipeline: &PipelineName, disk_bytes: u64) -> Result<usize, BuildError> {
    let caches = places.caches(pipeline);
    let mut all = Vec::new();
    for path in names(&caches).into_iter().map(|name| caches.join(name)) {
        let used_at = fs::symlink_metadata(&path).and_then(|found| found.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        // One that cannot be measured is larger than any other.
        let bytes = disk::measure_all(std::slice::from_ref(&path), u64::MAX).unwrap_or(u64::MAX);
        all.push((used_at, bytes, path));
    }
    all.sort();
    let mut sum = all.iter().fold(0_u64, |sum, (_, bytes, _)| sum.saturating_add(*bytes));
    let mut dropped = 0;
    for (_, bytes, path) in all {
        if sum <= disk_bytes / CACHES_SHARE {
            break;
        }
        volumes::delete(&path).map_err(BuildError::Remove)?;
        sum = sum.saturating_sub(bytes);
        dropped += 1;
    }
    Ok(dropped)
}

/// The folder in which the last part of `path` lies, and that part. `None` where a part of the way is no folder, or a link.
fn parent_of<'a>(workspace: &Path, path: &'a str, make: bool) -> Result<Option<(OwnedFd, &'a str)>, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let mut at = rustix::fs::openat(CWD, workspace, flags, Mode::empty())?;
    let mut parts = path.trim_end_matches('/').split('/').filter(|part| !part.is_empty() && *part != ".").peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return Ok(Some((at, part)));
        }
        if make {
            match rustix::fs::mkdirat(&at, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        at = match rustix::fs::openat2(&at, part, flags, Mode::empty(), resolve) {
            Err(Errno::LOOP | Errno::NOTDIR | Errno::NOENT | Errno::XDEV) => return Ok(None),
            opened => opened?,
        };
    }
    Ok(None)
}

/// Its time is that of its last use.
fn touch(folder: &Path) {
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
    // One with an older time goes earlier: that is all.
    let _ = rustix::fs::utimensat(CWD, folder, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
}
