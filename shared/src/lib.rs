//! The fleet's language and its judgement.
//!
//! Everything that coordinator, agent and coordctl must agree on lives here: names and quantities that are parsed once and then
//! trusted, the document an operator writes, the bodies that travel between the daemons, and every decision, as a pure function.
//!
//! Deliberately absent: clocks, randomness, files, sockets, threads. Whoever calls brings the time and the observations; so all of
//! this can be tested and simulated without a machine. The crate's own `clippy.toml` keeps it that way.
#![warn(missing_docs)]

pub mod decide;
pub mod document;
pub mod kind;
pub mod names;
pub mod pipeline;
pub mod quantity;
pub mod recipe;
pub mod text;
pub mod wire;
