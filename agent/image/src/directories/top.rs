//! What overlayfs would show wrongly of layers that are stored apart, and the one more folder on top that puts it right.
//!
//! - Layers may name `tmp/x` without describing `tmp/`. On its own such a layer has a plain `tmp/`, and overlayfs takes a merged
//!   directory's attributes from the topmost layer that has it: `/tmp` would lose its sticky bit.
//! - Whiteouts in a directory that no other layer has appear in its listing, as names that do not exist, because only merged
//!   directories are filtered.
//! - A hard link to a file of a lower layer has nothing in its own layer's directory that it could be.
//!
//! A layer is shared and cannot be changed, so a chain of layers that needs it gets a folder of its own, above all others, with nothing
//! but the directories in question and those links. What should be there is known: the layers' trees merged.

use super::Lower;
use super::materialise::{Source, bytes, describe_folder, make_one, names_of, open_child};
use crate::tree::{Attributes, Data, Inode, LayerNode, LayerTree, LayerWhat, MergedTree, Span, What};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{BorrowedFd, OwnedFd};

/// What a topmost folder has to have, by numbers of the merged tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Directories, those on the way included.
    directories: BTreeSet<u32>,
    /// Hard links into lower layers: numbers of entries.
    links: BTreeSet<u32>,
}

/// A directory of the image: what it is made of, topmost first. Numbers of the layer and of its node.
type Parts = Vec<(usize, u32)>;

/// Children of each node of a tree.
struct Children {
    starts: Vec<u32>,
    nodes: Vec<u32>,
}

/// Compares what overlayfs would show of these layers, topmost first and none twice, with what they mean.
pub(super) fn plan(layers: &[&LayerTree], merged: &MergedTree) -> Plan {
    let children: Vec<Children> = layers.iter().map(|tree| Children::of(tree)).collect();
    let mut plan = Plan::default();
    let root: Parts = up_to_opaque(layers, (0..layers.len()).map(|layer| (layer, 0)));
    let mut todo = vec![(0_u32, root)];
    while let Some((directory, parts)) = todo.pop() {
        let Some(inode) = merged.inodes.get(directory as usize) else { continue };
        let What::Directory { entries, .. } = inode.what else { continue };
        if shows_wrongly(layers, &children, &parts, directory, inode, merged) {
            plan.directories.insert(directory);
        }
        for number in entries.at..entries.at + entries.len {
            let entry = merged.entries[number as usize];
            let name = bytes(&merged.bytes, entry.name);
            let seen =
                parts.iter().filter_map(|(layer, node)| Some((*layer, children[*layer].find(layers[*layer], *node, name)?)));
            let seen: Parts = seen.collect();
            let Some(first) = seen.first() else { continue };
            match layers[first.0].nodes[first.1 as usize].what {
                LayerWhat::LinkBelow { .. } => {
                    plan.links.insert(number);
                    plan.directories.insert(directory);
                }
                LayerWhat::Directory { .. } => todo.push((entry.inode, up_to_opaque(layers, seen.into_iter()))),
                LayerWhat::File { .. }
                | LayerWhat::Symlink { .. }
                | LayerWhat::CharDevice { .. }
                | LayerWhat::BlockDevice { .. }
                | LayerWhat::Fifo
                | LayerWhat::HardLink { .. }
                | LayerWhat::Whiteout => {}
            }
        }
    }
    plan.with_parents(merged)
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.directories.is_empty()
    }

    /// What is in a folder can only be reached through it.
    fn with_parents(mut self, merged: &MergedTree) -> Plan {
        for mut directory in self.directories.clone() {
            while let What::Directory { parent, .. } = merged.inodes[directory as usize].what
                && parent != directory
                && self.directories.insert(parent)
            {
                directory = parent;
            }
        }
        self
    }
}

/// As far down as overlayfs looks: directories, up to one that is opaque.
fn up_to_opaque(layers: &[&LayerTree], seen: impl Iterator<Item = (usize, u32)>) -> Parts {
    let mut parts = Parts::new();
    for (layer, node) in seen {
        let LayerWhat::Directory { opaque, .. } = layers[layer].nodes[node as usize].what else { break };
        parts.push((layer, node));
        if opaque {
            break;
        }
    }
    parts
}

fn shows_wrongly(
    layers: &[&LayerTree],
    children: &[Children],
    parts: &Parts,
    directory: u32,
    inode: &Inode,
    merged: &MergedTree,
) -> bool {
    let Some((layer, node)) = parts.first() else { return false };
    let tree = layers[*layer];
    let shown = &tree.nodes[*node as usize].attributes;
    let meant = attributes_of(inode);
    let without = |attributes: Attributes| Attributes { xattrs: Span::default(), ..attributes };
    if without(*shown) != without(meant) || bytes(&tree.bytes, shown.xattrs) != bytes(&merged.bytes, meant.xattrs) {
        return true;
    }
    // The root is always merged, with the container's own layer.
    let is_merged = parts.len() > 1 || directory == 0;
    let is_whiteout = |child: &u32| matches!(tree.nodes[*child as usize].what, LayerWhat::Whiteout);
    !is_merged && children[*layer].of_node(*node).iter().any(is_whiteout)
}

impl Children {
    fn of(tree: &LayerTree) -> Children {
        let mut starts = vec![0_u32; tree.nodes.len() + 1];
        for node in tree.nodes.iter().skip(1) {
            starts[node.parent as usize + 1] += 1;
        }
        for number in 0..tree.nodes.len() {
            starts[number + 1] += starts[number];
        }
        let mut next = starts.clone();
        let mut nodes = vec![0; tree.nodes.len().saturating_sub(1)];
        for (number, node) in (0_u32..).zip(&tree.nodes).skip(1) {
            let place = &mut next[node.parent as usize];
            nodes[*place as usize] = number;
            *place += 1;
        }
        Children { starts, nodes }
    }

    /// In the order of their names.
    fn of_node(&self, node: u32) -> &[u32] {
        &self.nodes[self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize]
    }

    fn find(&self, tree: &LayerTree, node: u32, name: &[u8]) -> Option<u32> {
        let children = self.of_node(node);
        let at = children.binary_search_by_key(&name, |child| bytes(&tree.bytes, tree.nodes[*child as usize].name)).ok()?;
        Some(children[at])
    }
}

fn attributes_of(inode: &Inode) -> Attributes {
    let Inode { mode, uid, gid, mtime_s, mtime_ns, xattrs, .. } = *inode;
    Attributes { mode, uid, gid, mtime_s, mtime_ns, xattrs }
}

/// Fills `target`, an empty folder. `links` is another one, which only serves while this runs. All layers, bottom first; `merged` was
/// made of them with the numbers of devices that `Lower` says.
pub(super) fn fill(
    plan: &Plan,
    layers: &[Lower],
    merged: &MergedTree,
    target: &OwnedFd,
    links: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let contents = if plan.links.is_empty() { BTreeMap::new() } else { contents_of(layers) };
    Filler { plan, layers, merged, contents, links, linked: BTreeSet::new() }.fill(0, target)
}

/// Layer, where in it, size; and the node that has this content.
type ContentNodes = BTreeMap<(usize, Data, u64), u32>;

fn contents_of(layers: &[Lower]) -> ContentNodes {
    let mut contents = ContentNodes::new();
    for (layer, lower) in layers.iter().enumerate() {
        for (number, node) in (0_u32..).zip(&lower.tree.nodes) {
            if let LayerWhat::File { size, data, .. } = node.what {
                contents.insert((layer, data, size), number);
            }
        }
    }
    contents
}

struct Filler<'a> {
    plan: &'a Plan,
    layers: &'a [Lower],
    merged: &'a MergedTree,
    contents: ContentNodes,
    links: BorrowedFd<'a>,
    /// Inodes that are in the folder of links.
    linked: BTreeSet<u32>,
}

impl Filler<'_> {
    /// As deep as folders are in folders, which the reader of archives limits.
    fn fill(&mut self, directory: u32, folder: &OwnedFd) -> Result<(), Errno> {
        let inode = &self.merged.inodes[directory as usize];
        let What::Directory { entries, .. } = inode.what else { return Err(Errno::NOTDIR) };
        for number in entries.at..entries.at + entries.len {
            let entry = self.merged.entries[number as usize];
            let name = bytes(&self.merged.bytes, entry.name);
            if self.plan.links.contains(&number) {
                let link = entry.inode.to_string();
                if self.linked.insert(entry.inode) {
                    self.make_link(entry.inode, link.as_bytes())?;
                }
                fs::linkat(self.links, &link, folder, name, AtFlags::empty())?;
            } else if self.plan.directories.contains(&entry.inode) {
                fs::mkdirat(folder, name, Mode::RWXU)?;
                self.fill(entry.inode, &open_child(folder, name)?)?;
            }
        }
        // What was made in it changed its times.
        describe_folder(folder, &attributes_of(inode), &self.merged.bytes)
    }

    /// A file of a lower layer under a new name; or, where nothing is lost by it, another one like it.
    fn make_link(&self, inode: u32, link: &[u8]) -> Result<(), Errno> {
        let inode = &self.merged.inodes[inode as usize];
        let what = match inode.what {
            What::File { size, device, offset } if size > 0 => {
                let (layer, data) = Lower::of_device(device, offset);
                let node = *self.contents.get(&(layer, data, size)).ok_or(Errno::NOENT)?;
                return self.link_node(&self.layers[layer], node, link);
            }
            What::File { .. } => LayerWhat::File { size: 0, data: Data::Archive { offset: 0 }, content: 0 },
            What::Symlink { target } => LayerWhat::Symlink { target },
            What::CharDevice { major, minor } => LayerWhat::CharDevice { major, minor },
            What::BlockDevice { major, minor } => LayerWhat::BlockDevice { major, minor },
            What::Fifo => LayerWhat::Fifo,
            What::Directory { .. } => return Err(Errno::ISDIR),
        };
        let node = LayerNode { parent: 0, name: Span::default(), what, attributes: attributes_of(inode) };
        make_one(&self.merged.bytes, &mut Nothing, &node, self.links, link, None)
    }

    fn link_node(&self, lower: &Lower, node: u32, link: &[u8]) -> Result<(), Errno> {
        let names = names_of(&lower.tree, node);
        let (last, folders) = names.split_last().ok_or(Errno::NOENT)?;
        let mut current = fs::open(&lower.diff, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        for folder in folders {
            current = open_child(&current, folder)?;
        }
        fs::linkat(&current, *last, self.links, link, AtFlags::empty())
    }
}

/// Empty files.
struct Nothing;

impl Source for Nothing {
    fn place(&mut self, _content: u32, _data: Data, _size: u64, folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR).map(drop)
    }
}
