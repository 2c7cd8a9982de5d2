//! A layer's compressed bytes as they come from the network, hashed on the way.

use crate::error::LayerError;
use bytes::{Buf as _, Bytes};
use coord_shared::names::Digest;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

/// Pieces of a download on their way to the decoder; each is at most what the HTTP client reads at once.
pub(crate) const FEED_PIECES: usize = 4;

/// What the decoder is fed. The end is said in so many words: a feeder that just goes away was stopped.
pub(crate) enum Feed {
    Bytes(Bytes),
    End,
}

pub(super) struct Input {
    feed: mpsc::Receiver<Feed>,
    piece: Bytes,
    hash: Sha256,
    /// That have come so far.
    bytes: u64,
    is_over: bool,
}

impl Input {
    pub(super) fn new(feed: mpsc::Receiver<Feed>) -> Input {
        Input { feed, piece: Bytes::new(), hash: Sha256::new(), bytes: 0, is_over: false }
    }

    /// The next bytes; none at the end. Blocks until there are some.
    pub(super) fn fill(&mut self) -> Result<&[u8], LayerError> {
        while self.piece.is_empty() && !self.is_over {
            match self.feed.blocking_recv() {
                Some(Feed::Bytes(bytes)) => {
                    self.hash.update(&bytes);
                    self.bytes += bytes.len() as u64;
                    self.piece = bytes;
                }
                Some(Feed::End) => self.is_over = true,
                None => return Err(LayerError::Stopped),
            }
        }
        Ok(&self.piece)
    }

    /// The next `wanted` bytes in one piece, or all that are left if there are less. They stay.
    pub(super) fn peek(&mut self, wanted: usize) -> Result<&[u8], LayerError> {
        self.fill()?;
        while self.piece.len() < wanted && !self.is_over {
            let start = std::mem::take(&mut self.piece);
            self.fill()?;
            self.piece = [start, std::mem::take(&mut self.piece)].concat().into();
        }
        Ok(&self.piece[..wanted.min(self.piece.len())])
    }

    pub(super) fn consume(&mut self, length: usize) {
        self.piece.advance(length);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nobody will send the rest.
    pub(super) fn is_abandoned(&self) -> bool {
        !self.is_over && self.feed.is_closed() && self.feed.is_empty()
    }

    /// Reads what the decoder left and compares the digest.
    pub(super) fn verify(&mut self, digest: &Digest) -> Result<(), LayerError> {
        loop {
            let length = self.fill()?.len();
            if length == 0 {
                break;
            }
            self.consume(length);
        }
        let actual = Digest::from_sha256(std::mem::take(&mut self.hash).finalize().into());
        if actual == *digest { Ok(()) } else { Err(LayerError::Digest { actual }) }
    }
}
