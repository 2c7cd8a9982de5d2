//! The last lines of a log, read backwards in blocks: the size of the log does not matter.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{LINE_MAX_BYTES, LogLine};

/// Read at once.
const BLOCK_BYTES: u64 = 64 * 1024;

/// More lines are not given in one go; they would fill the memory.
const TAIL_MAX_LINES: usize = 10_000;

/// More files are not looked for.
const FILES_MAX: u32 = 1000;

/// The last `count` lines of the log at `path`, oldest first; at most 10,000. A log that does not exist is empty. Blocks.
pub fn read_tail(path: &Path, count: usize) -> io::Result<Vec<LogLine>> {
    let count = count.min(TAIL_MAX_LINES);
    let mut lines = Vec::new();
    for number in 0..FILES_MAX {
        if lines.len() >= count {
            break;
        }
        match File::open(rotated(path, number)) {
            Ok(file) => read_backwards(file, count, &mut lines)?,
            // Between two renames of a rotation the current file may be missing for a moment.
            Err(error) if error.kind() == ErrorKind::NotFound && number == 0 => {}
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    lines.reverse();
    Ok(lines)
}

/// The name of an older file; 0 is the current one.
fn rotated(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Adds lines to `lines`, newest first, until there are `count`.
fn read_backwards(mut file: File, count: usize, lines: &mut Vec<LogLine>) -> io::Result<()> {
    let mut position = file.seek(SeekFrom::End(0))?;
    // The bytes from `position` on whose line begins before it.
    let mut rest: Vec<u8> = Vec::new();
    while position > 0 && lines.len() < count {
        let length = BLOCK_BYTES.min(position);
        position -= length;
        file.seek(SeekFrom::Start(position))?;
        let mut block = Vec::new();
        (&mut file).take(length).read_to_end(&mut block)?;
        block.append(&mut rest);
        let first = if position == 0 { 0 } else { block.iter().position(|&byte| byte == b'\n').map_or(block.len(), |at| at + 1) };
        for line in block[first..].rsplit(|&byte| byte == b'\n') {
            if lines.len() == count {
                return Ok(());
            }
            lines.extend(LogLine::parse(line));
        }
        block.truncate(first);
        if block.len() > LINE_MAX_BYTES {
            block.clear(); // no line of ours is that long
        }
        rest = block;
    }
    Ok(())
}
