//! A list of what is in a folder.

use crate::walk::{Seen, walk};
use crate::{CacheError, Mounts, content, disk, path};
use coord_shared::wire::nested::{Entry, EntryKind, WHOLE_MAX_BYTES};
use std::fs::File;
use std::os::fd::OwnedFd;

/// Lists a folder, in order, with digests of small files and samples of large ones. What vanishes meanwhile is not in the list.
///
/// # Errors
/// [`CacheError::TooMuch`], [`CacheError::MountWithin`], or what cannot be read.
pub fn scan(folder: OwnedFd, mounts: Mounts) -> Result<Vec<Entry>, CacheError> {
    let mut entries = Vec::new();
    let mut buffer = Vec::new();
    walk(folder, mounts, &mut |path, seen| {
        let entry =
            |kind, mode| Entry { path: path::encode(path), kind, mode, size: 0, digest: None, sample: None, target: None };
        entries.push(match seen {
            Seen::Folder(stat) => entry(EntryKind::Folder, disk::mode(&stat)),
            Seen::Link(target, _) => Entry { target: Some(path::encode(&target)), ..entry(EntryKind::Link, 0o777) },
            Seen::Special(stat) => entry(EntryKind::Special, disk::mode(&stat)),
            Seen::File(mut file, stat) => {
                let found = entry(EntryKind::File, disk::mode(&stat));
                with_sums(found, &mut file, disk::size(&stat), &mut buffer)
                    .map_err(|error| CacheError::io("read", path, error))?
            }
        });
        Ok(true)
    })?;
    Ok(entries)
}

fn with_sums(mut entry: Entry, file: &mut File, size: u64, buffer: &mut Vec<u8>) -> std::io::Result<Entry> {
    entry.size = size;
    if size > WHOLE_MAX_BYTES {
        entry.sample = Some(content::sample(file, size, buffer)?);
    } else {
        entry.digest = Some(content::whole(file, size, buffer)?);
    }
    Ok(entry)
}
