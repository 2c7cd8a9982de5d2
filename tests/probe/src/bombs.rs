//! How much of the host one container can take for itself. Bounded here, too, so that an engine without limits survives the probe.

use std::fs;
use std::time::Duration;

use crate::line::{Finding, Line, name};
use crate::sys::{self, at, call, of, text};

/// Beyond this nobody has set a limit.
const PROCESSES_MAX: usize = 3000;
/// The container is started with a limit well below this.
const MEMORY_MAX_BYTES: usize = 256 << 20;
/// Files that no ordinary server needs.
const FILES_MAX: u64 = 20_000;

pub(crate) const LINES: &[Line] = &[
    Line { name: "fork-bomb", chapter: "Bombs", what: "processes without end", probe: forks, limit: Duration::from_secs(60) },
    Line {
        name: "memory-bomb",
        chapter: "Bombs",
        what: "more memory than its limit, swap included",
        probe: memory,
        limit: Duration::from_secs(30),
    },
    Line {
        name: "shm-bomb",
        chapter: "Bombs",
        what: "memory in /dev/shm beyond its size",
        probe: shared_memory,
        limit: Duration::from_secs(30),
    },
    Line { name: "fd-bomb", chapter: "Bombs", what: "open files without end", probe: files, limit: Duration::from_secs(30) },
    Line {
        name: "rlimit-raise",
        chapter: "Bombs",
        what: "raise its own hard limits",
        probe: raise,
        limit: Duration::from_secs(5),
    },
];

fn forks() -> Finding {
    let mut children = Vec::new();
    let mut stopped = None;
    while children.len() < PROCESSES_MAX {
        match sys::sleeper() {
            Ok(child) => children.push(child),
            Err(error) => {
                stopped = Some(error);
                break;
            }
        }
    }
    sys::end(&children);
    match stopped {
        Some(error) => Finding::refused(format!("{} at {}", name(error), children.len())),
        None => Finding::open(format!("{} and no limit", children.len())),
    }
}

fn memory() -> Finding {
    sys::touch_memory(MEMORY_MAX_BYTES);
    Finding::open(format!("{} MiB taken", MEMORY_MAX_BYTES >> 20))
}

fn shared_memory() -> Finding {
    let path = format!("/dev/shm/probe-{}", std::process::id());
    let c_path = text(&path);
    let flags = libc::O_WRONLY | libc::O_CREAT;
    let Ok(file) = call(libc::SYS_openat, &[libc::AT_FDCWD as usize, at(&c_path), flags as usize, 0o600]) else {
        return Finding::refused("cannot be written");
    };
    // Reserved without being touched by anybody: the size of the file system is what is asked.
    let answer = call(libc::SYS_fallocate, &[file as usize, 0, 0, MEMORY_MAX_BYTES]);
    let _ = fs::remove_file(&path);
    match answer {
        Ok(_) => Finding::open(format!("{} MiB taken", MEMORY_MAX_BYTES >> 20)),
        Err(error) => Finding::refused(name(error)),
    }
}

fn files() -> Finding {
    let path = text("/dev/null");
    let mut count = 0_u64;
    while count < FILES_MAX {
        if let Err(error) = call(libc::SYS_openat, &[libc::AT_FDCWD as usize, at(&path), libc::O_RDONLY as usize, 0]) {
            return Finding::refused(format!("{} at {count}", name(error)));
        }
        count += 1;
    }
    Finding::open(format!("{count} and no limit"))
}

fn raise() -> Finding {
    let mut limits = [0_u64; 2];
    let nofile = libc::RLIMIT_NOFILE as usize;
    if let Err(error) = call(libc::SYS_prlimit64, &[0, nofile, 0, of(&mut limits)]) {
        return Finding::unknown(name(error));
    }
    let mut higher = [limits[0], limits[1].saturating_add(1)];
    Finding::of_call(call(libc::SYS_prlimit64, &[0, nofile, of(&mut higher), 0]))
}
