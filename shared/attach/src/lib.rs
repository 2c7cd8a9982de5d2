//! Attaches to a program that runs elsewhere.
//!
//! [`socket`] is a WebSocket that carries [`coord_shared::wire::Frame`]s, dialled through an HTTP client that has the authorities and
//! tokens already. Used by the agent, which answers a session, and by coordctl, which asks for one.
//!
//! Deliberately absent: the coordinator's end (it joins sockets and looks into nothing), and a TLS of its own.

pub mod socket;

pub use socket::{DialError, FrameReader, FrameWriter, dial};
