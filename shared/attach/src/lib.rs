//! Attaches to a program that runs elsewhere.
//!
//! ```text
//!  person's terminal ── person ── frames ──▶ socket | bytes ──▶ ... ──▶ socket | bytes ──▶ frames ── program ── a program's fds
//! ```
//! [`frames`] is a connection of [`coord_shared::wire::Frame`]s, over a WebSocket ([`socket`]) or over plain bytes ([`bytes`]).
//! [`person`] is the end where somebody types and reads, [`program`] the end where the program runs; [`terminal`] is the person's own.
//!
//! Deliberately absent: the coordinator's end (it joins sockets and looks into nothing), a TLS of its own, and starting programs.

pub mod bytes;
pub mod frames;
pub mod person;
pub mod program;
#[cfg(feature = "socket")]
pub mod socket;
mod sys;
pub mod terminal;
#[cfg(test)]
mod tests;

pub use frames::Frames;
pub use person::{Ended, News};
pub use program::Program;
#[cfg(feature = "socket")]
pub use socket::{DialError, FrameReader, FrameWriter, dial};
