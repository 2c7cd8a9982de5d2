//! Which files limits become. Pure but for [`set`], which writes them.
//!
//! Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/*.rst, bfq-iosched.rst for the weight.

use std::fs;
use std::io;
use std::path::Path;

use super::write;
use crate::{Resources, RuntimeError};

/// Period of processor time, in microseconds; the kernel's own default.
const CPU_PERIOD_US: u64 = 100_000;

/// The kernel takes no quota below this.
const CPU_QUOTA_MIN_US: u64 = 1000;

/// One limit.
#[derive(Debug)]
pub(super) struct Limit {
    /// The document's name for it.
    pub(super) name: &'static str,
    /// The files that take it. More than one are alternatives, of which a host may have any.
    pub(super) files: &'static [&'static str],
    pub(super) value: String,
    pub(super) lack: Lack,
}

/// What it means that a host has none of a limit's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// The container does not start.
    Refused,
    /// It starts, and these words say what it goes without.
    Told(&'static str),
    /// The same, if the host swaps at all.
    ToldIfSwapping(&'static str),
}

const NO_SWAP_LIMIT: Lack = Lack::ToldIfSwapping("swap is not limited: the kernel does not account for it");
const NO_RESERVATION: Lack = Lack::Told("no memory reservation: the kernel has none");
const NO_IO_WEIGHT: Lack = Lack::Told("no io weight: the kernel has neither io.weight nor bfq's");

impl Limit {
    fn new(name: &'static str, files: &'static [&'static str], value: impl ToString) -> Limit {
        Limit { name, files, value: value.to_string(), lack: Lack::Refused }
    }

    fn or(self, lack: Lack) -> Limit {
        Limit { lack, ..self }
    }
}

/// Of the one v2 group, in the order of writing.
pub(super) fn v2(resources: &Resources) -> Vec<Limit> {
    let mut limits = Vec::new();
    if let Some(bytes) = resources.memory_bytes {
        limits.push(Limit::new("memory", &["memory.max"], bytes));
        let swap = resources.memory_swap_bytes.unwrap_or(bytes).saturating_sub(bytes);
        limits.push(Limit::new("memory_swap", &["memory.swap.max"], swap).or(NO_SWAP_LIMIT));
    }
    if let Some(bytes) = resources.memory_reservation_bytes {
        limits.push(Limit::new("memory_reservation", &["memory.low"], bytes).or(NO_RESERVATION));
    }
    if let Some(milli) = resources.cpus_milli {
        limits.push(Limit::new("cpus", &["cpu.max"], format!("{} {CPU_PERIOD_US}", cpu_quota_us(milli))));
    }
    if let Some(cpus) = &resources.cpuset {
        limits.push(Limit::new("cpuset", &["cpuset.cpus"], cpus));
    }
    if let Some(count) = resources.pids {
        limits.push(Limit::new("pids", &["pids.max"], count));
    }
    if let Some(weight) = resources.io_weight {
        limits.push(Limit::new("io_weight", &["io.weight", "io.bfq.weight"], weight).or(NO_IO_WEIGHT));
    }
    limits
}

/// Of the group of one v1 controller, in the order of writing: memory alone is never more than memory and swap.
pub(super) fn v1(controller: &str, resources: &Resources) -> Vec<Limit> {
    let mut limits = Vec::new();
    match controller {
        "memory" => {
            if let Some(bytes) = resources.memory_bytes {
                limits.push(Limit::new("memory", &["memory.limit_in_bytes"], bytes));
                let both = resources.memory_swap_bytes.unwrap_or(bytes).max(bytes);
                limits.push(Limit::new("memory_swap", &["memory.memsw.limit_in_bytes"], both).or(NO_SWAP_LIMIT));
            }
            if let Some(bytes) = resources.memory_reservation_bytes {
                limits.push(Limit::new("memory_reservation", &["memory.soft_limit_in_bytes"], bytes).or(NO_RESERVATION));
            }
        }
        "cpu" => {
            if let Some(milli) = resources.cpus_milli {
                limits.push(Limit::new("cpus", &["cpu.cfs_period_us"], CPU_PERIOD_US));
                limits.push(Limit::new("cpus", &["cpu.cfs_quota_us"], cpu_quota_us(milli)));
            }
        }
        "cpuset" => limits.extend(resources.cpuset.as_ref().map(|cpus| Limit::new("cpuset", &["cpuset.cpus"], cpus))),
        "pids" => limits.extend(resources.pids.map(|count| Limit::new("pids", &["pids.max"], count))),
        "blkio" => {
            let weight = resources.io_weight;
            limits.extend(weight.map(|weight| Limit::new("io_weight", &["blkio.bfq.weight"], weight).or(NO_IO_WEIGHT)));
        }
        _ => {}
    }
    limits
}

fn cpu_quota_us(milli: u32) -> u64 {
    (u64::from(milli) * CPU_PERIOD_US / 1000).max(CPU_QUOTA_MIN_US)
}

/// Writes limits of container `id`; adds to `weakened` what the host lacks.
pub(super) fn set(id: &str, group: &Path, limits: &[Limit], weakened: &mut Vec<String>) -> Result<(), RuntimeError> {
    for limit in limits {
        let refused = |source| RuntimeError::Limit { id: id.to_owned(), limit: limit.name, value: limit.value.clone(), source };
        let mut is_set = false;
        for file in limit.files {
            match write(&group.join(file), &limit.value) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(refused(error)),
                Ok(()) => is_set = true,
            }
        }
        if !is_set {
            lacking(limit, weakened).map_err(refused)?;
        }
    }
    Ok(())
}

/// What becomes of a limit that the host has no file for.
pub(super) fn lacking(limit: &Limit, weakened: &mut Vec<String>) -> io::Result<()> {
    match limit.lack {
        Lack::Refused => return Err(io::Error::other("the host has no cgroup controller for it")),
        Lack::Told(words) => weakened.push(words.to_owned()),
        Lack::ToldIfSwapping(words) if is_swapping() => weakened.push(words.to_owned()),
        Lack::ToldIfSwapping(_) => {}
    }
    Ok(())
}

/// Whether the host has swap space: a line for each below the heading.
fn is_swapping() -> bool {
    fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}
