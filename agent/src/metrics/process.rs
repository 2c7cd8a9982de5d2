//! What the agent itself uses, by the names that Prometheus's client libraries have agreed upon.

use super::text::Kind::{Counter, Gauge};
use super::text::Number::{Count, Nanoseconds};
use super::text::{Kind, Number, Text};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Fields of `/proc/PID/stat` (proc_pid_stat(5)), counted from the state, which is the third.
const UTIME: usize = 14 - 3;
const STIME: usize = 15 - 3;
const THREADS: usize = 20 - 3;
const START_TIME: usize = 22 - 3;
const VSIZE: usize = 23 - 3;
const RSS: usize = 24 - 3;

const NS_PER_S: u64 = 1_000_000_000;

/// Writes them; one that this host cannot tell is left out.
pub(super) fn write(text: &mut Text) {
    let mut put = |name: &str, kind: Kind, help: &str, number: Option<Number>| {
        text.family((name, kind, help), number.map(|number| ("", number)));
    };
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name, in brackets, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let field = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ns = |ticks: u64| ticks.saturating_mul(NS_PER_S / clock_ticks_per_second().max(1));
    let cpu = field(UTIME).zip(field(STIME)).map(|(user, system)| Nanoseconds(ns(user.saturating_add(system))));
    let page_bytes = u64::try_from(page_size()).unwrap_or(0);
    let files = std::fs::read_dir("/proc/self/fd").map(|files| Count(files.count() as u64)).ok();
    put("process_cpu_seconds_total", Counter, "Processor time of the agent.", cpu);
    put(
        "process_resident_memory_bytes",
        Gauge,
        "Resident memory of the agent.",
        field(RSS).map(|pages| Count(pages * page_bytes)),
    );
    put("process_virtual_memory_bytes", Gauge, "Address space of the agent.", field(VSIZE).map(Count));
    put("process_threads", Gauge, "Threads of the agent.", field(THREADS).map(Count));
    put("process_open_fds", Gauge, "Open files of the agent.", files);
    put("process_max_fds", Gauge, "The limit of open files of the agent.", getrlimit(Resource::Nofile).current.map(Count));
    let start = field(START_TIME).zip(booted_at_s()).map(|(ticks, boot)| Nanoseconds(boot.saturating_mul(NS_PER_S) + ns(ticks)));
    put("process_start_time_seconds", Gauge, "When the agent was started, in seconds since 1970.", start);
}

fn booted_at_s() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}
