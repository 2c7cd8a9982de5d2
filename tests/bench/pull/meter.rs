//! What a pull costs: time, processor time, memory, bytes written; of the command and of the daemon that works for it.
//!
//! Everything from /proc, so that it is the same for every engine. Memory is the largest process's high-water mark.
//! Bytes written are those that processes have caused (`write_bytes`), the file system's own journal left out.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use coord_tests::process::{Pid, describe};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// Between two looks at a process's high-water mark: what it adds in its last moment may be missed.
const LOOK_EVERY: Duration = Duration::from_millis(4);
/// The kernel counts a process's time in /proc/PID/stat in hundredths of a second (proc(5), `sysconf(_SC_CLK_TCK)`).
const TICK: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) time: Duration,
    /// User and system, all processes together.
    pub(crate) cpu: Duration,
    /// Of the process that had the most.
    pub(crate) peak_rss_bytes: u64,
    pub(crate) written_bytes: u64,
}

/// Runs command lines one after the other and measures them together, and `daemon` meanwhile.
///
/// # Errors
/// The first one that fails, with the last line that it said.
pub(crate) fn run(daemon: Option<Pid>, lines: &[Vec<String>]) -> Result<Cost> {
    let before = Used::now(daemon)?;
    if let Some(pid) = daemon {
        // Its high-water mark starts anew (proc(5), clear_refs).
        fs::write(format!("/proc/{pid}/clear_refs"), "5").context("reset the daemon's peak")?;
    }
    let (peak, ended, command) = (AtomicU64::new(0), AtomicBool::new(false), AtomicI32::new(0));
    let start = Instant::now();
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let command = Some(command.load(Ordering::Relaxed)).filter(|pid| *pid != 0).map(Pid::from_raw);
                let most = command.into_iter().chain(daemon).map(peak_below).max().unwrap_or_default();
                peak.fetch_max(most, Ordering::Relaxed);
                std::thread::sleep(LOOK_EVERY);
            }
        });
        let done = lines.iter().try_for_each(|line| one(line, &command));
        let time = start.elapsed();
        ended.store(true, Ordering::Relaxed);
        done.map(|()| time)
    });
    let time = done?;
    let after = Used::now(daemon)?;
    Ok(Cost {
        time,
        cpu: after.cpu.saturating_sub(before.cpu),
        peak_rss_bytes: peak.into_inner().max(daemon.map_or(0, high_water)),
        written_bytes: after.written_bytes.saturating_sub(before.written_bytes),
    })
}

/// One command to its end; `pid` is its number as long as it runs.
fn one(line: &[String], pid: &AtomicI32) -> Result<()> {
    let (program, args) = line.split_first().context("an empty command line")?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().with_context(|| format!("run {program}"))?;
    pid.store(i32::try_from(child.id())?, Ordering::Relaxed);
    let output = child.wait_with_output().with_context(|| format!("wait for {program}"))?;
    pid.store(0, Ordering::Relaxed);
    if !output.status.success() {
        let said = [output.stderr.as_slice(), &output.stdout].concat();
        let said = String::from_utf8_lossy(&said);
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        bail!("{last}\n{}", describe(&output));
    }
    Ok(())
}

/// What the children of this process that have ended, and a daemon with its own, have used so far.
struct Used {
    cpu: Duration,
    written_bytes: u64,
}

impl Used {
    fn now(daemon: Option<Pid>) -> Result<Used> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        let mut used = Used { cpu: Duration::from_micros(u64::try_from(micros)?), written_bytes: written(Pid::this())? };
        if let Some(pid) = daemon {
            used.cpu += ticks(pid)?;
            used.written_bytes += written(pid)?;
        }
        Ok(used)
    }
}

/// A process's own time and that of its ended children: fields 14 to 17 of /proc/PID/stat (proc(5)).
fn ticks(pid: Pid) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("read the stat of {pid}"))?;
    // The name before it, in brackets, may hold anything.
    let (_, rest) = stat.rsplit_once(") ").context("a stat without a name")?;
    let times = rest.split(' ').skip(11).take(4).map(str::parse::<u32>).sum::<Result<u32, _>>()?;
    Ok(TICK * times)
}

/// What a process and its ended children have caused to be written.
fn written(pid: Pid) -> Result<u64> {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).with_context(|| format!("read the io of {pid}"))?;
    let bytes = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).and_then(|bytes| bytes.parse().ok());
    bytes.context("no write_bytes")
}

fn peak_below(pid: Pid) -> u64 {
    children(pid).into_iter().map(peak_below).fold(high_water(pid), u64::max)
}

/// 0 when it has ended, and while it still is a copy of this program that is about to become another.
fn high_water(pid: Pid) -> u64 {
    let program = |pid: Pid| fs::read_link(format!("/proc/{pid}/exe")).ok();
    if program(pid) == program(Pid::this()) {
        return 0;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok());
    kib.unwrap_or_default() * 1024
}

/// Those that any of its threads has started.
fn children(pid: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    let lists: Vec<String> = lists.collect();
    let pids = lists.iter().flat_map(|list| list.split_whitespace()).filter_map(|pid| pid.parse().ok());
    pids.map(Pid::from_raw).collect()
}
