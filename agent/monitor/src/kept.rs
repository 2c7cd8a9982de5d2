//! What must outlive this process: the bytes that it has taken out of the FIFOs and not yet written to the log.
//!
//! They lie in a file of the run folder, mapped into memory, so that the kernel keeps them when the process is killed at whatever
//! point; the next monitor goes on from there, and the log has neither a hole nor a line twice. Every step that could be cut short is
//! announced before it is taken, in one word of memory, such that its result can be told afterwards: how many bytes are about to be
//! read (they were, if the place for them is no longer filled with [`CANARY`]), at which size the log file is about to be appended to
//! (what it has grown by was written).
//! Deliberately absent: durability. It need not survive a boot, nor does the container.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::sys;

/// A line that is longer is logged in parts of this size.
pub(crate) const LINE_MAX_BYTES: usize = 16 * 1024;

/// The longest line of the log: every byte of the text may become six. Pages that are never used cost nothing.
pub(crate) const BLOCK_MAX_BYTES: usize = 6 * LINE_MAX_BYTES + 4096;

/// Names the layout below; a file of another one is not looked at.
const LAYOUT: u64 = u64::from_be_bytes(*b"coord-m2");

/// Occurs in no text: it is no part of UTF-8.
const CANARY: u8 = 0xC1;

/// So much of the place for what is about to be read is filled with it.
const CANARY_BYTES: usize = 16;

/// The file's content. All zero is the beginning of all things.
#[repr(C)]
pub(crate) struct Kept {
    layout: AtomicU64,
    pub(crate) out: Input,
    pub(crate) err: Input,
    pub(crate) block: Block,
    /// Lines that were to be written and could not be, and have not been told of.
    pub(crate) lost_lines: AtomicU64,
    /// Lines and their bytes that were left out, and have not been told of.
    pub(crate) skipped_lines: AtomicU64,
    pub(crate) skipped_bytes: AtomicU64,
}

/// Bytes of one stream, from `start` to `end`.
#[repr(C)]
pub(crate) struct Input {
    /// `start`, `end` and how many bytes are about to be read: 20 bits each, from below. One word, so that they change together.
    place: AtomicU64,
    data: [u8; LINE_MAX_BYTES],
}

/// Whole lines for the log file.
#[repr(C)]
pub(crate) struct Block {
    filled: AtomicU64,
    lines: AtomicU64,
    /// While an append is under way: one more than the file's size at its beginning.
    append: AtomicU64,
    /// Which file that is.
    file: AtomicU64,
    data: [u8; BLOCK_MAX_BYTES],
}

impl Kept {
    /// That of the monitor before this one, or a new one. Where no file can be had, it lasts as long as this process.
    pub(crate) fn open(path: &Path) -> &'static mut Kept {
        let kept = sys::map_kept(path);
        if kept.layout.load(SeqCst) == LAYOUT {
            kept.out.recover();
            kept.err.recover();
        } else {
            kept.clear();
        }
        kept
    }

    fn clear(&mut self) {
        for word in [&self.out.place, &self.err.place, &self.block.filled, &self.block.lines, &self.block.append] {
            word.store(0, SeqCst);
        }
        for word in [&self.lost_lines, &self.skipped_lines, &self.skipped_bytes] {
            word.store(0, SeqCst);
        }
        self.layout.store(LAYOUT, SeqCst);
    }
}

impl Input {
    fn place(&self) -> (usize, usize, usize) {
        let word = self.place.load(SeqCst);
        let field = |shift: u32| usize::try_from(word >> shift & 0xF_FFFF).map_or(0, |value| value.min(LINE_MAX_BYTES));
        (field(0), field(20), field(40))
    }

    fn set_place(&self, start: usize, end: usize, announced: usize) {
        self.place.store(start as u64 | (end as u64) << 20 | (announced as u64) << 40, SeqCst);
    }

    /// Finds out whether what was about to be read has been read.
    fn recover(&mut self) {
        let (start, end, announced) = self.place();
        let announced = announced.min(LINE_MAX_BYTES - end);
        let read = self.data[end..end + announced.min(CANARY_BYTES)].iter().any(|&byte| byte != CANARY);
        self.set_place(start.min(end), if read { end + announced } else { end }, 0);
    }

    /// What is there.
    pub(crate) fn bytes(&self) -> &[u8] {
        let (start, end, _) = self.place();
        &self.data[start..end]
    }

    /// Removes from the front.
    pub(crate) fn consume(&mut self, count: usize) {
        let (start, end, _) = self.place();
        let start = (start + count).min(end);
        if start == end {
            self.set_place(0, 0, 0);
        } else {
            self.set_place(start, end, 0);
        }
    }

    /// No more room, not even at the front.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes().len() == LINE_MAX_BYTES
    }

    /// Has `read` add up to `available` bytes, which it must be able to do at once.
    pub(crate) fn fill<E>(&mut self, available: usize, read: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<usize, E> {
        self.make_room();
        let (start, end, _) = self.place();
        let wanted = available.min(LINE_MAX_BYTES - end);
        if wanted == 0 {
            return Ok(0);
        }
        self.data[end..end + wanted.min(CANARY_BYTES)].fill(CANARY);
        self.set_place(start, end, wanted);
        let result = read(&mut self.data[end..end + wanted]);
        let count = result.as_ref().map_or(0, |&count| count.min(wanted));
        self.set_place(start, end + count, 0);
        result
    }

    /// When the end is reached, what is there moves to the front.
    fn make_room(&mut self) {
        let (start, end, _) = self.place();
        if end == LINE_MAX_BYTES && start > 0 {
            self.data.copy_within(start..end, 0);
            self.set_place(0, end - start, 0);
        }
    }
}

impl Block {
    /// What is to be written.
    pub(crate) fn bytes(&self) -> &[u8] {
        let filled = usize::try_from(self.filled.load(SeqCst)).map_or(0, |filled| filled.min(BLOCK_MAX_BYTES));
        &self.data[..filled]
    }

    /// Lines in it.
    pub(crate) fn lines(&self) -> u64 {
        self.lines.load(SeqCst)
    }

    /// Has `write` put a line of `length` bytes behind what is there. There must be room for it.
    pub(crate) fn add(&mut self, length: usize, write: impl FnOnce(&mut [u8])) {
        let filled = self.bytes().len();
        if let Some(place) = self.data.get_mut(filled..filled + length) {
            write(place);
            self.lines.fetch_add(1, SeqCst);
            self.filled.store((filled + length) as u64, SeqCst);
        }
    }

    /// Announces that its bytes are about to be appended to `file` (its inode), which has this size now. Returns how many of them an
    /// append that was announced before, and cut short, has written already; that one ends with this call.
    pub(crate) fn announce(&mut self, file: u64, size: u64) -> usize {
        let before = self.append.load(SeqCst).checked_sub(1).filter(|_| self.file.load(SeqCst) == file);
        let written = before.map_or(0, |before| size.saturating_sub(before));
        let written = usize::try_from(written).map_or(0, |written| written.min(self.bytes().len()));
        self.file.store(file, SeqCst);
        self.append.store(size - written as u64 + 1, SeqCst);
        written
    }

    /// Nothing was appended after all.
    pub(crate) fn withdraw(&mut self) {
        self.append.store(0, SeqCst);
    }

    /// All that is there was written, or is given up.
    pub(crate) fn clear(&mut self) {
        let large = self.bytes().len() > sys::PAGE_BYTES * 4;
        self.filled.store(0, SeqCst);
        self.append.store(0, SeqCst);
        self.lines.store(0, SeqCst);
        if large {
            sys::give_back(&mut self.data[..]);
        }
    }
}

#[cfg(test)]
mod tests;
