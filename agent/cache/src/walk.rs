//! A walk through a folder, in the order of lists. It follows no link, opens no pipe, and stays on the file system that it began on.

use crate::{CacheError, DEPTH_MAX, ENTRIES_MAX, disk, path};
use rustix::fs::{FileType, Stat};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};

/// What stands under a path.
pub(crate) enum Seen {
    /// A folder; what is in it comes next.
    Folder(Stat),
    /// A regular file, open for reading.
    File(File, Stat),
    /// A symbolic link, and where it leads.
    Link(Vec<u8>, Stat),
    /// Anything else.
    Special(Stat),
}

/// Takes a path, and what stands there.
pub(crate) type Each<'a> = dyn FnMut(&[u8], Seen) -> Result<(), CacheError> + 'a;

/// Calls `each` with every path below `root`. What vanishes meanwhile is passed over.
///
/// # Errors
/// What cannot be read; [`CacheError::TooMuch`], [`CacheError::MountWithin`], and those of `each`.
pub(crate) fn walk(root: OwnedFd, each: &mut Each<'_>) -> Result<(), CacheError> {
    let mut left = usize::try_from(ENTRIES_MAX).unwrap_or(usize::MAX);
    folder(&root, &mut Vec::new(), 0, &mut left, each)
}

fn folder(
    folder_fd: &OwnedFd,
    path: &mut Vec<u8>,
    depth: usize,
    left: &mut usize,
    each: &mut Each<'_>,
) -> Result<(), CacheError> {
    if depth == DEPTH_MAX {
        return Err(CacheError::TooMuch { limit: format!("{DEPTH_MAX} folders within folders") });
    }
    let names = disk::names(folder_fd, *left)?;
    *left -= names.len();
    for name in sorted(names) {
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        if path.len() > coord_tar::PATH_MAX_BYTES {
            return Err(CacheError::TooMuch { limit: "4095 bytes in a path".to_owned() });
        }
        if let Some(within) = one(folder_fd, &name, path, each)? {
            folder(&within, path, depth + 1, left, each)?;
        }
        path.truncate(length);
    }
    Ok(())
}

/// One name; the folder that it is, to go on with.
fn one(folder: &OwnedFd, name: &[u8], path: &[u8], each: &mut Each<'_>) -> Result<Option<OwnedFd>, CacheError> {
    let failed = |error: std::io::Error| CacheError::io("read", path, error);
    let mount = || CacheError::MountWithin { path: path::shown(&path::encode(path)) };
    let Some(stat) = disk::look(folder, name).map_err(failed)? else { return Ok(None) };
    let kind = disk::kind(&stat);
    if kind == FileType::Directory {
        let opened = match disk::open_folder_here(folder, name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?.ok_or_else(mount)?,
        };
        let stat = rustix::fs::fstat(opened.as_fd()).map_err(|error| failed(error.into()))?;
        each(path, Seen::Folder(stat))?;
        return Ok(Some(opened));
    }
    let seen = if kind == FileType::RegularFile {
        match disk::open_file_here(folder, name) {
            Ok(disk::Opened::File(file, stat)) => Seen::File(file, stat),
            Ok(disk::Opened::Other) => Seen::Special(stat),
            Ok(disk::Opened::Mount) => return Err(mount()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
    } else if kind == FileType::Symlink {
        match rustix::fs::readlinkat(folder, name, Vec::new()) {
            Ok(target) => Seen::Link(target.into_bytes(), stat),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        }
    } else {
        Seen::Special(stat)
    };
    each(path, seen)?;
    Ok(None)
}

/// In the order in which they stand in lists.
pub(crate) fn sorted(names: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut names = names;
    names.sort_by_cached_key(|name| path::encode(name));
    names
}
