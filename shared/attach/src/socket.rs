//! A WebSocket (RFC 6455) of frames, dialled through `reqwest`.

use crate::Frames;
use coord_shared::wire::{FRAME_MAX_BYTES, Frame, FrameError};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use reqwest::{RequestBuilder, Response, StatusCode, Upgraded};
use serde::Serialize;
use std::time::Duration;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

/// Longest silence before the other end counts as gone: it sends a sign of life every 15 s.
const IDLE_MAX: Duration = Duration::from_secs(45);
/// How long the other end may take to hear the last word and hang up.
const LAST_WORD: Duration = Duration::from_secs(5);
/// Bytes that wait to be written; a slow reader stops the writer early.
const WRITE_BUFFER_BYTES: usize = 64 * 1024;

/// Why there is no socket (any more).
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No answer, or none that could be read.
    #[error("no answer")]
    Transport(#[source] reqwest::Error),
    /// An answer, and no socket: an error that the caller reads.
    #[error("refused with status {}", .0.status())]
    Refused(Box<Response>),
    /// Whatever answered does not speak WebSocket.
    #[error("the answer is not the beginning of a WebSocket; is there a proxy that does not let one through?")]
    NoWebSocket,
    /// The connection broke off.
    #[error("the connection broke off")]
    Broken(#[source] Box<tungstenite::Error>),
    /// The other end said nothing for too long.
    #[error("nothing was heard for {} s", .0.as_secs())]
    Silent(Duration),
    /// What came is no frame.
    #[error("what came cannot be understood")]
    Frame(#[from] FrameError),
}

/// Reads frames.
#[derive(Debug)]
pub struct FrameReader(SplitStream<WebSocketStream<Upgraded>>);

/// Writes frames.
#[derive(Debug)]
pub struct FrameWriter(SplitSink<WebSocketStream<Upgraded>, Message>);

/// Makes a GET request the beginning of a WebSocket. The client must speak HTTP/1.1.
///
/// # Errors
/// When nobody answers, or whoever answers refuses.
pub async fn dial(request: RequestBuilder) -> Result<(FrameReader, FrameWriter), DialError> {
    let key = generate_key();
    let request = request
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key);
    let response = request.send().await.map_err(DialError::Transport)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let is_error = response.status().is_client_error() || response.status().is_server_error();
        return Err(if is_error { DialError::Refused(Box::new(response)) } else { DialError::NoWebSocket });
    }
    let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT).map(|accept| accept.as_bytes().to_vec());
    if accepted.as_deref() != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(DialError::NoWebSocket);
    }
    let upgraded = response.upgrade().await.map_err(DialError::Transport)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(FRAME_MAX_BYTES))
        .max_frame_size(Some(FRAME_MAX_BYTES))
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES);
    let (sink, stream) = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await.split();
    Ok((FrameReader(stream), FrameWriter(sink)))
}

/// Carries frames between a socket and this end, until either is gone.
///
/// # Errors
/// When the connection breaks, is silent for too long, or carries something else.
pub async fn carry((mut reader, mut writer): (FrameReader, FrameWriter), frames: Frames) -> Result<(), DialError> {
    let Frames { sender, mut receiver } = frames;
    let inwards = async {
        while let Some(frame) = reader.next().await? {
            // This end may have stopped listening with its last word still on its way out.
            let _ = sender.send(frame).await;
        }
        Ok(())
    };
    let outwards = async {
        while let Some(frame) = receiver.recv().await {
            writer.send(&frame).await?;
        }
        writer.close().await;
        Ok::<_, DialError>(())
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

impl FrameReader {
    /// The next frame; `None` at the proper end. Kinds that are not known are passed over.
    ///
    /// # Errors
    /// When the connection breaks, is silent for too long, or carries something else.
    pub async fn next(&mut self) -> Result<Option<Frame>, DialError> {
        loop {
            let next = tokio::time::timeout(IDLE_MAX, self.0.next()).await;
            let message = match next.map_err(|_| DialError::Silent(IDLE_MAX))? {
                None | Some(Ok(Message::Close(_))) => return Ok(None),
                Some(Err(tungstenite::Error::ConnectionClosed)) => return Ok(None),
                Some(Err(error)) => return Err(DialError::Broken(Box::new(error))),
                Some(Ok(message)) => message,
            };
            if let Message::Binary(bytes) = message
                && let Some(frame) = Frame::decode(&bytes)?
            {
                return Ok(Some(frame));
            }
        }
    }
}

impl FrameWriter {
    /// Sends one frame; waits while the other end does not read.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, frame: &Frame) -> Result<(), DialError> {
        self.message(Message::Binary(frame.encode().into())).await
    }

    /// Sends a request as JSON text, as the first message.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn request(&mut self, body: &impl Serialize) -> Result<(), DialError> {
        // Plain data, which always serialises.
        self.message(Message::Text(serde_json::to_string(body).unwrap_or_default().into())).await
    }

    /// Says that nothing more will come.
    pub async fn close(&mut self) {
        // Gone already is fine.
        let _ = self.0.close().await;
    }

    async fn message(&mut self, message: Message) -> Result<(), DialError> {
        self.0.send(message).await.map_err(|error| DialError::Broken(Box::new(error)))
    }
}
