//! Where everything in the image will be, before a byte of it is written: entries of directories name inodes by their places.

use super::format::{
    BLOCK_BYTES, DEVICE_SLOT_BYTES, Device, INODE_BYTES, NID_BYTES, SUPERBLOCK_AT, SUPERBLOCK_BYTES, Superblock,
};
use super::{directory, invalid, span, xattrs};
use crate::tree::{MergedTree, What};
use std::io;

/// Linux's PATH_MAX, without the zero at the end: no link can have a longer target.
const TARGET_MAX_BYTES: u64 = 4095;
/// The image's size is a multiple of this, so that whoever reads whole pages, or around the page cache, finds whole pages.
const PAGE_BYTES: u64 = 4096;

pub(super) struct Plan {
    pub(super) superblock: Superblock,
    pub(super) devices: Vec<Device>,
    /// Place of each inode, in units of `NID_BYTES`.
    pub(super) nids: Vec<u32>,
    /// Where the blocks begin that did not fit beside their inodes.
    pub(super) first_block: u32,
}

impl Plan {
    pub(super) fn new(tree: &MergedTree, devices: &[u64]) -> io::Result<Plan> {
        let mut at = SUPERBLOCK_AT + SUPERBLOCK_BYTES + DEVICE_SLOT_BYTES * devices.len() as u64;
        // The superblock's checksum is of its whole block.
        at = at.next_multiple_of(BLOCK_BYTES);
        let mut nids = Vec::with_capacity(tree.inodes.len());
        let mut blocks = 0;
        let mut name = Name::default();
        for number in 0..tree.inodes.len() {
            let body = Body::of(tree, number)?;
            at = at.next_multiple_of(NID_BYTES);
            // What is inline must not lie in two blocks; that the inode does not either makes it right for every kernel.
            if body.inline_bytes > 0 && at / BLOCK_BYTES != (at + body.bytes() - 1) / BLOCK_BYTES {
                at = at.next_multiple_of(BLOCK_BYTES);
            }
            nids.push(u32::try_from(at / NID_BYTES).map_err(|_| too_large())?);
            at += body.bytes();
            blocks += u64::from(body.blocks);
            name.add_inode(&tree.inodes[number], body.size);
        }
        for entry in &tree.entries {
            name.add(u64::from(entry.name.at) << 32 | u64::from(entry.inode));
        }
        name.add_bytes(&tree.bytes);
        let root = *nids.first().ok_or_else(|| invalid("the tree has no root"))?;
        let first_block = at.div_ceil(BLOCK_BYTES);
        let all_blocks = (first_block + blocks).next_multiple_of(PAGE_BYTES / BLOCK_BYTES);
        let superblock = Superblock {
            root_nid: u16::try_from(root).map_err(|_| invalid("an image cannot have so many layers"))?,
            inodes: nids.len() as u64,
            blocks: block_number(all_blocks)?,
            uuid: name.finish(),
        };
        let first_block = block_number(first_block)?;
        Ok(Plan { devices: in_a_row(all_blocks, devices)?, superblock, nids, first_block })
    }

    /// The byte at which inode `number` begins.
    pub(super) fn at(&self, number: usize) -> u64 {
        self.nids.get(number).map_or(0, |nid| u64::from(*nid) * NID_BYTES)
    }

    /// The first block of a file's content.
    pub(super) fn block_of(&self, device: u16, offset: u64, size: u64) -> io::Result<u32> {
        let outside = || invalid("the tree has a file whose content lies outside of its layer's archive");
        let device = self.devices.get(usize::from(device)).ok_or_else(outside)?;
        let end = offset.checked_add(size).ok_or_else(outside)?;
        if !offset.is_multiple_of(BLOCK_BYTES) || end > u64::from(device.blocks) * BLOCK_BYTES {
            return Err(outside());
        }
        block_number(u64::from(device.first_block) + offset / BLOCK_BYTES)
    }
}

/// The devices' places in the common row of blocks, from `block` on.
fn in_a_row(mut block: u64, devices: &[u64]) -> io::Result<Vec<Device>> {
    let mut row = Vec::with_capacity(devices.len());
    for bytes in devices {
        let blocks = bytes.div_ceil(BLOCK_BYTES);
        row.push(Device { blocks: block_number(blocks)?, first_block: block_number(block)? });
        block += blocks;
    }
    // The last one must end within the row, too.
    block_number(block)?;
    Ok(row)
}

/// The highest number means "no block".
fn block_number(block: u64) -> io::Result<u32> {
    u32::try_from(block).ok().filter(|block| *block < u32::MAX).ok_or_else(too_large)
}

fn too_large() -> io::Error {
    invalid("the layers of an image may have 2 TiB together; this one has more")
}

/// What an inode brings along.
pub(super) struct Body {
    pub(super) xattr_bytes: u32,
    /// Of the content, wherever it is.
    pub(super) size: u64,
    /// Of the content, right behind the attributes.
    pub(super) inline_bytes: u32,
    /// Of the content, among the blocks of this file.
    pub(super) blocks: u32,
}

impl Body {
    pub(super) fn of(tree: &MergedTree, number: usize) -> io::Result<Body> {
        let inode = &tree.inodes[number];
        let xattr_bytes = xattrs::size(span(&tree.bytes, inode.xattrs)?)?;
        match inode.what {
            What::Directory { .. } => Self::with_content(xattr_bytes, directory::size(tree, number)?),
            What::Symlink { target } => {
                let size = u64::from(target.len);
                if !(1..=TARGET_MAX_BYTES).contains(&size) {
                    return Err(invalid(format!("a link's target has {size} bytes; 1 to {TARGET_MAX_BYTES} are possible")));
                }
                Self::with_content(xattr_bytes, size)
            }
            What::File { size, .. } => Ok(Body { xattr_bytes, size, inline_bytes: 0, blocks: 0 }),
            What::CharDevice { .. } | What::BlockDevice { .. } | What::Fifo => {
                Ok(Body { xattr_bytes, size: 0, inline_bytes: 0, blocks: 0 })
            }
        }
    }

    /// The last, partial block goes beside the inode if all of that fits into one block.
    fn with_content(xattr_bytes: u32, size: u64) -> io::Result<Body> {
        let end = size % BLOCK_BYTES;
        let is_inline = end > 0 && INODE_BYTES + u64::from(xattr_bytes) + end <= BLOCK_BYTES;
        let blocks = if is_inline { size / BLOCK_BYTES } else { size.div_ceil(BLOCK_BYTES) };
        let inline_bytes = if is_inline { u32::try_from(end).map_err(|_| too_large())? } else { 0 };
        Ok(Body { xattr_bytes, size, inline_bytes, blocks: block_number(blocks)? })
    }

    /// Of the inode and all that is beside it.
    pub(super) fn bytes(&self) -> u64 {
        INODE_BYTES + u64::from(self.xattr_bytes) + u64::from(self.inline_bytes)
    }

    /// How much of the content, from its beginning on, is among the blocks.
    pub(super) fn bytes_in_blocks(&self) -> usize {
        usize::try_from(self.size - u64::from(self.inline_bytes)).unwrap_or(usize::MAX)
    }
}

/// Makes the image's UUID from what is in it, so that two images have two, and the same always has the same: overlayfs remembers
/// files of a lower layer by it. A name, no defence: nobody relies on its being hard to forge.
struct Name([u64; 2]);

impl Default for Name {
    fn default() -> Self {
        Name([0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f])
    }
}

impl Name {
    fn add(&mut self, word: u64) {
        let product = u128::from(self.0[0] ^ word) * 0xa076_1d64_78bd_642f_u128;
        let low = u64::try_from(product & u128::from(u64::MAX)).unwrap_or(0);
        let high = u64::try_from(product >> 64).unwrap_or(0);
        self.0 = [low ^ high ^ self.0[1].rotate_left(23), self.0[1].wrapping_add(word ^ high)];
    }

    fn add_inode(&mut self, inode: &crate::tree::Inode, size: u64) {
        self.add(u64::from(inode.mode) << 32 | u64::from(inode.links));
        self.add(u64::from(inode.uid) << 32 | u64::from(inode.gid));
        self.add(inode.mtime_s.cast_unsigned() ^ u64::from(inode.mtime_ns) << 32);
        self.add(size);
        if let What::File { device, offset, .. } = inode.what {
            self.add(offset << 16 | u64::from(device));
        }
    }

    fn add_bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.add(u64::from(*byte)));
    }

    /// Marked as a UUID of nobody's making but its owner's (version 8, RFC 9562).
    fn finish(mut self) -> [u8; 16] {
        self.add(0);
        let mut uuid = (u128::from(self.0[0]) << 64 | u128::from(self.0[1])).to_be_bytes();
        uuid[6] = uuid[6] & 0x0f | 0x80;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        uuid
    }
}
