//! What archives become, and what they must not; what layers become together. All in memory: nothing here touches a disk.

mod archives;
mod damage;
mod gnu;
mod index;
mod layers;
mod model;
mod sparse;

use super::{Contents, Data, Layer, LayerNode, LayerTree, LayerWhat, MergedTree, What, merge, read_layer};
use crate::Limits;
use crate::error::LayerError;
use std::collections::{BTreeMap, BTreeSet};

/// Keeps every content in memory, and sees that it is told about in proper order.
#[derive(Default)]
struct Kept {
    contents: BTreeMap<u32, Vec<u8>>,
    data: BTreeMap<u32, Data>,
    forgotten: BTreeSet<u32>,
    open: Option<(u32, usize)>,
    /// Only those that are not in the archive in one piece.
    expanded_only: bool,
}

impl Contents for Kept {
    fn wants(&self, data: Data) -> bool {
        !self.expanded_only || matches!(data, Data::Expanded { .. })
    }

    fn begin(&mut self, content: u32, data: Data, size: u64) -> Result<(), LayerError> {
        assert!(self.open.is_none() && !self.contents.contains_key(&content), "content {content} begins twice");
        // What fuzzing makes up may be larger than memory; nobody looks at that.
        self.contents.insert(content, vec![0; usize::try_from(size).unwrap().min(1 << 24)]);
        self.data.insert(content, data);
        self.open = Some((content, 0));
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), LayerError> {
        let (content, end) = self.open.expect("a content is open");
        let at = usize::try_from(at).unwrap();
        assert!(at >= end, "pieces ascend");
        if let Some(place) = self.contents.get_mut(&content).unwrap().get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self.open = Some((content, at + bytes.len()));
        Ok(())
    }

    fn end(&mut self) -> Result<(), LayerError> {
        self.open.take().expect("a content is open");
        Ok(())
    }

    fn forget(&mut self, content: u32) -> Result<(), LayerError> {
        assert!(self.forgotten.insert(content), "content {content} is forgotten once");
        Ok(())
    }
}

/// A layer that was read, with its archive and its contents.
struct Read {
    archive: Vec<u8>,
    tree: LayerTree,
    kept: Kept,
}

/// Reads an archive and holds the tree to its promises.
fn read(archive: &[u8], limits: &Limits) -> Result<Read, LayerError> {
    let mut kept = Kept::default();
    let tree = read_layer(archive, limits, &mut kept)?;
    assert!(kept.open.is_none());
    let mut in_tree = BTreeSet::new();
    for node in &tree.nodes {
        let LayerWhat::File { size, data, content } = node.what else { continue };
        assert!(in_tree.insert(content), "content {content} is in the tree once");
        assert_eq!(kept.data[&content], data);
        let whole = &kept.contents[&content];
        if let Data::Archive { offset } = data {
            let at = usize::try_from(offset).unwrap();
            assert_eq!(&archive[at..at + usize::try_from(size).unwrap()], whole, "content {content} is where it is said to be");
        }
    }
    let all: BTreeSet<u32> = in_tree.union(&kept.forgotten).copied().collect();
    assert!(in_tree.is_disjoint(&kept.forgotten) && all == kept.contents.keys().copied().collect(), "all others are forgotten");
    // Whether contents are wanted makes no difference to the tree.
    let mut expanded_only = Kept { expanded_only: true, ..Kept::default() };
    assert_eq!(read_layer(archive, limits, &mut expanded_only).as_ref().ok(), Some(&tree));
    // Decoding checks all promises of a tree.
    let encoded = tree.encode();
    assert_eq!(LayerTree::decode(&encoded).as_ref(), Ok(&tree));
    Ok(Read { archive: archive.to_vec(), tree, kept })
}

impl Read {
    /// One line per name: type, mode, path and what is special about it. The root has one only if it is described or opaque.
    fn listing(&self) -> Vec<String> {
        (0..self.tree.nodes.len()).filter_map(|number| self.line(number)).collect()
    }

    fn line(&self, number: usize) -> Option<String> {
        let node = &self.tree.nodes[number];
        let mode = node.attributes.mode;
        let path = path_of(&self.tree, number);
        let text = |span: super::Span| self.tree.bytes[span.range()].escape_ascii().to_string();
        Some(match node.what {
            LayerWhat::Directory { described: false, opaque: false } if number == 0 => return None,
            LayerWhat::Directory { described, opaque } => {
                let implied = if described { "" } else { " implied" };
                format!("d {mode:o} {path}{implied}{}", if opaque { " opaque" } else { "" })
            }
            LayerWhat::File { content, .. } => format!("f {mode:o} {path} {}", shown(&self.kept.contents[&content])),
            LayerWhat::Symlink { target } => format!("l {path} -> {}", text(target)),
            LayerWhat::CharDevice { major, minor } => format!("c {mode:o} {path} {major}:{minor}"),
            LayerWhat::BlockDevice { major, minor } => format!("b {mode:o} {path} {major}:{minor}"),
            LayerWhat::Fifo => format!("p {mode:o} {path}"),
            LayerWhat::HardLink { to } => format!("h {path} = {}", path_of(&self.tree, to as usize)),
            LayerWhat::LinkBelow { path: below } => format!("h {path} = {} below", text(below)),
            LayerWhat::Whiteout => format!("w {path}"),
        })
    }

    fn node(&self, path: &str) -> &LayerNode {
        let number = (0..self.tree.nodes.len()).find(|number| path_of(&self.tree, *number) == path);
        &self.tree.nodes[number.expect("is in the tree")]
    }
}

fn path_of(tree: &LayerTree, number: usize) -> String {
    let mut names = Vec::new();
    let mut number = number;
    while number != 0 {
        names.push(tree.bytes[tree.nodes[number].name.range()].escape_ascii().to_string());
        number = tree.nodes[number].parent as usize;
    }
    names.reverse();
    if names.is_empty() { ".".to_owned() } else { names.join("/") }
}

fn shown(content: &[u8]) -> String {
    if content.len() > 20 { format!("{} bytes", content.len()) } else { format!("{:?}", content.escape_ascii().to_string()) }
}

/// Layers merged, bottom first. The archive of layer n is file 2n, its expanded contents are file 2n + 1.
fn merged(layers: &[Read]) -> Result<MergedTree, String> {
    let layers: Vec<Layer<'_>> = (0_u16..)
        .zip(layers)
        .map(|(number, layer)| Layer { tree: &layer.tree, archive_device: 2 * number, expanded_device: 2 * number + 1 })
        .collect();
    merge(&layers)
}

/// As a container sees it: one line per name, and hard links by the number of names.
fn merged_listing(tree: &MergedTree, layers: &[Read]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut names_of = vec![0_u32; tree.inodes.len()];
    walk(tree, layers, 0, "", &mut lines, &mut names_of);
    for (inode, names) in tree.inodes.iter().zip(names_of) {
        // Of a folder, "." and its entries' ".." count.
        let expect = if matches!(inode.what, What::Directory { .. }) { inode.links } else { names };
        assert_eq!(inode.links, expect, "{inode:?}");
        assert!(names == 1 || (names > 1 && !matches!(inode.what, What::Directory { .. })), "{inode:?} is reached");
    }
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

fn walk(tree: &MergedTree, layers: &[Read], at: u32, path: &str, lines: &mut Vec<(String, String)>, names_of: &mut [u32]) {
    let inode = &tree.inodes[at as usize];
    names_of[at as usize] += 1;
    let mode = inode.mode;
    let links = if inode.links > 1 { format!(" x{}", inode.links) } else { String::new() };
    let mut add = |line: String| lines.push((path.to_owned(), line));
    match inode.what {
        What::Directory { entries, parent } => {
            if path.is_empty() {
                assert_eq!(parent, 0);
            } else {
                add(format!("d {mode:o} {path}"));
            }
            let entries = &tree.entries[entries.range()];
            let name = |entry: &super::DirEntry| &tree.bytes[entry.name.range()];
            assert!(entries.is_sorted_by(|a, b| name(a) < name(b)));
            let folders = |entry: &&super::DirEntry| matches!(tree.inodes[entry.inode as usize].what, What::Directory { .. });
            assert_eq!(inode.links as usize, 2 + entries.iter().filter(folders).count());
            for entry in entries {
                let child = &tree.inodes[entry.inode as usize];
                assert!(!matches!(child.what, What::Directory { parent, .. } if parent != at));
                let slash = if path.is_empty() { "" } else { "/" };
                let child_path = format!("{path}{slash}{}", name(entry).escape_ascii());
                walk(tree, layers, entry.inode, &child_path, lines, names_of);
            }
        }
        What::File { size, device, offset } => {
            let layer = &layers[usize::from(device / 2)];
            let size = usize::try_from(size).unwrap();
            let content = if device.is_multiple_of(2) {
                let at = if size == 0 { 0 } else { usize::try_from(offset).unwrap() };
                &layer.archive[at..at + size]
            } else {
                let lies_there = |(_, data): &(&u32, &Data)| **data == (Data::Expanded { offset });
                let (content, _) = layer.kept.data.iter().find(lies_there).expect("some sparse file lies there");
                layer.kept.contents[content].as_slice()
            };
            add(format!("f {mode:o} {path} {}{links}", shown(content)));
        }
        What::Symlink { target } => add(format!("l {path} -> {}{links}", tree.bytes[target.range()].escape_ascii())),
        What::CharDevice { major, minor } => add(format!("c {mode:o} {path} {major}:{minor}{links}")),
        What::BlockDevice { major, minor } => add(format!("b {mode:o} {path} {major}:{minor}{links}")),
        What::Fifo => add(format!("p {mode:o} {path}{links}")),
    }
}
