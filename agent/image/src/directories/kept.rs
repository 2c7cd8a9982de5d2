//! The contents of files out of a layer's archive that is kept on the disk, for a host that has archives but cannot mount them.

use super::materialise::Source;
use crate::tree::Data;
use rustix::fs::{self, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Copied by one call to the kernel.
const COPY_MAX_BYTES: u64 = 16 << 20;

/// An archive and what was expanded of it.
pub(super) struct Kept {
    pub(super) archive: File,
    pub(super) expanded: Option<File>,
}

impl Source for Kept {
    fn place(&mut self, _content: u32, data: Data, size: u64, folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?;
        match data {
            Data::Archive { offset } => copy(&self.archive, offset, &file, 0, size),
            Data::Expanded { offset } => {
                let expanded = self.expanded.as_ref().ok_or(Errno::NOENT)?;
                copy_with_holes(expanded, offset, &file, size)
            }
        }
    }
}

fn copy(from: &File, mut at: u64, to: &OwnedFd, mut to_at: u64, mut left: u64) -> Result<(), Errno> {
    while left > 0 {
        let wanted = usize::try_from(left.min(COPY_MAX_BYTES)).unwrap_or(usize::MAX);
        match fs::copy_file_range(from, Some(&mut at), to, Some(&mut to_at), wanted)? {
            // The archive is shorter than its index says.
            0 => return Err(Errno::IO),
            copied => left -= copied as u64,
        }
    }
    Ok(())
}

/// Only what is no hole.
fn copy_with_holes(from: &File, start: u64, to: &OwnedFd, size: u64) -> Result<(), Errno> {
    fs::ftruncate(to, size)?;
    let (mut at, end) = (start, start + size);
    while at < end {
        let data = match fs::seek(from, SeekFrom::Data(at)) {
            Ok(data) if data < end => data,
            // Nothing but holes from here on.
            Ok(_) | Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let hole = fs::seek(from, SeekFrom::Hole(data))?.min(end);
        copy(from, data, to, data - start, hole - data)?;
        at = hole;
    }
    Ok(())
}
