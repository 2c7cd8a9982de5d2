//! Fills a new volume with what the image has at its place, as engines do: owners, modes, times, symlinks, hard links,
//! FIFOs and extended attributes included.
//!
//! The image is hostile: nothing is followed, everything is reached from an open folder by one name at a time. A copy that
//! was cut short is found by a file beside the volume's folder, and made anew. A volume that holds anything else is left
//! alone. Deliberately absent: device files and sockets, which nobody could use there.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat,
    copy_file_range, fchmod, fchown, fgetxattr, flistxattr, flock, fsetxattr, fstat, linkat, mkdirat, mknodat, openat,
    readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::request::UserRange;

/// Beside the volume's folder while it is being filled.
const MARK: &str = ".filling";

/// Folders in folders. Two files are open for each; programs could not use much deeper ones.
const DEPTH_MAX: usize = 256;

/// The kernel's limit for one extended attribute, and for the list of their names.
const XATTR_MAX_BYTES: usize = 64 * 1024;

/// Bytes copied with one call.
const PIECE_BYTES: usize = 64 << 20;

/// The most recent layout of `security.capability`, which holds the host's number of root, and the one without it
/// (linux/capability.h: VFS_CAP_REVISION_3 and _2, with the flag in the lowest bit kept).
const CAPABILITY: &str = "security.capability";
const CAPABILITY_3: u32 = 0x0300_0000;
const CAPABILITY_2: u32 = 0x0200_0000;
const CAPABILITY_2_BYTES: usize = 20;

/// Fills the folder `volume` with what is in `image`, unless it holds something. `users` are those of the container.
pub(crate) fn fill(volume: &Path, image: BorrowedFd<'_>, users: Option<UserRange>) -> io::Result<()> {
    let mark = volume.parent().ok_or(io::ErrorKind::NotFound)?.join(MARK);
    let interrupted = mark.exists();
    if !interrupted && !is_empty(volume)? {
        return Ok(());
    }
    let lock = File::options().create(true).append(true).open(&mark)?;
    flock(&lock, FlockOperation::LockExclusive)?;
    // Somebody else may have done it while this waited.
    if !mark.exists() {
        return Ok(());
    }
    lock.sync_all()?;
    if interrupted {
        empty(volume)?;
    }
    let to = open_folder(rustix::fs::CWD, &CString::new(volume.as_os_str().as_encoded_bytes())?)?;
    let from = openat(image, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut copy = Copy { users, volume: to.as_fd(), links: HashMap::new() };
    copy.folder(from.as_fd(), to.as_fd(), Path::new(""))?;
    rustix::fs::syncfs(&to)?;
    fs::remove_file(&mark)
}

fn is_empty(folder: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(folder)?.next().is_none())
}

fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

fn open_folder(at: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

struct Copy<'a> {
    users: Option<UserRange>,
    volume: BorrowedFd<'a>,
    /// Files with several names: where in the volume each has been copied to first, by its number.
    links: HashMap<u64, PathBuf>,
}

impl Copy<'_> {
    /// Everything in a folder, and then what it is itself: its times are those of the last change.
    fn folder(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        if path.iter().count() > DEPTH_MAX {
            return Err(io::Error::other("the image's folders are too deep"));
        }
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                self.entry(from, to, name, &path.join(OsStr::from_bytes(name.to_bytes())))?;
            }
        }
        let stat = fstat(from)?;
        copy_xattrs(from, to)?;
        self.own(&stat, to)?;
        rustix::fs::futimens(to, &times(&stat))?;
        Ok(())
    }

    fn entry(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, path: &Path) -> io::Result<()> {
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&stat.st_ino) {
                // Every folder on the way is one that this has made.
                return Ok(linkat(self.volume, first, to, name, AtFlags::empty())?);
            }
            self.links.insert(stat.st_ino, path.to_owned());
        }
        match kind {
            FileType::Directory => {
                mkdirat(to, name, Mode::RWXU)?;
                let (from, to) = (open_folder(from, name)?, open_folder(to, name)?);
                self.folder(from.as_fd(), to.as_fd(), path)
            }
            FileType::RegularFile => self.file(from, to, name, &stat),
            FileType::Symlink => {
                symlinkat(readlinkat(from, name, Vec::new())?, to, name)?;
                self.own_name(&stat, to, name)
            }
            FileType::Fifo => {
                mknodat(to, name, FileType::Fifo, Mode::from_raw_mode(stat.st_mode & 0o7777), 0)?;
                self.own_name(&stat, to, name)
            }
            FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => Ok(()),
        }
    }

    fn file(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
        let from = openat(from, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
        copy_content(from.as_fd(), to.as_fd())?;
        self.own(stat, to.as_fd())?;
        // After the owner, whose change would take capabilities away.
        copy_xattrs(from.as_fd(), to.as_fd())?;
        Ok(rustix::fs::futimens(&to, &times(stat))?)
    }

    /// Gives `to` the owner and the mode of what it is a copy of.
    fn own(&self, stat: &Stat, to: BorrowedFd<'_>) -> io::Result<()> {
        fchown(to, Some(Uid::from_raw(self.disk(stat.st_uid))), Some(Gid::from_raw(self.disk(stat.st_gid))))?;
        Ok(fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?)
    }

    fn own_name(&self, stat: &Stat, to: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.disk(stat.st_uid)), Gid::from_raw(self.disk(stat.st_gid)));
        chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The root is seen with the users of the container, and the volume holds users as the container numbers them.
    fn disk(&self, id: u32) -> u32 {
        let Some(range) = self.users else { return id };
        id.checked_sub(range.first).filter(|id| *id < range.count).unwrap_or(id)
    }
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanos| Timespec { tv_sec: seconds, tv_nsec: nanos };
    Timestamps {
        last_access: time(stat.st_atime, i64::try_from(stat.st_atime_nsec).unwrap_or(0)),
        last_modification: time(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
    }
}

fn copy_content(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        match copy_file_range(from, None, to, None, PIECE_BYTES) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // Between some file systems there is no short way. What has been copied so far stays counted.
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                let (mut from, mut to) = (File::from(from.try_clone_to_owned()?), File::from(to.try_clone_to_owned()?));
                return io::copy(&mut from, &mut to).map(drop);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Those of users and file capabilities. What the volume's file system cannot hold is left out, as engines do.
fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut names = vec![0_u8; XATTR_MAX_BYTES];
    let length = match flistxattr(from, names.as_mut_slice()) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        other => other?,
    };
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if !name.starts_with("user.") && name != CAPABILITY {
            continue;
        }
        let mut value = vec![0_u8; XATTR_MAX_BYTES];
        let length = fgetxattr(from, name, value.as_mut_slice())?;
        value.truncate(length);
        if name == CAPABILITY {
            forget_root(&mut value);
        }
        match fsetxattr(to, name, &value, XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP | Errno::PERM) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes file capabilities those of user 0 of whoever mounts the volume.
fn forget_root(value: &mut Vec<u8>) {
    let Some(Ok(magic)) = value.get(..4).map(<[u8; 4]>::try_from) else { return };
    let magic = u32::from_le_bytes(magic);
    if magic & 0xFF00_0000 == CAPABILITY_3 {
        value.truncate(CAPABILITY_2_BYTES);
        value[..4].copy_from_slice(&(magic & 0x00FF_FFFF | CAPABILITY_2).to_le_bytes());
    }
}
