//! The command line: `key=value`, in any order; written by the agent and the shim, never by people.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// What the monitor is told.
pub(crate) struct Arguments {
    /// Holds the FIFOs, and gets `exit.json`.
    pub(crate) run: PathBuf,
    /// The container's first process.
    pub(crate) init: i32,
    /// When it started, in clock ticks after boot: so that no other process of this number is taken for it.
    pub(crate) start_ticks: u64,
    /// The log file.
    pub(crate) log: PathBuf,
    /// It is rotated before it grows beyond this.
    pub(crate) log_max_bytes: u64,
    /// How many files there are, the current one included.
    pub(crate) log_max_files: u32,
    /// Holds a line `oom_kill N`.
    pub(crate) oom_events: Option<PathBuf>,
}

impl Arguments {
    /// `None` when something is missing or not understood.
    pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Option<Arguments> {
        let (mut run, mut init, mut start, mut log, mut max_bytes, mut max_files, mut oom) =
            (None, None, None, None, None, None, None);
        for argument in arguments {
            let bytes = argument.as_bytes();
            let equals = bytes.iter().position(|&byte| byte == b'=')?;
            let value = OsString::from_vec(bytes[equals + 1..].to_vec());
            match &bytes[..equals] {
                b"run" => run = Some(PathBuf::from(value)),
                b"init" => init = Some(number(&value)?),
                b"start" => start = Some(number(&value)?),
                b"log" => log = Some(PathBuf::from(value)),
                b"max-bytes" => max_bytes = Some(number(&value)?),
                b"max-files" => max_files = Some(number(&value)?),
                b"oom" => oom = Some(PathBuf::from(value)),
                _ => return None,
            }
        }
        Some(Arguments {
            run: run?,
            init: init?,
            start_ticks: start?,
            log: log?,
            log_max_bytes: max_bytes?,
            log_max_files: max_files?,
            oom_events: oom,
        })
    }
}

fn number<N: std::str::FromStr>(value: &OsString) -> Option<N> {
    value.to_str()?.parse().ok()
}
