//! Tar archives as image layers come: ustar, GNU and PAX (POSIX.1-2008 pax, "Interchange formats"), from a stream.
//!
//! The reader says what the archive says, as bytes, where in the archive each content lies, and judges only the format. What names,
//! attributes and sizes may be stands in `rules` and `limits`, for everybody who reads archives: the image store of a host, and
//! whoever makes a layer. `write` makes headers, the same ones for the same entry for ever.
//!
//! Where writers differ: types that nobody knows are refused by name (POSIX would have them be files; every engine refuses them). A
//! global header applies to all entries after it, but may not name or measure them. Times outside of what common file systems keep
//! are moved to the nearest one that they do. `LIBARCHIVE.xattr.*` is passed over: its writers write `SCHILY.xattr.*` beside it.
//!
//! Deliberately absent: multi-volume archives, compression, files. Written by hand because a layer is hostile until proven otherwise: every
//! length that the archive names is checked against a limit before anything is allocated.

mod error;
mod header;
mod limits;
mod pax;
mod rules;
mod sparse;
mod write;

pub use error::{TarError, shown};
pub use limits::Limits;
pub use rules::{NAME_MAX_BYTES, PATH_MAX_BYTES, WHITEOUT_PREFIX, clean, is_kept};
pub use sparse::Piece;
pub use write::{END_BYTES, padding, write_header};

use header::{BLOCK_BYTES, Header};
use pax::Extensions;
use std::collections::BTreeMap;
use std::io::BufRead;

/// All extended headers of one entry. Linux caps a path at 4 KiB and a file's xattrs at 64 KiB; Go's reader draws the line here too.
const EXTENSION_MAX_BYTES: u64 = 1024 * 1024;
/// Times that ext4 and XFS can keep, so that an image looks the same however it is stored: 1901 to 2446.
const MTIME_RANGE_S: std::ops::RangeInclusive<i64> = -(1 << 31)..=(1 << 34) - (1 << 31) - 1;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A regular file.
    #[default]
    File,
    /// A second name of a file of the archive.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice {
        /// Which driver.
        major: u32,
        /// Which of its devices.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Which driver.
        major: u32,
        /// Which of its devices.
        minor: u32,
    },
    /// A folder.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry's header. Names are bytes: an archive's encoding is nobody's guarantee.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// As it stands there, nothing cleaned.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Target of a link, else empty.
    pub link: Vec<u8>,
    /// Permission bits, set-id and sticky bits included.
    pub mode: u16,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Since 1970; before it is negative.
    pub mtime_s: i64,
    /// Forward from there.
    pub mtime_ns: u32,
    /// By name, none left out.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Of a file, as it is read, holes included; else zero.
    pub size: u64,
    /// Where its content begins in the archive, in bytes: a multiple of 512.
    pub offset: u64,
    /// Of a sparse file: what of it the archive has, one after the other. The rest is zeros.
    pub pieces: Option<Vec<Piece>>,
}

/// An archive that is being read.
pub struct Archive<R> {
    reader: R,
    /// Bytes read so far.
    position: u64,
    /// Content of the current entry not yet read.
    content_left: u64,
    /// Zeros after the content, up to the next block.
    padding_left: u64,
    /// What global headers say of all entries from here on.
    globals: Extensions,
}

impl<R: BufRead> Archive<R> {
    /// Reads from `reader`.
    pub fn new(reader: R) -> Archive<R> {
        Archive { reader, position: 0, content_left: 0, padding_left: 0, globals: Extensions::default() }
    }

    /// Reads the next entry into `entry`, past whatever was not read of the last one. False at the archive's end.
    ///
    /// # Errors
    /// The archive is malformed, or cannot be read.
    pub fn next_entry(&mut self, entry: &mut Entry) -> Result<bool, TarError> {
        self.skip_content()?;
        let mut extensions = self.globals.clone();
        let mut left = EXTENSION_MAX_BYTES;
        let mut is_announced = false;
        let mut header = Header([0; BLOCK_BYTES]);
        loop {
            let at = self.position;
            if !self.read_header(&mut header)? {
                return if is_announced { Err(TarError::tar("ends where an entry is announced")) } else { Ok(false) };
            }
            is_announced |= matches!(header.flag(), b'L' | b'K' | b'x');
            match header.flag() {
                b'L' => extensions.path = Some(until_nul(&self.read_extension(&header, &mut left)?).to_vec()),
                b'K' => extensions.link = Some(until_nul(&self.read_extension(&header, &mut left)?).to_vec()),
                b'x' => extensions.apply(&self.read_extension(&header, &mut left)?).map_err(|error| located(error, at))?,
                b'g' => {
                    let records = self.read_extension(&header, &mut left)?;
                    let applied = self.globals.apply(&records).and_then(|()| self.globals.check_global());
                    applied.and_then(|()| extensions.apply(&records)).map_err(|error| located(error, at))?;
                }
                _ => return self.finish_entry(entry, &header, extensions).map(|()| true),
            }
        }
    }

    /// The next piece of the current entry's content as the archive has it; empty at its end.
    pub fn content(&mut self) -> Result<&[u8], TarError> {
        if self.content_left == 0 {
            return Ok(&[]);
        }
        let available = self.reader.fill_buf().map_err(TarError::input)?;
        if available.is_empty() {
            return Err(ends_early());
        }
        Ok(&available[..at_most(available.len(), self.content_left)])
    }

    /// Marks that much of the last `content` as read.
    pub fn consume(&mut self, length: usize) {
        self.reader.consume(length);
        self.position += length as u64;
        self.content_left -= length as u64;
    }

    /// Reads on to the end of the stream, which after the archive's end may only be zeros.
    pub fn drain(mut self) -> Result<(), TarError> {
        loop {
            let rest = self.reader.fill_buf().map_err(TarError::input)?;
            if rest.is_empty() {
                return Ok(());
            }
            if rest.iter().any(|byte| *byte != 0) {
                return Err(TarError::tar("has data after its end"));
            }
            let length = rest.len();
            self.reader.consume(length);
        }
    }

    fn skip_content(&mut self) -> Result<(), TarError> {
        let mut left = std::mem::take(&mut self.content_left) + std::mem::take(&mut self.padding_left);
        self.position += left;
        while left > 0 {
            let available = self.reader.fill_buf().map_err(TarError::input)?.len();
            if available == 0 {
                return Err(ends_early());
            }
            let length = at_most(available, left);
            self.reader.consume(length);
            left -= length as u64;
        }
        Ok(())
    }

    /// Reads a header block. False at the end, be it marked by a block of zeros or by the stream's end (some writers leave the mark
    /// out, and the digests say whether bytes are missing).
    fn read_header(&mut self, header: &mut Header) -> Result<bool, TarError> {
        let at = self.position;
        if !self.read_block(header)? || header.is_zero() {
            return Ok(false);
        }
        if !header.is_sealed() {
            return Err(TarError::tar(format!("has no proper header at byte {at}")));
        }
        Ok(true)
    }

    /// Reads the next 512 bytes. False at the stream's end.
    fn read_block(&mut self, block: &mut Header) -> Result<bool, TarError> {
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            let available = self.reader.fill_buf().map_err(TarError::input)?;
            let length = available.len().min(BLOCK_BYTES - filled);
            if length == 0 && filled == 0 {
                return Ok(false);
            }
            if length == 0 {
                return Err(TarError::tar("ends in the middle of a header"));
            }
            block.0[filled..filled + length].copy_from_slice(&available[..length]);
            self.reader.consume(length);
            filled += length;
        }
        self.position += BLOCK_BYTES as u64;
        Ok(true)
    }

    /// The content of an extended header, if all of this entry's stay within what is `left`.
    fn read_extension(&mut self, header: &Header, left: &mut u64) -> Result<Vec<u8>, TarError> {
        let size = header.size().ok_or_else(|| TarError::tar("has an extended header of an impossible size"))?;
        *left = left.checked_sub(size).ok_or_else(|| TarError::tar("has extended headers of more than 1 MiB for one entry"))?;
        self.expect_content(size);
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        loop {
            let piece = self.content()?;
            if piece.is_empty() {
                break;
            }
            content.extend_from_slice(piece);
            let length = piece.len();
            self.consume(length);
        }
        self.skip_content()?;
        Ok(content)
    }

    fn expect_content(&mut self, size: u64) {
        self.content_left = size;
        self.padding_left = size.wrapping_neg() % BLOCK_BYTES as u64;
    }

    fn finish_entry(&mut self, entry: &mut Entry, header: &Header, extensions: Extensions) -> Result<(), TarError> {
        let sparse = extensions.sparse;
        let name = sparse.as_ref().and_then(|sparse| sparse.name.clone()).or(extensions.path);
        match name {
            Some(path) => entry.path = path,
            None => header.path_into(&mut entry.path),
        }
        entry.kind = header.kind(&entry.path)?;
        entry.link.clear();
        if matches!(entry.kind, Kind::HardLink | Kind::Symlink) {
            match extensions.link {
                Some(link) => entry.link = link,
                None => entry.link.extend_from_slice(header.link()),
            }
        }
        let bad = |what: &str| TarError::entry(&entry.path, format!("has {what} that cannot be"));
        entry.mode = header.mode().ok_or_else(|| bad("a mode"))?;
        entry.uid = account(&entry.path, extensions.uid.or(header.uid()))?;
        entry.gid = account(&entry.path, extensions.gid.or(header.gid()))?;
        let (mtime_s, mtime_ns) = match extensions.mtime {
            Some(mtime) => mtime,
            None => (header.mtime().ok_or_else(|| bad("a time"))?, 0),
        };
        entry.mtime_s = mtime_s.clamp(*MTIME_RANGE_S.start(), *MTIME_RANGE_S.end());
        entry.mtime_ns = if entry.mtime_s == mtime_s { mtime_ns } else { 0 };
        entry.xattrs = extensions.xattrs;
        let stored = extensions.size.or(header.size()).ok_or_else(|| bad("a size"))?;
        // Only files have content; old writers put a size on directories and links all the same, without content behind it.
        let is_file = entry.kind == Kind::File;
        entry.size = if is_file { stored } else { 0 };
        self.expect_content(entry.size);
        entry.pieces = None;
        if header.flag() == b'S' || (is_file && sparse.is_some()) {
            self.read_sparse_map(entry, header, sparse.unwrap_or_default())?;
        }
        entry.offset = self.position;
        Ok(())
    }
}

/// The last one means "leave as it is" to chown.
fn account(path: &[u8], id: Option<i64>) -> Result<u32, TarError> {
    let id = id.ok_or_else(|| TarError::entry(path, "has an owner or group that cannot be"))?;
    u32::try_from(id)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| TarError::entry(path, format!("has the owner or group {id}, which no system has")))
}

/// An extended header has no name to tell it by.
fn located(error: TarError, at: u64) -> TarError {
    let TarError::Malformed { problem } = error else { return error };
    TarError::tar(format!("{problem} (at byte {at})"))
}

fn ends_early() -> TarError {
    TarError::tar("ends in the middle of a file")
}

fn at_most(available: usize, left: u64) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(&[])
}
