//! The buffers that go from thread to thread, and back to be filled again.
//!
//! They start at a page's border, so that the kernel can write them to the disk without copying them (open(2), O_DIRECT). There are as
//! many as the channels between the threads let through; none is made while a spent one is at hand, because fresh memory has to be
//! zeroed by the kernel, page by page.

use std::sync::mpsc::{Receiver, Sender};

/// Large enough that waking the other thread and a call to the kernel cost nothing beside the work on it.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;
/// What direct I/O asks of addresses, offsets and lengths: no disk has larger blocks than a page.
pub(super) const ALIGNMENT_BYTES: usize = 4096;

/// A piece of an archive. Nobody writes to it once it is filled.
pub(super) struct Buffer {
    /// With room to find the border in.
    memory: Box<[u8]>,
    start: usize,
    filled: usize,
}

impl Buffer {
    fn new() -> Buffer {
        let memory = vec![0; BUFFER_BYTES + ALIGNMENT_BYTES].into_boxed_slice();
        // For bytes the offset is always known; were it not, the kernel would copy.
        let start = memory.as_ptr().align_offset(ALIGNMENT_BYTES).min(ALIGNMENT_BYTES);
        Buffer { memory, start, filled: 0 }
    }

    /// Where to fill it.
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + BUFFER_BYTES]
    }

    /// Says how much of the space holds something.
    pub(super) fn set_filled(&mut self, length: usize) {
        self.filled = length.min(BUFFER_BYTES);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.filled]
    }
}

/// Where spent buffers come back to.
pub(super) struct Pool {
    pub(super) spent: Receiver<Buffer>,
}

impl Pool {
    pub(super) fn buffer(&self) -> Buffer {
        self.spent.try_recv().unwrap_or_else(|_| Buffer::new())
    }
}

/// Gives a buffer back. Whoever filled them may be gone and need no more.
pub(super) fn give_back(spent: &Sender<Buffer>, buffer: Buffer) {
    let _ = spent.send(buffer);
}
