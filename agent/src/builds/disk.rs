//! How much of the disk a build takes, looked at while a step runs.
//!
//! A look goes through all files, so it is made when the file system has lost so much room that the limit could have been reached, and now
//! and then besides.

use super::tree;
use crate::clock;
use crate::facts;
use rustix::io::Errno;
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

/// What a step has made too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooMuch {
    /// Bytes.
    Bytes,
    /// Folders within folders, or beside each other.
    Folders,
}

/// Waits until these folders, which are asked for at each look, together hold more than `max_bytes`.
pub(super) async fn filled(folders: impl Fn() -> Vec<PathBuf>, max_bytes: u64) -> TooMuch {
    let Some(first) = folders().into_iter().next() else { return std::future::pending().await };
    loop {
        let free_bytes = facts::disk_free_bytes(&first);
        let began = clock::now().mono;
        let looked = folders();
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
    let mut sum = 0_u64;
    let told = tree::for_each(folder, |_, _, found| {
        let blocks = u64::try_from(found.st_blocks).unwrap_or_default();
        sum = sum.saturating_add(blocks.saturating_mul(BLOCK_BYTES)).saturating_add(ENTRY_BYTES);
        // Any error ends it.
        if sum > enough_bytes { Err(Errno::FBIG) } else { Ok(()) }
    });
    match told {
        Err(Errno::NAMETOOLONG) => Err(TooMuch::Folders),
        // Too much; or it went while we looked.
        Err(_) | Ok(()) => Ok(sum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};
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
        let name = "d".repeat(200);
        for _ in 0..20 {
            rustix::fs::mkdirat(&at, name.as_str(), Mode::from_raw_mode(0o755)).expect("made");
            at = rustix::fs::openat(&at, name.as_str(), flags, Mode::empty()).expect("opened");
        }
        assert_eq!(measure_all(&[folder.path().to_owned()], u64::MAX), Err(TooMuch::Folders));
    }
}
