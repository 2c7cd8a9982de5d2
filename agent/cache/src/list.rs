//! What stands in a cache: a line of JSON with the counts, and one for each path, in order.

use crate::{Amount, CacheError, path};
use coord_shared::wire::nested::{Entry, EntryKind};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

/// How much there is of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Pipes, sockets and devices.
    pub specials: u64,
}

impl Counts {
    /// Counts one more.
    pub(crate) fn add(&mut self, entry: &Entry) {
        match entry.kind {
            EntryKind::File => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(entry.size);
            }
            EntryKind::Folder => self.folders += 1,
            EntryKind::Link => self.links += 1,
            EntryKind::Special => self.specials += 1,
        }
    }

    /// Of all of these.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Counts {
        let mut counts = Counts::default();
        entries.into_iter().for_each(|entry| counts.add(entry));
        counts
    }

    /// What that takes of a quota.
    pub fn amount(&self) -> Amount {
        Amount { bytes: self.bytes, entries: self.files + self.folders + self.links + self.specials }
    }
}

/// Writes a list under a name of its own; whoever calls renames it.
pub(crate) fn write(file: &Path, entries: &[Entry]) -> Result<(), CacheError> {
    let failed = |error: std::io::Error| CacheError::io("write", b"the list", error);
    let mut out = BufWriter::with_capacity(64 * 1024, File::create(file).map_err(failed)?);
    write_line(&mut out, &Counts::of(entries)).map_err(failed)?;
    entries.iter().try_for_each(|entry| write_line(&mut out, entry)).map_err(failed)?;
    out.into_inner().map(drop).map_err(|error| failed(error.into_error()))
}

fn write_line(out: &mut BufWriter<File>, value: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// The counts alone.
pub(crate) fn read_counts(file: &Path) -> Result<Counts, CacheError> {
    let mut line = String::new();
    let opened = File::open(file).and_then(|file| BufReader::new(file).read_line(&mut line));
    opened.map_err(|error| CacheError::io("read", b"the list", error))?;
    serde_json::from_str(&line).map_err(|_| CacheError::List { line: 1 })
}

/// All entries, in order.
pub(crate) fn read(file: &Path) -> Result<Vec<Entry>, CacheError> {
    let failed = |error: std::io::Error| CacheError::io("read", b"the list", error);
    let mut entries: Vec<Entry> = Vec::new();
    let lines = BufReader::with_capacity(64 * 1024, File::open(file).map_err(failed)?).lines();
    for (number, line) in lines.enumerate().skip(1) {
        let broken = || CacheError::List { line: number + 1 };
        let entry: Entry = serde_json::from_str(&line.map_err(failed)?).map_err(|_| broken())?;
        if entries.last().is_some_and(|last| path::order(&last.path, &entry.path).is_ge()) {
            return Err(broken());
        }
        entries.push(entry);
    }
    Ok(entries)
}
