//! The next generation: links to what is there, and on top what was put.

use crate::disk::{self, LastFolder};
use crate::stage::{Item, Key, Staged, in_words};
use crate::{CacheError, DEPTH_MAX, ENTRIES_MAX, path};
use coord_shared::wire::nested::{Entry, EntryKind};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Uid};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

/// Makes `to`, an empty folder, look like `from`: folders are made anew, all else gets one more name. A name costs a few microseconds and no
/// room, whatever the file's size.
pub(crate) fn link_tree(from: &OwnedFd, to: &OwnedFd) -> Result<(), CacheError> {
    link_folder(from, to, 0)
}

fn link_folder(from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), CacheError> {
    if depth == DEPTH_MAX {
        return Err(CacheError::TooMuch { limit: format!("{DEPTH_MAX} folders within folders") });
    }
    let max = usize::try_from(ENTRIES_MAX).unwrap_or(usize::MAX);
    for name in disk::names(from, max)? {
        let failed = |error: rustix::io::Errno| CacheError::io("link", &name, error);
        match rustix::fs::linkat(from, name.as_slice(), to, name.as_slice(), AtFlags::empty()) {
            Ok(()) => continue,
            // The kernel's answer for a folder.
            Err(rustix::io::Errno::PERM) => {}
            Err(error) => return Err(failed(error)),
        }
        let inner_from = disk::open_folder(from, &name)?;
        rustix::fs::mkdirat(to, name.as_slice(), Mode::from_raw_mode(0o700)).map_err(failed)?;
        let inner_to = disk::open_folder(to, &name)?;
        link_folder(&inner_from, &inner_to, depth + 1)?;
    }
    copy_attributes(&rustix::fs::fstat(from).map_err(|error| CacheError::io("look at", b".", error))?, to)
}

fn copy_attributes(stat: &Stat, to: impl AsFd) -> Result<(), CacheError> {
    let failed = |error| CacheError::io("set the mode of", b"a folder", error);
    if stat.st_uid != 0 || stat.st_gid != 0 {
        rustix::fs::fchown(&to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid))).map_err(failed)?;
    }
    rustix::fs::fchmod(&to, Mode::from_raw_mode(disk::mode(stat))).map_err(failed)
}

/// Moves what was put from the folder `from` into the folder `to`.
///
/// # Errors
/// [`CacheError::BadPath`] where a file would take a folder's place, or the other way round; `to` is of no use then.
pub(crate) fn move_into(items: &BTreeMap<Key, Item>, from: &OwnedFd, to: &OwnedFd) -> Result<(), CacheError> {
    let (mut from_last, mut to_last) = (LastFolder::default(), LastFolder::default());
    let mut moved_whole: Option<&str> = None;
    for item in items.values() {
        let entry = &item.entry;
        if moved_whole.is_some_and(|folder| path::is_below(&entry.path, folder)) {
            continue;
        }
        let raw = path::decode(&entry.path).ok_or(CacheError::List { line: 0 })?;
        let (parent, name) = path::split(&raw);
        let failed = |error: std::io::Error| CacheError::io("put", &raw, error);
        let there = disk::look(to_last.open(to, parent)?, name).map_err(failed)?;
        let is_folder = entry.kind == EntryKind::Folder;
        match there.map(|stat| disk::kind(&stat)) {
            Some(FileType::Directory) if is_folder => {
                if !item.is_implied {
                    let stat = disk::look(from_last.open(from, parent)?, name).map_err(failed)?;
                    let target = disk::open_folder(to_last.open(to, parent)?, name)?;
                    stat.map_or(Ok(()), |stat| copy_attributes(&stat, target))?;
                }
                continue;
            }
            Some(FileType::Directory) => return Err(takes_the_place(&raw, entry.kind, "a folder")),
            Some(FileType::Symlink) if is_folder => return Err(takes_the_place(&raw, entry.kind, "a symbolic link")),
            Some(_) if is_folder => return Err(takes_the_place(&raw, entry.kind, "a file")),
            Some(_) | None => {}
        }
        rustix::fs::renameat(from_last.open(from, parent)?, name, to_last.open(to, parent)?, name)
            .map_err(|e| failed(e.into()))?;
        if is_folder {
            moved_whole = Some(&entry.path);
        }
    }
    Ok(())
}

fn takes_the_place(path: &[u8], put: EntryKind, there: &str) -> CacheError {
    CacheError::bad_path(path, format!("is {there} in the cache, and {} cannot take its place", in_words(put)))
}

/// Whether what was put is one file or link, in folders that are there.
pub(crate) fn is_one_file(present: &[Entry], staged: &Staged) -> bool {
    let is_there = |folder: &str| {
        let found = present.binary_search_by(|entry| path::order(&entry.path, folder));
        found.is_ok_and(|at| present[at].kind == EntryKind::Folder)
    };
    let mut others = staged.items.values().filter(|item| !(item.is_implied && is_there(&item.entry.path)));
    others.next().is_some_and(|item| item.entry.kind != EntryKind::Folder) && others.next().is_none()
}

/// The list of the next generation, and how many bytes of the present one are not in it.
pub(crate) fn merged(present: Vec<Entry>, staged: &Staged) -> (Vec<Entry>, u64) {
    let mut all: BTreeMap<Key, Entry> = present.into_iter().map(|entry| (Key(entry.path.clone()), entry)).collect();
    let mut replaced = 0;
    for (key, item) in &staged.items {
        if item.is_implied && all.contains_key(key) {
            continue;
        }
        if let Some(before) = all.insert(key.clone(), item.entry.clone()) {
            replaced += before.size;
        }
    }
    (all.into_values().collect(), replaced)
}
