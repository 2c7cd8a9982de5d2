//! A directory's content: blocks of entries, each with its names behind them, sorted by the names' bytes over all blocks, so that
//! the kernel finds a name by halving. "." and ".." have their sorted places among the others, which need not be the first.

use super::format::{BLOCK_BYTES, NAME_MAX_BYTES, file_type};
use super::{invalid, span};
use crate::tree::{MergedTree, What};
use std::io;

const ENTRY_BYTES: usize = 12;

struct Entry<'a> {
    name: &'a [u8],
    inode: u32,
}

/// How many bytes `fill` will give for a directory.
pub(super) fn size(tree: &MergedTree, number: usize) -> io::Result<u64> {
    let mut full_blocks = 0;
    let mut used = 0;
    each_entry(tree, number, |entry| {
        if !fits(used, &entry) {
            full_blocks += 1;
            used = 0;
        }
        used += ENTRY_BYTES + entry.name.len();
        Ok(())
    })?;
    Ok(full_blocks * BLOCK_BYTES + used as u64)
}

/// The content of a directory. `nids` has the place of each inode, as entries name it.
pub(super) fn fill(tree: &MergedTree, number: usize, nids: &[u32], out: &mut Vec<u8>) -> io::Result<()> {
    let mut block = Vec::with_capacity(64);
    let mut used = 0;
    each_entry(tree, number, |entry| {
        if !fits(used, &entry) {
            fill_block(tree, &block, nids, out)?;
            out.resize(out.len() + block_bytes() - used, 0);
            block.clear();
            used = 0;
        }
        used += ENTRY_BYTES + entry.name.len();
        block.push(entry);
        Ok(())
    })?;
    fill_block(tree, &block, nids, out)
}

fn fill_block(tree: &MergedTree, block: &[Entry<'_>], nids: &[u32], out: &mut Vec<u8>) -> io::Result<()> {
    let mut name_at = block.len() * ENTRY_BYTES;
    for entry in block {
        let number = entry.inode as usize;
        let (Some(nid), Some(inode)) = (nids.get(number), tree.inodes.get(number)) else {
            return Err(invalid("the tree names an inode that it does not have"));
        };
        out.extend_from_slice(&u64::from(*nid).to_le_bytes());
        out.extend_from_slice(&u16::try_from(name_at).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(&[file_type(inode).1, 0]);
        name_at += entry.name.len();
    }
    for entry in block {
        out.extend_from_slice(entry.name);
    }
    Ok(())
}

fn fits(used: usize, entry: &Entry<'_>) -> bool {
    used + ENTRY_BYTES + entry.name.len() <= block_bytes()
}

fn block_bytes() -> usize {
    usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX)
}

/// All entries of directory `number` in order.
fn each_entry<'a>(tree: &'a MergedTree, number: usize, mut take: impl FnMut(Entry<'a>) -> io::Result<()>) -> io::Result<()> {
    let What::Directory { entries, parent } = tree.inodes[number].what else {
        return Err(invalid("the tree takes something for a directory that is none"));
    };
    let own = u32::try_from(number).map_err(|_| invalid("the tree has too many inodes"))?;
    let mut dots = [Entry { name: b".", inode: own }, Entry { name: b"..", inode: parent }].into_iter().peekable();
    let mut last: &[u8] = b"";
    for entry in span(&tree.entries, entries)? {
        let name = span(&tree.bytes, entry.name)?;
        if name <= last || name.len() > NAME_MAX_BYTES {
            let name = name.escape_ascii();
            return Err(invalid(format!("the name {name} is out of order, or has more than {NAME_MAX_BYTES} bytes")));
        }
        last = name;
        while let Some(dot) = dots.next_if(|dot| dot.name < name) {
            take(dot)?;
        }
        take(Entry { name, inode: entry.inode })?;
    }
    dots.try_for_each(take)
}
