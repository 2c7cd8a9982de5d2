//! Contents of an archive between its reading and the writing of the layer, one after the other in a file without a name: nothing of it is
//! left when the process ends, however it does.

use crate::ArchiveError;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 128 * 1024;

/// Free bytes of the disk that stay free, whatever an archive brings: others need them more than we do.
const RESERVE_BYTES: u64 = 1 << 30;
/// How much is written between two looks at the disk.
const LOOK_EVERY_BYTES: u64 = 64 << 20;

pub(crate) struct Spool {
    file: File,
    length: u64,
    /// Written since the disk was looked at.
    unseen_bytes: u64,
}

/// One content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    at: u64,
    pub(crate) size: u64,
}

impl Content {
    /// What tells it from others; nothing for an empty one, which has no place of its own.
    pub(crate) fn place(self) -> Option<u64> {
        (self.size > 0).then_some(self.at)
    }
}

impl Spool {
    /// In a folder on a disk that has room for the contents.
    pub(crate) fn new(folder: &Path) -> Result<Spool, ArchiveError> {
        let file = tempfile::tempfile_in(folder).map_err(ArchiveError::io("make a temporary file"))?;
        Ok(Spool { file, length: 0, unseen_bytes: LOOK_EVERY_BYTES })
    }

    /// Room for a content of zeros, to be written to.
    pub(crate) fn content(&mut self, size: u64) -> Content {
        let content = Content { at: self.length, size };
        self.length += size;
        content
    }

    /// A piece of a content. What is never written is zeros.
    pub(crate) fn write(&mut self, content: Content, at: u64, piece: &[u8]) -> Result<(), ArchiveError> {
        self.unseen_bytes += piece.len() as u64;
        if self.unseen_bytes > LOOK_EVERY_BYTES {
            self.unseen_bytes = 0;
            has_room(&self.file).map_err(ArchiveError::io("unpack the archive"))?;
        }
        self.file.write_all_at(piece, content.at + at).map_err(ArchiveError::io("write a temporary file"))
    }

    /// A whole content.
    pub(crate) fn copy(&self, content: Content, out: &mut impl Write) -> io::Result<()> {
        let mut buffer = vec![0; usize::try_from(content.size).map_or(COPY_BYTES, |size| size.min(COPY_BYTES))];
        let mut done = 0;
        while done < content.size {
            let length = usize::try_from(content.size - done).map_or(buffer.len(), |left| left.min(buffer.len()));
            let piece = &mut buffer[..length];
            let read = self.file.read_at(piece, content.at + done)?;
            // Behind the last byte that was written there are zeros that nobody wrote.
            let piece = if read == 0 {
                piece.fill(0);
                piece
            } else {
                &mut piece[..read]
            };
            out.write_all(piece)?;
            done += piece.len() as u64;
        }
        Ok(())
    }
}

fn has_room(file: &File) -> io::Result<()> {
    let disk = rustix::fs::fstatvfs(file)?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) < RESERVE_BYTES {
        return Err(io::Error::new(io::ErrorKind::StorageFull, "less than 1 GiB of the disk is free; make room"));
    }
    Ok(())
}
