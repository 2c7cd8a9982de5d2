//! The same figures for people: what `coord-agent top` asks for.

use super::sample::Sample;
use coord_shared::names::InstanceId;
use serde::{Deserialize, Serialize};

/// What one running container uses. Counters grow from its start on; what this host cannot tell is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// Whose.
    pub instance: InstanceId,
    /// Which container.
    pub container: String,
    /// When it was read, on a clock that nobody sets: nanoseconds.
    pub at_ns: u64,
    /// Processor time, in nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Thousandths of a processor that it may use.
    pub cpus_milli: Option<u32>,
    /// Memory without what the kernel could drop at once, in bytes.
    pub memory_bytes: Option<u64>,
    /// Its limit.
    pub memory_limit_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Their limit.
    pub pids_limit: Option<u64>,
    /// Bytes read from disks.
    pub read_bytes: u64,
    /// Bytes written to disks.
    pub written_bytes: u64,
    /// Bytes received, where it has a network of its own.
    pub received_bytes: Option<u64>,
    /// Bytes sent.
    pub sent_bytes: Option<u64>,
}

/// `None` for an instance without a running container.
pub(super) fn row(sample: &Sample) -> Option<UsageRow> {
    let usage = sample.usage.as_ref()?;
    let has_network = !sample.interfaces.is_empty();
    let io = |figure: fn(&coord_runtime::IoUsage) -> u64| usage.io.iter().map(figure).sum();
    Some(UsageRow {
        instance: sample.report.instance.clone(),
        container: sample.report.container.as_ref()?.to_string(),
        at_ns: sample.read_at_ns,
        cpu_ns: usage.cpu.total_ns,
        cpus_milli: sample.limits.cpus_milli,
        memory_bytes: usage.memory.working_set.or(usage.memory.usage),
        memory_limit_bytes: usage.memory.limit,
        pids: usage.pids.current,
        pids_limit: usage.pids.limit,
        read_bytes: io(|disk| disk.read_bytes),
        written_bytes: io(|disk| disk.written_bytes),
        received_bytes: has_network.then(|| sample.interfaces.iter().map(|interface| interface.received.bytes).sum()),
        sent_bytes: has_network.then(|| sample.interfaces.iter().map(|interface| interface.sent.bytes).sum()),
    })
}
