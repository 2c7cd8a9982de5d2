//! Frames over a stream of bytes, each preceded by its length: a Unix socket, an upgraded HTTP connection.

use crate::Frames;
use coord_shared::wire::{FRAME_MAX_BYTES, FrameBuffer};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// How long the other end may take to hear the last word and hang up.
const LAST_WORD: Duration = Duration::from_secs(5);

/// Carries frames between a stream and this end, until either is gone.
///
/// # Errors
/// When the stream breaks, or carries something else.
pub async fn carry(stream: impl AsyncRead + AsyncWrite, frames: Frames) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let Frames { sender, mut receiver } = frames;
    let inwards = async {
        let mut buffer = FrameBuffer::default();
        let mut piece = vec![0; FRAME_MAX_BYTES];
        loop {
            let read = reader.read(&mut piece).await?;
            if read == 0 {
                return Ok(());
            }
            buffer.push(&piece[..read]);
            while let Some(frame) = buffer.next_frame().map_err(io::Error::other)? {
                // This end may have stopped listening with its last word still on its way out.
                let _ = sender.send(frame).await;
            }
        }
    };
    let outwards = async {
        while let Some(frame) = receiver.recv().await {
            writer.write_all(&frame.encode_prefixed()).await?;
        }
        writer.shutdown().await
    };
    tokio::pin!(inwards);
    let sent = tokio::select! {
        ended = &mut inwards => return ended,
        sent = outwards => sent,
    };
    match sent {
        // A socket that is closed with something unread in it loses what was said last: the other end hears first that this is all.
        Ok(()) => tokio::time::timeout(LAST_WORD, inwards).await.unwrap_or(Ok(())),
        // The other end reads no more, and its own last word may still be on its way.
        Err(_) => inwards.await,
    }
}
