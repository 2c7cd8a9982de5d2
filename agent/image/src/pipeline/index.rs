//! The archive as its reader sees it, hashed on the way; what has been read goes on to be written, or back to be filled again.

use super::buffers::{Buffer, give_back};
use crate::error::LayerError;
use coord_shared::names::Digest;
use sha2::{Digest as _, Sha256};
use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender};

/// Where buffers go that have been read.
pub(super) enum Onward {
    Writer(SyncSender<Buffer>),
    Pool(Sender<Buffer>),
}

pub(super) struct Archive {
    full: Receiver<Buffer>,
    onward: Onward,
    current: Option<Buffer>,
    /// How much of it has been read.
    at: usize,
    hash: Sha256,
    bytes: u64,
    is_over: bool,
}

impl Archive {
    pub(super) fn new(full: Receiver<Buffer>, onward: Onward) -> Archive {
        Archive { full, onward, current: None, at: 0, hash: Sha256::new(), bytes: 0, is_over: false }
    }

    /// After the end: size and digest. Only now the writer learns that the archive is complete, and good.
    pub(super) fn finish(mut self) -> Result<(u64, Digest), LayerError> {
        let end = self.current.take().filter(|_| self.is_over).ok_or(LayerError::Stopped)?;
        self.pass_on(end).map_err(|_| LayerError::Stopped)?;
        Ok((self.bytes, Digest::from_sha256(self.hash.finalize().into())))
    }

    /// Waits for the next buffer; the empty one is the last.
    fn advance(&mut self) -> io::Result<()> {
        if let Some(read) = self.current.take() {
            self.pass_on(read)?;
        }
        let next = self.full.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.hash.update(next.bytes());
        self.bytes += next.bytes().len() as u64;
        self.is_over = next.bytes().is_empty();
        self.at = 0;
        self.current = Some(next);
        Ok(())
    }

    fn pass_on(&self, buffer: Buffer) -> io::Result<()> {
        match &self.onward {
            Onward::Writer(writer) => writer.send(buffer).map_err(|_| io::ErrorKind::BrokenPipe.into()),
            Onward::Pool(spent) => {
                give_back(spent, buffer);
                Ok(())
            }
        }
    }

    fn rest(&self) -> &[u8] {
        self.current.as_ref().map_or(&[], |buffer| &buffer.bytes()[self.at..])
    }
}

impl BufRead for Archive {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest().is_empty() && !self.is_over {
            self.advance()?;
        }
        Ok(self.rest())
    }

    fn consume(&mut self, length: usize) {
        self.at += length;
    }
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        self.consume(length);
        Ok(length)
    }
}
