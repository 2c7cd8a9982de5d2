//! A list of what is in a folder, and how much it is.

use crate::walk::{Seen, walk};
use crate::{CacheError, Counts, DEPTH_MAX, ENTRIES_MAX, Mounts, content, disk, path};
use coord_shared::wire::nested::{Entry, EntryKind, WHOLE_MAX_BYTES};
use rustix::fs::FileType;
use std::fs::File;
use std::io;
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

/// Counts what is in a folder, without opening a file.
///
/// # Errors
/// As for [`scan`].
pub fn measure(folder: &OwnedFd, mounts: Mounts) -> Result<Counts, CacheError> {
    let mut counts = Counts::default();
    let folder = disk::open_folder(folder, b"")?;
    measure_folder(&folder, mounts, 0, &mut counts)?;
    Ok(counts)
}

fn measure_folder(folder: &OwnedFd, mounts: Mounts, depth: usize, counts: &mut Counts) -> Result<(), CacheError> {
    if depth == DEPTH_MAX {
        return Err(CacheError::TooMuch { limit: format!("{DEPTH_MAX} folders within folders") });
    }
    let left = ENTRIES_MAX.saturating_sub(counts.amount().entries);
    for name in disk::names(folder, usize::try_from(left).unwrap_or(usize::MAX))? {
        let failed = |error: io::Error| CacheError::io("look at", &name, error);
        let Some(stat) = disk::look(folder, &name).map_err(failed)? else { continue };
        match disk::kind(&stat) {
            FileType::RegularFile => {
                counts.files += 1;
                counts.bytes = counts.bytes.saturating_add(disk::size(&stat));
            }
            FileType::Symlink => counts.links += 1,
            FileType::Directory => {
                counts.folders += 1;
                // Else it was exchanged meanwhile, or is mounted: whoever looks at what is in it says so.
                if let Ok(Some(within)) = disk::open_folder_here(folder, &name, mounts) {
                    measure_folder(&within, mounts, depth + 1, counts)?;
                }
            }
            FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
                counts.specials += 1;
            }
        }
    }
    if counts.amount().entries > ENTRIES_MAX {
        return Err(CacheError::TooMuch { limit: format!("{ENTRIES_MAX} paths") });
    }
    Ok(())
}

fn with_sums(mut entry: Entry, file: &mut File, size: u64, buffer: &mut Vec<u8>) -> io::Result<Entry> {
    entry.size = size;
    if size > WHOLE_MAX_BYTES {
        entry.sample = Some(content::sample(file, size, buffer)?);
    } else {
        entry.digest = Some(content::whole(file, size, buffer)?);
    }
    Ok(entry)
}
