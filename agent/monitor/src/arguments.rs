//! The command line: `key=value`, in any order; written by the agent and the shim, never by people.
//!
//! Agent, shim and monitor of one container may be of different releases: the agent is exchanged while containers run. So whatever a
//! later release adds has a default, and a key that is not known is passed over.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::log::Driver;

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
    /// Whom the output is for.
    pub(crate) driver: Driver,
    /// Bytes in a second that are logged; no limit where absent.
    pub(crate) rate_bytes_per_s: Option<u64>,
    /// The container's ID, for the journal; and what people call it, if that is something else.
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Arguments {
    /// `None` when something is missing or not understood.
    pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Option<Arguments> {
        let mut given = Given::default();
        for argument in arguments {
            let bytes = argument.as_bytes();
            let equals = bytes.iter().position(|&byte| byte == b'=')?;
            given.take(&bytes[..equals], OsString::from_vec(bytes[equals + 1..].to_vec()))?;
        }
        Some(Arguments {
            run: given.run?,
            init: given.init?,
            start_ticks: given.start?,
            log: given.log?,
            log_max_bytes: given.max_bytes?,
            log_max_files: given.max_files?,
            oom_events: given.oom,
            driver: given.driver.unwrap_or(Driver::File),
            rate_bytes_per_s: given.rate,
            id: given.id.unwrap_or_default(),
            name: given.name.unwrap_or_default(),
        })
    }
}

#[derive(Default)]
struct Given {
    run: Option<PathBuf>,
    init: Option<i32>,
    start: Option<u64>,
    log: Option<PathBuf>,
    max_bytes: Option<u64>,
    max_files: Option<u32>,
    oom: Option<PathBuf>,
    driver: Option<Driver>,
    rate: Option<u64>,
    id: Option<String>,
    name: Option<String>,
}

impl Given {
    /// `None` when the value is not one of this key.
    fn take(&mut self, key: &[u8], value: OsString) -> Option<()> {
        match key {
            b"run" => self.run = Some(PathBuf::from(value)),
            b"init" => self.init = Some(number(&value)?),
            b"start" => self.start = Some(number(&value)?),
            b"log" => self.log = Some(PathBuf::from(value)),
            b"max-bytes" => self.max_bytes = Some(number(&value)?),
            b"max-files" => self.max_files = Some(number(&value)?),
            b"oom" => self.oom = Some(PathBuf::from(value)),
            b"driver" => {
                self.driver = Some(match value.as_bytes() {
                    b"journald" => Driver::Journal,
                    b"none" => Driver::Nobody,
                    _ => Driver::File,
                });
            }
            b"rate" => self.rate = Some(number(&value)?),
            b"id" => self.id = value.into_string().ok(),
            b"name" => self.name = value.into_string().ok(),
            _ => {}
        }
        Some(())
    }
}

fn number<N: std::str::FromStr>(value: &OsString) -> Option<N> {
    value.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::Arguments;
    use crate::log::Driver;

    fn parse(text: &str) -> Option<Arguments> {
        Arguments::parse(text.split(' ').map(OsString::from))
    }

    /// What the first release wrote.
    const FIRST: &str = "run=/run/coord/c/a init=7 start=8 log=/var/log/a max-bytes=9 max-files=3";

    #[test]
    fn what_another_release_writes_is_understood() {
        let first = parse(FIRST).expect("arguments");
        assert_eq!((first.init, first.start_ticks, first.log_max_bytes, first.log_max_files), (7, 8, 9, 3));
        assert!(first.driver == Driver::File && first.rate_bytes_per_s.is_none() && first.oom_events.is_none());
        let later = parse(&format!("{FIRST} driver=journald rate=10 id=a-r1-1 name=a colour=blue")).expect("arguments");
        assert!(later.driver == Driver::Journal && later.rate_bytes_per_s == Some(10));
        assert_eq!((later.id.as_str(), later.name.as_str()), ("a-r1-1", "a"));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let check = |text: &str| assert!(parse(text).is_none(), "{text}");
        check("");
        check("run=/run");
        check(&FIRST.replace("init=7", "init=seven"));
        check(&format!("{FIRST} help"));
    }
}
