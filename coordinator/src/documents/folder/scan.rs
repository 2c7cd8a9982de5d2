//! Reading the folder: names, ages and texts, with every oddity as a value.

use crate::clock;
use coord_shared::document::DOCUMENT_MAX_BYTES;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// Files of the folder that are looked at; more would be no folder of documents.
const FILES_MAX: usize = 10_000;

/// Tells one folder from another at the same path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FolderId {
    device: u64,
    inode: u64,
}

/// Which folder is at `path`; `None` if there is none.
pub(super) fn identity(path: &Path) -> Option<FolderId> {
    let meta = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir)?;
    Some(FolderId { device: meta.dev(), inode: meta.ino() })
}

/// What a file turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileRead {
    /// Not there.
    Gone,
    /// A text.
    Text(String),
    /// There, but no document can be read from it: why, with the cure.
    Broken(String),
}

/// Reads one file. A link that leads nowhere is broken, not gone: its author is at work.
pub(super) fn read(path: &Path) -> FileRead {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return FileRead::Gone,
        Err(error) => return FileRead::Broken(format!("cannot be read: {error}")),
        Ok(_) => {}
    }
    // Looked at before it is opened: to open a pipe would wait for its writer.
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return FileRead::Broken("is a link that leads nowhere".to_owned());
        }
        Err(error) => return FileRead::Broken(format!("cannot be read: {error}")),
        Ok(meta) if meta.is_dir() => return FileRead::Broken("is a folder, not a file".to_owned()),
        Ok(meta) if !meta.is_file() => return FileRead::Broken("is not a regular file".to_owned()),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    let limit = DOCUMENT_MAX_BYTES as u64 + 1;
    match std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => FileRead::Gone,
        Err(error) => FileRead::Broken(format!("cannot be read: {error}")),
        Ok(_) if bytes.len() > DOCUMENT_MAX_BYTES => {
            FileRead::Broken(format!("is larger than the limit of {DOCUMENT_MAX_BYTES} bytes"))
        }
        Ok(0) => FileRead::Broken("is empty; to delete the workload, delete the file".to_owned()),
        Ok(_) => match String::from_utf8(bytes) {
            Ok(text) => FileRead::Text(text),
            Err(error) => {
                FileRead::Broken(format!("is not UTF-8 at byte {}; save it as UTF-8", error.utf8_error().valid_up_to()))
            }
        },
    }
}

/// Whether what appeared at `path` has no writer to wait for: a link, a second name of a file, a folder.
pub(super) fn is_complete_at_birth(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file() || meta.nlink() > 1)
}

/// All names that are text, with the time since each was written to (none if that lies in the future).
pub(super) fn list(path: &Path) -> io::Result<Vec<(String, Option<Duration>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)?.take(FILES_MAX) {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let modified = entry.metadata().and_then(|meta| meta.modified());
        files.push((name, modified.ok().and_then(clock::age)));
    }
    files.sort();
    Ok(files)
}
