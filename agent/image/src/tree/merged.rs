//! All layers of an image together: what a container will see.

use super::Span;

/// Directories, files and links, with nothing hidden any more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct MergedTree {
    /// The first is the root, a directory. Each is reached by a name, and directories by one only.
    pub(crate) inodes: Vec<Inode>,
    /// Directory after directory; within one sorted by the names' bytes. "." and ".." are not among them.
    pub(crate) entries: Vec<DirEntry>,
    /// Names, link targets, extended attributes.
    pub(crate) bytes: Vec<u8>,
}

/// One file, directory, link or whatever else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inode {
    /// Permission bits, set-id and sticky bits included; no type.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Names of a file; of a directory 2 and its subdirectories.
    pub(crate) links: u32,
    /// Since 1970; before it is negative.
    pub(crate) mtime_s: i64,
    pub(crate) mtime_ns: u32,
    /// As in `Attributes` of a layer.
    pub(crate) xattrs: Span,
    pub(crate) what: What,
}

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Directory {
        /// Its entries in the tree's.
        entries: Span,
        /// Of the root, the root.
        parent: u32,
    },
    File {
        size: u64,
        /// Number of the file that the content lies in, in the order in which the caller lists them; any where `size` is 0.
        device: u16,
        /// From this byte on, a multiple of 512.
        offset: u64,
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
}

/// A name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirEntry {
    pub(crate) name: Span,
    pub(crate) inode: u32,
}
