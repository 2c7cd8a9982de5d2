//! Sums of what files hold.

use coord_shared::names::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;

/// Pieces of a large file that are compared.
const PIECES: u64 = 16;
/// Bytes of each.
const PIECE_BYTES: usize = 64 * 1024;

/// What is hashed as it passes.
#[derive(Default)]
pub(crate) struct Sum(Sha256);

impl Sum {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// So many zeros.
    pub(crate) fn add_zeros(&mut self, mut count: u64) {
        let zeros = [0; 4096];
        while count > 0 {
            let length = usize::try_from(count).map_or(zeros.len(), |count| count.min(zeros.len()));
            self.0.update(&zeros[..length]);
            count -= length as u64;
        }
    }

    pub(crate) fn digest(self) -> Digest {
        Digest::from_sha256(self.0.finalize().into())
    }
}

/// Of the first `size` bytes of a file; a file that has become shorter gives another sum, and one that has become longer is not read for
/// ever.
pub(crate) fn whole(file: &mut File, size: u64, buffer: &mut Vec<u8>) -> io::Result<Digest> {
    buffer.clear();
    file.take(size).read_to_end(buffer)?;
    Ok(Digest::of(buffer))
}

/// Of pieces of a large file, at evenly spread places: the first begins where it begins, the last ends where it ends.
pub(crate) fn sample(file: &File, size: u64, buffer: &mut Vec<u8>) -> io::Result<Digest> {
    let last_at = size.saturating_sub(PIECE_BYTES as u64);
    let mut sum = Sum::default();
    buffer.clear();
    buffer.resize(PIECE_BYTES, 0);
    for piece in 0..PIECES {
        // In two steps, so that the product of huge sizes stays within 64 bits.
        let at = last_at / (PIECES - 1) * piece + last_at % (PIECES - 1) * piece / (PIECES - 1);
        let mut filled = 0;
        while filled < PIECE_BYTES {
            match file.read_at(&mut buffer[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        sum.add(&buffer[..filled]);
    }
    Ok(sum.digest())
}
