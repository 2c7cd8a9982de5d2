//! One layer as it is, before anything is below it: what it brings, what it hides, what it only mentions.

use super::Span;
use crate::error::LayerError;

/// A layer's entries after all of its archive was read: the last word on each name, links among its own folders followed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LayerTree {
    /// Depth first: a folder before what is in it, siblings by their names' bytes. The first is the root.
    pub(crate) nodes: Vec<LayerNode>,
    /// Names, link targets, extended attributes.
    pub(crate) bytes: Vec<u8>,
    /// Entries of the archive.
    pub(crate) entries: u64,
    /// Of the files' contents, as they will be read.
    pub(crate) content_bytes: u64,
    /// Size of the file of expanded contents (sparse files); zero where there is none.
    pub(crate) expanded_bytes: u64,
    /// Extended attributes and entries that an image may not have and that were left out.
    pub(crate) left_out: u64,
}

/// One name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerNode {
    /// Number of the folder that it is in; of the root, its own.
    pub(crate) parent: u32,
    /// In the tree's bytes; empty for the root.
    pub(crate) name: Span,
    pub(crate) what: LayerWhat,
    pub(crate) attributes: Attributes,
}

/// What is under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LayerWhat {
    Directory {
        /// False: needed by an entry, described by none. It looks like the one below, if there is one.
        described: bool,
        /// Hides what is below.
        opaque: bool,
    },
    File {
        /// As it is read, holes included.
        size: u64,
        data: Data,
        /// Number of the content, in the order of the archive: what `Contents` was told.
        content: u32,
    },
    Symlink {
        target: Span,
    },
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
    /// The same file as node `to`, which is no link itself.
    HardLink {
        to: u32,
    },
    /// The same file as this path, which this layer does not have: layers below may.
    LinkBelow {
        /// Cleaned: parts with single slashes, none in front.
        path: Span,
    },
    /// Nothing, and what is below is hidden.
    Whiteout,
}

impl LayerWhat {
    pub(crate) fn is_directory(self) -> bool {
        matches!(self, Self::Directory { .. })
    }

    /// Whether it is a thing of its own that may have several names: no folder, no reference to another, not nothing.
    pub(crate) fn is_leaf(self) -> bool {
        match self {
            Self::File { .. } | Self::Symlink { .. } | Self::CharDevice { .. } | Self::BlockDevice { .. } | Self::Fifo => true,
            Self::Directory { .. } | Self::HardLink { .. } | Self::LinkBelow { .. } | Self::Whiteout => false,
        }
    }
}

/// Where a file's content lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Data {
    /// In the archive, in one piece, from this byte on (a multiple of 512).
    Archive { offset: u64 },
    /// In the file of expanded contents, from this byte on (a multiple of 512). For sparse files.
    Expanded { offset: u64 },
}

/// Owner, mode and the like. Meaningless for whiteouts and links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Attributes {
    /// Permission bits, set-id and sticky bits included; no type.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Since 1970; before it is negative.
    pub(crate) mtime_s: i64,
    pub(crate) mtime_ns: u32,
    /// Pairs in the tree's bytes: length of the name (u8), length of the value (u16, little-endian), name, value; sorted by name.
    pub(crate) xattrs: Span,
}

/// Takes the contents of files while an archive is read.
pub(crate) trait Contents {
    /// Whether the content of a file is wanted. Those that lie in the archive in one piece often are not: the archive is kept.
    fn wants(&self, data: Data) -> bool;
    /// A wanted content begins.
    fn begin(&mut self, content: u32, data: Data, size: u64) -> Result<(), LayerError>;
    /// Bytes of it, from byte `at` on, in ascending order; what lies between is zeros.
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), LayerError>;
    /// It is complete.
    fn end(&mut self) -> Result<(), LayerError>;
    /// A complete one is no longer in the tree: a later entry took its name.
    fn forget(&mut self, content: u32) -> Result<(), LayerError>;
}
