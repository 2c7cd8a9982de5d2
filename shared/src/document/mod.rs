//! The document: one TOML file, the desired state of one workload.
//!
//! The way of a text: TOML -> raw shape with spans -> every mistake collected -> a [`Document`] that cannot be invalid. Whoever
//! writes the file sees all mistakes at once, each with its place and cure; whoever holds a `Document` checks nothing again.

mod model;

pub use model::{Container, Document, Network, Parallelism, Resources, RestartPolicy, Rollout, RolloutOrder};

/// Longest document, in bytes: a thousand times what a careful one needs, and small enough to keep whole in every host state.
pub const DOCUMENT_MAX_BYTES: usize = 64 * 1024;
