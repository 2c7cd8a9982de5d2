//! Files by folders that are open: nothing here follows a symbolic link, and nothing waits for a pipe.

use crate::{CacheError, ENTRIES_MAX};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

/// Names of a folder that are read at a time.
const NAMES_BUFFER_BYTES: usize = 32 * 1024;
/// `openat2` gives up when names change while it looks (EAGAIN). Whoever keeps on changing them gets the error.
const OPEN_TRIES: usize = 16;
/// Below this folder, by no link of any kind.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// What is done with other file systems that are mounted in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// There are none in what is ours: one is a difference, or an error.
    Refuse,
    /// They belong to the folder.
    Enter,
    /// They are passed over, and so is whatever cannot be opened.
    PassOver,
}

impl Mounts {
    fn flags(self) -> ResolveFlags {
        match self {
            Mounts::Refuse | Mounts::PassOver => ResolveFlags::NO_XDEV,
            Mounts::Enter => ResolveFlags::empty(),
        }
    }
}

/// The folder `path` below `root`, to read its names; the empty path is `root` itself.
pub(crate) fn open_folder(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, CacheError> {
    let path = if path.is_empty() { b"." } else { path };
    open_beneath(root, path, OFlags::RDONLY | OFlags::DIRECTORY, ResolveFlags::empty())
        .map_err(|error| CacheError::io("open the folder", path, error))
}

/// The same; nothing where another file system is mounted there and is not to be entered.
pub(crate) fn open_folder_here(root: impl AsFd, name: &[u8], mounts: Mounts) -> io::Result<Option<OwnedFd>> {
    match open_beneath(root, name, OFlags::RDONLY | OFlags::DIRECTORY, mounts.flags()) {
        Ok(folder) => Ok(Some(folder)),
        Err(rustix::io::Errno::XDEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What of a name is a regular file, to be read.
pub(crate) enum Opened {
    /// It is one, and this is it.
    File(File, Stat),
    /// It is something else, or became that meanwhile.
    Other,
    /// Another file system is mounted there.
    Mount,
}

/// A regular file, for reading. Anything else is looked at, but never opened: opening a pipe waits, and opening a device does things.
pub(crate) fn open_file_here(folder: impl AsFd, name: &[u8], mounts: Mounts) -> io::Result<Opened> {
    let looked_at = match open_beneath(folder, name, OFlags::PATH | OFlags::NOFOLLOW, mounts.flags()) {
        Ok(looked_at) => looked_at,
        Err(rustix::io::Errno::XDEV) => return Ok(Opened::Mount),
        // With O_PATH a link at the end is opened itself, but NO_SYMLINKS refuses it.
        Err(rustix::io::Errno::LOOP) => return Ok(Opened::Other),
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&looked_at)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(Opened::Other);
    }
    let itself = format!("/proc/self/fd/{}", looked_at.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(itself, flags, Mode::empty())?;
    Ok(Opened::File(File::from(file), stat))
}

/// The same where no device can be opened (`nodev`): in fewer steps, which counts where a container waits for them.
pub(crate) fn open_file_directly(folder: impl AsFd, name: &[u8], mounts: Mounts) -> io::Result<Opened> {
    // Opening a pipe for reading does not wait with this.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let file = match open_beneath(folder, name, flags, mounts.flags()) {
        Ok(file) => file,
        Err(rustix::io::Errno::XDEV) => return Ok(Opened::Mount),
        // A link; a socket; a device.
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO | rustix::io::Errno::ACCESS) => return Ok(Opened::Other),
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&file)?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    Ok(if is_file { Opened::File(File::from(file), stat) } else { Opened::Other })
}

fn open_beneath(root: impl AsFd, path: &[u8], flags: OFlags, more: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let mut tries = OPEN_TRIES;
    loop {
        match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), BENEATH | more) {
            Err(rustix::io::Errno::AGAIN) if tries > 0 => tries -= 1,
            opened => return opened,
        }
    }
}

/// What stands under this name, without following it; nothing where there is nothing.
pub(crate) fn look(folder: impl AsFd, name: &[u8]) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Kind of what was looked at.
pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Permissions of what was looked at, 12 bits.
pub(crate) fn mode(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

/// Bytes of what was looked at.
pub(crate) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// All names in a folder, in no order.
///
/// # Errors
/// When there are more than `max`, which is what is left of [`ENTRIES_MAX`], or the folder cannot be read.
pub(crate) fn names(folder: impl AsFd, max: usize) -> Result<Vec<Vec<u8>>, CacheError> {
    let names = some_names(folder, max.saturating_add(1))?;
    if names.len() > max { Err(CacheError::TooMuch { limit: format!("{ENTRIES_MAX} paths") }) } else { Ok(names) }
}

/// The first names in a folder, as many as there are up to `max`.
pub(crate) fn some_names(folder: impl AsFd, max: usize) -> Result<Vec<Vec<u8>>, CacheError> {
    let failed = |error: rustix::io::Errno| CacheError::io("read the folder", b".", error);
    rustix::fs::seek(&folder, rustix::fs::SeekFrom::Start(0)).map_err(failed)?;
    let mut buffer = Box::new_uninit_slice(NAMES_BUFFER_BYTES);
    let mut entries = RawDir::new(folder, &mut buffer);
    let mut names = Vec::new();
    while names.len() < max {
        let Some(entry) = entries.next() else { break };
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// The folder that was asked for last, kept open: files come folder by folder.
#[derive(Default)]
pub(crate) struct LastFolder(Option<(Vec<u8>, OwnedFd)>);

impl LastFolder {
    /// The folder `path` below `root`.
    pub(crate) fn open(&mut self, root: impl AsFd, path: &[u8]) -> Result<&OwnedFd, CacheError> {
        if self.0.as_ref().is_none_or(|(last, _)| last != path) {
            self.0 = None;
            self.0 = Some((path.to_vec(), open_folder(root, path)?));
        }
        match &self.0 {
            Some((_, folder)) => Ok(folder),
            None => Err(CacheError::io("open the folder", path, io::Error::from(io::ErrorKind::NotFound))),
        }
    }
}
