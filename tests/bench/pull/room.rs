//! Fresh folders for every run, deleted late: when the disk grows full, and at the end.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use coord_tests::fleet::unmount_below;
use coord_tests::say;
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

/// Below this, used folders are deleted before the next run: the largest image takes four times its compressed size twice.
const FREE_MIN_BYTES: u64 = 8 * 1024 * 1024 * 1024;

pub(crate) struct Room {
    dir: TempDir,
    folders: usize,
}

impl Room {
    /// In `parent`, which should be on the disk that is to be measured.
    pub(crate) fn make(parent: &Path) -> Result<Room> {
        let dir = tempfile::Builder::new().prefix("coord-bench-").tempdir_in(parent);
        Ok(Room { dir: dir.with_context(|| format!("make a folder in {}", parent.display()))?, folders: 0 })
    }

    /// An empty folder.
    pub(crate) fn folder(&mut self) -> Result<PathBuf> {
        let disk = statvfs(self.dir.path()).context("look at the disk")?;
        if disk.blocks_available() * disk.fragment_size() < FREE_MIN_BYTES {
            self.clear();
        }
        self.folders += 1;
        let folder = self.dir.path().join(self.folders.to_string());
        fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(folder)
    }

    /// Deletes every folder that there was.
    pub(crate) fn clear(&mut self) {
        say("deleting what was pulled");
        unmount_below(self.dir.path());
        for entry in fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                say(&format!("delete {}: {error}", entry.path().display()));
            }
        }
        nix::unistd::sync();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        unmount_below(self.dir.path());
    }
}
