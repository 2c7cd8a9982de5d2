//! Archives: a folder packed into one compressed file, such a file checked, and a layer of an image made of it.
//!
//! ```text
//!   pack     folder ─▶ tar.zst                                  where it was built
//!   input    tar.gz, tar.zst, tar, zip: told by their first bytes
//!   check    archive ─▶ names, judged ─┬─ contents, in a file without a name
//!   below    what the base image has where the archive's files are to land
//!   layer    all of this ─▶ one layer: sorted, compressed, and the same ones for ever
//! ```
//! Everything here is reproducible: the same files, in whatever order a disk lists them and whoever owns them, give the same bytes. What an
//! archive holds is checked by the rules of layers. Names of an archive never become paths of the host. Deliberately absent: registries,
//! manifests, and what an archive is for.

mod below;
mod check;
mod error;
mod input;
mod layer;
mod output;
mod pack;
mod pattern;
mod spool;
mod zip;

pub use below::Below;
pub use check::Checked;
pub use error::ArchiveError;
pub use layer::Layer;
pub use pack::{PackError, PackLimits, Packed, pack};
pub use pattern::{Pattern, PatternError};
