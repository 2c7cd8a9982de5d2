//! Where bytes go: counted and hashed on the way, and handed on in pieces of one size.

use coord_shared::names::Digest;
use sha2::{Digest as _, Sha256};
use std::io::{self, Write};

/// Pieces in which encoders are fed. What an encoder makes may depend on the pieces that it gets, so these must not depend on the caller.
const PIECE_BYTES: usize = 64 * 1024;

/// Counts and hashes what it hands on.
pub(crate) struct Hashed<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Hashed<W> {
    pub(crate) fn new(inner: W) -> Hashed<W> {
        Hashed { inner, hash: Sha256::new(), bytes: 0 }
    }

    /// What was written: its digest and its length; and where it went.
    pub(crate) fn finish(self) -> (W, Digest, u64) {
        (self.inner, Digest::from_sha256(self.hash.finalize().into()), self.bytes)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.hash.update(&bytes[..length]);
        self.bytes += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Hands on pieces of one size, the last one excepted.
pub(crate) struct Pieces<W> {
    inner: W,
    piece: Vec<u8>,
}

impl<W: Write> Pieces<W> {
    pub(crate) fn new(inner: W) -> Pieces<W> {
        Pieces { inner, piece: Vec::with_capacity(PIECE_BYTES) }
    }

    /// Hands on the last piece.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&self.piece)?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Pieces<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..length]);
        if self.piece.len() == PIECE_BYTES {
            self.inner.write_all(&self.piece)?;
            self.piece.clear();
        }
        Ok(length)
    }

    /// Nothing: a piece that is handed on early would be another one.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
