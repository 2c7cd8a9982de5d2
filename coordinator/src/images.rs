//! Images of archives: what a build packed, and a recipe, become an image of the image centre.
//!
//! ```text
//!   base     what the image stands on, found, and its layers copied into the repository
//!   below    the base's folders and links, which the new layer respects
//!   layer    coord-archive: archive ─▶ one reproducible layer          (a blocking thread)
//!   json     config, manifest, provenance: pure
//!   assemble all of that in order; tags move last
//! ```
//! The same archive, recipe, base and time give the same digest, so whatever was cut off is simply done again. What a crash leaves are
//! blobs that nothing refers to, which the image centre's collection takes. Deliberately absent: building, and any opinion on when.

mod assemble;
mod base;
mod below;
mod error;
mod json;
mod layer;
mod line;
#[cfg(test)]
mod tests;

pub use assemble::{Assembler, Assembly};
pub use error::AssembleError;
