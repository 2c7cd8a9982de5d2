//! The image on its way out: bytes in order, gaps filled with zeros, handed on in large pieces.

use std::io;

/// What is gathered before it is written: few calls, little memory.
const PIECE_BYTES: usize = 256 * 1024;
const ZEROS: [u8; 4096] = [0; 4096];

pub(super) struct Sink<'a, W> {
    out: &'a mut W,
    piece: Vec<u8>,
    written: u64,
}

impl<'a, W: io::Write> Sink<'a, W> {
    pub(super) fn new(out: &'a mut W) -> Sink<'a, W> {
        Sink { out, piece: Vec::with_capacity(PIECE_BYTES), written: 0 }
    }

    /// Where the next byte goes.
    pub(super) fn at(&self) -> u64 {
        self.written + self.piece.len() as u64
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.piece.len() + bytes.len() > PIECE_BYTES {
            self.flush()?;
        }
        if bytes.len() > PIECE_BYTES {
            self.out.write_all(bytes)?;
            self.written += bytes.len() as u64;
        } else {
            self.piece.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Zeros up to byte `at`, which is not behind.
    pub(super) fn pad_to(&mut self, at: u64) -> io::Result<()> {
        while self.at() < at {
            let missing = usize::try_from(at - self.at()).unwrap_or(usize::MAX);
            self.put(&ZEROS[..missing.min(ZEROS.len())])?;
        }
        Ok(())
    }

    /// Returns how much there was in all.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.flush()?;
        Ok(self.written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.piece)?;
        self.written += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }
}
