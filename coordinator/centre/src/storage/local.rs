//! Blobs as files: `blobs/sha256/ab/HEX`, where `ab` are the first two digits.
//!
//! A commit syncs the staged file, gives it a second name beside the first, renames that one into place, and syncs the folder; the first
//! name goes with the upload. So a crash between the rename and the record leaves an upload that can be finished again.
//! `object_store` has a folder of files too, and is not used here: it would copy what already lies on this disk.

use super::{BlobStream, Stored, blocking};
use crate::error::CentreError;
use bytes::Bytes;
use coord_shared::names::Digest;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinHandle;

/// How much is read at a time, in bytes: large enough that threads are asked seldom, small enough that hundreds of readers fit.
const READ_BYTES: u64 = 256 * 1024;
/// The staged file's second name, beside it.
const WHOLE: &str = "whole";

/// A folder of blobs.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    root: PathBuf,
}

impl Local {
    pub(super) fn open(dir: &Path) -> Result<Self, CentreError> {
        let root = dir.join("blobs/sha256");
        fs::create_dir_all(&root).map_err(CentreError::disk("make", &root))?;
        sync_folder(dir)?;
        Ok(Self { root })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join(&digest.hex()[..2]).join(digest.hex())
    }

    pub(super) async fn commit(&self, staged: PathBuf, digest: &Digest) -> Result<(), CentreError> {
        let (root, path) = (self.root.clone(), self.path(digest));
        blocking(move || place(&root, &staged, &path)).await
    }

    pub(super) async fn read(&self, digest: &Digest, offset: u64, length: u64) -> Result<Option<BlobStream>, CentreError> {
        let path = self.path(digest);
        let opened = blocking(move || match File::open(&path) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(offset)).map_err(CentreError::disk("read", &path))?;
                Ok(Some(Reader { file, path, left: length, spare: Spare::default() }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CentreError::disk("open", &path)(error)),
        });
        Ok(opened.await?.map(Reader::stream))
    }

    pub(super) async fn remove(&self, digest: &Digest) -> Result<(), CentreError> {
        let path = self.path(digest);
        blocking(move || match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(CentreError::disk("remove", &path)(error)),
        })
        .await
    }

    pub(super) async fn list(&self) -> Result<Vec<Stored>, CentreError> {
        let root = self.root.clone();
        blocking(move || {
            let mut stored = Vec::new();
            for folder in fs::read_dir(&root).map_err(CentreError::disk("list", &root))? {
                let folder = folder.map_err(CentreError::disk("list", &root))?.path();
                let files = match fs::read_dir(&folder) {
                    // A file between the folders is not ours.
                    Err(error) if error.kind() == io::ErrorKind::NotADirectory => continue,
                    files => files.map_err(CentreError::disk("list", &folder))?,
                };
                for file in files {
                    stored.extend(stored_file(&file.map_err(CentreError::disk("list", &folder))?)?);
                }
            }
            Ok(stored)
        })
        .await
    }
}

fn place(root: &Path, staged: &Path, path: &Path) -> Result<(), CentreError> {
    let file = File::open(staged).map_err(CentreError::disk("open", staged))?;
    file.sync_all().map_err(CentreError::disk("sync", staged))?;
    let folder = path.parent().unwrap_or(root);
    match fs::create_dir(folder) {
        Ok(()) => sync_folder(root)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(CentreError::disk("make", folder)(error)),
    }
    let whole = &*staged.with_file_name(WHOLE);
    let named = match fs::hard_link(staged, whole) {
        Ok(()) => whole,
        // Left by an attempt that crashed.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => whole,
        // Not every file system gives second names; on those, a crash before the record costs the upload.
        Err(_) => staged,
    };
    fs::rename(named, path).map_err(CentreError::disk("place", path))?;
    sync_folder(folder)
}

/// `None` for names that are no digests: they are not ours.
fn stored_file(file: &fs::DirEntry) -> Result<Option<Stored>, CentreError> {
    let Some(digest) = file.file_name().to_str().and_then(|hex| format!("sha256:{hex}").parse().ok()) else { return Ok(None) };
    let meta = match file.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        meta => meta.map_err(CentreError::disk("look at", file.path()))?,
    };
    let since = meta.modified().ok().and_then(|at| Timestamp::try_from(at).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(Some(Stored { digest, bytes: meta.len(), since }))
}

/// Makes what was just named in a folder survive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), CentreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(CentreError::disk("sync", folder))
}

struct Reader {
    file: File,
    path: PathBuf,
    left: u64,
    spare: Spare,
}

/// Buffers that a reader has had, to be used again: large ones are expensive to get, because the kernel clears them each time.
type Spare = Arc<Mutex<Vec<Vec<u8>>>>;

/// A buffer that goes back when its bytes were sent.
struct Lent {
    buffer: Vec<u8>,
    spare: Spare,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

/// A piece that is being read, and what reads the next one.
type Pending = JoinHandle<Result<(Bytes, Reader), CentreError>>;

impl Reader {
    /// Reads one piece ahead of whoever takes them.
    fn stream(self) -> BlobStream {
        let pieces = futures_util::stream::unfold(self.ahead(), |pending| async {
            match pending?.await.unwrap_or(Err(CentreError::Ending)) {
                Ok((piece, reader)) => Some((Ok(piece), reader.ahead())),
                Err(error) => Some((Err(error), None)),
            }
        });
        pieces.boxed()
    }

    fn ahead(self) -> Option<Pending> {
        (self.left > 0).then(|| tokio::task::spawn_blocking(move || self.next()))
    }

    fn next(mut self) -> Result<(Bytes, Self), CentreError> {
        let wanted = self.left.min(READ_BYTES);
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = spare.unwrap_or_else(|| Vec::with_capacity(usize::try_from(wanted).unwrap_or_default()));
        buffer.clear();
        let read = (&mut self.file).take(wanted).read_to_end(&mut buffer);
        let read = read.map_err(CentreError::disk("read", &self.path))?;
        if read == 0 {
            let short = io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than its record says");
            return Err(CentreError::disk("read", &self.path)(short));
        }
        self.left -= u64::try_from(read).unwrap_or(self.left).min(self.left);
        let spare = Arc::clone(&self.spare);
        Ok((Bytes::from_owner(Lent { buffer, spare }), self))
    }
}
