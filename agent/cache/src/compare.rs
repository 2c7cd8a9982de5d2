//! Is what is visible what the list says? A walk and the list have the same order, so the first difference ends both.

use crate::stage::in_words;
use crate::walk::sorted;
use crate::{CacheError, ENTRIES_MAX, Mounts, content, disk, path};
use coord_shared::wire::nested::{Entry, EntryKind, Verified, WHOLE_MAX_BYTES};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, StatVfsMountFlags};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// What is visible at `path` to whoever has the root folder `root`.
///
/// # Errors
/// When no folder is there.
pub fn visible_at(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, CacheError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
        .map_err(|error| CacheError::io("open the folder", path.as_bytes(), error))
}

/// Compares a folder with a list.
///
/// # Errors
/// [`CacheError::Altered`] with the first path that differs, or what cannot be read.
pub fn compare(folder: &OwnedFd, list: &[Entry], mounts: Mounts) -> Result<Verified, CacheError> {
    // Nothing that is mounted in it could have devices nevertheless: that is refused.
    let has_no_devices = mounts == Mounts::Refuse
        && rustix::fs::fstatvfs(folder).is_ok_and(|about| about.f_flag.contains(StatVfsMountFlags::NODEV));
    compare_with(folder, list, mounts, has_no_devices)
}

/// The same, with or without the knowledge that nothing in the folder is a device that can be opened.
pub(crate) fn compare_with(
    folder: &OwnedFd,
    list: &[Entry],
    mounts: Mounts,
    has_no_devices: bool,
) -> Result<Verified, CacheError> {
    let mut walk = Walk { list, mounts, has_no_devices, next: 0, found: Verified::default(), buffer: Vec::new() };
    walk.folder(folder, "")?;
    Ok(walk.found)
}

struct Walk<'a> {
    list: &'a [Entry],
    mounts: Mounts,
    has_no_devices: bool,
    /// What of the list comes next.
    next: usize,
    found: Verified,
    buffer: Vec<u8>,
}

/// What differs, in words.
enum Difference {
    Words(String),
    Io(io::Error),
}

impl From<io::Error> for Difference {
    fn from(error: io::Error) -> Difference {
        Difference::Io(error)
    }
}

fn differs<T>(words: impl Into<String>) -> Result<T, Difference> {
    Err(Difference::Words(words.into()))
}

impl Walk<'_> {
    fn folder(&mut self, folder: &OwnedFd, path: &str) -> Result<(), CacheError> {
        // One more than the list can have: what is too much is found below, by its name.
        let max = usize::try_from(ENTRIES_MAX).unwrap_or(usize::MAX);
        for name in sorted(disk::names(folder, max)?) {
            let name_text = path::encode(&name);
            let here = if path.is_empty() { name_text } else { format!("{path}/{name_text}") };
            let Some(entry) = self.list.get(self.next).filter(|entry| path::order(&entry.path, &here).is_le()) else {
                return Err(altered(&here, "it is not in the list"));
            };
            if entry.path != here {
                return Err(altered(&entry.path, "it is missing"));
            }
            self.next += 1;
            let within = self.one(folder, &name, entry).map_err(|difference| match difference {
                Difference::Words(words) => altered(&here, words),
                Difference::Io(error) if error.kind() == io::ErrorKind::NotFound => altered(&here, "it is missing"),
                Difference::Io(error) => CacheError::io("read", here.as_bytes(), error),
            })?;
            if let Some(within) = within {
                self.folder(&within, &here)?;
            }
        }
        match self.list.get(self.next) {
            Some(entry) if path::is_below(&entry.path, path) => Err(altered(&entry.path, "it is missing")),
            Some(_) | None => Ok(()),
        }
    }

    /// One path; the folder that it is, to go on with.
    fn one(&mut self, folder: &OwnedFd, name: &[u8], entry: &Entry) -> Result<Option<OwnedFd>, Difference> {
        match entry.kind {
            EntryKind::Folder => {
                let opened = match disk::open_folder_here(folder, name, self.mounts) {
                    Err(_) => return differs(is_not(folder, name, entry.kind)?),
                    Ok(None) => return differs("another file system is mounted there"),
                    Ok(Some(opened)) => opened,
                };
                check_mode(&rustix::fs::fstat(opened.as_fd()).map_err(io::Error::from)?, entry)?;
                self.found.folders += 1;
                return Ok(Some(opened));
            }
            EntryKind::File => match self.open(folder, name)? {
                disk::Opened::Mount => return differs("another file system is mounted there"),
                disk::Opened::Other => return differs(is_not(folder, name, entry.kind)?),
                disk::Opened::File(file, stat) => self.file(file, &stat, entry)?,
            },
            EntryKind::Link => {
                let Ok(target) = rustix::fs::readlinkat(folder, name, Vec::new()) else {
                    return differs(is_not(folder, name, entry.kind)?);
                };
                let target = path::encode(target.as_bytes());
                if entry.target.as_ref() != Some(&target) {
                    let listed = entry.target.as_deref().unwrap_or_default();
                    return differs(format!("it leads to {}, not to {}", path::shown(&target), path::shown(listed)));
                }
                self.found.links += 1;
            }
            EntryKind::Special => {
                let is_there = disk::look(folder, name)?.is_some_and(|stat| kind_of(&stat) == EntryKind::Special);
                if !is_there {
                    return differs(is_not(folder, name, entry.kind)?);
                }
            }
        }
        Ok(None)
    }

    fn open(&self, folder: &OwnedFd, name: &[u8]) -> io::Result<disk::Opened> {
        if self.has_no_devices {
            disk::open_file_directly(folder, name, self.mounts)
        } else {
            disk::open_file_here(folder, name, self.mounts)
        }
    }

    fn file(&mut self, mut file: File, stat: &Stat, entry: &Entry) -> Result<(), Difference> {
        let size = disk::size(stat);
        if size != entry.size {
            return differs(format!("it has {size} bytes, not {}", entry.size));
        }
        check_mode(stat, entry)?;
        let (found, listed) = if size > WHOLE_MAX_BYTES {
            self.found.sampled += 1;
            (content::sample(&file, size, &mut self.buffer)?, &entry.sample)
        } else {
            self.found.hashed += 1;
            (content::whole(&mut file, size, &mut self.buffer)?, &entry.digest)
        };
        match listed {
            Some(listed) if *listed == found => {}
            Some(listed) => {
                return differs(format!("its content differs (sha256 {}..., not {}...)", found.short(), listed.short()));
            }
            None => return differs("the list has no digest of it"),
        }
        self.found.files += 1;
        self.found.bytes += size;
        Ok(())
    }
}

fn check_mode(stat: &Stat, entry: &Entry) -> Result<(), Difference> {
    let mode = disk::mode(stat);
    if mode == entry.mode { Ok(()) } else { differs(format!("it has mode {mode:04o}, not {:04o}", entry.mode)) }
}

/// What is there instead.
fn is_not(folder: &OwnedFd, name: &[u8], listed: EntryKind) -> io::Result<String> {
    let Some(stat) = disk::look(folder, name)? else { return Err(io::Error::from(io::ErrorKind::NotFound)) };
    Ok(format!("it is {}, not {}", in_words(kind_of(&stat)), in_words(listed)))
}

fn kind_of(stat: &Stat) -> EntryKind {
    match disk::kind(stat) {
        FileType::Directory => EntryKind::Folder,
        FileType::RegularFile => EntryKind::File,
        FileType::Symlink => EntryKind::Link,
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
            EntryKind::Special
        }
    }
}

fn altered(path: &str, difference: impl Into<String>) -> CacheError {
    CacheError::Altered { path: path::shown(path), difference: difference.into() }
}
