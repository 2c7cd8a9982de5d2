//! From a tree in the making to one that is whole: what is still reached, in order.

use super::builder::{NOTHING, Name, ROOT, Thing};
use super::{Attributes, Data, LayerNode, LayerTree, LayerWhat, Span};

/// In place of a node's number: not reached yet.
const NOT_REACHED: u32 = u32::MAX;

/// The tree, and the contents that nothing in it has. None if it has more bytes or names than numbers can count.
pub(super) fn finish(names: Vec<Name>, things: Vec<Thing>, bytes: Vec<u8>) -> Option<(LayerTree, Vec<(Data, u32)>)> {
    let (starts, order) = sorted(&names, things.len(), &bytes)?;
    let mut out = Finish { things, old: bytes, node_of: Vec::new(), tree: LayerTree::default() };
    out.node_of = vec![NOT_REACHED; out.things.len()];
    out.tree.nodes.reserve_exact(names.len() + 1);
    let root = out.things[ROOT as usize];
    out.add(0, Span::default(), root.what, root.attributes, ROOT)?;
    // Numbers of names, the next one last; a folder's are put on top when it is reached.
    let mut todo: Vec<(u32, u32)> = Vec::new();
    let entries_of = |thing: u32| order[starts[thing as usize] as usize..starts[thing as usize + 1] as usize].iter().rev();
    todo.extend(entries_of(ROOT).map(|name| (*name, 0)));
    while let Some((name, parent)) = todo.pop() {
        let name = &names[name as usize];
        let node = out.add_name(name, parent)?;
        if name.thing != NOTHING && out.things[name.thing as usize].what.is_directory() {
            todo.extend(entries_of(name.thing).map(|name| (*name, node)));
        }
    }
    let lost = out.things.iter().zip(&out.node_of).filter(|(_, node)| **node == NOT_REACHED);
    let lost = lost.filter_map(|(thing, _)| {
        let LayerWhat::File { data, content, .. } = thing.what else { return None };
        Some((data, content))
    });
    let lost = lost.collect();
    Some((out.tree, lost))
}

/// Numbers of names, folder by folder, sorted within each; and where each thing's begin.
fn sorted(names: &[Name], things: usize, bytes: &[u8]) -> Option<(Vec<u32>, Vec<u32>)> {
    let mut starts = vec![0_u32; things + 1];
    for name in names {
        starts[name.parent as usize + 1] += 1;
    }
    for thing in 0..things {
        starts[thing + 1] += starts[thing];
    }
    let mut next = starts.clone();
    let mut order = vec![0; names.len()];
    for (number, name) in names.iter().enumerate() {
        let place = &mut next[name.parent as usize];
        order[*place as usize] = u32::try_from(number).ok()?;
        *place += 1;
    }
    for thing in 0..things {
        let entries = &mut order[starts[thing] as usize..starts[thing + 1] as usize];
        entries.sort_unstable_by_key(|number| &bytes[names[*number as usize].span().range()]);
    }
    Some((starts, order))
}

struct Finish {
    things: Vec<Thing>,
    old: Vec<u8>,
    /// By thing: its first node.
    node_of: Vec<u32>,
    tree: LayerTree,
}

impl Finish {
    fn add_name(&mut self, name: &Name, parent: u32) -> Option<u32> {
        if name.thing == NOTHING {
            return self.add(parent, name.span(), LayerWhat::Whiteout, Attributes::default(), NOTHING);
        }
        let thing = self.things[name.thing as usize];
        let to = self.node_of[name.thing as usize];
        if thing.what.is_leaf() && to != NOT_REACHED {
            return self.add(parent, name.span(), LayerWhat::HardLink { to }, Attributes::default(), name.thing);
        }
        let mut what = thing.what;
        if let LayerWhat::Directory { opaque, .. } = &mut what {
            *opaque |= name.hides;
        }
        self.add(parent, name.span(), what, thing.attributes, name.thing)
    }

    /// Adds a node; its bytes move from the old pool to the tree's, which so has no gaps and is in order.
    fn add(&mut self, parent: u32, name: Span, what: LayerWhat, attributes: Attributes, thing: u32) -> Option<u32> {
        let node = u32::try_from(self.tree.nodes.len()).ok().filter(|node| *node != NOT_REACHED)?;
        if let Some(first) = self.node_of.get_mut(thing as usize)
            && *first == NOT_REACHED
        {
            *first = node;
        }
        let name = self.carry(name)?;
        let mut what = what;
        if let LayerWhat::Symlink { target: text } | LayerWhat::LinkBelow { path: text } = &mut what {
            *text = self.carry(*text)?;
        }
        if let LayerWhat::File { size, .. } = what {
            self.tree.content_bytes = self.tree.content_bytes.saturating_add(size);
        }
        let attributes = Attributes { xattrs: self.carry(attributes.xattrs)?, ..attributes };
        self.tree.nodes.push(LayerNode { parent, name, what, attributes });
        Some(node)
    }

    fn carry(&mut self, span: Span) -> Option<Span> {
        if span.len == 0 {
            return Some(Span::default());
        }
        let at = u32::try_from(self.tree.bytes.len()).ok()?;
        self.tree.bytes.extend_from_slice(&self.old[span.range()]);
        u32::try_from(self.tree.bytes.len()).ok()?;
        Some(Span { at, len: span.len })
    }
}
