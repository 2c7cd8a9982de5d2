//! Documents: from a source to a published revision.
//!
//! ```text
//!  folder ---\             needs no resolve                       +--> one transaction: revision, history, workload
//!  API -------+-- publish -----------------------------------------+
//!              \-- waiting/NAME -- resolver: tag -> digest -------/
//!                                   ^ registry away: again later, with backoff
//! ```
//!
//! A text whose image must be resolved is first kept in the store. So a registry that is away, or a restart, loses nothing, and a
//! newer text replaces one that still waits, simply by overwriting it.

pub mod folder;
pub mod problems;
pub mod publish;
pub mod resolve;
pub mod waiting;
