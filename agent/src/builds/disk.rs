//! How much of the disk a build takes, looked at while a step runs.
//!
//! A look goes through all files, so it is made when the file system has lost so much room that the limit could have been reached, and now
//! and then besides. What a step has made is not trusted: nothing is followed, and neither depth nor number of folders costs the agent its
//! stack, its descriptors or its memory.

use crate::clock;
use crate::facts;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two glances at the file system.
const GLANCE: Duration = Duration::from_secs(1);
/// A look is made after so long in any case: others may give room back as fast as the step takes it.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// A look must not take more than this part of the time.
const LOOK_SHARE: u32 = 10;
/// What a file costs beside its content: its inode and its name.
const ENTRY_BYTES: u64 = 512;
/// As `du` counts.
const BLOCK_BYTES: u64 = 512;
/// A path that is longer cannot be opened in one go.
const PATH_MAX_BYTES: usize = 3500;
/// Folders that are known and not looked into yet.
const PENDING_MAX: usize = 200_000;

/// What a step has made too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooMuch {
    /// Bytes.
    Bytes,
    /// Folders within folders, or beside each other.
    Folders,
}

/// Waits until these folders together hold more than `max_bytes`.
pub(super) async fn filled(folders: Vec<PathBuf>, max_bytes: u64) -> TooMuch {
    let Some(first) = folders.first().cloned() else { return std::future::pending().await };
    loop {
        let free_bytes = facts::disk_free_bytes(&first);
        let began = clock::now().mono;
        let looked = folders.clone();
        let used = tokio::task::spawn_blocking(move || measure_all(&looked, max_bytes)).await;
        let used_bytes = match used {
            Ok(Ok(used_bytes)) if used_bytes <= max_bytes => used_bytes,
            Ok(Ok(_)) => return TooMuch::Bytes,
            Ok(Err(too_much)) => return too_much,
            // The agent is ending.
            Err(_) => return std::future::pending().await,
        };
        let took = clock::now().mono.since(began);
        let (earliest, latest) = (began.after(took * LOOK_SHARE), began.after(LOOK_INTERVAL.max(took * LOOK_SHARE)));
        // Half of the way: then there is time for the next look.
        let alarm_bytes = (max_bytes - used_bytes) / 2;
        loop {
            tokio::time::sleep(GLANCE).await;
            let now = clock::now().mono;
            let lost_bytes = free_bytes.saturating_sub(facts::disk_free_bytes(&first));
            if now >= latest || (now >= earliest && lost_bytes > alarm_bytes) {
                break;
            }
        }
    }
}

/// What these folders hold, in bytes; a little more than `enough_bytes` where it is more than that. Blocks.
pub(super) fn measure_all(folders: &[PathBuf], enough_bytes: u64) -> Result<u64, TooMuch> {
    let mut sum = 0_u64;
    for folder in folders {
        sum = sum.saturating_add(measure(folder, enough_bytes.saturating_sub(sum))?);
        if sum > enough_bytes {
            break;
        }
    }
    Ok(sum)
}

fn measure(folder: &Path, enough_bytes: u64) -> Result<u64, TooMuch> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(top) = rustix::fs::openat(CWD, folder, flags, Mode::empty()) else { return Ok(0) };
    let mut sum = 0_u64;
    let mut pending = vec![PathBuf::from(".")];
    while let Some(path) = pending.pop() {
        match look_into(&top, &path, &mut pending) {
            Ok(bytes) => sum = sum.saturating_add(bytes),
            Err(Errno::NAMETOOLONG) => return Err(TooMuch::Folders),
            // It went while we looked.
            Err(_) => {}
        }
        if pending.len() > PENDING_MAX {
            return Err(TooMuch::Folders);
        }
        if sum > enough_bytes {
            break;
        }
    }
    Ok(sum)
}

/// What lies in one folder, those within it apart.
fn look_into(top: &OwnedFd, path: &Path, pending: &mut Vec<PathBuf>) -> Result<u64, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let folder = rustix::fs::openat2(top, path, flags, Mode::empty(), resolve)?;
    let mut sum = 0_u64;
    for entry in Dir::read_from(folder.as_fd())? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(found) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let blocks = u64::try_from(found.st_blocks).unwrap_or_default();
        sum = sum.saturating_add(blocks.saturating_mul(BLOCK_BYTES)).saturating_add(ENTRY_BYTES);
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            use std::os::unix::ffi::OsStrExt as _;
            let below = path.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
            if below.as_os_str().len() > PATH_MAX_BYTES {
                return Err(Errno::NAMETOOLONG);
            }
            pending.push(below);
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn counts_files_once_and_follows_nothing() {
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let inside = folder.path().join("a/b");
        fs::create_dir_all(&inside).expect("folders");
        fs::write(inside.join("file"), vec![1; 1 << 20]).expect("a file");
        std::os::unix::fs::symlink("/usr", folder.path().join("link")).expect("a link");
        let used = measure_all(&[folder.path().to_owned()], u64::MAX).expect("a size");
        assert!((1 << 20..2 << 20).contains(&used), "{used}");
        assert_eq!(measure_all(&[PathBuf::from("/nonexistent")], 1), Ok(0));
    }

    #[test]
    fn depth_is_too_much_and_not_our_end() {
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = rustix::fs::open(folder.path(), flags, Mode::empty()).expect("opened");
        for _ in 0..5000 {
            rustix::fs::mkdirat(&at, "d", Mode::from_raw_mode(0o755)).expect("made");
            at = rustix::fs::openat(&at, "d", flags, Mode::empty()).expect("opened");
        }
        assert_eq!(measure_all(&[folder.path().to_owned()], u64::MAX), Err(TooMuch::Folders));
        crate::volumes::delete(&folder.path().join("d")).expect("removed");
    }
}
