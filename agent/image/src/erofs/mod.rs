//! Writes the EROFS image that shows a container all layers of its image as one tree: metadata only. The files' contents stay where
//! they are, in the layers' archives, to which the image points through its device table.
//!
//! ```text
//!   byte 0      nothing
//!   byte 1024   superblock, 128 bytes
//!               device table: 128 bytes for each file with contents
//!               inodes, the root's first: 64 bytes, then extended attributes, then the end of a directory or a link's target
//!   blocks      directories and targets that do not fit beside their inode
//!   ---------------------------------------------------------------- end of this file, and from here on, by block number:
//!   blocks      the first device, the second device, ...
//! ```
//! A block is 512 bytes, because contents begin at a multiple of that in a tar archive. So a file's content is one run of blocks
//! (the layout called flat-plain), wherever its archive lies in the common row of block numbers. Blocks smaller than a page are
//! understood by Linux 6.4 and later, and by a 6.1 that is kept up to date.
//!
//! The format is described in `fs/erofs/erofs_fs.h` and `Documentation/filesystems/erofs.rst` of Linux. Deliberately absent:
//! compression, chunks, shared attributes, contents within the image, reading (the kernel does).

mod directory;
mod format;
mod plan;
mod sink;
#[cfg(test)]
pub(crate) mod tests;
mod xattrs;

use crate::tree::{MergedTree, Span, What};
use format::BLOCK_BYTES;
use plan::{Body, Plan};
use sink::Sink;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Writes the image of `tree` to `out` and returns its size in bytes, a multiple of 4096. The same tree gives the same bytes.
///
/// `devices` has the sizes, in bytes, of the files that the contents lie in; when the image is mounted, they must be given in this
/// order. One may have up to 128 GiB; together with the image itself they must stay below 2 TiB.
///
/// # Errors
/// `InvalidData` for a tree that does not fit into the format, in words for people; otherwise whatever `out` says.
pub(crate) fn write(tree: &MergedTree, devices: &[u64], out: &mut impl io::Write) -> io::Result<u64> {
    let plan = Plan::new(tree, devices)?;
    let mut sink = Sink::new(out);
    sink.pad_to(format::SUPERBLOCK_AT)?;
    sink.put(&format::superblock_and_devices(&plan.superblock, &plan.devices)?)?;
    let mut block = plan.first_block;
    let mut scratch = Vec::new();
    let mut with_blocks = Vec::new();
    for number in 0..tree.inodes.len() {
        let body = write_inode(tree, &plan, number, block, &mut scratch, &mut sink)?;
        if body.blocks > 0 {
            block += body.blocks;
            with_blocks.push((number, body));
        }
    }
    sink.pad_to(u64::from(plan.first_block) * BLOCK_BYTES)?;
    for (number, body) in with_blocks {
        scratch.clear();
        fill(tree, &plan, number, &mut scratch)?;
        scratch.truncate(body.bytes_in_blocks());
        sink.put(&scratch)?;
        sink.pad_to(sink.at().next_multiple_of(BLOCK_BYTES))?;
    }
    sink.pad_to(u64::from(plan.superblock.blocks) * BLOCK_BYTES)?;
    sink.finish()
}

/// Whether a file begins like an image that `write` made, and has the size that it says. Not whether all of it is as it was.
///
/// # Errors
/// Whatever reading the file says.
pub(crate) fn is_whole(file: &File) -> io::Result<bool> {
    let mut block = [0; 512];
    match file.read_exact_at(&mut block, format::SUPERBLOCK_AT) {
        Ok(()) => Ok(format::image_blocks(&block).map(|blocks| u64::from(blocks) * BLOCK_BYTES) == Some(file.metadata()?.len())),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes one inode and what goes beside it. `block` is the next one free for what does not.
fn write_inode(
    tree: &MergedTree,
    plan: &Plan,
    number: usize,
    block: u32,
    scratch: &mut Vec<u8>,
    sink: &mut Sink<'_, impl io::Write>,
) -> io::Result<Body> {
    let inode = &tree.inodes[number];
    let body = Body::of(tree, number)?;
    let place = match inode.what {
        What::Directory { .. } | What::Symlink { .. } => block,
        What::File { size: 0, .. } | What::Fifo => 0,
        What::File { device, offset, size } => plan.block_of(device, offset, size)?,
        What::CharDevice { major, minor } | What::BlockDevice { major, minor } => format::device_number(major, minor)?,
    };
    sink.pad_to(plan.at(number))?;
    sink.put(&format::inode(inode, &body, place, number)?)?;
    if body.xattr_bytes > 0 {
        scratch.clear();
        xattrs::fill(span(&tree.bytes, inode.xattrs)?, scratch)?;
        sink.put(scratch)?;
    }
    if body.inline_bytes > 0 {
        scratch.clear();
        fill(tree, plan, number, scratch)?;
        sink.put(&scratch[body.bytes_in_blocks()..])?;
    }
    Ok(body)
}

/// The content of a directory or link.
fn fill(tree: &MergedTree, plan: &Plan, number: usize, out: &mut Vec<u8>) -> io::Result<()> {
    match tree.inodes[number].what {
        What::Directory { .. } => directory::fill(tree, number, &plan.nids, out),
        What::Symlink { target } => {
            out.extend_from_slice(span(&tree.bytes, target)?);
            Ok(())
        }
        What::File { .. } | What::CharDevice { .. } | What::BlockDevice { .. } | What::Fifo => Ok(()),
    }
}

/// A part of a pool.
fn span<T>(pool: &[T], span: Span) -> io::Result<&[T]> {
    let (at, len) = (span.at as usize, span.len as usize);
    pool.get(at..).and_then(|rest| rest.get(..len)).ok_or_else(|| invalid("the tree points outside of itself"))
}

fn invalid(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.into())
}
