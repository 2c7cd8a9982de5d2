//! Frames as bytes, in both forms: a message of its own, and a part of a stream.
//!
//! Whatever arrives was written by another machine: each length is checked before anything is kept.

use super::{ErrorBody, FRAME_DATA_MAX_BYTES, FRAME_MAX_BYTES, Frame};
use serde::Serialize;
use serde::de::DeserializeOwned;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const RESIZE: u8 = 3;
const SIGNAL: u8 = 4;
const EXIT: u8 = 5;
const ERROR: u8 = 6;
const CREDIT: u8 = 7;

/// The length before a frame on a stream.
const PREFIX_BYTES: usize = 4;
/// An error's message, where the whole of the error is too large for a frame: six times as long in JSON at worst, it fits.
const MESSAGE_MAX_CHARS: usize = 1000;

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Nothing at all, where even the kind takes a byte.
    #[error("a frame without a kind")]
    Empty,
    /// More than [`FRAME_MAX_BYTES`].
    #[error("a frame of {bytes} bytes, where {FRAME_MAX_BYTES} are the most")]
    TooLarge {
        /// Its length, the kind included.
        bytes: usize,
    },
    /// Its content is not what its kind has.
    #[error("a frame of the kind {kind} with a content that it cannot have")]
    Malformed {
        /// The kind.
        kind: u8,
    },
    /// More input or output than the window allows.
    #[error("{bytes} bytes more than were asked for")]
    Overrun {
        /// How many too many.
        bytes: u32,
    },
}

impl Frame {
    /// As one message. Input and output of more than [`FRAME_DATA_MAX_BYTES`] make a frame that every reader refuses: cut them up before.
    pub fn encode(&self) -> Vec<u8> {
        let mut message = Vec::new();
        self.encode_into(&mut message);
        message
    }

    /// As a part of a stream: its length, then the message.
    pub fn encode_prefixed(&self) -> Vec<u8> {
        let mut bytes = vec![0; PREFIX_BYTES];
        self.encode_into(&mut bytes);
        let length = u32::try_from(bytes.len() - PREFIX_BYTES).unwrap_or(u32::MAX);
        bytes[..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    fn encode_into(&self, to: &mut Vec<u8>) {
        let mut put = |kind: u8, content: &[u8]| {
            to.reserve(content.len() + 1);
            to.push(kind);
            to.extend_from_slice(content);
        };
        match self {
            Self::Stdin(data) => put(STDIN, data),
            Self::Stdout(data) => put(STDOUT, data),
            Self::Stderr(data) => put(STDERR, data),
            Self::Resize { rows, columns } => put(RESIZE, &[rows.to_be_bytes(), columns.to_be_bytes()].concat()),
            Self::Signal(signal) => put(SIGNAL, &signal.to_be_bytes()),
            Self::Exit(exit) => put(EXIT, &json(exit)),
            Self::Error(error) => put(ERROR, &error_json(error)),
            Self::Credit(bytes) => put(CREDIT, &bytes.to_be_bytes()),
        }
    }

    /// Reads one message; `None` for a kind that this version does not know.
    ///
    /// # Errors
    /// When it is no frame, or too large.
    pub fn decode(message: &[u8]) -> Result<Option<Frame>, FrameError> {
        if message.len() > FRAME_MAX_BYTES {
            return Err(FrameError::TooLarge { bytes: message.len() });
        }
        let (&kind, content) = message.split_first().ok_or(FrameError::Empty)?;
        let malformed = FrameError::Malformed { kind };
        Ok(Some(match kind {
            STDIN => Self::Stdin(content.to_vec()),
            STDOUT => Self::Stdout(content.to_vec()),
            STDERR => Self::Stderr(content.to_vec()),
            RESIZE => {
                let [a, b, c, d] = fixed(content).ok_or(malformed)?;
                Self::Resize { rows: u16::from_be_bytes([a, b]), columns: u16::from_be_bytes([c, d]) }
            }
            SIGNAL => Self::Signal(i32::from_be_bytes(fixed(content).ok_or(malformed)?)),
            EXIT => Self::Exit(parsed(content).ok_or(malformed)?),
            ERROR => Self::Error(parsed(content).ok_or(malformed)?),
            CREDIT => Self::Credit(u32::from_be_bytes(fixed(content).ok_or(malformed)?)),
            _ => return Ok(None),
        }))
    }
}

/// Bytes of a stream on their way to become frames. Holds no more than was pushed and not yet taken: take frames after each push.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    /// What of them was given away already.
    taken: usize,
}

impl FrameBuffer {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..std::mem::take(&mut self.taken));
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` where more bytes are needed first. Kinds that are not known are passed over.
    ///
    /// # Errors
    /// When what comes is no frame. The stream cannot be read any further then.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            let rest = &self.bytes[self.taken..];
            let Some((prefix, content)) = rest.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
            let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
            if length > FRAME_MAX_BYTES {
                return Err(FrameError::TooLarge { bytes: length });
            }
            let Some(message) = content.get(..length) else { return Ok(None) };
            let frame = Frame::decode(message)?;
            self.taken += PREFIX_BYTES + length;
            if frame.is_some() {
                return Ok(frame);
            }
        }
    }

    /// Whether the stream stands between two frames: only there may it end.
    pub fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }
}

/// The bodies are plain data, which always serialises.
fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}

/// Shortened where it does not fit: the beginning says what went wrong.
fn error_json(error: &ErrorBody) -> Vec<u8> {
    let whole = json(error);
    if whole.len() <= FRAME_DATA_MAX_BYTES {
        return whole;
    }
    let short = |text: &String| text.chars().take(MESSAGE_MAX_CHARS).collect();
    json(&ErrorBody {
        code: short(&error.code),
        message: short(&error.message),
        hint: error.hint.as_ref().map(short),
        detail: None,
    })
}

fn parsed<T: DeserializeOwned>(content: &[u8]) -> Option<T> {
    serde_json::from_slice(content).ok()
}

fn fixed<const N: usize>(content: &[u8]) -> Option<[u8; N]> {
    content.try_into().ok()
}
