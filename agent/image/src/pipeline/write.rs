//! Writes an archive to its file, past the page cache where the file system lets us.
//!
//! A pull writes gigabytes that nobody reads soon. Through the page cache they would be copied once more, and push out what running
//! containers have there. So whole buffers go to the disk as they are (open(2), O_DIRECT), and only the last few kilobytes, which fill no
//! block, the usual way. File systems without direct I/O (tmpfs before Linux 6.6, some network ones) are written to the usual way, synced
//! now and then, and what is synced is dropped from the cache.

#[cfg(test)]
mod tests;

use super::buffers::{ALIGNMENT_BYTES, BUFFER_BYTES, Buffer};
use crate::error::LayerError;
use crate::store::crash;
use rustix::fs::{Advice, Mode, OFlags};
use rustix::io::Errno;
use std::io::IoSlice;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Written between two looks at the disk's reserve.
const ROOM_EVERY_BYTES: u64 = 64 << 20;
/// Written through the page cache between two syncs.
const SYNC_EVERY_BYTES: u64 = 32 << 20;
/// For the error's words.
const NAME: &[u8] = b"tar";

/// A file that grows at its end.
pub(super) struct ArchiveFile<'a> {
    file: OwnedFd,
    is_direct: bool,
    bytes: u64,
    synced_bytes: u64,
    room_asked_bytes: u64,
    /// Whether there is room for more.
    room: &'a (dyn Fn() -> Result<(), LayerError> + Sync),
}

impl<'a> ArchiveFile<'a> {
    /// A new file.
    pub(super) fn create(
        path: &Path,
        room: &'a (dyn Fn() -> Result<(), LayerError> + Sync),
    ) -> Result<ArchiveFile<'a>, LayerError> {
        crash::point("create an archive");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let opened = match rustix::fs::open(path, flags | OFlags::DIRECT, mode) {
            // Some file systems make the file before they refuse.
            Err(Errno::INVAL) => rustix::fs::open(path, flags - OFlags::EXCL, mode).map(|file| (file, false)),
            other => other.map(|file| (file, true)),
        };
        let (file, is_direct) = opened.map_err(|e| LayerError::io("create", NAME, e))?;
        Ok(ArchiveFile { file, is_direct, bytes: 0, synced_bytes: 0, room_asked_bytes: 0, room })
    }

    /// Appends; all buffers but the archive's last one are full.
    pub(super) fn append(&mut self, buffers: &[Buffer]) -> Result<(), LayerError> {
        crash::point("write to an archive");
        let pieces: Vec<&[u8]> = buffers.iter().map(Buffer::bytes).collect();
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut written = 0;
        while written < length {
            let count = self.write_some(&pieces, written, length).map_err(|e| LayerError::io("write", NAME, e))?;
            written += count;
            self.bytes += count as u64;
        }
        if self.bytes - self.room_asked_bytes >= ROOM_EVERY_BYTES {
            self.room_asked_bytes = self.bytes;
            (self.room)()?;
        }
        if !self.is_direct && self.bytes - self.synced_bytes >= SYNC_EVERY_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    /// Syncs what has gone through the page cache and is worth it; the rest, an archive's last few kilobytes, is left to the caller,
    /// who has more to sync.
    pub(super) fn finish(mut self) -> Result<(), LayerError> {
        if self.bytes - self.synced_bytes > BUFFER_BYTES as u64 && !self.is_direct {
            self.sync()?;
        }
        Ok(())
    }

    /// One call to the kernel for what follows the first `from` bytes of the pieces.
    fn write_some(&mut self, pieces: &[&[u8]], from: usize, length: usize) -> Result<usize, Errno> {
        let left = length - from;
        let whole = left - left % ALIGNMENT_BYTES;
        let is_aligned = self.bytes.is_multiple_of(ALIGNMENT_BYTES as u64) && from.is_multiple_of(ALIGNMENT_BYTES);
        if self.is_direct && (whole == 0 || !is_aligned) {
            self.leave_direct()?;
        }
        let limit = if self.is_direct { whole } else { left };
        match rustix::io::pwritev(&self.file, &slices(pieces, from, limit), self.bytes) {
            Ok(0) => Err(Errno::NOSPC),
            Err(Errno::INTR) => Ok(0),
            Err(Errno::INVAL) if self.is_direct => {
                self.leave_direct()?;
                Ok(0)
            }
            other => other,
        }
    }

    fn leave_direct(&mut self) -> Result<(), Errno> {
        self.is_direct = false;
        // What is on the disk already needs no further sync than the last.
        self.synced_bytes = self.bytes;
        rustix::fs::fcntl_setfl(&self.file, OFlags::empty())
    }

    fn sync(&mut self) -> Result<(), LayerError> {
        crash::point("sync an archive");
        rustix::fs::fdatasync(&self.file).map_err(|e| LayerError::io("sync", NAME, e))?;
        let length = NonZeroU64::new(self.bytes - self.synced_bytes);
        // A hint; what cannot take it keeps its pages.
        let _ = rustix::fs::fadvise(&self.file, self.synced_bytes, length, Advice::DontNeed);
        self.synced_bytes = self.bytes;
        Ok(())
    }
}

/// The bytes `from..from + limit` of pieces that follow each other.
fn slices<'b>(pieces: &[&'b [u8]], mut from: usize, mut limit: usize) -> Vec<IoSlice<'b>> {
    let mut slices = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let skipped = from.min(piece.len());
        from -= skipped;
        let taken = (piece.len() - skipped).min(limit);
        limit -= taken;
        if taken > 0 {
            slices.push(IoSlice::new(&piece[skipped..skipped + taken]));
        }
    }
    slices
}
