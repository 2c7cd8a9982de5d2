//! How much room a volume takes: its files' blocks, hard links once, as `du` counts.

use crate::clock;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// Most files that are counted: some tens of seconds on a cold disk, and some tens of MB for what is to be looked at.
const FILES_MAX: usize = 2_000_000;
/// How often the clock is asked.
const FILES_BETWEEN_LOOKS: usize = 256;
/// `st_blocks` counts in these, whatever the file system's own are (stat(2)).
const BLOCK_BYTES: u64 = 512;

/// Bytes on the disk below `folder`; `None` when counting them would take until after `until` on the monotonic clock, or when a part
/// cannot be read. Stays on the folder's file system. Blocks.
pub(super) fn disk_bytes(folder: &Path, until: Duration) -> Option<u64> {
    let top = folder.symlink_metadata().ok()?;
    let mut bytes = top.blocks() * BLOCK_BYTES;
    let mut linked = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            // Gone meanwhile: a volume may be in use.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.ok()?,
        };
        for entry in entries {
            files += 1;
            if files > FILES_MAX || (files % FILES_BETWEEN_LOOKS == 0 && clock::now().mono.0 > until) {
                return None;
            }
            let entry = entry.ok()?;
            // Of the entry itself: links are not followed.
            let Ok(found) = entry.metadata() else { continue };
            if found.dev() != top.dev() || (!found.is_dir() && found.nlink() > 1 && !linked.insert(found.ino())) {
                continue;
            }
            bytes += found.blocks() * BLOCK_BYTES;
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Some(bytes)
}
