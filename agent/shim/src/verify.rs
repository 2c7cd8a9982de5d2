//! A last look around before the command: is what the container must not see or change really out of its reach?
//!
//! Images, volumes and containers that start at the same time have led the mounts of other runtimes astray by symlinks and
//! exchanged files (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881): what was to hide `/proc/kcore` lay somewhere else, and
//! what was written to a harmless file of `/proc` reached another. So the result is looked at from inside, as the command
//! would see it. What is not as it must be fails the start.

use std::io;

use libcontainer::oci_spec::runtime::Spec;
use rustix::fs::{AtFlags, CWD, FileType, Stat, StatVfsMountFlags, major, minor, statat, statfs, statvfs};
use rustix::io::Errno;

/// File systems by their numbers (linux/magic.h).
const PROC: i64 = 0x9fa0;
const SYSFS: i64 = 0x6265_6572;
const TMPFS: i64 = 0x0102_1994;

/// Number of the device that is nothing.
const NULL: (u32, u32) = (1, 3);

/// The device files that every container has.
const DEVICES: [(&str, (u32, u32)); 6] = [
    ("/dev/null", NULL),
    ("/dev/zero", (1, 5)),
    ("/dev/full", (1, 7)),
    ("/dev/random", (1, 8)),
    ("/dev/urandom", (1, 9)),
    ("/dev/tty", (5, 0)),
];

/// Looks at everything that `spec` hides and protects. The error says what is not as it must be.
pub(crate) fn verify(spec: &Spec) -> io::Result<()> {
    for (path, kind) in [("/proc", PROC), ("/sys", SYSFS), ("/dev", TMPFS)] {
        if file_system(path)? != kind {
            return Err(wrong(path, "is not the kernel's"));
        }
    }
    for (path, number) in DEVICES {
        if !existing(path)?.is_some_and(|stat| is_device(&stat, number)) {
            return Err(wrong(path, "is not the device of this name"));
        }
    }
    let Some(linux) = spec.linux() else { return Ok(()) };
    for path in linux.masked_paths().iter().flatten() {
        if !is_hidden(path)? {
            return Err(wrong(path, "is not hidden"));
        }
    }
    for path in linux.readonly_paths().iter().flatten() {
        if existing(path)?.is_some() && !is_read_only(path)? {
            return Err(wrong(path, "can be written to"));
        }
    }
    Ok(())
}

fn wrong(path: &str, what: &str) -> io::Error {
    io::Error::other(format!("{path} {what} in the container"))
}

/// `None` when there is nothing, or nothing that the command could reach.
fn existing(path: &str) -> io::Result<Option<Stat>> {
    match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_hidden(path: &str) -> io::Result<bool> {
    let Some(stat) = existing(path)? else { return Ok(true) };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Ok(file_system(path)? == TMPFS && is_read_only(path)?);
    }
    Ok(is_device(&stat, NULL))
}

fn is_device(stat: &Stat, number: (u32, u32)) -> bool {
    let kind = FileType::from_raw_mode(stat.st_mode);
    kind == FileType::CharacterDevice && (major(stat.st_rdev), minor(stat.st_rdev)) == number
}

fn is_read_only(path: &str) -> io::Result<bool> {
    Ok(statvfs(path)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn file_system(path: &str) -> io::Result<i64> {
    Ok(statfs(path)?.f_type)
}
