//! Checksums of the contents of a layer that is kept as a directory: nothing else would tell later whether a file still is what it was,
//! because the archive is gone.
//!
//! ```text
//!   layers/HEX/sums    u32 per content, in the order of the archive; then u32 crc32 of all before (little-endian)
//! ```
//! A sum is the CRC-32 over a content's blocks that are not all zeros, each with its number before it. So a hole of any size costs
//! nothing, and a hole and zeros are the same.

use crate::error::{LayerError, StoreError};
use crate::tree::{Contents, Data};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// As file systems have them, so that a hole begins and ends with a block.
const BLOCK_BYTES: usize = 4096;
const SUM_BYTES: usize = 4;

/// Takes contents, sums them up, and hands them on.
pub(crate) struct Summing<C> {
    next: C,
    sums: Sums,
    current: Sum,
    number: u32,
}

/// By number of the content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sums(Vec<u32>);

impl<C: Contents> Summing<C> {
    pub(crate) fn new(next: C) -> Summing<C> {
        Summing { next, sums: Sums::default(), current: Sum::default(), number: 0 }
    }

    /// The next one, and the sums of what it was given.
    pub(crate) fn finish(self) -> (C, Sums) {
        (self.next, self.sums)
    }
}

impl<C: Contents> Contents for Summing<C> {
    fn wants(&self, data: Data) -> bool {
        self.next.wants(data)
    }

    fn begin(&mut self, content: u32, data: Data, size: u64) -> Result<(), LayerError> {
        (self.number, self.current) = (content, Sum::default());
        self.next.begin(content, data, size)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), LayerError> {
        self.current.add(at, bytes);
        self.next.write(at, bytes)
    }

    fn end(&mut self) -> Result<(), LayerError> {
        self.sums.put(self.number, std::mem::take(&mut self.current).finish());
        self.next.end()
    }

    fn forget(&mut self, content: u32) -> Result<(), LayerError> {
        self.next.forget(content)
    }
}

impl Sums {
    /// As a file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.0.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// Reads the file; the error says what is wrong with it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Sums, String> {
        let (sums, crc) = bytes.split_last_chunk::<SUM_BYTES>().ok_or("are cut off")?;
        if crc32fast::hash(sums) != u32::from_le_bytes(*crc) {
            return Err("have a wrong checksum".to_owned());
        }
        Ok(Sums(sums.as_chunks::<SUM_BYTES>().0.iter().map(|sum| u32::from_le_bytes(*sum)).collect()))
    }

    pub(super) fn get(&self, content: u32) -> Option<u32> {
        self.0.get(usize::try_from(content).ok()?).copied()
    }

    /// Contents come in order; those that nobody wanted have none.
    fn put(&mut self, content: u32, sum: u32) {
        let Ok(at) = usize::try_from(content) else { return };
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0[at] = sum;
    }
}

/// A sum in the making. Bytes come in ascending order.
#[derive(Default)]
struct Sum {
    crc: crc32fast::Hasher,
    /// The block that is not complete, and its number.
    block: Vec<u8>,
    number: u64,
}

impl Sum {
    fn add(&mut self, mut at: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (number, within) = (at / BLOCK_BYTES as u64, usize::try_from(at % BLOCK_BYTES as u64).unwrap_or(0));
            if number != self.number {
                self.close();
                self.number = number;
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - within));
            if piece.len() == BLOCK_BYTES {
                take(&mut self.crc, number, piece);
            } else {
                self.block.resize(within, 0);
                self.block.extend_from_slice(piece);
            }
            at += piece.len() as u64;
            bytes = rest;
        }
    }

    fn close(&mut self) {
        take(&mut self.crc, self.number, &self.block);
        self.block.clear();
    }

    fn finish(mut self) -> u32 {
        self.close();
        self.crc.finalize()
    }
}

/// Zeros at a block's end are as if they were not there: a hole may begin in it.
fn take(crc: &mut crc32fast::Hasher, number: u64, block: &[u8]) {
    let length = block.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if length > 0 {
        crc.update(&number.to_le_bytes());
        crc.update(&block[..length]);
    }
}

/// The sum of a file, read past its holes. `next_data` finds the first byte from an offset on that is in none.
pub(super) fn of_file(file: &File, size: u64, next_data: impl Fn(u64) -> io::Result<u64>) -> io::Result<u32> {
    /// Read at once.
    const PIECE_BYTES: usize = 64 * BLOCK_BYTES;
    let (mut sum, mut buffer, mut at) = (Sum::default(), Vec::new(), 0);
    while at < size {
        at = next_data(at)?.max(at);
        if at >= size {
            break;
        }
        at -= at % BLOCK_BYTES as u64;
        buffer.resize(usize::try_from(size - at).unwrap_or(usize::MAX).min(PIECE_BYTES), 0);
        file.read_exact_at(&mut buffer, at)?;
        sum.add(at, &buffer);
        at += buffer.len() as u64;
    }
    Ok(sum.finish())
}

/// Writes the sums beside a layer's directory.
pub(crate) fn save(folder: &Path, sums: &Sums) -> Result<(), StoreError> {
    super::disk::write_file(&folder.join("sums"), &sums.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(pieces: &[(u64, &[u8])]) -> u32 {
        let mut sum = Sum::default();
        pieces.iter().for_each(|(at, bytes)| sum.add(*at, bytes));
        sum.finish()
    }

    #[test]
    fn pieces_and_holes_make_no_difference_and_bytes_do() {
        let mut content = vec![0; 20_000];
        content[5] = 1;
        content[4095..4100].fill(2);
        content[17_000] = 3;
        let whole = sum(&[(0, &content)]);
        let small: Vec<(u64, &[u8])> = content.chunks(7).enumerate().map(|(at, piece)| (at as u64 * 7, piece)).collect();
        assert_eq!(sum(&small), whole);
        assert_eq!(sum(&[(5, &[1]), (4095, &[2; 5]), (17_000, &[3])]), whole);
        assert_eq!(sum(&[(0, &[])]), sum(&[(0, &[0; 9000])]));
        content[17_000] = 4;
        assert_ne!(sum(&[(0, &content)]), whole);
        assert_ne!(sum(&[(0, &[1])]), sum(&[(1, &[1])]));
        assert_ne!(sum(&[(0, &[1])]), sum(&[(4096, &[1])]));
        let file = tempfile::tempfile().unwrap();
        content[17_000] = 3;
        file.write_all_at(&content, 0).unwrap();
        assert_eq!(of_file(&file, 20_000, Ok).unwrap(), whole);
    }

    #[test]
    fn a_file_of_sums_comes_back_or_is_refused() {
        let sums = Sums(vec![1, 2, u32::MAX]);
        let bytes = sums.encode();
        assert_eq!(Sums::decode(&bytes).unwrap(), sums);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Sums::decode(&damaged).is_err());
            assert!(Sums::decode(&bytes[..at]).is_err());
        }
    }
}
