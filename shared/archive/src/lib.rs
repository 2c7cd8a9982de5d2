//! Archives: a folder packed into one compressed file, such a file checked, and a layer of an image made of it.
//!
//! Everything here is reproducible: the same files, in whatever order a disk lists them and whoever owns them, give the same bytes. What an
//! archive holds is checked by the rules of layers. Names of an archive never become paths of the host. Deliberately absent: registries,
//! manifests, and what an archive is for.

mod output;
mod pack;
mod pattern;

pub use pack::{PackError, PackLimits, Packed, pack};
pub use pattern::{Pattern, PatternError};
