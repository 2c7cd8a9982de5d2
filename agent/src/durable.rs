//! Files that are whole or not there: written beside, synced, renamed, and the folder synced.
//!
//! After [`write`] returns, a power cut leaves the new content; before, the old. Nothing in between is ever visible.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// How the names of files begin that are not whole yet.
const UNFINISHED_PREFIX: &str = ".new-";

/// Which step of a durable write or read failed, on which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}", path.display())]
pub struct DurableError {
    step: &'static str,
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Replaces `path` by `content`, durably. The folder must exist; the file is readable by its owner alone.
pub fn write(path: &Path, content: &[u8]) -> Result<(), DurableError> {
    let fail = |step, path: &Path| {
        let path = path.to_owned();
        move |source| DurableError { step, path, source }
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut temp =
        tempfile::Builder::new().prefix(UNFINISHED_PREFIX).tempfile_in(folder).map_err(fail("make a file in", folder))?;
    temp.write_all(content).map_err(fail("write", path))?;
    temp.as_file().sync_all().map_err(fail("sync", path))?;
    temp.persist(path).map_err(|e| fail("rename a file to", path)(e.error))?;
    std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(fail("sync", folder))
}

/// Reads `path`; `None` if there is no such file.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, DurableError> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DurableError { step: "read", path: path.to_owned(), source }),
    }
}

/// Removes what writes left in `folder` that were cut off in their midst. To be called while nobody writes there.
pub fn remove_unfinished(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED_PREFIX) {
            // One that stays costs nothing but its name.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
