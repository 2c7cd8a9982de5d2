//! Sparse files: the archive has their pieces, one after the other, and a map that says where they belong.
//!
//! Four forms are in use, all GNU tar's (its manual, "Storing Sparse Files"): the map in the header and blocks after it (type `S`), in
//! repeated PAX records (0.0), in one PAX record (0.1), or as text before the content (1.0).

use super::header::{BLOCK_BYTES, Header, number};
use super::pax::decimal;
use super::{Archive, Entry};
use crate::error::TarError;
use std::io::BufRead;

/// Pieces of one file: 16 bytes of memory each. A disk image of 100 GB that was used for years has about as many.
const PIECES_MAX: usize = 256 * 1024;
/// Digits of a number in a map of form 1.0: what 64 bits need.
const DIGITS_MAX: usize = 20;

/// A part of a sparse file that is more than zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it belongs in the file, in bytes.
    pub at: u64,
    /// In bytes.
    pub length: u64,
}

/// What PAX records say.
#[derive(Debug, Clone, Default)]
pub(super) struct SparseRecords {
    pub(super) name: Option<Vec<u8>>,
    /// Size of the file as it is read.
    size: Option<u64>,
    /// The map is before the content.
    is_in_content: bool,
    /// Offsets and lengths in turn, and what is not finished.
    numbers: Vec<u64>,
}

impl SparseRecords {
    /// One record, its key without `GNU.sparse.`. None if its value cannot be.
    pub(super) fn apply(&mut self, key: &[u8], value: &[u8]) -> Option<Result<(), TarError>> {
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"major" => self.is_in_content = decimal(value)? == 1,
            b"offset" | b"numbytes" => {
                let is_offset = key == b"offset";
                if self.numbers.len().is_multiple_of(2) != is_offset {
                    return None;
                }
                self.numbers.push(decimal(value)?);
            }
            b"map" => {
                self.numbers.clear();
                for text in value.split(|byte| *byte == b',').filter(|_| !value.is_empty()) {
                    self.numbers.push(decimal(text)?);
                }
            }
            // How many there are is counted.
            _ => {}
        }
        Some(if self.numbers.len() > 2 * PIECES_MAX { Err(too_many()) } else { Ok(()) })
    }
}

impl<R: BufRead> Archive<R> {
    /// Puts a file's pieces and its size into `entry`, and reads on to its content.
    pub(super) fn read_sparse_map(&mut self, entry: &mut Entry, header: &Header, records: SparseRecords) -> Result<(), TarError> {
        let bad = || TarError::entry(&entry.path, "has a map of its holes that contradicts itself");
        let (size, numbers) = if header.flag() == b'S' {
            (header_size(header).ok_or_else(bad)?, self.map_of_headers(header)?)
        } else if records.is_in_content {
            (records.size.ok_or_else(bad)?, self.map_of_content()?)
        } else {
            (records.size.ok_or_else(bad)?, records.numbers)
        };
        let numbers: Vec<u64> = numbers;
        let (pairs, rest) = numbers.as_chunks();
        let pieces: Vec<Piece> = pairs.iter().map(|[at, length]| Piece { at: *at, length: *length }).collect();
        let mut end = 0;
        let mut stored = 0;
        for piece in &pieces {
            let piece_end = piece.at.checked_add(piece.length).filter(|end| *end <= size).ok_or_else(bad)?;
            if piece.at < end {
                return Err(bad());
            }
            end = piece_end;
            stored += piece.length;
        }
        if !rest.is_empty() || stored != self.content_left || i64::try_from(size).is_err() {
            return Err(bad());
        }
        entry.size = size;
        entry.pieces = Some(pieces);
        Ok(())
    }

    /// Four pieces in the header, and 21 in each block that follows if the one before says so. They do not count as content.
    fn map_of_headers(&mut self, header: &Header) -> Result<Vec<u64>, TarError> {
        let bad = || TarError::tar("has a sparse file with a bad map");
        let mut numbers = Vec::new();
        take_fields(&header.0[386..482], &mut numbers).ok_or_else(bad)?;
        let mut goes_on = header.0[482] != 0;
        let mut block = Header([0; BLOCK_BYTES]);
        while goes_on {
            if !self.read_block(&mut block)? {
                return Err(super::ends_early());
            }
            take_fields(&block.0[..504], &mut numbers).ok_or_else(bad)?;
            goes_on = block.0[504] != 0;
            if numbers.len() > 2 * PIECES_MAX {
                return Err(too_many());
            }
        }
        Ok(numbers)
    }

    /// Text in front of the content: how many pieces, then offset and length of each, a line per number, filled up to a block.
    fn map_of_content(&mut self) -> Result<Vec<u64>, TarError> {
        let start = self.content_left;
        let count = self.read_line()?;
        let count = usize::try_from(count).ok().filter(|count| *count <= PIECES_MAX).ok_or_else(too_many)?;
        let mut numbers = Vec::with_capacity(2 * count.min(1024));
        for _ in 0..2 * count {
            numbers.push(self.read_line()?);
        }
        let mut padding = (start - self.content_left).wrapping_neg() % BLOCK_BYTES as u64;
        while padding > 0 {
            let length = super::at_most(self.content()?.len(), padding);
            if length == 0 {
                return Err(TarError::tar("has a sparse file with a bad map"));
            }
            self.consume(length);
            padding -= length as u64;
        }
        Ok(numbers)
    }

    fn read_line(&mut self) -> Result<u64, TarError> {
        let bad = || TarError::tar("has a sparse file with a bad map");
        let mut text = [0; DIGITS_MAX];
        let mut length = 0;
        loop {
            let byte = *self.content()?.first().ok_or_else(bad)?;
            self.consume(1);
            if byte == b'\n' {
                return decimal(&text[..length]).ok_or_else(bad);
            }
            *text.get_mut(length).ok_or_else(bad)? = byte;
            length += 1;
        }
    }
}

/// Of the old form: where longer names would be.
fn header_size(header: &Header) -> Option<u64> {
    number(&header.0[483..495]).and_then(|size| u64::try_from(size).ok())
}

/// Offset and length, 12 bytes each, up to the first that is empty.
fn take_fields(fields: &[u8], numbers: &mut Vec<u64>) -> Option<()> {
    for field in fields.chunks_exact(24).take_while(|field| field[0] != 0) {
        numbers.push(u64::try_from(number(&field[..12])?).ok()?);
        numbers.push(u64::try_from(number(&field[12..])?).ok()?);
    }
    Some(())
}

fn too_many() -> TarError {
    TarError::Limit { limit: format!("{PIECES_MAX} pieces of a sparse file") }
}
