//! The files of one log: `PATH`, and the older ones `PATH.1`, `PATH.2` and so on; found from one that is open, while a monitor may rotate
//! them at any moment.
//!
//! Rotation renames from the oldest on, so that for a moment one number is missing and all after it have moved. A file is therefore
//! looked for by what it is, and a neighbour is believed only when nothing has moved since.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// More files are not looked for.
const FILES_MAX: u32 = 1000;

/// Numbers in a row that are not there: rotation leaves one gap at a time; somebody may have removed another one.
const GAPS_MAX: u32 = 2;

/// Rotations that may get in the way of one look. There is one per file that is filled, so that more are hardly possible.
const ATTEMPTS_MAX: u32 = 100;

/// The current file, if there is one.
pub(super) fn current(path: &Path) -> io::Result<Option<File>> {
    open(path)
}

/// The oldest file, if there is any.
pub(super) fn oldest(path: &Path) -> io::Result<Option<File>> {
    let (mut last, mut missing) = (None, 0);
    for name in (0..FILES_MAX).map(|number| rotated(path, number)) {
        if name.exists() {
            (last, missing) = (Some(name), 0);
        } else {
            missing += 1;
        }
        if missing > GAPS_MAX {
            break;
        }
    }
    last.map_or(Ok(None), |name| open(&name))
}

/// The file that was written before `file`.
pub(super) fn older(path: &Path, file: &File) -> io::Result<Option<File>> {
    neighbour(path, file, |number, distance| number.checked_add(distance))
}

/// The file that was written after `file`; the oldest that is left when `file` is gone.
pub(super) fn newer(path: &Path, file: &File) -> io::Result<Option<File>> {
    if number(path, file, 1)?.is_some() {
        return Ok(None); // it is the current one
    }
    if number(path, file, FILES_MAX)?.is_none() {
        return oldest(path);
    }
    neighbour(path, file, u32::checked_sub)
}

fn neighbour(path: &Path, file: &File, at: impl Fn(u32, u32) -> Option<u32>) -> io::Result<Option<File>> {
    for _ in 0..ATTEMPTS_MAX {
        let Some(own) = number(path, file, FILES_MAX)? else { return Ok(None) };
        let name = |distance: u32| at(own, distance).map(|number| rotated(path, number));
        let Some(next) = name(1) else { return Ok(None) };
        let found = match open(&next)? {
            Some(found) => Some(found),
            // In the midst of a rotation: the one after the gap, unless the gap is gone by then.
            None => {
                let after = name(2).map_or(Ok(None), |name| open(&name))?;
                if next.exists() {
                    continue;
                }
                after
            }
        };
        if number(path, file, FILES_MAX)? == Some(own) {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Which of the first `count` files this one is.
fn number(path: &Path, file: &File, count: u32) -> io::Result<Option<u32>> {
    let open = file.metadata()?;
    let is_it = |named: &fs::Metadata| (open.dev(), open.ino()) == (named.dev(), named.ino());
    let mut missing = 0;
    for number in 0..count {
        match fs::metadata(rotated(path, number)) {
            Ok(named) if is_it(&named) => return Ok(Some(number)),
            Ok(_) => missing = 0,
            Err(error) if error.kind() == ErrorKind::NotFound => missing += 1,
            Err(error) => return Err(error),
        }
        if missing > GAPS_MAX {
            break;
        }
    }
    Ok(None)
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
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
