//! One of the container's two streams: bytes from a FIFO, cut into lines.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::json::Stream;
use crate::log::Log;
use crate::sys;

/// A line that is longer is logged in parts of this size. Also how much is held in memory per stream.
const LINE_MAX_BYTES: usize = 16 * 1024;

/// See the module's description.
pub(crate) struct Output {
    fifo: File,
    stream: Stream,
    /// The bytes of a line whose end has not come yet are at the front.
    buffer: Box<[u8; LINE_MAX_BYTES]>,
    filled: usize,
}

impl Output {
    /// Opens the FIFO for reading and writing, so that it never reports its end while the container has it closed.
    pub(crate) fn open(path: &Path, stream: Stream) -> io::Result<Output> {
        Ok(Output { fifo: sys::open_fifo(path)?, stream, buffer: sys::untouched_buffer(), filled: 0 })
    }

    /// For waiting until there is something to read.
    pub(crate) fn file(&self) -> &File {
        &self.fifo
    }

    /// Copies what one read gives to the log. Returns whether there was anything.
    pub(crate) fn copy(&mut self, log: &mut Log) -> io::Result<bool> {
        let read = match self.fifo.read(&mut self.buffer[self.filled..]) {
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(error) => return Err(error),
        };
        let end = self.filled + read;
        let mut start = 0;
        let mut searched = self.filled;
        while let Some(newline) = self.buffer[searched..end].iter().position(|&byte| byte == b'\n') {
            let newline = searched + newline;
            log.line(self.stream, &self.buffer[start..newline], false);
            start = newline + 1;
            searched = start;
        }
        self.buffer.copy_within(start..end, 0);
        self.filled = end - start;
        if self.filled == LINE_MAX_BYTES {
            self.log_part(log);
        }
        Ok(read > 0)
    }

    /// Logs what is left when nothing more will come: a last line without its end.
    pub(crate) fn finish(&mut self, log: &mut Log) {
        if self.filled > 0 {
            log.line(self.stream, &self.buffer[..self.filled], false);
            self.filled = 0;
        }
    }

    /// Logs a part of a line that is too long, cut between characters where possible.
    fn log_part(&mut self, log: &mut Log) {
        let cut = character_boundary(&self.buffer[..]);
        log.line(self.stream, &self.buffer[..cut], true);
        self.buffer.copy_within(cut.., 0);
        self.filled = LINE_MAX_BYTES - cut;
    }
}

/// The end of the last whole UTF-8 character; the whole length when the end is no UTF-8 at all.
fn character_boundary(bytes: &[u8]) -> usize {
    let continued = bytes.iter().rev().take(4).take_while(|&&byte| byte & 0xC0 == 0x80).count();
    let Some(lead) = bytes.len().checked_sub(continued + 1) else {
        return bytes.len();
    };
    let wanted = match bytes[lead] {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => 1,
    };
    if wanted > continued + 1 { lead } else { bytes.len() }
}

#[cfg(test)]
mod tests {
    use super::character_boundary;

    #[test]
    fn characters_are_not_cut() {
        let check = |bytes: &[u8], expect: usize| assert_eq!(character_boundary(bytes), expect, "{bytes:x?}");
        check(b"abc", 3);
        check("ab\u{e9}".as_bytes(), 4);
        check(b"ab\xc3", 2);
        check(b"ab\xe2\x9c", 2);
        check(b"ab\xf0\x9f\x98", 2);
        check("\u{1f600}".as_bytes(), 4);
        check(b"\x80\x80\x80\x80\x80", 5);
        check(b"a\xff", 2);
    }
}
