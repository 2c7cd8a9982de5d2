//! A walk through a folder, in the order of lists. It follows no link and opens no pipe.

use crate::{CacheError, DEPTH_MAX, ENTRIES_MAX, Mounts, disk, path};
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

/// Takes a path, and what stands there; says whether to go into it, if it is a folder.
pub(crate) type Each<'a> = dyn FnMut(&[u8], Seen) -> Result<bool, CacheError> + 'a;

/// Calls `each` with every path below `root`, a folder before what is in it. What vanishes meanwhile is passed over.
///
/// # Errors
/// What cannot be read; [`CacheError::TooMuch`], [`CacheError::MountWithin`], and those of `each`.
pub(crate) fn walk(root: OwnedFd, mounts: Mounts, each: &mut Each<'_>) -> Result<(), CacheError> {
    let left = usize::try_from(ENTRIES_MAX).unwrap_or(usize::MAX);
    let mut walk = Walk { mounts, left, each };
    walk.folder(&root, &mut Vec::new(), 0)
}

struct Walk<'a, 'b> {
    mounts: Mounts,
    /// Paths that may still come.
    left: usize,
    each: &'a mut Each<'b>,
}

impl Walk<'_, '_> {
    fn folder(&mut self, folder: &OwnedFd, path: &mut Vec<u8>, depth: usize) -> Result<(), CacheError> {
        if depth == DEPTH_MAX {
            return Err(CacheError::TooMuch { limit: format!("{DEPTH_MAX} folders within folders") });
        }
        let names = disk::names(folder, self.left)?;
        self.left -= names.len();
        for name in sorted(names) {
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            if path.len() > coord_tar::PATH_MAX_BYTES {
                return Err(CacheError::TooMuch { limit: "4095 bytes in a path".to_owned() });
            }
            if let Some(within) = self.one(folder, &name, path)? {
                self.folder(&within, path, depth + 1)?;
            }
            path.truncate(length);
        }
        Ok(())
    }

    /// One name; the folder that it is, to go on with.
    fn one(&mut self, folder: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Option<OwnedFd>, CacheError> {
        let failed = |error: std::io::Error| CacheError::io("read", path, error);
        let mount = || CacheError::MountWithin { path: path::shown(&path::encode(path)) };
        let Some(stat) = disk::look(folder, name).map_err(failed)? else { return Ok(None) };
        let kind = disk::kind(&stat);
        if kind == FileType::Directory {
            let opened = match disk::open_folder_here(folder, name, self.mounts) {
                Err(error) if self.passes_over(&error) => return Ok(None),
                Ok(None) if self.mounts == Mounts::PassOver => return Ok(None),
                opened => opened.map_err(failed)?.ok_or_else(mount)?,
            };
            let stat = rustix::fs::fstat(opened.as_fd()).map_err(|error| failed(error.into()))?;
            let goes_on = (self.each)(path, Seen::Folder(stat))?;
            return Ok(goes_on.then_some(opened));
        }
        let seen = if kind == FileType::RegularFile {
            match disk::open_file_here(folder, name, self.mounts) {
                Ok(disk::Opened::File(file, stat)) => Seen::File(file, stat),
                Ok(disk::Opened::Other) => Seen::Special(stat),
                Ok(disk::Opened::Mount) if self.mounts == Mounts::PassOver => return Ok(None),
                Ok(disk::Opened::Mount) => return Err(mount()),
                Err(error) if self.passes_over(&error) => return Ok(None),
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
        (self.each)(path, seen)?;
        Ok(None)
    }

    /// It vanished meanwhile, or nothing that cannot be opened matters.
    fn passes_over(&self, error: &std::io::Error) -> bool {
        error.kind() == std::io::ErrorKind::NotFound || self.mounts == Mounts::PassOver
    }
}

/// In the order in which they stand in lists.
pub(crate) fn sorted(names: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut names = names;
    names.sort_by_cached_key(|name| path::encode(name));
    names
}
