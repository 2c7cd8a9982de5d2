//! Headers of archives that we make: ustar, and a PAX header before it where something does not fit. Nothing of the machine or the
//! moment gets in: no names of users, no process numbers, no times but the entry's own.

use crate::header::BLOCK_BYTES;
use crate::{Entry, Kind};
use std::io::{self, Write};

/// What ends an archive: two blocks of zeros.
pub const END_BYTES: usize = 2 * BLOCK_BYTES;
/// Longest name and target of a link in a header.
const NAME_FIELD_BYTES: usize = 100;
/// Longest first part of a name that is in two.
const PREFIX_FIELD_BYTES: usize = 155;
/// Largest numbers of fields of 12 and of 8 bytes: octal digits, and a NUL.
const LONG_MAX: u64 = 0o777_7777_7777;
const SHORT_MAX: u64 = 0o777_7777;

/// Zeros that follow a content of this size, up to the next block.
pub fn padding(size: u64) -> usize {
    // Less than a block.
    usize::try_from(size.wrapping_neg() % BLOCK_BYTES as u64).unwrap_or(0)
}

/// Writes an entry's headers; its content, and `padding`, are to follow. Folders get a final slash. Times are whole seconds from 1970 on,
/// and an extended attribute is kept whatever its name. `offset`, `pieces` and `mtime_ns` are not looked at.
///
/// # Errors
/// `out` fails; or the entry is none that can be written (`InvalidInput`): an empty name, a size on what has no content.
pub fn write_header(out: &mut impl Write, entry: &Entry) -> io::Result<()> {
    let mut path = entry.path.clone();
    if entry.kind == Kind::Directory {
        path.push(b'/');
    }
    if entry.path.is_empty() || (entry.size > 0 && entry.kind != Kind::File) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an entry without a name, or of a size that it cannot have"));
    }
    let time = u64::try_from(entry.mtime_s).unwrap_or(0);
    let mut records = Vec::new();
    let (prefix, name) = split(&path).unwrap_or_else(|| {
        record(&mut records, b"path", &path);
        (&[], &path[..NAME_FIELD_BYTES])
    });
    if entry.link.len() > NAME_FIELD_BYTES {
        record(&mut records, b"linkpath", &entry.link);
    }
    let numbers = [
        (&b"size"[..], entry.size, LONG_MAX),
        (b"uid", u64::from(entry.uid), SHORT_MAX),
        (b"gid", u64::from(entry.gid), SHORT_MAX),
        (b"mtime", time, LONG_MAX),
    ];
    for (key, number, max) in numbers {
        if number > max {
            record(&mut records, key, number.to_string().as_bytes());
        }
    }
    for (key, value) in &entry.xattrs {
        record(&mut records, &[b"SCHILY.xattr.", &key[..]].concat(), value);
    }
    if !records.is_empty() {
        let size = records.len() as u64;
        out.write_all(&block(b"", b"PaxHeaders/entry", &[], b'x', [0o644, 0, 0, size, 0], (0, 0)))?;
        out.write_all(&records)?;
        out.write_all(&[0; BLOCK_BYTES][..padding(size)])?;
    }
    let (flag, device) = match entry.kind {
        Kind::File => (b'0', (0, 0)),
        Kind::HardLink => (b'1', (0, 0)),
        Kind::Symlink => (b'2', (0, 0)),
        Kind::CharDevice { major, minor } => (b'3', (major, minor)),
        Kind::BlockDevice { major, minor } => (b'4', (major, minor)),
        Kind::Directory => (b'5', (0, 0)),
        Kind::Fifo => (b'6', (0, 0)),
    };
    let numbers = [u64::from(entry.mode), u64::from(entry.uid), u64::from(entry.gid), entry.size, time];
    out.write_all(&block(prefix, name, &entry.link, flag, numbers, device))
}

/// The two parts of a name that fit into a header; none if there are none.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME_FIELD_BYTES {
        return Some((&[], path));
    }
    // The first slash that leaves a name short enough makes the shortest prefix.
    let from = path.len().checked_sub(NAME_FIELD_BYTES + 1)?;
    let slash = path.iter().enumerate().skip(from).find(|(at, byte)| **byte == b'/' && *at + 1 < path.len())?.0;
    (1..=PREFIX_FIELD_BYTES).contains(&slash).then(|| (&path[..slash], &path[slash + 1..]))
}

/// `LENGTH KEY=VALUE\n`, LENGTH counting itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// `numbers`: mode, user, group, size, time; one that does not fit is zero here and right in the PAX header before.
fn block(prefix: &[u8], name: &[u8], link: &[u8], flag: u8, numbers: [u64; 5], device: (u32, u32)) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let mut text = |at: usize, width: usize, text: &[u8]| {
        let length = text.len().min(width);
        block[at..at + length].copy_from_slice(&text[..length]);
    };
    text(0, NAME_FIELD_BYTES, name);
    text(157, NAME_FIELD_BYTES, link);
    text(257, 8, b"ustar\x0000");
    text(345, PREFIX_FIELD_BYTES, prefix);
    let short = |number: u64| format!("{:07o}", if number > SHORT_MAX { 0 } else { number });
    let long = |number: u64| format!("{:011o}", if number > LONG_MAX { 0 } else { number });
    let [mode, uid, gid, size, time] = numbers;
    text(100, 7, short(mode).as_bytes());
    text(108, 7, short(uid).as_bytes());
    text(116, 7, short(gid).as_bytes());
    text(124, 11, long(size).as_bytes());
    text(136, 11, long(time).as_bytes());
    text(156, 1, &[flag]);
    if device != (0, 0) {
        text(329, 7, short(u64::from(device.0)).as_bytes());
        text(337, 7, short(u64::from(device.1)).as_bytes());
    }
    // The sum is made with blanks in its own place, and written as six digits, a NUL and a blank.
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum::<u32>() + 8 * u32::from(b' ');
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests;
