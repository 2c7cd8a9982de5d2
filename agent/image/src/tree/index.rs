//! A layer's tree as a file, so that a layer that is there is never read again to know what is in it.
//!
//! ```text
//!   "coordix1"  u32 nodes  u32 bytes of the pool  u64 entries, content bytes, expanded bytes, left out
//!   per node    u32 parent  u8 kind  u8 name's length  u16 mode  u32 uid  u32 gid  i64 mtime  u32 ns  u32 xattrs' length
//!               u64 a  u64 b  u32 c                    (what they are depends on the kind)
//!   pool        per node in order: its name, the target or path of a link, its extended attributes
//!   u32 crc32   of all before
//! ```
//! Little-endian. Whatever can be wrong is found when it is read: a damaged file is an error, and no damage makes a tree that breaks
//! its promises. There is no second version: an index can be made again from its archive.

use super::{Attributes, Data, LayerNode, LayerTree, LayerWhat, Span};
use coord_tar::{NAME_MAX_BYTES, PATH_MAX_BYTES, is_kept};

const MAGIC: &[u8; 8] = b"coordix1";
const HEAD_BYTES: usize = 48;
const NODE_BYTES: usize = 56;
const CRC_BYTES: usize = 4;

const DIRECTORY: u8 = 0;
const FILE: u8 = 1;
const EXPANDED_FILE: u8 = 2;
const SYMLINK: u8 = 3;
const CHAR_DEVICE: u8 = 4;
const BLOCK_DEVICE: u8 = 5;
const FIFO: u8 = 6;
const HARD_LINK: u8 = 7;
const LINK_BELOW: u8 = 8;
const WHITEOUT: u8 = 9;

impl LayerTree {
    /// The tree as bytes: the same for the same tree.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + self.nodes.len() * NODE_BYTES + self.bytes.len() + CRC_BYTES);
        out.extend_from_slice(MAGIC);
        // A tree is built with fewer of both than these can count.
        out.extend_from_slice(&u32::try_from(self.nodes.len()).unwrap_or(u32::MAX).to_le_bytes());
        let pool_at = out.len();
        out.extend_from_slice(&[0; 4]);
        for number in [self.entries, self.content_bytes, self.expanded_bytes, self.left_out] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for node in &self.nodes {
            put_node(&mut out, node);
        }
        let pool_start = out.len();
        for node in &self.nodes {
            for span in [node.name, node.what.text(), node.attributes.xattrs] {
                out.extend_from_slice(&self.bytes[span.range()]);
            }
        }
        let pool = u32::try_from(out.len() - pool_start).unwrap_or(u32::MAX);
        out[pool_at..pool_at + 4].copy_from_slice(&pool.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out
    }

    /// The tree that was encoded. Errors say what is wrong with the bytes; every promise of a tree is checked.
    pub(crate) fn decode(bytes: &[u8]) -> Result<LayerTree, String> {
        let (body, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or("is cut off")?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err("has a wrong checksum".to_owned());
        }
        Decoder::new(body)?.decode()
    }
}

impl LayerWhat {
    /// The part of it that is in the pool.
    fn text(self) -> Span {
        match self {
            Self::Symlink { target: text } | Self::LinkBelow { path: text } => text,
            Self::Directory { .. }
            | Self::File { .. }
            | Self::CharDevice { .. }
            | Self::BlockDevice { .. }
            | Self::Fifo
            | Self::HardLink { .. }
            | Self::Whiteout => Span::default(),
        }
    }
}

fn put_node(out: &mut Vec<u8>, node: &LayerNode) {
    let (kind, a, b, c) = match node.what {
        LayerWhat::Directory { described, opaque } => (DIRECTORY, 0, 0, u32::from(described) | u32::from(opaque) << 1),
        LayerWhat::File { size, data: Data::Archive { offset }, content } => (FILE, size, offset, content),
        LayerWhat::File { size, data: Data::Expanded { offset }, content } => (EXPANDED_FILE, size, offset, content),
        LayerWhat::Symlink { target } => (SYMLINK, 0, 0, target.len),
        LayerWhat::CharDevice { major, minor } => (CHAR_DEVICE, major.into(), minor.into(), 0),
        LayerWhat::BlockDevice { major, minor } => (BLOCK_DEVICE, major.into(), minor.into(), 0),
        LayerWhat::Fifo => (FIFO, 0, 0, 0),
        LayerWhat::HardLink { to } => (HARD_LINK, 0, 0, to),
        LayerWhat::LinkBelow { path } => (LINK_BELOW, 0, 0, path.len),
        LayerWhat::Whiteout => (WHITEOUT, 0, 0, 0),
    };
    let attributes = &node.attributes;
    let mut record = [0; NODE_BYTES];
    let mut put = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &node.parent.to_le_bytes());
    put(4, &[kind, u8::try_from(node.name.len).unwrap_or(u8::MAX)]);
    put(6, &attributes.mode.to_le_bytes());
    put(8, &attributes.uid.to_le_bytes());
    put(12, &attributes.gid.to_le_bytes());
    put(16, &attributes.mtime_s.to_le_bytes());
    put(24, &attributes.mtime_ns.to_le_bytes());
    put(28, &attributes.xattrs.len.to_le_bytes());
    put(32, &a.to_le_bytes());
    put(40, &b.to_le_bytes());
    put(48, &c.to_le_bytes());
    out.extend_from_slice(&record);
}

/// Reads nodes one by one, and knows the folders that the last one was in.
struct Decoder<'a> {
    records: &'a [[u8; NODE_BYTES]],
    pool: &'a [u8],
    /// Of the pool: what the nodes so far have.
    used: u32,
    tree: LayerTree,
    content_bytes: u64,
    /// The folders down to the last node, each with the name that was last in it.
    open: Vec<(u32, Span)>,
}

impl<'a> Decoder<'a> {
    fn new(body: &'a [u8]) -> Result<Decoder<'a>, String> {
        let (head, rest) = body.split_at_checked(HEAD_BYTES).ok_or("is cut off")?;
        if !head.starts_with(MAGIC) {
            return Err("is no index of a layer".to_owned());
        }
        let count = u32_at(head, 8) as usize;
        let records = count.checked_mul(NODE_BYTES).and_then(|length| rest.split_at_checked(length));
        let (records, pool) =
            records.filter(|(_, pool)| pool.len() == u32_at(head, 12) as usize).ok_or("is of the wrong length")?;
        let tree = LayerTree {
            nodes: Vec::with_capacity(count),
            bytes: pool.to_vec(),
            entries: u64_at(head, 16),
            content_bytes: u64_at(head, 24),
            expanded_bytes: u64_at(head, 32),
            left_out: u64_at(head, 40),
        };
        Ok(Decoder { records: records.as_chunks().0, pool, used: 0, tree, content_bytes: 0, open: Vec::new() })
    }

    fn decode(mut self) -> Result<LayerTree, String> {
        for (number, record) in self.records.iter().enumerate() {
            let node = self.node(record).ok_or_else(|| format!("has an impossible entry {number}"))?;
            self.tree.nodes.push(node);
        }
        if self.tree.nodes.is_empty() || self.used as usize != self.pool.len() || self.content_bytes != self.tree.content_bytes {
            return Err("contradicts itself".to_owned());
        }
        Ok(self.tree)
    }

    fn node(&mut self, record: &[u8; NODE_BYTES]) -> Option<LayerNode> {
        let number = u32::try_from(self.tree.nodes.len()).ok()?;
        let parent = u32_at(record, 0);
        let name = self.take(record[5].into())?;
        if number == 0 {
            // The root is in itself and has no name.
            (parent == 0 && name.len == 0).then_some(())?;
        } else {
            self.check_place(parent, name)?;
        }
        let what = self.what(record, number)?;
        let xattrs = self.take(u32_at(record, 28))?;
        let attributes = Attributes {
            mode: u16_at(record, 6),
            uid: u32_at(record, 8),
            gid: u32_at(record, 12),
            mtime_s: i64::from_le_bytes(*record[16..].first_chunk()?),
            mtime_ns: u32_at(record, 24),
            xattrs,
        };
        let is_sound = attributes.mode <= 0o7777 && attributes.mtime_ns < 1_000_000_000 && are_xattrs(&self.pool[xattrs.range()]);
        is_sound.then_some(LayerNode { parent, name, what, attributes })
    }

    /// Depth first and sorted: the folder is one of those that are open, and the name comes after the last one in it.
    fn check_place(&mut self, parent: u32, name: Span) -> Option<()> {
        while self.open.last()?.0 != parent {
            self.open.pop();
        }
        let (_, last) = self.open.last_mut()?;
        let text = &self.pool[name.range()];
        (is_name(text) && &self.pool[last.range()] < text).then_some(())?;
        *last = name;
        Some(())
    }

    fn what(&mut self, record: &[u8; NODE_BYTES], number: u32) -> Option<LayerWhat> {
        let (a, b, c) = (u64_at(record, 32), u64_at(record, 40), u32_at(record, 48));
        let narrow = |number: u64| u32::try_from(number).ok();
        let what = match record[4] {
            DIRECTORY => {
                self.open.push((number, Span::default()));
                (c <= 3).then_some(LayerWhat::Directory { described: c & 1 != 0, opaque: c & 2 != 0 })?
            }
            FILE => LayerWhat::File { size: a, data: Data::Archive { offset: b }, content: c },
            EXPANDED_FILE => LayerWhat::File { size: a, data: Data::Expanded { offset: b }, content: c },
            SYMLINK => LayerWhat::Symlink { target: self.take(c).filter(|target| is_path(&self.pool[target.range()]))? },
            CHAR_DEVICE if (a, b) != (0, 0) => LayerWhat::CharDevice { major: narrow(a)?, minor: narrow(b)? },
            BLOCK_DEVICE => LayerWhat::BlockDevice { major: narrow(a)?, minor: narrow(b)? },
            FIFO => LayerWhat::Fifo,
            HARD_LINK => LayerWhat::HardLink { to: self.first_name(c)? },
            LINK_BELOW => {
                let path = self.take(c)?;
                let text = &self.pool[path.range()];
                (is_path(text) && text.split(|byte| *byte == b'/').all(is_name)).then_some(LayerWhat::LinkBelow { path })?
            }
            WHITEOUT => LayerWhat::Whiteout,
            _ => return None,
        };
        if let LayerWhat::File { size, data, .. } = what {
            self.check_data(size, data)?;
        }
        // The first is the root.
        (number > 0 || record[4] == DIRECTORY).then_some(what)
    }

    fn check_data(&mut self, size: u64, data: Data) -> Option<()> {
        let (offset, end_max) = match data {
            Data::Archive { offset } => (offset, i64::MAX.unsigned_abs()),
            Data::Expanded { offset } => (offset, self.tree.expanded_bytes),
        };
        self.content_bytes = self.content_bytes.checked_add(size)?;
        (offset.is_multiple_of(512) && offset.checked_add(size)? <= end_max).then_some(())
    }

    /// A node that may have more names.
    fn first_name(&self, number: u32) -> Option<u32> {
        let is_fit = self.tree.nodes.get(number as usize)?.what.is_leaf();
        is_fit.then_some(number)
    }

    /// The next bytes of the pool.
    fn take(&mut self, len: u32) -> Option<Span> {
        let at = self.used;
        self.used = at.checked_add(len).filter(|end| *end as usize <= self.pool.len())?;
        Some(if len == 0 { Span::default() } else { Span { at, len } })
    }
}

fn is_name(text: &[u8]) -> bool {
    !matches!(text, b"" | b"." | b"..") && text.len() <= NAME_MAX_BYTES && !text.iter().any(|byte| matches!(byte, 0 | b'/'))
}

fn is_path(text: &[u8]) -> bool {
    !text.is_empty() && text.len() <= PATH_MAX_BYTES && !text.contains(&0)
}

/// Pairs that fill the bytes, sorted by name, with names that an image may have.
fn are_xattrs(mut bytes: &[u8]) -> bool {
    let mut last: &[u8] = b"";
    while let Some(([name_len, low, high], rest)) = bytes.split_first_chunk() {
        let value_len = usize::from(u16::from_le_bytes([*low, *high]));
        let Some((name, rest)) = rest.split_at_checked((*name_len).into()) else { return false };
        if name <= last || !is_kept(name) || rest.len() < value_len {
            return false;
        }
        last = name;
        bytes = &rest[value_len..];
    }
    bytes.is_empty()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes[at..].first_chunk().map_or(0, |chunk| u16::from_le_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}
