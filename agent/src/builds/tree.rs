//! Goes through a folder that a step may have filled with malice: nothing is followed, and neither depth nor number of folders costs the
//! agent its stack, its descriptors or its memory.

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// A path that is longer cannot be opened in one go.
const PATH_MAX_BYTES: usize = 3500;
/// Folders that are known and not looked into yet.
const PENDING_MAX: usize = 200_000;

/// Tells everything below `top`: the folder in which it lies, its name there, and what it is. What goes meanwhile is passed over. Blocks.
///
/// # Errors
/// `NAMETOOLONG` where folders are too deep or too many; and the first error that `tell` gives back.
pub(super) fn for_each(top: &Path, mut tell: impl FnMut(BorrowedFd<'_>, &CStr, &Stat) -> Result<(), Errno>) -> Result<(), Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::openat(CWD, top, flags, Mode::empty())?;
    let mut pending = vec![PathBuf::from(".")];
    while let Some(path) = pending.pop() {
        look_into(&top, &path, &mut pending, &mut tell)?;
        if pending.len() > PENDING_MAX {
            return Err(Errno::NAMETOOLONG);
        }
    }
    Ok(())
}

fn look_into(
    top: &OwnedFd,
    path: &Path,
    pending: &mut Vec<PathBuf>,
    tell: &mut impl FnMut(BorrowedFd<'_>, &CStr, &Stat) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let Ok(folder) = rustix::fs::openat2(top, path, flags, Mode::empty(), resolve) else { return Ok(()) };
    for entry in Dir::read_from(folder.as_fd())? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(found) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            let below = path.join(OsStr::from_bytes(name.to_bytes()));
            if below.as_os_str().len() > PATH_MAX_BYTES {
                return Err(Errno::NAMETOOLONG);
            }
            pending.push(below);
        }
        tell(folder.as_fd(), name, &found)?;
    }
    Ok(())
}
