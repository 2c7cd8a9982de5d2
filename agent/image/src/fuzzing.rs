//! The inside of the store as fuzz targets and benchmarks need it: read a layer, keep it, merge, and check every promise on the way.
//!
//! Only with the feature `fuzzing`, and no part of the crate's interface.

use crate::error::LayerError;
use crate::tree::{self, Contents, Data, DirEntry, LayerTree, MergedTree, What};
use coord_tar::Limits;
use std::collections::BTreeMap;

/// Small enough that a fuzzer reaches them, and no run takes long.
const LIMITS: Limits = Limits {
    layer_max_bytes: 1 << 20,
    layer_max_entries: 200,
    ratio_max: 250,
    ratio_free_bytes: 0,
    depth_max: 16,
    names_max_bytes: 64 << 10,
};

/// A layer's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer(LayerTree);

impl Layer {
    /// Reads an archive as layers are read where the archive itself is kept. Errors: as `read_layer`.
    pub fn read(archive: &[u8]) -> Result<Layer, LayerError> {
        tree::read_layer(archive, &Limits::default(), &mut Watch::default()).map(Layer)
    }

    /// As an index file.
    pub fn encode(&self) -> Vec<u8> {
        self.0.encode()
    }

    /// From an index file. Errors say what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Layer, String> {
        LayerTree::decode(bytes).map(Layer)
    }

    /// Names, the root among them.
    pub fn names(&self) -> usize {
        self.0.nodes.len()
    }
}

/// Merges layers, bottom first, and says how many names a container sees. Errors: as `merge`.
pub fn merge(layers: &[Layer]) -> Result<usize, String> {
    merge_trees(layers).map(|tree| tree.entries.len())
}

/// Reads any bytes as an archive, and panics if what comes of it breaks a promise. Says whether they were accepted.
pub fn layer(bytes: &[u8]) -> bool {
    let mut all = Watch { wants_all: true, ..Watch::default() };
    let Ok(read) = tree::read_layer(bytes, &LIMITS, &mut all) else { return false };
    assert!(all.open.is_none(), "a content did not end");
    let again = tree::read_layer(bytes, &LIMITS, &mut Watch::default());
    assert_eq!(again.ok().as_ref(), Some(&read), "whether contents are wanted makes a difference");
    for node in &read.nodes {
        if let tree::LayerWhat::File { size, data: Data::Archive { offset }, content } = node.what {
            let end = usize::try_from(offset + size).unwrap_or(usize::MAX);
            assert!(end <= bytes.len() && all.written.contains_key(&content), "content {content} is not there");
        }
    }
    check_layer(Layer(read));
    true
}

/// As `layer`, with every header's checksum put right first: a fuzzer finds few of those by itself.
pub fn sealed_layer(bytes: &[u8]) -> bool {
    let mut archive = bytes.to_vec();
    for block in archive.as_chunks_mut::<512>().0.iter_mut().filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
    layer(&archive)
}

/// Reads any bytes as an index file, and panics if what comes of it breaks a promise. Says whether they were accepted.
pub fn index(bytes: &[u8]) -> bool {
    // With a checksum that fits, or nothing but it would be tried.
    let crc = crc32fast::hash(bytes).to_le_bytes();
    let Ok(layer) = Layer::decode(&[bytes, &crc].concat()) else { return false };
    check_layer(layer);
    true
}

fn check_layer(layer: Layer) {
    // Decoding checks names, order, parents, links, spans and places of contents.
    assert_eq!(Layer::decode(&layer.encode()).as_ref(), Ok(&layer), "the index says something else");
    let alone = merge_trees(std::slice::from_ref(&layer));
    let doubled = merge_trees(&[layer.clone(), layer]);
    for tree in [alone, doubled].into_iter().flatten() {
        check_merged(&tree);
    }
}

fn merge_trees(layers: &[Layer]) -> Result<MergedTree, String> {
    let layers: Vec<tree::Layer<'_>> = (0_u16..)
        .zip(layers)
        .map(|(number, layer)| tree::Layer { tree: &layer.0, archive_device: 2 * number, expanded_device: 2 * number + 1 })
        .collect();
    tree::merge(&layers)
}

/// Every name and every inode is reached once, names are names and sorted, links are counted right.
fn check_merged(tree: &MergedTree) {
    let mut names = vec![0_u32; tree.inodes.len()];
    let mut entries_seen = 0;
    for (number, inode) in (0_u32..).zip(&tree.inodes) {
        let What::Directory { entries, .. } = inode.what else { continue };
        let entries = &tree.entries[entries.range()];
        entries_seen += entries.len();
        let name = |entry: &DirEntry| &tree.bytes[entry.name.range()];
        assert!(entries.is_sorted_by(|a, b| name(a) < name(b)), "names are not sorted");
        let mut folders = 0;
        for entry in entries {
            let text = name(entry);
            assert!(
                !matches!(text, b"" | b"." | b"..") && text.len() <= 255 && !text.iter().any(|byte| matches!(byte, 0 | b'/'))
            );
            names[entry.inode as usize] += 1;
            if let What::Directory { parent, .. } = tree.inodes[entry.inode as usize].what {
                assert_eq!(parent, number, "a folder is in another one than it says");
                folders += 1;
            }
        }
        assert_eq!(inode.links, 2 + folders, "the links of a folder");
    }
    assert_eq!(entries_seen, tree.entries.len(), "a name is in no folder");
    assert!(matches!(tree.inodes[0].what, What::Directory { parent: 0, .. }) && names[0] == 0, "the root is the root");
    for (inode, names) in tree.inodes.iter().zip(names).skip(1) {
        let expect = if matches!(inode.what, What::Directory { .. }) { 1 } else { inode.links };
        assert!(names == expect && names > 0, "an inode has {names} names instead of {expect}");
    }
}

/// Sees that contents come in proper order.
#[derive(Default)]
struct Watch {
    wants_all: bool,
    open: Option<(u32, u64)>,
    /// How long each content is that was complete.
    written: BTreeMap<u32, u64>,
}

impl Contents for Watch {
    fn wants(&self, data: Data) -> bool {
        self.wants_all || matches!(data, Data::Expanded { .. })
    }

    fn begin(&mut self, content: u32, _data: Data, size: u64) -> Result<(), LayerError> {
        assert!(self.open.is_none(), "a content begins in another one");
        assert!(self.written.insert(content, size).is_none(), "a content comes twice");
        self.open = Some((content, 0));
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), LayerError> {
        let Some((content, end)) = &mut self.open else { panic!("bytes of no content") };
        assert!(at >= *end && at + bytes.len() as u64 <= self.written[content], "bytes that do not fit");
        *end = at + bytes.len() as u64;
        Ok(())
    }

    fn end(&mut self) -> Result<(), LayerError> {
        assert!(self.open.take().is_some(), "an end without a content");
        Ok(())
    }

    fn forget(&mut self, content: u32) -> Result<(), LayerError> {
        assert!(self.written.remove(&content).is_some(), "a content that never was");
        Ok(())
    }
}
