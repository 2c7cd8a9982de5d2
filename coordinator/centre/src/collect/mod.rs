//! Collection: what nothing needs any more goes, while others push.
//!
//! ```text
//!   records ─ snapshot ─▶ tags that the rules let go ─▶ manifests that nothing needs ─▶ new snapshot ─▶ links and blobs ─▶ their bytes
//!               roots ────────────────┴──────────────────────────┘
//! ```
//!
//! Every removal is one transaction that expects the records as they were read *before* anybody looked for what needs them, and whoever
//! makes a new reference rewrites what it refers to (see `records`). So of a push and a removal one is refused: the push looks again, the
//! removal lets it be until the next time. What was touched within the grace period is never looked at, which also covers what leaves no
//! record: a client that was told that a layer is there already, and a document whose tag was just resolved.
//!
//! A crash between any two steps leaves a whole state: manifests go before what they need, records before bytes. Deliberately absent: a
//! pause of anybody's pushes.

mod needed;
mod roots;
mod snapshot;
mod sweep;
#[cfg(test)]
mod tests;

pub use needed::{Keeper, Kept, mark};
pub use roots::{Root, Roots, RootsError, Wanted};
pub use snapshot::{ManifestId, Snapshot};
pub use sweep::{Collected, Removed};

use crate::retention::RetentionRule;
use std::time::Duration;

/// What a collection may do.
#[derive(Debug, Clone)]
pub struct CollectSettings {
    /// What was touched less than this ago stays.
    pub grace: Duration,
    /// Which tags may go.
    pub rules: Vec<RetentionRule>,
}
