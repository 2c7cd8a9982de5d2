//! Trees of files as image layers describe them, in memory: of one layer, and of all layers of an image together.
//!
//! ```text
//!   archive --read_layer--> LayerTree --encode--> index file --decode--> LayerTree ──┐
//!                                                        of every layer of an image ─┴─merge──> MergedTree
//! ```
//! Names of an archive live and die here: whatever is made on a disk is made from a tree, by numbers, so that no path of a layer is
//! ever a path of the host.
//!
//! Both trees are flat lists with one pool of bytes: an image has tens of thousands of entries, and a million must fit into memory.
//!
//! Deliberately absent: files, mounts, and the bytes of the files' contents.

mod builder;
mod finish;
mod index;
mod layer;
mod merge;
mod merged;
mod read;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use layer::{Attributes, Contents, Data, LayerNode, LayerTree, LayerWhat};
pub(crate) use merge::{Layer, merge};
pub(crate) use merged::{DirEntry, Inode, MergedTree, What};
pub(crate) use read::read_layer;

/// A range of a pool: of its bytes, or of its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) at: u32,
    pub(crate) len: u32,
}

impl Span {
    /// As a range of a slice's indexes.
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        let at = self.at as usize;
        at..at + self.len as usize
    }
}
