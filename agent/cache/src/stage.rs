//! Files on their way into a cache: beside it, seen by nobody, and gone when they are dropped.

use crate::content::{self, Sum};
use crate::disk::LastFolder;
use crate::{Amount, Budget, CacheError, Counts, disk, path, remove_tree};
use coord_shared::names::Digest;
use coord_shared::wire::nested::{Entry, EntryKind, WHOLE_MAX_BYTES};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// All paths of one put: they are kept in memory until it is done.
const PATHS_MAX_BYTES: usize = 64 << 20;
/// Folders that nobody described, and the cache itself.
pub(crate) const FOLDER_MODE: u32 = 0o755;
/// Permissions that are kept. Setuid and setgid bits would give a container's files more rights than it needs.
const MODE_MASK: u32 = 0o1777;
/// Users and groups of a container are below this; others become user 0.
const OWNER_END: u32 = 65536;

/// A path, in the order of lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) String);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        path::order(&self.0, &other.0)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One path that is put.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) entry: Entry,
    /// A folder that is only there because something is in it: one that the cache has already stays as it is.
    pub(crate) is_implied: bool,
}

/// Files that were unpacked beside a cache.
#[derive(Debug)]
pub struct Staged {
    folder: PathBuf,
    pub(crate) items: BTreeMap<Key, Item>,
    budget: Budget,
}

impl Staged {
    /// What was put.
    pub fn counts(&self) -> Counts {
        Counts::of(self.items.values().map(|item| &item.entry))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the store is opened the next time.
        if let Err(error) = remove_tree(&self.folder) {
            tracing::warn!(%error, "files that were on their way into a cache are left behind");
        }
    }
}

/// Who owns what is put, and when it was last changed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970, and nanoseconds; as it comes where absent.
    pub(crate) modified: Option<(i64, u32)>,
}

impl Attributes {
    fn owner(&self) -> Option<(Uid, Gid)> {
        let id = |id: u32| if id < OWNER_END { id } else { 0 };
        let (uid, gid) = (id(self.uid), id(self.gid));
        (uid != 0 || gid != 0).then(|| (Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    fn mode(&self) -> u32 {
        self.mode & MODE_MASK
    }
}

/// Unpacks into a [`Staged`].
pub(crate) struct Stage {
    staged: Staged,
    root: OwnedFd,
    last: LastFolder,
    paths_bytes: usize,
}

/// A file of a stage that is being written.
pub(crate) struct NewFile {
    path: Vec<u8>,
    file: File,
    at: u64,
    sum: Sum,
}

impl NewFile {
    /// Appends bytes. They have been taken from the budget.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        self.file.write_all_at(bytes, self.at).map_err(|error| CacheError::io("write", &self.path, error))?;
        self.sum.add(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Goes on at `at`; what lies between is a hole.
    pub(crate) fn skip_to(&mut self, at: u64) {
        self.sum.add_zeros(at.saturating_sub(self.at));
        self.at = self.at.max(at);
    }
}

impl Stage {
    /// A new one in `folder`, which must not be there yet.
    pub(crate) fn begin(folder: PathBuf, budget: Budget) -> Result<Stage, CacheError> {
        let staged = Staged { folder, items: BTreeMap::new(), budget };
        let files = staged.folder.join("files");
        let made =
            std::fs::create_dir(&staged.folder).and_then(|()| std::fs::create_dir(&files)).and_then(|()| File::open(&files));
        let root: OwnedFd = made.map_err(|error| CacheError::io("create", b"a folder for new files", error))?.into();
        rustix::fs::fchmod(&root, Mode::from_raw_mode(FOLDER_MODE))
            .map_err(|error| CacheError::io("set the mode of", b".", error))?;
        Ok(Stage { staged, root, last: LastFolder::default(), paths_bytes: 0 })
    }

    /// All has come.
    pub(crate) fn finish(self) -> Staged {
        self.staged
    }

    /// So much more is about to be written.
    pub(crate) fn take_bytes(&mut self, bytes: u64) -> Result<(), CacheError> {
        self.staged.budget.take(Amount { bytes, entries: 0 })
    }

    /// A folder, with its parents. One that was put before gets these attributes.
    pub(crate) fn folder(&mut self, path: &[u8], attributes: &Attributes) -> Result<(), CacheError> {
        let key = Key(path::encode(path));
        let is_there = self.staged.items.contains_key(&key);
        if is_there {
            self.must_be(&key, path, |kind| kind == EntryKind::Folder)?;
        } else {
            self.parents(path)?;
            self.charge(path)?;
        }
        let (folder, name) = self.place(path)?;
        let failed = |error| CacheError::io("create the folder", path, error);
        if !is_there {
            rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o700)).map_err(failed)?;
        }
        let mode = Mode::from_raw_mode(attributes.mode());
        if let Some((uid, gid)) = attributes.owner() {
            rustix::fs::chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        }
        rustix::fs::chmodat(folder, name, mode, AtFlags::empty()).map_err(failed)?;
        let entry = entry(&key, EntryKind::Folder, attributes.mode());
        self.staged.items.insert(key, Item { entry, is_implied: false });
        Ok(())
    }

    /// The folders above a path that are not there yet.
    pub(crate) fn parents(&mut self, path: &[u8]) -> Result<(), CacheError> {
        let (parent, _) = path::split(path);
        if parent.is_empty() {
            return Ok(());
        }
        let key = Key(path::encode(parent));
        if self.staged.items.contains_key(&key) {
            return self.must_be(&key, parent, |kind| kind == EntryKind::Folder);
        }
        self.folder(parent, &Attributes { mode: FOLDER_MODE, ..Attributes::default() })?;
        if let Some(item) = self.staged.items.get_mut(&key) {
            item.is_implied = true;
        }
        Ok(())
    }

    /// A new file, empty. One that was put before under this name is replaced.
    pub(crate) fn new_file(&mut self, path: &[u8]) -> Result<NewFile, CacheError> {
        self.make_way(path)?;
        let (folder, name) = self.place(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600));
        let file = File::from(file.map_err(|error| CacheError::io("create", path, error))?);
        Ok(NewFile { path: path.to_vec(), file, at: 0, sum: Sum::default() })
    }

    /// A file is written: gives it its attributes and its line in the list.
    pub(crate) fn finish_file(&mut self, new: NewFile, attributes: &Attributes) -> Result<(), CacheError> {
        let NewFile { path, file, at: size, sum } = new;
        let failed = |error: std::io::Error| CacheError::io("write", &path, error);
        if file.metadata().map_err(failed)?.len() < size {
            file.set_len(size).map_err(failed)?;
        }
        if let Some((uid, gid)) = attributes.owner() {
            rustix::fs::fchown(&file, Some(uid), Some(gid)).map_err(|error| failed(error.into()))?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(attributes.mode())).map_err(|error| failed(error.into()))?;
        let mut sample: Option<Digest> = None;
        if size > WHOLE_MAX_BYTES {
            sample = Some(content::sample(&file, size, &mut Vec::new()).map_err(failed)?);
        }
        if let Some((tv_sec, tv_nsec)) = attributes.modified {
            let time = Timespec { tv_sec, tv_nsec: tv_nsec.into() };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::futimens(&file, &times).map_err(|error| failed(error.into()))?;
        }
        let key = Key(path::encode(&path));
        let entry = Entry { size, digest: Some(sum.digest()), sample, ..entry(&key, EntryKind::File, attributes.mode()) };
        self.staged.items.insert(key, Item { entry, is_implied: false });
        Ok(())
    }

    /// A symbolic link, wherever it leads: nobody of ours follows it.
    pub(crate) fn link(&mut self, path: &[u8], target: &[u8], attributes: &Attributes) -> Result<(), CacheError> {
        if target.is_empty() || target.len() > coord_tar::PATH_MAX_BYTES || target.contains(&0) {
            return Err(CacheError::bad_path(path, "is a symbolic link to what no path can be"));
        }
        self.make_way(path)?;
        let (folder, name) = self.place(path)?;
        let failed = |error| CacheError::io("create the link", path, error);
        rustix::fs::symlinkat(target, folder, name).map_err(failed)?;
        if let Some((uid, gid)) = attributes.owner() {
            rustix::fs::chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        }
        let key = Key(path::encode(path));
        let entry = Entry { target: Some(path::encode(target)), ..entry(&key, EntryKind::Link, 0o777) };
        self.staged.items.insert(key, Item { entry, is_implied: false });
        Ok(())
    }

    /// One more name of a file that was put before, by the same put.
    pub(crate) fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), CacheError> {
        let target_key = Key(path::encode(target));
        let Some(Item { entry: target_entry, .. }) = self.staged.items.get(&target_key) else {
            return Err(CacheError::bad_path(path, "is a hard link to what does not come before it"));
        };
        if target_entry.kind != EntryKind::File || path == target {
            return Err(CacheError::bad_path(path, "is a hard link to something that is no file"));
        }
        let key = Key(path::encode(path));
        let entry = Entry { path: key.0.clone(), ..target_entry.clone() };
        self.take_bytes(entry.size)?;
        self.make_way(path)?;
        let (from, to) = (path::split(target), path::split(path));
        let from_folder = disk::open_folder(&self.root, from.0)?;
        let to_folder = self.last.open(&self.root, to.0)?;
        rustix::fs::linkat(from_folder, from.1, to_folder, to.1, AtFlags::empty())
            .map_err(|error| CacheError::io("create the link", path, error))?;
        self.staged.items.insert(key, Item { entry, is_implied: false });
        Ok(())
    }

    /// Makes the parents of a path, and removes the file or link that was put there before.
    fn make_way(&mut self, path: &[u8]) -> Result<(), CacheError> {
        let key = Key(path::encode(path));
        if !self.staged.items.contains_key(&key) {
            self.parents(path)?;
            return self.charge(path);
        }
        self.must_be(&key, path, |kind| kind != EntryKind::Folder)?;
        let (folder, name) = self.place(path)?;
        rustix::fs::unlinkat(folder, name, AtFlags::empty()).map_err(|error| CacheError::io("replace", path, error))?;
        if let Some(item) = self.staged.items.remove(&key) {
            self.staged.budget.give(Amount { bytes: item.entry.size, entries: 0 });
        }
        Ok(())
    }

    fn must_be(&self, key: &Key, path: &[u8], is_fine: impl Fn(EntryKind) -> bool) -> Result<(), CacheError> {
        match self.staged.items.get(key) {
            Some(item) if !is_fine(item.entry.kind) => {
                Err(CacheError::bad_path(path, format!("is {} and something else, too", in_words(item.entry.kind))))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn charge(&mut self, path: &[u8]) -> Result<(), CacheError> {
        self.staged.budget.take(Amount { bytes: 0, entries: 1 })?;
        self.paths_bytes += path.len();
        if self.paths_bytes > PATHS_MAX_BYTES {
            return Err(CacheError::TooMuch { limit: format!("{PATHS_MAX_BYTES} bytes of names") });
        }
        Ok(())
    }

    /// The folder that a path is in, open, and its name there.
    fn place<'a>(&mut self, path: &'a [u8]) -> Result<(BorrowedFd<'_>, &'a [u8]), CacheError> {
        let (folder, name) = path::split(path);
        if name.is_empty() {
            return Err(CacheError::bad_path(path, "is the cache itself"));
        }
        Ok((self.last.open(&self.root, folder)?.as_fd(), name))
    }
}

fn entry(key: &Key, kind: EntryKind, mode: u32) -> Entry {
    Entry { path: key.0.clone(), kind, mode, size: 0, digest: None, sample: None, target: None }
}

/// With its article.
pub(crate) fn in_words(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Folder => "a folder",
        EntryKind::File => "a file",
        EntryKind::Link => "a symbolic link",
        EntryKind::Special => "a pipe, socket or device",
    }
}
