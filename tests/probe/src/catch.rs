//! The trick of CVE-2019-5736: while an engine runs a command in a container, one of its own programs is a process in here
//! for a moment. Whoever gets hold of its file may overwrite it, and is root of the host when the engine starts it again.
//!
//! The catcher looks at every process it can see, keeps open what is none of the container's programs, waits until the
//! process is gone (a running program cannot be written) and opens it for writing. It writes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::files::{open_program_of, reopen_for_writing};
use crate::line::name;
use crate::sys::call;

/// Programs of the engine are seen for a millisecond: no pause between two looks but this.
const PAUSE: Duration = Duration::from_micros(50);

/// Looks for `seconds`. `exposure` is 1 if a program of the engine could be written.
pub(crate) fn run(seconds: u64) -> Value {
    let own = fs::metadata("/proc/self/exe").map(|file| (file.dev(), file.ino())).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let (mut caught, mut refused) = (Vec::new(), BTreeSet::new());
    while Instant::now() < deadline {
        for pid in processes() {
            let Ok(program) = fs::metadata(format!("/proc/{pid}/exe")) else {
                refused.insert(pid);
                continue;
            };
            let same = |known: &(i64, u64, u64)| (known.1, known.2) == (program.dev(), program.ino());
            if (program.dev(), program.ino()) == own || program.dev() == own.0 || caught.iter().any(same) {
                continue;
            }
            if let Ok(file) = open_program_of(&pid) {
                caught.push((file, program.dev(), program.ino()));
            }
        }
        std::thread::sleep(PAUSE);
    }
    let written: Vec<String> = caught.iter().map(|(file, _, _)| attempt(*file)).collect();
    let exposure = u64::from(written.iter().any(|answer| answer == "can be written"));
    let detail = if caught.is_empty() { "no program of the engine was caught".to_owned() } else { written.join(", ") };
    json!({ "name": "engine-program", "chapter": "Files", "what": "overwrite the engine's program while it runs a command (CVE-2019-5736)",
            "exposure": exposure, "detail": detail })
}

fn processes() -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).collect()
}

/// A sealed file opens, and refuses the write: so a write of no bytes at its end is tried by growing it by nothing.
fn attempt(file: i64) -> String {
    match reopen_for_writing(file) {
        Err(error) => format!("caught; open for writing: {}", name(error)),
        Ok(writable) => {
            // fallocate within what is there changes nothing, and is refused by seals and read-only mounts.
            match call(libc::SYS_fallocate, &[writable as usize, 1, 0, 1]) {
                Ok(_) => "can be written".to_owned(),
                Err(error @ (libc::EPERM | libc::EROFS | libc::EACCES)) => format!("caught, sealed: {}", name(error)),
                Err(libc::EOPNOTSUPP) => "can be written".to_owned(),
                Err(error) => format!("caught; {}", name(error)),
            }
        }
    }
}
