//! From a connection to a thread: what comes is handed over piece by piece, and the thread waits for it, not the loop.

use bytes::{Bytes, BytesMut};
use std::io::{self, Read};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{mpsc, watch};

/// What is handed over at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces that wait for the thread.
const PIECES_WAITING: usize = 4;
/// A connection that is silent for so long has lost its other end; each holds a thread.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The thread's end.
pub(super) struct Pieces {
    /// An empty one is the end. Without it, whoever sent them has vanished, and what came is not all.
    coming: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
    is_whole: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.is_whole {
            let vanished = || io::Error::new(io::ErrorKind::UnexpectedEof, "whoever sent them has vanished");
            self.piece = self.coming.blocking_recv().ok_or_else(vanished)??;
            self.is_whole = self.piece.is_empty();
        }
        let length = self.piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// The connection's end: `pump` it while the thread reads.
pub(super) struct Pump<R> {
    from: R,
    to: mpsc::Sender<io::Result<Bytes>>,
}

/// Both ends.
pub(super) fn hand_over<R: AsyncRead + Unpin>(from: R) -> (Pump<R>, Pieces) {
    let (to, coming) = mpsc::channel(PIECES_WAITING);
    (Pump { from, to }, Pieces { coming, piece: Bytes::new(), is_whole: false })
}

impl<R: AsyncRead + Unpin> Pump<R> {
    /// Hands over all that comes, until it ends, the thread wants no more, or `is_over` says so.
    pub(super) async fn pump(mut self, mut is_over: watch::Receiver<bool>) {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE_BYTES);
            let read = tokio::select! {
                read = tokio::time::timeout(SILENCE_MAX, self.from.read_buf(&mut piece)) => read,
                _ = is_over.wait_for(|is_over| *is_over) => Ok(Err(io::Error::other("the cache was deleted"))),
            };
            let handed = match read {
                Ok(Ok(_)) => Ok(piece.freeze()),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came for a minute")),
            };
            let is_last = handed.as_ref().map_or(true, Bytes::is_empty);
            if self.to.send(handed).await.is_err() || is_last {
                return;
            }
        }
    }
}
