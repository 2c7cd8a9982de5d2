//! What has arrived of a slow download, kept so that the next agent need not fetch it again.
//!
//! A blob is never stored before it is unpacked, and most downloads pay nothing here. But when the network has been waited for long
//! enough, the bytes that come from then on are also appended to `partial/HEX.START` (START: the first one's offset in the blob). The
//! next download of that blob, in this process or after a crash, fetches what lies before such a part, reads the part, and asks for
//! the rest.
//!
//! Nothing is synced and nothing is verified here, so a crash may leave anything: the blob's digest decides in the end, and a part that
//! is not what it should be is thrown away (`Source::reject`). That is why these changes of the disk are not among the store's. A disk that is short of room has no parts. Whoever cannot have a part does without.

use bytes::Bytes;
use coord_shared::names::Digest;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Pieces between the network and the disk.
const QUEUE_PIECES: usize = 4;
/// Read at once.
const READ_BYTES: u64 = 256 * 1024;
/// The disk's room is looked at whenever so much was written.
const ROOM_CHECK_BYTES: u64 = 64 << 20;
/// A download that is cut again and again leaves a part for each time; more are not begun.
const PARTS_MAX: usize = 16;

/// The folder of all parts, and who uses which.
#[derive(Debug)]
pub(super) struct Spools {
    dir: PathBuf,
    reserve_bytes: u64,
    in_use: Mutex<BTreeSet<Digest>>,
}

/// The parts of one blob. One at a time for each blob.
pub(super) struct Spool {
    claim: Arc<Claim>,
    size: u64,
    /// In order, apart from each other.
    parts: Vec<Part>,
    writer: Option<Writer>,
    is_given_up: bool,
}

struct Claim {
    spools: Arc<Spools>,
    digest: Digest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    start: u64,
    end: u64,
}

/// The thread that appends to a part.
struct Writer {
    queue: mpsc::Sender<Bytes>,
    /// What the next piece must start with.
    end: u64,
    task: JoinHandle<()>,
}

impl Spools {
    pub(super) fn new(dir: PathBuf, reserve_bytes: u64) -> Spools {
        Spools { dir, reserve_bytes, in_use: Mutex::default() }
    }

    /// The parts that are there of a blob; nothing while somebody else has them.
    pub(super) fn open(self: &Arc<Self>, digest: &Digest, size: u64) -> Option<Spool> {
        if !self.in_use.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone()) {
            return None;
        }
        let claim = Arc::new(Claim { spools: Arc::clone(self), digest: digest.clone() });
        let mut spool = Spool { parts: Vec::new(), claim, size, writer: None, is_given_up: false };
        spool.parts = spool.look();
        Some(spool)
    }

    /// Removes all parts of a blob.
    pub(super) fn remove(&self, digest: &Digest) {
        for (path, _) in self.files(digest) {
            remove(&path);
        }
    }

    /// Where parts of a blob begin, in order.
    fn files(&self, digest: &Digest) -> Vec<(PathBuf, u64)> {
        let start_of = |path: &Path| path.file_name()?.to_str()?.strip_prefix(digest.hex())?.strip_prefix('.')?.parse().ok();
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<(PathBuf, u64)> = entries.filter_map(|path| start_of(&path).map(|start| (path, start))).collect();
        files.sort_by_key(|(_, start)| *start);
        files
    }

    fn path(&self, digest: &Digest, start: u64) -> PathBuf {
        self.dir.join(format!("{}.{start}", digest.hex()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.spools.in_use.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.digest);
    }
}

impl Spool {
    /// The parts on disk. Those that cannot be (beyond the blob, or over another) are removed.
    fn look(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for (path, start) in self.spools().files(&self.claim.digest) {
            let end = fs::metadata(&path).map_or(0, |meta| start.saturating_add(meta.len()));
            let is_apart = parts.last().is_none_or(|last| last.end <= start);
            if is_apart && start < end && end <= self.size {
                parts.push(Part { start, end });
            } else {
                remove(&path);
            }
        }
        parts
    }

    /// Where the part ends that has the byte at `offset`.
    pub(super) fn covered_until(&self, offset: u64) -> Option<u64> {
        self.parts.iter().find(|part| (part.start..part.end).contains(&offset)).map(|part| part.end)
    }

    /// Where the next part after `offset` begins.
    pub(super) fn next_start(&self, offset: u64) -> Option<u64> {
        self.parts.iter().map(|part| part.start).find(|start| *start > offset)
    }

    /// Some bytes from `offset` on, which is covered. Nothing if they cannot be read; then the part is gone.
    pub(super) async fn read(&mut self, offset: u64) -> Option<Bytes> {
        let part = *self.parts.iter().find(|part| (part.start..part.end).contains(&offset))?;
        let path = self.spools().path(&self.claim.digest, part.start);
        let length = usize::try_from(READ_BYTES.min(part.end - offset)).unwrap_or(0);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; length];
            File::open(&path).and_then(|file| file.read_exact_at(&mut bytes, offset - part.start)).map(|()| bytes)
        });
        match read.await.unwrap_or_else(|e| Err(io::Error::other(e))) {
            Ok(bytes) => Some(bytes.into()),
            Err(error) => {
                tracing::warn!(blob = %self.claim.digest, %error, "what was kept of an earlier download cannot be read; fetching it anew");
                self.parts.retain(|other| *other != part);
                remove(&self.spools().path(&self.claim.digest, part.start));
                None
            }
        }
    }

    /// Whether a part ends here, to be continued.
    pub(super) fn ends_at(&self, offset: u64) -> bool {
        self.writer.is_some() || self.parts.iter().any(|part| part.end == offset)
    }

    /// Keeps bytes that came from the network, `offset` on: behind the part that ends there, or as a new one.
    pub(super) async fn keep(&mut self, offset: u64, bytes: &Bytes) {
        if self.is_given_up {
            return;
        }
        if self.writer.as_ref().is_some_and(|writer| writer.end != offset) {
            self.finish().await;
        }
        if self.writer.is_none() {
            self.writer = self.begin(offset);
        }
        let is_kept = match &mut self.writer {
            Some(writer) => {
                writer.end += bytes.len() as u64;
                writer.queue.send(bytes.clone()).await.is_ok()
            }
            None => false,
        };
        self.is_given_up = !is_kept;
    }

    fn begin(&self, offset: u64) -> Option<Writer> {
        let continued = self.parts.iter().find(|part| part.end == offset).map(|part| part.start);
        if continued.is_none() && self.parts.len() >= PARTS_MAX {
            return None;
        }
        let claim = Arc::clone(&self.claim);
        let path = self.spools().path(&claim.digest, continued.unwrap_or(offset));
        let (queue, pieces) = mpsc::channel(QUEUE_PIECES);
        let task = tokio::task::spawn_blocking(move || {
            if let Err(error) = append(&path, pieces, &claim.spools) {
                tracing::warn!(path = %path.display(), %error, "cannot keep what arrives of a slow download");
                remove(&path);
            }
            drop(claim);
        });
        Some(Writer { queue, end: offset, task })
    }

    /// Waits until what is to be kept is in the kernel's hands, and looks again what there is.
    pub(super) async fn finish(&mut self) {
        if let Some(writer) = self.writer.take() {
            drop(writer.queue);
            // A writer that panicked has written what it has written.
            let _ = writer.task.await;
            self.parts = self.look();
        }
    }

    fn spools(&self) -> &Spools {
        &self.claim.spools
    }
}

fn append(path: &Path, mut pieces: mpsc::Receiver<Bytes>, spools: &Spools) -> io::Result<()> {
    let mut file = File::options().append(true).create(true).mode(0o600).open(path)?;
    let mut unchecked_bytes = ROOM_CHECK_BYTES;
    while let Some(piece) = pieces.blocking_recv() {
        unchecked_bytes += piece.len() as u64;
        if unchecked_bytes >= ROOM_CHECK_BYTES {
            unchecked_bytes = 0;
            let disk = rustix::fs::statvfs(&spools.dir)?;
            if disk.f_bavail.saturating_mul(disk.f_frsize) < spools.reserve_bytes {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "the disk's reserve is reached"));
            }
        }
        file.write_all(&piece)?;
    }
    Ok(())
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "cannot remove what was kept of a download");
        }
        Ok(()) | Err(_) => {}
    }
}
