//! Reading files piece by piece, from the disk and without keeping them in memory.

use crate::record::LayerRecord;
use crate::store::Inner;
use crate::store::sums::{self, Sums};
use crate::tree::Data;
use rustix::fs::{Advice, SeekFrom, fadvise, seek};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Large enough that a call to the kernel costs nothing beside the reading.
const PIECE_BYTES: usize = 256 * 1024;

/// A file's start up to a limit.
pub(super) fn read_small(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, String> {
    let name = path.file_name().unwrap_or_default().display().to_string();
    let failed = |e: io::Error| format!("its {name} cannot be read: {e}");
    let file = open(path)?;
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes > limit_bytes {
        return Err(format!("its {name} has {bytes} bytes"));
    }
    let mut content = Vec::new();
    file.take(limit_bytes).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

/// Opens a file so that it is read from the disk again.
pub(super) fn open(path: &Path) -> Result<File, String> {
    let name = path.file_name().unwrap_or_default().display();
    let file = File::open(path).map_err(|e| format!("its {name} cannot be opened: {e}"))?;
    // A hint; a file system that takes none reads what it has.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    Ok(file)
}

/// A whole file from its start, hashed as it is read.
pub(super) struct Hashed<'a> {
    file: &'a File,
    at: u64,
    buffer: Vec<u8>,
    used: usize,
    hash: Sha256,
    /// Why reading ended early.
    pub(super) error: Option<io::Error>,
}

impl<'a> Hashed<'a> {
    pub(super) fn new(file: &'a File) -> Hashed<'a> {
        Hashed { file, at: 0, buffer: Vec::new(), used: 0, hash: Sha256::new(), error: None }
    }

    /// Of what was read.
    pub(super) fn sum(self) -> [u8; 32] {
        self.hash.finalize().into()
    }
}

impl BufRead for Hashed<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.buffer.len() {
            self.buffer.resize(PIECE_BYTES, 0);
            self.used = 0;
            let read = match self.file.read_at(&mut self.buffer, self.at) {
                Ok(read) => read,
                Err(error) => {
                    self.buffer.clear();
                    let kind = error.kind();
                    self.error = Some(error);
                    return Err(kind.into());
                }
            };
            self.buffer.truncate(read);
            self.hash.update(&self.buffer);
            let _ = fadvise(self.file, self.at, NonZeroU64::new(read as u64), Advice::DontNeed);
            self.at += read as u64;
        }
        Ok(&self.buffer[self.used..])
    }

    fn consume(&mut self, bytes: usize) {
        self.used += bytes;
    }
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        self.consume(length);
        Ok(length)
    }
}

/// Whether a file has these bytes from `at` on.
pub(super) fn holds(file: &File, mut at: u64, mut bytes: &[u8], buffer: &mut Vec<u8>) -> io::Result<bool> {
    while !bytes.is_empty() {
        buffer.resize(bytes.len().min(PIECE_BYTES), 0);
        file.read_exact_at(buffer, at)?;
        let (piece, rest) = bytes.split_at(buffer.len());
        if piece != &buffer[..] {
            return Ok(false);
        }
        at += buffer.len() as u64;
        bytes = rest;
    }
    Ok(true)
}

/// Whether a file has nothing but zeros or holes in a range. Holes are not read: a sparse file may be larger than the disk.
pub(super) fn is_zero(file: &File, mut at: u64, end: u64, buffer: &mut Vec<u8>) -> io::Result<bool> {
    while at < end {
        at = match seek(file, SeekFrom::Data(at)) {
            Ok(data) if data < end => data,
            Ok(_) | Err(Errno::NXIO) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        };
        let piece = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE_BYTES);
        buffer.resize(piece, 0);
        file.read_exact_at(buffer, at)?;
        if buffer.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += piece as u64;
    }
    Ok(true)
}

/// What the contents of a layer's files should be.
pub(super) enum Contents {
    /// As the archive has them, and the file of expanded contents.
    Archive { archive: File, expanded: Option<File> },
    /// Nobody knows any more, but these are their sums.
    Summed(Sums),
}

impl Contents {
    pub(super) fn open(inner: &Inner, layer: &LayerRecord) -> Result<Contents, String> {
        let archive = open(&inner.tar_path(&layer.diff_id))?;
        let expanded = (layer.expanded_bytes > 0).then(|| open(&inner.expanded_path(&layer.diff_id))).transpose()?;
        Ok(Contents::Archive { archive, expanded })
    }

    /// Whether a file of the right size has the right content.
    pub(super) fn equal(&self, content: u32, data: Data, size: u64, other: &File) -> io::Result<bool> {
        // Read from the disk, and not kept in memory afterwards.
        let _ = fadvise(other, 0, None, Advice::DontNeed);
        let equal = match (self, data) {
            (Contents::Summed(sums), _) => {
                let sum = sums::of_file(other, size, |at| next_data(other, at))?;
                sums.get(content) == Some(sum)
            }
            (Contents::Archive { archive, .. }, Data::Archive { offset }) => same(archive, offset, size, other)?,
            (Contents::Archive { expanded: Some(expanded), .. }, Data::Expanded { offset }) => {
                same(expanded, offset, size, other)?
            }
            (Contents::Archive { expanded: None, .. }, Data::Expanded { .. }) => false,
        };
        let _ = fadvise(other, 0, None, Advice::DontNeed);
        Ok(equal)
    }
}

/// Whether a file has the same bytes as a part of another.
fn same(whole: &File, start: u64, size: u64, other: &File) -> io::Result<bool> {
    let (mut ours, mut theirs, mut at) = (Vec::new(), Vec::new(), 0);
    while at < size {
        // Where both have a hole there is nothing to compare.
        at = next_data(whole, start + at)?.saturating_sub(start).min(next_data(other, at)?).max(at);
        if at >= size {
            break;
        }
        ours.resize(usize::try_from(size - at).unwrap_or(usize::MAX).min(PIECE_BYTES), 0);
        whole.read_exact_at(&mut ours, start + at)?;
        if !holds(other, at, &ours, &mut theirs)? {
            return Ok(false);
        }
        at += ours.len() as u64;
    }
    Ok(true)
}

/// The first byte from `at` on that is not in a hole.
fn next_data(file: &File, at: u64) -> io::Result<u64> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok(data),
        Err(Errno::NXIO) => Ok(u64::MAX),
        Err(errno) => Err(errno.into()),
    }
}
