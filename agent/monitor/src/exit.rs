//! How the container ended, for `exit.json`:
//! `{"code":0,"signal":null,"oom_killed":false,"at":"2026-11-22T13:00:00.123456Z","unknown":false,"lost_lines":0}`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::arguments::Arguments;
use crate::clock;
use crate::sys::{self, ProcessFd};

/// More of the counters' file is not read; it is a few lines.
const EVENTS_MAX_BYTES: usize = 4096;

/// See the module's description.
pub(crate) struct Exit {
    status: Option<sys::Status>,
    oom_killed: bool,
    at: [u8; clock::TIME_BYTES],
}

impl Exit {
    /// Asks how the first process ended. Not known when it was gone before this monitor came.
    pub(crate) fn of(arguments: &Arguments, init: Option<&ProcessFd>) -> Exit {
        let status = init.and_then(sys::status);
        // A process of the container may have been killed and replaced long ago: only what ended badly ended by it.
        let badly = status != Some(sys::Status::Code(0));
        let oom_killed = badly && arguments.oom_events.as_deref().is_some_and(|events| oom_kills(events) > 0);
        Exit { status, oom_killed, at: clock::now() }
    }

    /// Makes `exit.json`, whole or not at all. So many lines are missing at the end of the log.
    pub(crate) fn write(&self, run: &Path, lost_lines: u64) -> io::Result<()> {
        let temporary = run.join("exit.json.new");
        let mut file = File::create(&temporary)?;
        let (code, signal) = match self.status {
            Some(sys::Status::Code(code)) => (Some(code), None),
            Some(sys::Status::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        let at = String::from_utf8_lossy(&self.at);
        writeln!(
            file,
            "{{\"code\":{},\"signal\":{},\"oom_killed\":{},\"at\":\"{at}\",\"unknown\":{},\"lost_lines\":{lost_lines}}}",
            Json(code),
            Json(signal),
            self.oom_killed,
            self.status.is_none(),
        )?;
        file.sync_all()?;
        fs::rename(&temporary, run.join("exit.json"))
    }
}

/// A number or `null`.
struct Json(Option<i32>);

impl std::fmt::Display for Json {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(number) => number.fmt(formatter),
            None => formatter.write_str("null"),
        }
    }
}

/// How many processes the kernel has killed for want of memory; 0 when that cannot be read.
fn oom_kills(events: &Path) -> u64 {
    let mut text = [0; EVENTS_MAX_BYTES];
    let length = File::open(events).and_then(|mut file| file.read(&mut text)).unwrap_or(0);
    count(&text[..length])
}

fn count(events: &[u8]) -> u64 {
    let text = std::str::from_utf8(events).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn kills_are_read_from_both_cgroup_versions() {
        let check = |events: &str, expect: u64| assert_eq!(count(events.as_bytes()), expect);
        check("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n", 2);
        check("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", 1);
        check("oom 3\noom_kill 0\n", 0);
        check("", 0);
    }
}
