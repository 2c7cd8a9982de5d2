//! Folders of the host that programs work in: made for their user, and watched while they fill.

use crate::error::{SourceError, folder};
use crate::tools::User;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a folder is measured at most.
const MEASURE_INTERVAL: Duration = Duration::from_millis(500);
/// Measuring may take this part of the time: a pause is so many times as long as the measuring took, counted in files.
const PAUSE_PER_FILES: u64 = 10_000;

/// Makes the folder if it is absent, and gives it to `user`. One that belongs to somebody else is emptied: it was made for another user.
pub(crate) fn prepare(path: &Path, user: Option<User>) -> Result<(), SourceError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(folder("make", path))?;
    let Some(user) = user else { return Ok(()) };
    let owner = fs::metadata(path).map_err(folder("look at", path))?.uid();
    if owner == user.uid {
        return Ok(());
    }
    if owner != 0 {
        empty(path)?;
    }
    chown(path, Some(user.uid), Some(user.gid)).map_err(folder("give away", path))
}

/// Whether there is nothing in it yet.
pub(crate) fn check_empty(path: &Path) -> Result<(), SourceError> {
    match fs::read_dir(path).map_err(folder("read", path))?.next() {
        None => Ok(()),
        Some(_) => Err(SourceError::NotEmpty(path.to_owned())),
    }
}

/// Removes everything in it.
pub(crate) fn empty(path: &Path) -> Result<(), SourceError> {
    for entry in fs::read_dir(path).map_err(folder("read", path))? {
        let entry = entry.map_err(folder("read", path))?;
        let kind = entry.file_type().map_err(folder("look at", entry.path()))?;
        let removed = if kind.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        removed.map_err(folder("remove", entry.path()))?;
    }
    Ok(())
}

/// How much a folder may hold.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

impl Bound {
    /// Completes when the folder holds more, and says what.
    pub(crate) async fn exceeded(&self) -> String {
        loop {
            let size = self.measure().await;
            if let Some(what) = self.excess(size) {
                return what;
            }
            let pause = u32::try_from(1 + size.files / PAUSE_PER_FILES).unwrap_or(u32::MAX);
            tokio::time::sleep(MEASURE_INTERVAL.saturating_mul(pause)).await;
        }
    }

    /// What the folder has too much of, once it is full.
    pub(crate) async fn check(&self) -> Option<String> {
        self.excess(self.measure().await)
    }

    fn excess(&self, size: Size) -> Option<String> {
        if size.bytes > self.bytes {
            return Some(format!("it has more than {} KiB", self.bytes >> 10));
        }
        (size.files > self.files).then(|| format!("it has more than {} files", self.files))
    }

    async fn measure(&self) -> Size {
        let bound = self.clone();
        // A panic there is a bug; then nothing is measured, and the limit of time remains.
        tokio::task::spawn_blocking(move || size(&bound)).await.unwrap_or_default()
    }
}

/// What a folder holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    bytes: u64,
    files: u64,
}

/// What the folder holds, links not followed; counting ends where the bound is passed. What vanishes meanwhile does not count.
fn size(bound: &Bound) -> Size {
    let mut size = Size::default();
    let mut folders = vec![bound.path.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().filter_map(io::Result::ok) {
            // Of the entry itself, not of what a link leads to.
            let Ok(metadata) = entry.metadata() else { continue };
            size.files += 1;
            size.bytes += metadata.blocks() * 512;
            if size.bytes > bound.bytes || size.files > bound.files {
                return size;
            }
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_not_followed_when_a_folder_is_measured() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), vec![1; 8192]).unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("usr")).unwrap();
        let bound = Bound { path: dir.path().to_owned(), bytes: 1 << 30, files: 100 };
        let measured = size(&bound);
        assert_eq!(measured.files, 2);
        assert!((8192..=16_384).contains(&measured.bytes), "{measured:?}");
    }
}
