//! The last lines of a log, read backwards in blocks: the size of the log does not matter.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use jiff::Timestamp;

use super::join::Join;
use super::{Follow, LINE_MAX_BYTES, LogLine, LogStream, files};

/// Read at once.
const BLOCK_BYTES: u64 = 64 * 1024;

/// More lines are not given in one go; they would fill the memory.
const TAIL_MAX_LINES: usize = 10_000;

/// So many lines more are looked at for the beginning of the first line, where that is in parts.
const BEGINNING_MAX_LINES: usize = 256;

/// The last `count` lines of the log at `path`, oldest first; at most 10,000. A log that does not exist is empty. Blocks.
pub fn read_tail(path: &Path, count: usize) -> io::Result<Vec<LogLine>> {
    Ok(begin(path, count, None)?.0)
}

/// The last `count` lines, at most 10,000, of those not older than `since`; and the place behind them, from which to go on: no line is
/// missing between the two, and none is in both, whatever is written and rotated meanwhile. Blocks.
pub fn begin(path: &Path, count: usize, since: Option<Timestamp>) -> io::Result<(Vec<LogLine>, Follow)> {
    let follow = Follow::from_end(path)?;
    let mut tail = Tail::new(count.min(TAIL_MAX_LINES), since);
    if let Some((file, end)) = follow.place() {
        let mut file = file.try_clone()?;
        read_backwards(&file, end, &mut tail)?;
        while !tail.is_complete
            && let Some(older) = files::older(path, &file)?
        {
            read_backwards(&older, older.metadata()?.len(), &mut tail)?;
            file = older;
        }
    }
    Ok((tail.lines(), follow))
}

/// Lines on their way, newest first.
struct Tail {
    count: usize,
    /// In the form of the lines' own times, which sort as text.
    since: Option<String>,
    lines: Vec<LogLine>,
    /// Of the lines: ends of lines, parts being only beginnings.
    ends: usize,
    /// Of which stream a beginning may still be missing.
    begins_before: [bool; 2],
    /// Lines looked at after all ends had been found.
    beyond: usize,
    is_complete: bool,
}

impl Tail {
    fn new(count: usize, since: Option<Timestamp>) -> Tail {
        Tail {
            count,
            since: since.map(|since| format!("{since:.6}")),
            lines: Vec::new(),
            ends: 0,
            begins_before: [false; 2],
            beyond: 0,
            is_complete: count == 0,
        }
    }

    /// Takes the line before those that it has.
    fn add(&mut self, line: LogLine) {
        if self.since.as_ref().is_some_and(|since| line.time < *since) {
            self.is_complete = true;
            return;
        }
        let begins_before = match line.stream {
            LogStream::Out => &mut self.begins_before[0],
            LogStream::Err => &mut self.begins_before[1],
        };
        if self.ends < self.count {
            *begins_before = true;
            self.ends += usize::from(!line.partial);
            self.lines.push(line);
            return;
        }
        // All ends are there. A part belongs to one of them where that may begin earlier; an end shows that it does not.
        if !line.partial {
            *begins_before = false;
        } else if *begins_before {
            self.lines.push(line);
        }
        self.beyond += 1;
        self.is_complete = self.begins_before == [false; 2] || self.beyond > BEGINNING_MAX_LINES;
    }

    fn lines(self) -> Vec<LogLine> {
        let mut join = Join::default();
        let mut lines = self.lines.into_iter().rev().filter_map(|line| join.add(line)).collect::<Vec<_>>();
        lines.extend(join.rest());
        lines.drain(..lines.len().saturating_sub(self.count));
        lines
    }
}

/// Adds the lines of `file` before `end`, which is the end of a line.
fn read_backwards(file: &File, end: u64, tail: &mut Tail) -> io::Result<()> {
    let mut position = end;
    // The bytes from `position` on whose line begins before it.
    let mut rest: Vec<u8> = Vec::new();
    while position > 0 && !tail.is_complete {
        let length = BLOCK_BYTES.min(position);
        position -= length;
        let mut block = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact_at(&mut block, position)?;
        block.append(&mut rest);
        let first = if position == 0 { 0 } else { block.iter().position(|&byte| byte == b'\n').map_or(block.len(), |at| at + 1) };
        for line in block[first..].rsplit(|&byte| byte == b'\n').filter_map(LogLine::parse) {
            if tail.is_complete {
                return Ok(());
            }
            tail.add(line);
        }
        block.truncate(first);
        if block.len() > LINE_MAX_BYTES {
            block.clear(); // no line of ours is that long
        }
        rest = block;
    }
    Ok(())
}
