//! Packing: files of a folder into one `tar.zst`.
//!
//! ```text
//!   root ── walk, by file descriptors ──▶ what goes in, sorted by its name there ──▶ tar ──▶ zstd ──▶ out
//! ```
//! The same files give the same bytes, whoever checked them out and wherever: entries are sorted, times and owners are zero, and a mode is
//! 0755 or 0644, as git has it, so that nobody's umask shows. (Other modes are a recipe's business.) No symbolic link is ever followed:
//! those inside are packed as what they are, and one on the way to a path that is named is an error.
//!
//! Deliberately absent: extended attributes, devices, hard links (a second name is a second file).

mod plan;
mod walk;
mod write;

use crate::PatternError;
use coord_shared::names::Digest;
use coord_shared::pipeline::Include;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How much may go into one archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackLimits {
    /// Of all contents together. Larger than what any application has, smaller than the disks of builders.
    pub content_max_bytes: u64,
    /// Files, folders and links: as many as a layer may have.
    pub entries_max: usize,
    /// Folders within folders: as many as a layer may have.
    pub depth_max: usize,
}

impl Default for PackLimits {
    fn default() -> Self {
        let layer = coord_tar::Limits::default();
        let entries_max = usize::try_from(layer.layer_max_entries).unwrap_or(usize::MAX);
        PackLimits { content_max_bytes: layer.layer_max_bytes, entries_max, depth_max: layer.depth_max }
    }
}

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Of the archive's bytes.
    pub digest: Digest,
    /// Length of the archive.
    pub bytes: u64,
    /// Files and links in it; folders are not counted.
    pub files: u64,
}

/// Why nothing whole was packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A pattern or a place in the archive cannot be.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A pattern finds nothing.
    #[error("{pattern:?} matches nothing in {}; correct it, or see why the build has not made it", root.display())]
    Nothing {
        /// The pattern, as written.
        pattern: String,
        /// The folder.
        root: PathBuf,
    },
    /// The way to a path that is named leads through a symbolic link.
    #[error("{pattern:?}: {path} is a symbolic link, which may lead out of {}; name what it points to", root.display())]
    ThroughLink {
        /// The pattern, as written.
        pattern: String,
        /// The link.
        path: String,
        /// The folder.
        root: PathBuf,
    },
    /// Two files want the same place.
    #[error("both {first} and {second} would be {to:?} in the archive; give one of them another `to`")]
    SamePlace {
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// The place.
        to: String,
    },
    /// Something that no archive should have.
    #[error("{path} is a {kind}, which cannot be packed; exclude it")]
    Special {
        /// The file.
        path: String,
        /// `socket`, `named pipe`, `device`.
        kind: &'static str,
    },
    /// Somebody writes to it.
    #[error("{path} changed while it was being packed; pack when the build is over")]
    Changed {
        /// The file.
        path: String,
    },
    /// More than anybody wants in an image.
    #[error("there is more than {limit} to pack; include less")]
    Limit {
        /// The limit, with its unit.
        limit: String,
    },
    /// A file cannot be read.
    #[error("cannot {operation} {path}")]
    Read {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write {
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Packs what `include` names below `root`, without what `exclude` matches, into a `tar.zst` that goes to `out`. Patterns are relative to
/// `root`; a folder that matches goes in with all that is below it. Blocks: for a thread that may.
///
/// # Errors
/// A pattern of `include` matches nothing; something cannot be read, or changes meanwhile; a limit is reached; `out` fails. What went to
/// `out` until then is to be thrown away.
pub fn pack(
    root: &Path,
    include: &[Include],
    exclude: &[String],
    out: impl Write,
    limits: &PackLimits,
) -> Result<Packed, PackError> {
    let plan = plan::plan(root, include, exclude, limits)?;
    write::write(plan, out, limits)
}

#[cfg(test)]
mod tests;
