//! The records of the format, byte for byte. All numbers are little-endian; reserved bytes are zeros.

use super::plan::Body;
use super::{invalid, xattrs};
use crate::tree::{Inode, What};
use std::io;

pub(super) const BLOCK_BYTES: u64 = 512;
const BLOCK_BITS: u8 = 9;
pub(super) const SUPERBLOCK_AT: u64 = 1024;
pub(super) const SUPERBLOCK_BYTES: u64 = 128;
pub(super) const DEVICE_SLOT_BYTES: u64 = 128;
pub(super) const INODE_BYTES: u64 = 64;
/// Inodes are named by where they are, in these units.
pub(super) const NID_BYTES: u64 = 32;
/// Linux's NAME_MAX.
pub(super) const NAME_MAX_BYTES: usize = 255;

const MAGIC: u32 = 0xe0f5_e1e2;
/// The superblock has a checksum, and inodes carry the time of last change.
const FEATURES_COMPATIBLE: u32 = 0x1 | 0x2;
const FEATURE_DEVICE_TABLE: u32 = 0x8;
const LAYOUT_FLAT_PLAIN: u16 = 0;
const LAYOUT_FLAT_INLINE: u16 = 2;
const VERSION_EXTENDED: u16 = 1;
/// The largest numbers of a device that Linux has.
const MAJOR_MAX: u32 = 0xfff;
const MINOR_MAX: u32 = 0xf_ffff;

/// What the superblock says.
pub(super) struct Superblock {
    pub(super) root_nid: u16,
    pub(super) inodes: u64,
    /// Of this file.
    pub(super) blocks: u32,
    pub(super) uuid: [u8; 16],
}

/// A row of the device table.
pub(super) struct Device {
    pub(super) blocks: u32,
    /// The number of its first block in the common row.
    pub(super) first_block: u32,
}

/// The superblock and the device table right behind it.
pub(super) fn superblock_and_devices(superblock: &Superblock, devices: &[Device]) -> io::Result<Vec<u8>> {
    let count = u16::try_from(devices.len()).map_err(|_| invalid("an image cannot have so many layers"))?;
    let table_slot = if devices.is_empty() { 0 } else { (SUPERBLOCK_AT + SUPERBLOCK_BYTES) / DEVICE_SLOT_BYTES };
    let mut out = Vec::with_capacity(128 * (1 + devices.len()));
    let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
    put(&MAGIC.to_le_bytes());
    put(&[0; 4]); // the checksum, below
    put(&FEATURES_COMPATIBLE.to_le_bytes());
    put(&[BLOCK_BITS, 0]);
    put(&superblock.root_nid.to_le_bytes());
    put(&superblock.inodes.to_le_bytes());
    put(&[0; 12]); // time of the build, which only smaller inodes need
    put(&superblock.blocks.to_le_bytes());
    put(&[0; 8]); // where inodes and shared attributes begin: at byte 0
    put(&superblock.uuid);
    put(&[0; 16]); // name of the volume
    put(&(if devices.is_empty() { 0 } else { FEATURE_DEVICE_TABLE }).to_le_bytes());
    put(&[0; 2]); // compression
    put(&count.to_le_bytes());
    put(&u16::try_from(table_slot).unwrap_or(0).to_le_bytes());
    put(&[0; 38]);
    for device in devices {
        put(&[0; 64]); // a tag, for mounts without a list of devices
        put(&device.blocks.to_le_bytes());
        put(&device.first_block.to_le_bytes());
        put(&[0; 56]);
    }
    let checksum = checksum(&out);
    out[4..8].copy_from_slice(&checksum.to_le_bytes());
    Ok(out)
}

/// How many blocks an image has, by the block that its superblock begins; `None` if that is damaged.
pub(super) fn image_blocks(block: &[u8; 512]) -> Option<u32> {
    let number = |at: usize| block.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let mut unsigned = *block;
    unsigned[4..8].fill(0);
    let is_sound = number(0) == Some(MAGIC) && number(4) == Some(checksum(&unsigned));
    if is_sound { number(36) } else { None }
}

/// Of the block that begins with the superblock. `bytes` may end before that block does.
fn checksum(bytes: &[u8]) -> u32 {
    let block = usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX);
    let missing = std::iter::repeat_n(&0, block.saturating_sub(bytes.len()));
    bytes.iter().take(block).chain(missing).fold(u32::MAX, |crc, byte| {
        // CRC-32C, bit by bit: one block only. The kernel leaves out the usual inversion at the end.
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

/// An inode of the extended kind. `place` is its first block or its device number; `number` its place in the tree.
pub(super) fn inode(inode: &Inode, body: &Body, place: u32, number: usize) -> io::Result<[u8; 64]> {
    let layout = if body.inline_bytes > 0 { LAYOUT_FLAT_INLINE } else { LAYOUT_FLAT_PLAIN };
    let mut out = [0; 64];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        out[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&(layout << 1 | VERSION_EXTENDED).to_le_bytes());
    put(&xattrs::count(body.xattr_bytes).to_le_bytes());
    put(&(file_type(inode).0 | inode.mode & 0o7777).to_le_bytes());
    put(&[0; 2]);
    put(&body.size.to_le_bytes());
    put(&place.to_le_bytes());
    put(&u32::try_from(number + 1).map_err(|_| invalid("the tree has too many inodes"))?.to_le_bytes());
    put(&inode.uid.to_le_bytes());
    put(&inode.gid.to_le_bytes());
    put(&inode.mtime_s.to_le_bytes());
    put(&inode.mtime_ns.to_le_bytes());
    put(&inode.links.to_le_bytes());
    Ok(out)
}

/// The type of file as a mode's high bits, and as entries of directories have it.
pub(super) fn file_type(inode: &Inode) -> (u16, u8) {
    match inode.what {
        What::File { .. } => (0o100_000, 1),
        What::Directory { .. } => (0o040_000, 2),
        What::CharDevice { .. } => (0o020_000, 3),
        What::BlockDevice { .. } => (0o060_000, 4),
        What::Fifo => (0o010_000, 5),
        What::Symlink { .. } => (0o120_000, 7),
    }
}

/// Linux's `new_encode_dev`.
pub(super) fn device_number(major: u32, minor: u32) -> io::Result<u32> {
    if major > MAJOR_MAX || minor > MINOR_MAX {
        return Err(invalid(format!("Linux has no device {major}:{minor}")));
    }
    Ok(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}
