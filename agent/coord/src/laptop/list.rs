//! The list of what a tar archive holds, and the first difference of two lists.
//!
//! On a laptop an engine only shows its files as archives: a list is made by reading one. Every file is hashed whole, since all of its
//! bytes come along anyway.

use bytes::{Buf as _, Bytes};
use coord_shared::names::Digest;
use coord_shared::wire::nested::{Entry, EntryKind, Verified};
use coord_tar::{Archive, Kind, TarError};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io::{self, BufRead, Read};
use tokio::sync::mpsc;

/// Pieces that come from elsewhere, as a reader that blocks: for a thread of its own.
pub(crate) struct Pieces {
    from: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Pieces {
    pub(crate) fn new(from: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self { from, piece: Bytes::new() }
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => break,
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, length: usize) {
        self.piece.advance(length);
    }
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let length = piece.len().min(out.len());
        out[..length].copy_from_slice(&piece[..length]);
        self.consume(length);
        Ok(length)
    }
}

/// Reads an archive to its end: what it holds, by path.
///
/// # Errors
/// When it is no proper archive, or does not come to its end.
pub(crate) fn read(from: impl BufRead) -> Result<Vec<Entry>, TarError> {
    let mut archive = Archive::new(from);
    let mut entry = coord_tar::Entry::default();
    let mut entries: Vec<Entry> = Vec::new();
    while archive.next_entry(&mut entry)? {
        let digest = hashed(&mut archive)?;
        let path = trimmed(&entry.path);
        if path.is_empty() {
            continue;
        }
        let kind = match entry.kind {
            Kind::Directory => EntryKind::Folder,
            Kind::File => EntryKind::File,
            Kind::Symlink => EntryKind::Link,
            Kind::HardLink => {
                let of = written(trimmed(&entry.link));
                let same = entries.iter().rfind(|other| other.path == of).cloned();
                entries.extend(same.map(|same| Entry { path: written(path), ..same }));
                continue;
            }
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => EntryKind::Special,
        };
        entries.push(Entry {
            path: written(path),
            kind,
            mode: u32::from(entry.mode),
            size: if kind == EntryKind::File { entry.size } else { 0 },
            digest: (kind == EntryKind::File).then_some(digest),
            sample: None,
            target: (kind == EntryKind::Link).then(|| written(&entry.link)),
        });
    }
    archive.drain()?;
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    // Of a path that comes twice, the later one is what is unpacked.
    entries.reverse();
    entries.dedup_by(|one, other| one.path == other.path);
    entries.reverse();
    Ok(entries)
}

/// The rest of the current entry's content, hashed.
fn hashed(archive: &mut Archive<impl BufRead>) -> Result<Digest, TarError> {
    let mut hash = Sha256::new();
    loop {
        let piece = archive.content()?;
        if piece.is_empty() {
            break;
        }
        hash.update(piece);
        let length = piece.len();
        archive.consume(length);
    }
    Ok(Digest::from_sha256(hash.finalize().into()))
}

/// A path without `./` before it and slashes around it.
fn trimmed(mut path: &[u8]) -> &[u8] {
    loop {
        path = match path {
            [b'/', rest @ ..] | [b'.', b'/', rest @ ..] | [rest @ .., b'/'] => rest,
            [b'.'] => &[],
            other => return other,
        }
    }
}

/// As lists have it: bytes that are no UTF-8 as `%XX`, and `%` as `%25`.
pub(crate) fn written(path: &[u8]) -> String {
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Files of a list, and their bytes.
pub(crate) fn sums(entries: &[Entry]) -> (u64, u64) {
    let files = entries.iter().filter(|entry| entry.kind == EntryKind::File);
    files.fold((0, 0), |(number, bytes), entry| (number + 1, bytes + entry.size))
}

/// Compares what is there with the list: what was compared, or the first path that differs and how. Both are in the order of the paths.
pub(crate) fn compare(list: &[Entry], found: &[Entry]) -> Result<Verified, String> {
    let (mut listed, mut seen) = (list.iter().peekable(), found.iter().peekable());
    let mut verified = Verified::default();
    loop {
        match (listed.peek(), seen.peek()) {
            (None, None) => return Ok(verified),
            (Some(wanted), Some(is)) if wanted.path == is.path => {
                if let Some(how) = difference(wanted, is) {
                    return Err(format!("{}: {how}", wanted.path));
                }
                count(&mut verified, is);
                listed.next();
                seen.next();
            }
            (Some(wanted), Some(is)) if wanted.path > is.path => return Err(format!("{}: it is not in the list", is.path)),
            (None, Some(is)) => return Err(format!("{}: it is not in the list", is.path)),
            (Some(wanted), _) => return Err(format!("{}: it is missing", wanted.path)),
        }
    }
}

fn count(verified: &mut Verified, entry: &Entry) {
    match entry.kind {
        EntryKind::Folder => verified.folders += 1,
        EntryKind::Link => verified.links += 1,
        EntryKind::Special => {}
        EntryKind::File => {
            verified.files += 1;
            verified.hashed += 1;
            verified.bytes += entry.size;
        }
    }
}

fn difference(wanted: &Entry, is: &Entry) -> Option<String> {
    if wanted.kind != is.kind {
        return Some(format!("it is a {}, not a {}", word(is.kind), word(wanted.kind)));
    }
    if wanted.size != is.size {
        return Some(format!("it has {} bytes, not {}", is.size, wanted.size));
    }
    if wanted.digest != is.digest {
        return Some("its content differs".to_owned());
    }
    if wanted.target != is.target {
        return Some("it leads elsewhere".to_owned());
    }
    (wanted.mode != is.mode).then(|| format!("its mode is {:04o}, not {:04o}", is.mode, wanted.mode))
}

fn word(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Folder => "folder",
        EntryKind::File => "file",
        EntryKind::Link => "symbolic link",
        EntryKind::Special => "special file",
    }
}

#[cfg(test)]
mod tests;
