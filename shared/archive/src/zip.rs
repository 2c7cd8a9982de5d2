//! A reader of zip files (PKWARE APPNOTE 6.3.10), for archives of applications: stored or deflated, with zip64 and Unix modes.
//!
//! Names and sizes are those of the central directory; where a file's own header says another name, or two files share bytes, somebody
//! wants different readers to see different things, and the file is refused. Written by hand for the reason that the reader of tars is:
//! every length that the file names is checked before anything is allocated. Deliberately absent: encryption, several disks, other methods,
//! anything in front of the first file.

use crate::ArchiveError;
use crate::check::{Checked, FOLDER_MODE, Node, Twice, Xattrs};
use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use std::io::{BufReader, Read, Seek, SeekFrom};

const END_MAGIC: [u8; 4] = *b"PK\x05\x06";
const END64_LOCATOR_MAGIC: [u8; 4] = *b"PK\x06\x07";
const END64_MAGIC: [u8; 4] = *b"PK\x06\x06";
const CENTRAL_MAGIC: [u8; 4] = *b"PK\x01\x02";
const LOCAL_MAGIC: [u8; 4] = *b"PK\x03\x04";
const END_BYTES: usize = 22;
const END64_LOCATOR_BYTES: usize = 20;
const END64_BYTES: usize = 56;
const CENTRAL_BYTES: usize = 46;
const LOCAL_BYTES: u64 = 30;
/// A comment at the end has at most this many bytes.
const COMMENT_MAX_BYTES: u64 = 0xffff;
/// Extra field of sizes beyond 4 GiB.
const ZIP64_EXTRA: u16 = 1;
const IS_ENCRYPTED: u16 = 1;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// Systems whose modes are Unix's: Unix, and Darwin.
const UNIX: [u8; 2] = [3, 19];
/// Longest target of a link that is read.
const LINK_MAX_BYTES: u64 = 4096;
const FILE_MODE: u16 = 0o644;
/// Bytes that are copied at a time.
const COPY_BYTES: usize = 64 * 1024;

/// One entry of the central directory.
struct Listed {
    name: Vec<u8>,
    /// Unix mode with its type; none where the writer knew none.
    mode: Option<u32>,
    method: u16,
    crc: u32,
    packed_bytes: u64,
    bytes: u64,
    /// Where its own header is.
    at: u64,
}

/// Reads all entries into `checked`.
pub(crate) fn read<R: Read + Seek>(zip: &mut R, checked: &mut Checked) -> Result<(), ArchiveError> {
    let directory = find_directory(zip)?;
    if directory.count > checked.limits.layer_max_entries {
        return Err(coord_tar::TarError::Limit { limit: format!("{} entries", checked.limits.layer_max_entries) }.into());
    }
    let mut position = directory.at;
    let mut ranges = Vec::new();
    let mut path = Vec::new();
    let mut out_bytes = 0_u64;
    for _ in 0..directory.count {
        let (listed, next) = read_listed(zip, position, directory.end)?;
        position = next;
        out_bytes = out_bytes.saturating_add(listed.bytes);
        // All that the file has is what went in.
        checked.limits.check_size(directory.end, out_bytes)?;
        checked.clean(&listed.name, &mut path)?;
        ranges.push(read_entry(zip, &listed, &path, directory.at, checked)?);
    }
    if position != directory.end {
        return Err(ArchiveError::zip("has another number of entries than it says"));
    }
    ranges.sort_unstable();
    if ranges.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err(ArchiveError::zip("has files that share their bytes, as only bombs do"));
    }
    Ok(())
}

struct Directory {
    at: u64,
    end: u64,
    count: u64,
}

fn find_directory<R: Read + Seek>(zip: &mut R) -> Result<Directory, ArchiveError> {
    let length = zip.seek(SeekFrom::End(0)).map_err(ArchiveError::io("read the archive"))?;
    let tail_at = length.saturating_sub(END_BYTES as u64 + COMMENT_MAX_BYTES);
    let tail = bytes(zip, tail_at, length - tail_at, length)?;
    // The comment must reach exactly to the end: nothing inside of it is taken for another end.
    let is_end =
        |at: &usize| tail[*at..].starts_with(&END_MAGIC) && *at + END_BYTES + usize::from(u16_at(&tail, at + 20)) == tail.len();
    let cut_off = || ArchiveError::zip("has no directory at its end; was it cut off on its way?");
    let last = tail.len().checked_sub(END_BYTES).ok_or_else(cut_off)?;
    let at = (0..=last).rev().find(is_end).ok_or_else(cut_off)?;
    let end = &tail[at..];
    let end_at = tail_at + at as u64;
    let mut found =
        Directory { count: u64::from(u16_at(end, 10)), end: u64::from(u32_at(end, 12)), at: u64::from(u32_at(end, 16)) };
    if u16_at(end, 4) != 0 || u16_at(end, 6) != 0 {
        return Err(ArchiveError::zip("is one of several disks"));
    }
    let mut limit = end_at;
    if found.count == 0xffff || found.end == 0xffff_ffff || found.at == 0xffff_ffff {
        let wrong = || ArchiveError::zip("has no zip64 directory where it should be");
        let locator_at = end_at.checked_sub(END64_LOCATOR_BYTES as u64).ok_or_else(wrong)?;
        let locator = bytes(zip, locator_at, END64_LOCATOR_BYTES as u64, length)?;
        if locator.starts_with(&END64_LOCATOR_MAGIC) {
            limit = u64_at(&locator, 8);
            let end64 = bytes(zip, limit, END64_BYTES as u64, length)?;
            if !end64.starts_with(&END64_MAGIC) {
                return Err(wrong());
            }
            found = Directory { count: u64_at(&end64, 32), end: u64_at(&end64, 40), at: u64_at(&end64, 48) };
        }
    }
    // Its size, until here.
    found.end = found.at.checked_add(found.end).filter(|end| *end == limit).ok_or_else(|| {
        ArchiveError::zip("has a directory that does not end where it should, or something in front of its first file")
    })?;
    Ok(found)
}

/// An entry of the directory, and where the next one begins.
fn read_listed<R: Read + Seek>(zip: &mut R, at: u64, end: u64) -> Result<(Listed, u64), ArchiveError> {
    let wrong = || ArchiveError::zip("has a damaged directory");
    let fixed = bytes(zip, at, CENTRAL_BYTES as u64, end)?;
    if !fixed.starts_with(&CENTRAL_MAGIC) {
        return Err(wrong());
    }
    let lengths = [28, 30, 32].map(|field| u64::from(u16_at(&fixed, field)));
    let rest_at = at + CENTRAL_BYTES as u64;
    let rest = bytes(zip, rest_at, lengths.iter().sum(), end)?;
    let name_length = usize::try_from(lengths[0]).map_err(|_| wrong())?;
    let extra_length = usize::try_from(lengths[1]).map_err(|_| wrong())?;
    let (name, extra) = (rest[..name_length].to_vec(), &rest[name_length..name_length + extra_length]);
    let [mut bytes, mut packed_bytes, mut header_at] = [24, 20, 42].map(|field| u64::from(u32_at(&fixed, field)));
    // In this order, and each only where its field is full (APPNOTE 4.5.3).
    let mut large = zip64(extra);
    for field in [&mut bytes, &mut packed_bytes, &mut header_at] {
        if *field == 0xffff_ffff {
            (*field, large) = large.split_at_checked(8).map(|(value, rest)| (u64_at(value, 0), rest)).ok_or_else(wrong)?;
        }
    }
    let problem = |problem: &str| Err(ArchiveError::entry(&name, problem));
    if u16_at(&fixed, 8) & IS_ENCRYPTED != 0 {
        return problem("is encrypted; pack it without a password");
    }
    let method = u16_at(&fixed, 10);
    if !matches!(method, STORED | DEFLATED) {
        return problem(&format!("is packed by method {method}, and only \"store\" and \"deflate\" are read"));
    }
    if name.contains(&b'\\') {
        return problem("has a backslash in its name, where zip files have \"/\"");
    }
    let mode = Some(u32_at(&fixed, 38) >> 16).filter(|mode| UNIX.contains(&fixed[5]) && *mode != 0);
    let listed = Listed { mode, method, crc: u32_at(&fixed, 16), packed_bytes, bytes, at: header_at, name };
    Ok((listed, rest_at + lengths.iter().sum::<u64>()))
}

/// Reads an entry's content; the bytes of the file that it takes.
fn read_entry<R: Read + Seek>(
    zip: &mut R,
    listed: &Listed,
    path: &[u8],
    end: u64,
    checked: &mut Checked,
) -> Result<(u64, u64), ArchiveError> {
    let problem = |problem: &str| Err(ArchiveError::entry(&listed.name, problem));
    let local = bytes(zip, listed.at, LOCAL_BYTES, end)?;
    let (name_length, extra_length) = (u64::from(u16_at(&local, 26)), u64::from(u16_at(&local, 28)));
    let name = bytes(zip, listed.at + LOCAL_BYTES, name_length, end)?;
    if !local.starts_with(&LOCAL_MAGIC) || name != listed.name {
        return problem("has another name where its content is");
    }
    let data_at = listed.at + LOCAL_BYTES + name_length + extra_length;
    let data_end = data_at.checked_add(listed.packed_bytes).filter(|data_end| *data_end <= end);
    let Some(data_end) = data_end else { return problem("reaches beyond the files") };
    let kind = listed.mode.map_or(0, |mode| mode & 0o170_000);
    let bits = |usual: u16| {
        // Some writers set no bits, which nobody means.
        let bits = listed.mode.and_then(|mode| u16::try_from(mode & 0o777).ok()).filter(|bits| *bits != 0);
        bits.unwrap_or(usual)
    };
    let is_folder = listed.name.ends_with(b"/");
    let node = match kind {
        0o040_000 | 0 if is_folder => Node::Directory { mode: bits(FOLDER_MODE), xattrs: Xattrs::new() },
        0o100_000 | 0 if !is_folder => {
            let content = checked.content(path, listed.bytes)?;
            unpack(zip, listed, data_at, |at, piece| checked.spool.write(content, at, piece))?;
            Node::File { content, mode: bits(FILE_MODE), xattrs: Xattrs::new() }
        }
        0o120_000 if !is_folder => {
            if listed.bytes > LINK_MAX_BYTES {
                return problem("is a symbolic link to a path of more than 4095 bytes");
            }
            let mut target = Vec::new();
            unpack(zip, listed, data_at, |_, piece| {
                target.extend_from_slice(piece);
                Ok(())
            })?;
            Node::Symlink { target }
        }
        _ => return problem("is neither a file, nor a folder, nor a symbolic link"),
    };
    checked.put(path, node, Twice::Refused)?;
    Ok((listed.at, data_end))
}

/// Unpacks a content, and checks its length and its checksum.
fn unpack<R: Read + Seek>(
    zip: &mut R,
    listed: &Listed,
    data_at: u64,
    mut take: impl FnMut(u64, &[u8]) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    zip.seek(SeekFrom::Start(data_at)).map_err(ArchiveError::io("read the archive"))?;
    let packed = BufReader::with_capacity(COPY_BYTES, zip.take(listed.packed_bytes));
    let mut content: Box<dyn Read + '_> =
        if listed.method == DEFLATED { Box::new(DeflateDecoder::new(packed)) } else { Box::new(packed) };
    let mut buffer = vec![0; COPY_BYTES];
    let (mut crc, mut at) = (Crc::new(), 0_u64);
    loop {
        let length = content.read(&mut buffer).map_err(|source| ArchiveError::Compression { source })?;
        if at + length as u64 > listed.bytes || (length == 0 && at < listed.bytes) {
            return Err(ArchiveError::entry(&listed.name, "has another length than the directory says"));
        }
        if length == 0 {
            break;
        }
        crc.update(&buffer[..length]);
        take(at, &buffer[..length])?;
        at += length as u64;
    }
    if crc.sum() != listed.crc {
        return Err(ArchiveError::entry(&listed.name, "has a wrong checksum"));
    }
    Ok(())
}

/// The zip64 extra field, empty where there is none.
fn zip64(mut extra: &[u8]) -> &[u8] {
    while extra.len() >= 4 {
        let length = usize::from(u16_at(extra, 2));
        let Some(field) = extra.get(4..4 + length) else { return &[] };
        if u16_at(extra, 0) == ZIP64_EXTRA {
            return field;
        }
        extra = &extra[4 + length..];
    }
    &[]
}

/// A piece of the file, all before `end`. At most some hundred kilobytes: every caller's length is one or a few fields of 16 bits.
fn bytes<R: Read + Seek>(zip: &mut R, at: u64, length: u64, end: u64) -> Result<Vec<u8>, ArchiveError> {
    let is_inside = at.checked_add(length).is_some_and(|piece_end| piece_end <= end);
    let mut piece = vec![0; usize::try_from(length).unwrap_or(0)];
    if !is_inside {
        return Err(ArchiveError::zip("points beyond its end; was it cut off on its way?"));
    }
    zip.seek(SeekFrom::Start(at)).and_then(|_| zip.read_exact(&mut piece)).map_err(ArchiveError::io("read the archive"))?;
    Ok(piece)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests;
