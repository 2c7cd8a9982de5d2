//! A reader of tar archives as image layers come: ustar, GNU and PAX (POSIX.1-2008 pax, "Interchange formats"), from a stream.
//!
//! It says what the archive says, as bytes, and judges only the format. What a name may reach is `unpack`'s business.
//!
//! Deliberately absent: sparse files (image builders do not write them; they are refused by name), multi-volume archives, writing.
//! Written by hand because a layer is hostile until proven otherwise: every length that the archive names is checked against a
//! limit before anything is allocated.

use crate::error::LayerError;
use std::io::BufRead;

const BLOCK_BYTES: usize = 512;
/// Largest extended header. Linux caps a path at 4 KiB and all of a file's xattrs at 64 KiB; Go's reader draws the line here too.
const EXTENSION_MAX_BYTES: u64 = 1024 * 1024;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    Device,
    Directory,
    Fifo,
}

/// One entry's header. Names are bytes: an archive's encoding is nobody's guarantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Target of a link, else empty.
    pub(crate) link: Vec<u8>,
    /// Permission bits, set-id and sticky bits included.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Bytes of content that follow; zero unless a file.
    pub(crate) size: u64,
    /// Seconds since 1970, and nanoseconds.
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// An archive that is being read.
pub(crate) struct Archive<R> {
    reader: R,
    /// Content of the current entry not yet read.
    content_left: u64,
    /// Zeros after the content, up to the next block.
    padding_left: u64,
}

/// What extended headers say of the next entry.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<R: BufRead> Archive<R> {
    pub(crate) fn new(reader: R) -> Archive<R> {
        Archive { reader, content_left: 0, padding_left: 0 }
    }

    /// The next entry, past whatever was not read of the last one. None at the archive's end.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, LayerError> {
        self.skip_content()?;
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.read_header()? else { return Ok(None) };
            let size = header_number(&header[124..136], "size")?;
            match header[156] {
                b'L' => extensions.path = Some(until_nul(&self.read_extension(size)?).to_vec()),
                b'K' => extensions.link = Some(until_nul(&self.read_extension(size)?).to_vec()),
                b'x' => extensions.apply_pax(&self.read_extension(size)?)?,
                // Comments for the whole archive, such as git's commit id.
                b'g' => drop(self.read_extension(size)?),
                _ => return self.finish_entry(&header, size, extensions).map(Some),
            }
        }
    }

    /// The next piece of the current entry's content; empty at its end.
    pub(crate) fn content(&mut self) -> Result<&[u8], LayerError> {
        if self.content_left == 0 {
            return Ok(&[]);
        }
        let available = self.reader.fill_buf().map_err(LayerError::input)?;
        if available.is_empty() {
            return Err(LayerError::tar("ends in the middle of a file"));
        }
        let length = usize::try_from(self.content_left).map_or(available.len(), |left| left.min(available.len()));
        Ok(&available[..length])
    }

    /// Marks that much of the last `content` as read.
    pub(crate) fn consume(&mut self, length: usize) {
        self.reader.consume(length);
        self.content_left -= length as u64;
    }

    /// Reads on to the end of the stream, which after the archive's end may only be zeros.
    pub(crate) fn drain(mut self) -> Result<(), LayerError> {
        loop {
            let rest = self.reader.fill_buf().map_err(LayerError::input)?;
            if rest.is_empty() {
                return Ok(());
            }
            if rest.iter().any(|byte| *byte != 0) {
                return Err(LayerError::tar("has data after its end"));
            }
            let length = rest.len();
            self.reader.consume(length);
        }
    }

    fn skip_content(&mut self) -> Result<(), LayerError> {
        let mut left = std::mem::take(&mut self.content_left) + std::mem::take(&mut self.padding_left);
        while left > 0 {
            let available = self.reader.fill_buf().map_err(LayerError::input)?.len();
            if available == 0 {
                return Err(LayerError::tar("ends in the middle of a file"));
            }
            let length = usize::try_from(left).map_or(available, |left| left.min(available));
            self.reader.consume(length);
            left -= length as u64;
        }
        Ok(())
    }

    /// A header block; none at the end, be it marked by a block of zeros or by the stream's end (some writers leave the mark out,
    /// and the digests say whether bytes are missing).
    fn read_header(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>, LayerError> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            let available = self.reader.fill_buf().map_err(LayerError::input)?;
            let length = available.len().min(BLOCK_BYTES - filled);
            if length == 0 && filled == 0 {
                return Ok(None);
            }
            if length == 0 {
                return Err(LayerError::tar("ends in the middle of a header"));
            }
            block[filled..filled + length].copy_from_slice(&available[..length]);
            self.reader.consume(length);
            filled += length;
        }
        if block == [0; BLOCK_BYTES] {
            return Ok(None);
        }
        check_sum(&block)?;
        Ok(Some(block))
    }

    fn read_extension(&mut self, size: u64) -> Result<Vec<u8>, LayerError> {
        if size > EXTENSION_MAX_BYTES {
            return Err(LayerError::tar("has an extended header of more than 1 MiB"));
        }
        self.content_left = size;
        self.padding_left = padding(size);
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

    fn finish_entry(&mut self, header: &[u8; BLOCK_BYTES], size: u64, extensions: Extensions) -> Result<Entry, LayerError> {
        let path = extensions.path.unwrap_or_else(|| header_path(header));
        let kind = kind_of(header[156], &path)?;
        let size = extensions.size.unwrap_or(size);
        // Only files have content; old writers put a size on directories and links all the same, without content behind it.
        let size = if kind == Kind::File { size } else { 0 };
        if size > i64::MAX as u64 {
            return Err(LayerError::tar("has a file of an impossible size"));
        }
        self.content_left = size;
        self.padding_left = padding(size);
        let link = extensions.link.unwrap_or_else(|| until_nul(&header[157..257]).to_vec());
        let mtime = match extensions.mtime {
            Some(mtime) => mtime,
            None => (i64::try_from(header_number(&header[136..148], "time")?).unwrap_or(i64::MAX), 0),
        };
        let uid = extensions.uid.map_or_else(|| header_number(&header[108..116], "owner"), Ok)?;
        let gid = extensions.gid.map_or_else(|| header_number(&header[116..124], "group"), Ok)?;
        let mode = header_number(&header[100..108], "mode")? & 0o7777;
        Ok(Entry {
            kind,
            link: if matches!(kind, Kind::HardLink | Kind::Symlink) { link } else { Vec::new() },
            mode: u32::try_from(mode).unwrap_or(0),
            uid: account(uid)?,
            gid: account(gid)?,
            size,
            mtime,
            xattrs: extensions.xattrs,
            path,
        })
    }
}

impl Extensions {
    /// Records of the form `LENGTH KEY=VALUE\n`, LENGTH counting itself.
    fn apply_pax(&mut self, mut records: &[u8]) -> Result<(), LayerError> {
        while !records.is_empty() {
            let bad = || LayerError::tar("has a malformed extended header");
            let space = records.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
            let length: usize = ascii_number(&records[..space]).and_then(|n| usize::try_from(n).ok()).ok_or_else(bad)?;
            let record = records.get(space + 1..length).ok_or_else(bad)?.strip_suffix(b"\n").ok_or_else(bad)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
            self.apply_record(&record[..equals], &record[equals + 1..])?;
            records = &records[length..];
        }
        Ok(())
    }

    fn apply_record(&mut self, key: &[u8], value: &[u8]) -> Result<(), LayerError> {
        let number = || ascii_number(value).ok_or_else(|| LayerError::tar("has a bad number in an extended header"));
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(number()?),
            b"gid" => self.gid = Some(number()?),
            b"mtime" => {
                self.mtime = Some(parse_time(value).ok_or_else(|| LayerError::tar("has a bad time in an extended header"))?)
            }
            _ if key.starts_with(b"GNU.sparse.") => return Err(sparse()),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

fn kind_of(flag: u8, path: &[u8]) -> Result<Kind, LayerError> {
    match flag {
        // Before ustar, a final slash was what made a directory.
        0 | b'0' if path.ends_with(b"/") => Ok(Kind::Directory),
        0 | b'0' | b'7' => Ok(Kind::File),
        b'1' => Ok(Kind::HardLink),
        b'2' => Ok(Kind::Symlink),
        b'3' | b'4' => Ok(Kind::Device),
        b'5' => Ok(Kind::Directory),
        b'6' => Ok(Kind::Fifo),
        b'S' => Err(sparse()),
        other => Err(LayerError::tar(format!(
            "has an entry {:?} of unknown type {:?}",
            path.escape_ascii().to_string(),
            other as char
        ))),
    }
}

fn sparse() -> LayerError {
    LayerError::tar("has a sparse file, which is not supported (build the image without tar's --sparse)")
}

/// ustar splits long names in two; GNU uses the second field for something else.
fn header_path(header: &[u8; BLOCK_BYTES]) -> Vec<u8> {
    let name = until_nul(&header[..100]);
    let prefix = if &header[257..263] == b"ustar\0" { until_nul(&header[345..500]) } else { &[] };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// Sums were once made of signed bytes; both are accepted, as everywhere.
fn check_sum(block: &[u8; BLOCK_BYTES]) -> Result<(), LayerError> {
    let expected = header_number(&block[148..156], "checksum")?;
    let bytes = || block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    let unsigned: u64 = bytes().map(u64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    if unsigned == expected || i64::try_from(expected) == Ok(signed) {
        Ok(())
    } else {
        Err(LayerError::tar("has a header with a wrong checksum"))
    }
}

/// A numeric field: octal text, or big-endian binary with the top bit set (GNU).
fn header_number(field: &[u8], what: &str) -> Result<u64, LayerError> {
    let bad = || LayerError::tar(format!("has a header with a bad {what}"));
    if field[0] & 0x80 != 0 {
        // Negative (0xff...) or more than 64 bits: neither a size, an owner nor a time that we could keep.
        let (high, low) = field.split_at(field.len().saturating_sub(8));
        let in_low = field.len() == 8;
        if high.iter().enumerate().any(|(at, byte)| if at == 0 { *byte != 0x80 } else { *byte != 0 }) {
            return Err(bad());
        }
        let value = low.iter().enumerate().fold(0, |value, (at, byte)| {
            let byte = if in_low && at == 0 { byte & 0x7f } else { *byte };
            value << 8 | u64::from(byte)
        });
        return Ok(value);
    }
    let text = until_nul(field).trim_ascii();
    if !text.iter().all(|byte| matches!(byte, b'0'..=b'7')) {
        return Err(bad());
    }
    Ok(text.iter().fold(0, |value, digit| value << 3 | u64::from(digit - b'0')))
}

fn account(id: u64) -> Result<u32, LayerError> {
    // The last one means "leave as it is" to chown.
    u32::try_from(id)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| LayerError::tar(format!("has an entry of owner or group {id}, which no system has")))
}

fn ascii_number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `-12.345`: seconds with a fraction, of which nanoseconds are kept.
fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    // Time runs forward from the second before.
    if text.starts_with('-') && nanos > 0 {
        Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos))
    } else {
        Some((seconds, nanos))
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(&[])
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK_BYTES as u64
}
