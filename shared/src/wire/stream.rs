//! The frames of a session that carries a program's input and output both ways: `exec`, and whatever else is attached to.
//!
//! One frame is one binary WebSocket message between agent, coordinator and coordctl; on the agent's control socket, which carries
//! bytes, each is preceded by its length (u32, big endian, the kind included). The first byte is the kind, the rest its content:
//!
//! ```text
//! 0 stdin      bytes; none: the input has ended (half-close)      towards the program
//! 1 stdout     bytes; none: the output has ended                  from the program
//! 2 stderr     bytes; none: the output has ended                  from the program
//! 3 resize     rows, columns: two u16, big endian                 towards the program
//! 4 signal     i32, big endian                                    towards the program
//! 5 exit       JSON: an Exit                                      from the program; the last frame
//! 6 error      JSON: an ErrorBody                                 from the program; the last frame
//! 7 credit     u32, big endian: so many more bytes may be sent    both ways; see STREAM_WINDOW_BYTES
//! ```
//! A side sends no more stdin, stdout or stderr bytes than [`STREAM_WINDOW_BYTES`] plus the credit it was given: a reader that stands
//! still stops the writer, and nobody between them holds more than a window. A kind that is not known is passed over.

mod codec;
#[cfg(test)]
mod tests;
mod window;

pub use codec::{FrameBuffer, FrameError};
pub use window::{ReceiveWindow, SendWindow};

use super::{ErrorBody, Exit};
use serde::{Deserialize, Serialize};

/// Bytes of stdin (and, apart from that, of stdout and stderr together) that may be on their way without credit.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Largest frame, its kind included.
pub const FRAME_MAX_BYTES: usize = 32 * 1024;
/// Most bytes of input or output in one frame; longer ones are cut up by whoever sends them.
pub const FRAME_DATA_MAX_BYTES: usize = FRAME_MAX_BYTES - 1;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Input; empty: it has ended.
    Stdin(Vec<u8>),
    /// Output; empty: it has ended.
    Stdout(Vec<u8>),
    /// Error output; empty: it has ended.
    Stderr(Vec<u8>),
    /// The terminal's new size.
    Resize {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// For the program.
    Signal(i32),
    /// How the program ended.
    Exit(Exit),
    /// Why there is no program, or no more of its output.
    Error(ErrorBody),
    /// So many more bytes may be sent.
    Credit(u32),
}

/// Asks for a program to be run in a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The instance, `web.0`, or a container's ID.
    pub container: String,
    /// Program and arguments; not empty.
    pub command: Vec<String>,
    /// Added to the container's environment.
    #[serde(default)]
    pub environment: Vec<(String, String)>,
    /// The container's own where absent.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// The container's own where absent.
    #[serde(default)]
    pub user: Option<String>,
    /// A terminal of this size: rows, columns.
    #[serde(default)]
    pub terminal: Option<(u16, u16)>,
    /// Whether input is sent.
    #[serde(default)]
    pub stdin: bool,
}
