//! What a container sent and received: its own `/proc/PID/net/dev` (proc_pid_net(5)), which is read from outside as well as from inside.

use std::fs::File;
use std::io::Read as _;

/// A line per interface; a container has two.
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// One interface's counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) received: Counters,
    pub(super) sent: Counters,
}

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) bytes: u64,
    pub(super) packets: u64,
    pub(super) errors: u64,
    pub(super) dropped: u64,
}

/// The interfaces of a process's network, but for the loopback. None where the process is gone.
pub(super) fn interfaces(pid: u32) -> Vec<Interface> {
    let mut text = String::new();
    let read = File::open(format!("/proc/{pid}/net/dev")).and_then(|file| file.take(FILE_MAX_BYTES).read_to_string(&mut text));
    if read.is_ok() { parse(&text) } else { Vec::new() }
}

pub(super) fn parse(text: &str) -> Vec<Interface> {
    let interface = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let counters = |from: usize| match numbers.get(from..from + 4) {
            Some(&[bytes, packets, errors, dropped]) => Some(Counters { bytes, packets, errors, dropped }),
            Some(_) | None => None,
        };
        // Eight columns each way.
        Some(Interface { name: name.trim().to_owned(), received: counters(0)?, sent: counters(8)? })
    };
    text.lines().filter_map(interface).filter(|interface| interface.name != "lo").collect()
}
