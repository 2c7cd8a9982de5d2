//! Deletes a folder that a container has filled, which may have done so with malice.
//!
//! Folders may be nested deeper than any path, stack or table of descriptors reaches. So none is descended into: the folders within a
//! folder are moved up beside it, until each is empty. Nothing is followed: no link, no mount.

use super::VolumesError;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

/// Deletes `folder` and all that is in it. Blocks. May be repeated where it failed.
pub(crate) fn delete(folder: &Path) -> Result<(), VolumesError> {
    let fail = |error: Errno| VolumesError::File { operation: "delete", path: folder.to_owned(), source: error.into() };
    let top = match rustix::fs::openat(CWD, folder, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        top => top.map_err(fail)?,
    };
    let mut moved = 0;
    while empty_once(&top, &mut moved).map_err(fail)? {}
    match rustix::fs::unlinkat(CWD, folder, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(fail(error)),
    }
}

/// One pass over what lies in `top`; whether there was anything.
fn empty_once(top: &OwnedFd, moved: &mut u64) -> Result<bool, Errno> {
    let mut any = false;
    for_each(top.as_fd(), |name, is_folder| {
        any = true;
        if is_folder { clear(top, name, moved) } else { rustix::fs::unlinkat(top, name, AtFlags::empty()) }
    })?;
    Ok(any)
}

/// Deletes the folder `name` of `top`; the folders within it end up in `top`.
fn clear(top: &OwnedFd, name: &CStr, moved: &mut u64) -> Result<(), Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let folder = rustix::fs::openat2(top, name, flags, Mode::empty(), resolve)?;
    loop {
        let mut any = false;
        for_each(folder.as_fd(), |name, is_folder| {
            any = true;
            if !is_folder {
                return rustix::fs::unlinkat(&folder, name, AtFlags::empty());
            }
            match rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => move_up(&folder, name, top, moved),
                done => done,
            }
        })?;
        if !any {
            break;
        }
    }
    rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR)
}

/// Under a name that nothing has yet.
fn move_up(folder: &OwnedFd, name: &CStr, top: &OwnedFd, moved: &mut u64) -> Result<(), Errno> {
    loop {
        *moved += 1;
        match rustix::fs::renameat_with(folder, name, top, moved.to_string(), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            done => return done,
        }
    }
}

/// Tells each entry's name, and whether it is a folder.
fn for_each(folder: BorrowedFd<'_>, mut tell: impl FnMut(&CStr, bool) -> Result<(), Errno>) -> Result<(), Errno> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name: CString = entry.file_name().to_owned();
        if name.as_bytes() == b"." || name.as_bytes() == b".." {
            continue;
        }
        let is_folder = match entry.file_type() {
            FileType::Directory => true,
            // Some file systems do not say.
            FileType::Unknown => {
                let found = rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(found.st_mode) == FileType::Directory
            }
            FileType::RegularFile
            | FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice => false,
        };
        tell(&name, is_folder)?;
    }
    Ok(())
}
