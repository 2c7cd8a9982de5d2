//! All layers of an image as one tree: whiteouts, opaque folders and replaced entries resolved, once, in memory.
//!
//! Folder by folder, the sorted entries of all layers that have a part in it are walked side by side. For each name the topmost layer
//! that says something decides; only where that is a folder do those below have a part in it, down to one that hides the rest.
//! So a symbolic link of a lower layer is never followed: a folder of the same name takes its place.
//!
//! Deterministic: the same layers make the same tree, byte by byte.

use super::merged::{DirEntry, Inode, MergedTree, What};
use super::{Attributes, Data, LayerNode, LayerTree, LayerWhat, Span};
use std::ops::Range;

/// In place of an inode's number: not met yet.
const NOT_MET: u32 = u32::MAX;
/// Of a root that no layer describes.
const ROOT_MODE: u16 = 0o755;
/// Folders that are searched for the targets of hard links to lower layers: seconds of work. Hardly any image has such links at all.
const STEPS_MAX: u64 = 100_000_000;

/// A layer, and the numbers of the files that its contents lie in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub(crate) tree: &'a LayerTree,
    pub(crate) archive_device: u16,
    pub(crate) expanded_device: u16,
}

/// What a container sees of layers, bottom first. Errors: a hard link to a file that no layer below has, or more than can be counted.
pub(crate) fn merge(layers: &[Layer<'_>]) -> Result<MergedTree, String> {
    let sides: Vec<Side<'_>> = layers.iter().map(Side::new).collect();
    let names = layers.iter().map(|layer| layer.tree.nodes.len()).sum();
    let bytes = layers.iter().map(|layer| layer.tree.bytes.len()).sum();
    let tree =
        MergedTree { inodes: Vec::with_capacity(names), entries: Vec::with_capacity(names), bytes: Vec::with_capacity(bytes) };
    let inode_of = sides.iter().map(|side| vec![NOT_MET; side.nodes.len()]).collect();
    Merge { sides: &sides, inode_of, tree, todo: Vec::new(), parts: Vec::new(), steps: 0 }.run()
}

/// A layer, its folders' entries side by side.
struct Side<'a> {
    layer: &'a Layer<'a>,
    nodes: &'a [LayerNode],
    bytes: &'a [u8],
    /// By node, where its entries begin in `entries`.
    starts: Vec<u32>,
    /// Numbers of nodes, folder by folder, sorted by name.
    entries: Vec<u32>,
}

/// A name of one layer; where it is a folder's, the part that the layer has in a merged one.
#[derive(Debug, Clone, Copy)]
struct Part {
    side: usize,
    node: u32,
}

/// A merged folder that is still to be filled.
struct Todo {
    inode: u32,
    /// In `Merge::parts`, topmost first.
    parts: Range<usize>,
}

/// Where the walk through one part is: its entries not yet taken.
struct Cursor<'s> {
    side: usize,
    rest: &'s [u32],
}

struct Merge<'s> {
    sides: &'s [Side<'s>],
    /// By side and node: the inode that it became.
    inode_of: Vec<Vec<u32>>,
    tree: MergedTree,
    /// The next one last.
    todo: Vec<Todo>,
    /// Of all folders so far: an image has tens of thousands, and a list each would be slow.
    parts: Vec<Part>,
    steps: u64,
}

impl<'a> Side<'a> {
    fn new(layer: &'a Layer<'a>) -> Side<'a> {
        let nodes = layer.tree.nodes.as_slice();
        let mut starts = vec![0_u32; nodes.len() + 1];
        for node in nodes.iter().skip(1) {
            starts[node.parent as usize + 1] += 1;
        }
        for node in 0..nodes.len() {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut entries = vec![0; nodes.len().saturating_sub(1)];
        // Nodes are in order already, so that each folder's stay so.
        for (number, node) in (0_u32..).zip(nodes).skip(1) {
            let place = &mut next[node.parent as usize];
            entries[*place as usize] = number;
            *place += 1;
        }
        Side { layer, nodes, bytes: &layer.tree.bytes, starts, entries }
    }

    fn entries_of(&self, node: u32) -> &[u32] {
        &self.entries[self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize]
    }

    fn node(&self, node: u32) -> &'a LayerNode {
        &self.nodes[node as usize]
    }

    fn name(&self, node: u32) -> &'a [u8] {
        &self.bytes[self.nodes[node as usize].name.range()]
    }

    /// A folder's entry by its name.
    fn find(&self, folder: u32, name: &[u8]) -> Option<u32> {
        let entries = self.entries_of(folder);
        entries.binary_search_by(|node| self.name(*node).cmp(name)).ok().map(|at| entries[at])
    }

    fn is_opaque(&self, node: u32) -> bool {
        matches!(self.node(node).what, LayerWhat::Directory { opaque: true, .. })
    }
}

impl<'s> Merge<'s> {
    fn run(mut self) -> Result<MergedTree, String> {
        let parts = self.roots(self.sides.len());
        let root = self.directory(&parts, 0)?;
        debug_assert_eq!(root, 0, "the root is the first inode");
        let (mut cursors, mut same) = (Vec::new(), Vec::new());
        while let Some(folder) = self.todo.pop() {
            cursors.clear();
            let cursor = |part: &Part| Cursor { side: part.side, rest: self.sides[part.side].entries_of(part.node) };
            cursors.extend(self.parts[folder.parts].iter().map(cursor));
            self.fill(folder.inode, &mut cursors, &mut same)?;
        }
        Ok(self.tree)
    }

    /// The roots of the layers below `top`, down to one that hides the rest.
    fn roots(&self, top: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        for side in (0..top).rev().filter(|side| !self.sides[*side].nodes.is_empty()) {
            parts.push(Part { side, node: 0 });
            if self.sides[side].is_opaque(0) {
                break;
            }
        }
        parts
    }

    /// Puts a folder's entries into the tree. Folders among them are noted, to be filled in their order.
    fn fill(&mut self, folder: u32, cursors: &mut [Cursor<'s>], same: &mut Vec<Part>) -> Result<(), String> {
        let first = self.tree.entries.len();
        let first_todo = self.todo.len();
        while self.next_name(cursors, same) {
            let Some(inode) = self.decide(same, folder)? else { continue };
            let name = self.keep(self.sides[same[0].side].name(same[0].node))?;
            self.tree.entries.push(DirEntry { name, inode });
        }
        let subfolders = self.todo.len() - first_todo;
        self.todo[first_todo..].reverse();
        let entries = span(first, self.tree.entries.len() - first)?;
        let inode = &mut self.tree.inodes[folder as usize];
        inode.links = u32::try_from(2 + subfolders).map_err(|_| too_much())?;
        if let What::Directory { entries: place, .. } = &mut inode.what {
            *place = entries;
        }
        Ok(())
    }

    /// The least name that is left, in all layers that have it, topmost first. False if there is none.
    fn next_name(&self, cursors: &mut [Cursor<'s>], same: &mut Vec<Part>) -> bool {
        same.clear();
        if let [only] = cursors {
            let Some((node, rest)) = only.rest.split_first() else { return false };
            only.rest = rest;
            same.push(Part { side: only.side, node: *node });
            return true;
        }
        let name_of = |cursor: &Cursor<'_>| cursor.rest.first().map(|node| self.sides[cursor.side].name(*node));
        let Some(least) = cursors.iter().filter_map(name_of).min() else { return false };
        for cursor in cursors {
            if let Some((node, rest)) = cursor.rest.split_first()
                && self.sides[cursor.side].name(*node) == least
            {
                same.push(Part { side: cursor.side, node: *node });
                cursor.rest = rest;
            }
        }
        true
    }

    /// What a name is, and its inode. None if it is hidden.
    fn decide(&mut self, same: &[Part], parent: u32) -> Result<Option<u32>, String> {
        let what = self.node(same[0]).what;
        if what == LayerWhat::Whiteout {
            return Ok(None);
        }
        if what.is_directory() {
            return self.directory(self.merged(same), parent).map(Some);
        }
        let inode = self.leaf(same[0])?;
        self.tree.inodes[inode as usize].links += 1;
        Ok(Some(inode))
    }

    /// Those of the same name, topmost first, that have a part in the folder that the topmost is.
    fn merged<'p>(&self, same: &'p [Part]) -> &'p [Part] {
        let is_transparent = |part: &&Part| matches!(self.node(**part).what, LayerWhat::Directory { opaque: false, .. });
        let transparent = same.iter().take_while(is_transparent).count();
        let hides_rest = same.get(transparent).is_some_and(|part| self.node(*part).what.is_directory());
        &same[..transparent + usize::from(hides_rest)]
    }

    /// A folder that is still empty. It looks as the topmost layer says that describes it.
    fn directory(&mut self, parts: &[Part], parent: u32) -> Result<u32, String> {
        let is_described = |part: &&Part| matches!(self.node(**part).what, LayerWhat::Directory { described: true, .. });
        let (attributes, bytes): (_, &[u8]) = match parts.iter().find(is_described).or(parts.first()) {
            Some(part) => (self.node(*part).attributes, self.sides[part.side].bytes),
            None => (Attributes { mode: ROOT_MODE, ..Attributes::default() }, &[]),
        };
        let inode = self.inode(attributes, bytes, What::Directory { entries: Span::default(), parent })?;
        let first = self.parts.len();
        self.parts.extend_from_slice(parts);
        self.todo.push(Todo { inode, parts: first..self.parts.len() });
        Ok(inode)
    }

    /// The inode of anything but a folder, made when it is first met under whichever of its names.
    fn leaf(&mut self, part: Part) -> Result<u32, String> {
        let Part { side, node } = self.first_name(part)?;
        let known = self.inode_of[side][node as usize];
        if known != NOT_MET {
            return Ok(known);
        }
        let LayerNode { what, attributes, .. } = *self.sides[side].node(node);
        let Side { layer, bytes, .. } = self.sides[side];
        let what = match what {
            LayerWhat::File { size, data, .. } => {
                let (device, offset) = match data {
                    Data::Archive { offset } => (layer.archive_device, offset),
                    Data::Expanded { offset } => (layer.expanded_device, offset),
                };
                What::File { size, device, offset }
            }
            LayerWhat::Symlink { target } => What::Symlink { target: self.keep(&bytes[target.range()])? },
            LayerWhat::CharDevice { major, minor } => What::CharDevice { major, minor },
            LayerWhat::BlockDevice { major, minor } => What::BlockDevice { major, minor },
            LayerWhat::Fifo => What::Fifo,
            LayerWhat::Directory { .. } | LayerWhat::HardLink { .. } | LayerWhat::LinkBelow { .. } | LayerWhat::Whiteout => {
                return Err("has a link to something that cannot have one".to_owned());
            }
        };
        let inode = self.inode(attributes, bytes, what)?;
        self.inode_of[side][node as usize] = inode;
        Ok(inode)
    }

    /// From a link to what it links, through the layers.
    fn first_name(&mut self, part: Part) -> Result<Part, String> {
        let Part { mut side, mut node } = part;
        loop {
            match self.sides[side].node(node).what {
                LayerWhat::HardLink { to } => node = to,
                LayerWhat::LinkBelow { path } => {
                    let path = &self.sides[side].bytes[path.range()];
                    let found = self.resolve(side, path)?.ok_or_else(|| {
                        let name = path_of(&self.sides[side], node).escape_ascii().to_string();
                        let target = path.escape_ascii().to_string();
                        format!("{name:?} is a hard link to {target:?}, which no layer below has as a file")
                    })?;
                    (side, node) = (found.side, found.node);
                }
                LayerWhat::Directory { .. }
                | LayerWhat::File { .. }
                | LayerWhat::Symlink { .. }
                | LayerWhat::CharDevice { .. }
                | LayerWhat::BlockDevice { .. }
                | LayerWhat::Fifo
                | LayerWhat::Whiteout => return Ok(Part { side, node }),
            }
        }
    }

    /// What a path is in the layers below `top`, if it is anything but a folder.
    fn resolve(&mut self, top: usize, path: &[u8]) -> Result<Option<Part>, String> {
        let mut folders = self.roots(top);
        let mut names = path.split(|byte| *byte == b'/').peekable();
        while let Some(name) = names.next() {
            self.steps += folders.len() as u64;
            if self.steps > STEPS_MAX {
                return Err("has too many hard links to layers below".to_owned());
            }
            let find = |part: &Part| self.sides[part.side].find(part.node, name).map(|node| Part { node, ..*part });
            let same: Vec<Part> = folders.iter().filter_map(find).collect();
            let Some(top) = same.first() else { return Ok(None) };
            let what = self.sides[top.side].node(top.node).what;
            if !what.is_directory() {
                return Ok((names.peek().is_none() && what != LayerWhat::Whiteout).then_some(*top));
            }
            folders = self.merged(&same).to_vec();
        }
        Ok(None)
    }

    fn node(&self, part: Part) -> &'s LayerNode {
        self.sides[part.side].node(part.node)
    }

    /// `bytes` is the pool that the attributes are in.
    fn inode(&mut self, attributes: Attributes, bytes: &[u8], what: What) -> Result<u32, String> {
        let number = u32::try_from(self.tree.inodes.len()).ok().filter(|number| *number != NOT_MET).ok_or_else(too_much)?;
        let xattrs = self.keep(&bytes[attributes.xattrs.range()])?;
        let Attributes { mode, uid, gid, mtime_s, mtime_ns, .. } = attributes;
        self.tree.inodes.push(Inode { mode, uid, gid, links: 0, mtime_s, mtime_ns, xattrs, what });
        Ok(number)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<Span, String> {
        if bytes.is_empty() {
            return Ok(Span::default());
        }
        let kept = span(self.tree.bytes.len(), bytes.len())?;
        self.tree.bytes.extend_from_slice(bytes);
        Ok(kept)
    }
}

fn path_of(side: &Side<'_>, node: u32) -> Vec<u8> {
    let up = |node: &u32| Some(side.node(*node).parent).filter(|parent| *parent != 0);
    let mut names: Vec<&[u8]> = std::iter::successors(Some(node), up).map(|node| side.name(node)).collect();
    names.reverse();
    names.join(&b'/')
}

/// A range of which the end, too, can be counted.
fn span(at: usize, len: usize) -> Result<Span, String> {
    let narrow = |number: usize| u32::try_from(number).map_err(|_| too_much());
    narrow(at + len)?;
    Ok(Span { at: narrow(at)?, len: narrow(len)? })
}

fn too_much() -> String {
    "has more than 4 billion names, or 4 GiB of them".to_owned()
}
