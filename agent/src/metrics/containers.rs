//! The families that cAdvisor has, by its names and in its units.

use super::network::{Counters, Interface};
use super::sample::Sample;
use super::text::Number::{Count, Nanoseconds, Signed};
use super::text::{Kind, Number, Text, label};
use Kind::{Counter, Gauge};
use coord_runtime::{IoUsage, Pressure, Usage};
use coord_shared::wire::InstanceState;
use jiff::Timestamp;

/// The kernel's usual period of processor time, which quotas refer to, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;

/// A family with one sample per container.
struct One {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    number: fn(&Usage) -> Option<Number>,
}

const fn one(name: &'static str, kind: Kind, help: &'static str, number: fn(&Usage) -> Option<Number>) -> One {
    One { name, kind, help, number }
}

fn microseconds(us: u64) -> Number {
    Nanoseconds(us.saturating_mul(1000))
}

const ONES: &[One] = &[
    one("container_cpu_user_seconds_total", Counter, "Processor time in the container's own programs.", |u| {
        u.cpu.user_ns.map(Nanoseconds)
    }),
    one("container_cpu_system_seconds_total", Counter, "Processor time in the kernel.", |u| u.cpu.system_ns.map(Nanoseconds)),
    one("container_cpu_cfs_periods_total", Counter, "Periods in which the processor limit was watched over.", |u| {
        u.cpu.periods.map(Count)
    }),
    one("container_cpu_cfs_throttled_periods_total", Counter, "Periods in which the processor limit was reached.", |u| {
        u.cpu.throttled_periods.map(Count)
    }),
    one("container_cpu_cfs_throttled_seconds_total", Counter, "Time that the processor limit cost.", |u| {
        u.cpu.throttled_ns.map(Nanoseconds)
    }),
    one("container_memory_usage_bytes", Gauge, "Memory, caches included.", |u| u.memory.usage.map(Count)),
    one("container_memory_max_usage_bytes", Gauge, "The most memory that it has been.", |u| u.memory.peak.map(Count)),
    one("container_memory_working_set_bytes", Gauge, "Memory without what the kernel could drop at once.", |u| {
        u.memory.working_set.map(Count)
    }),
    one("container_memory_rss", Gauge, "Memory that belongs to no file, in bytes.", |u| u.memory.rss.map(Count)),
    one("container_memory_cache", Gauge, "Files in memory, in bytes.", |u| u.memory.cache.map(Count)),
    one("container_memory_mapped_file", Gauge, "Files mapped by programs, in bytes.", |u| u.memory.mapped_file.map(Count)),
    one("container_memory_swap", Gauge, "Memory in swap space, in bytes.", |u| u.memory.swap.map(Count)),
    one("container_memory_failcnt", Counter, "How often the memory limit was reached.", |u| u.memory.failcnt.map(Count)),
    one("container_oom_events_total", Counter, "Processes that the kernel killed for want of memory.", |u| {
        u.memory.oom_kills.map(Count)
    }),
    one("container_spec_memory_limit_bytes", Gauge, "The memory limit; 0 is none.", |u| {
        u.memory.usage.map(|_| Count(u.memory.limit.unwrap_or(0)))
    }),
    one("container_processes", Gauge, "Processes.", |u| u.pids.processes.map(Count)),
    one("container_threads", Gauge, "Processes and threads.", |u| u.pids.current.map(Count)),
    one("container_threads_max", Gauge, "The limit of processes and threads; 0 is none.", |u| {
        u.pids.current.map(|_| Count(u.pids.limit.unwrap_or(0)))
    }),
    one("container_pressure_cpu_waiting_seconds_total", Counter, "Time in which some task waited for a processor.", |u| {
        u.pressure.cpu.map(|p| microseconds(p.some_us))
    }),
    one("container_pressure_cpu_stalled_seconds_total", Counter, "Time in which all tasks waited for a processor.", |u| {
        u.pressure.cpu.map(full)
    }),
    one("container_pressure_memory_waiting_seconds_total", Counter, "Time in which some task waited for memory.", |u| {
        u.pressure.memory.map(|p| microseconds(p.some_us))
    }),
    one("container_pressure_memory_stalled_seconds_total", Counter, "Time in which all tasks waited for memory.", |u| {
        u.pressure.memory.map(full)
    }),
    one("container_pressure_io_waiting_seconds_total", Counter, "Time in which some task waited for a disk.", |u| {
        u.pressure.io.map(|p| microseconds(p.some_us))
    }),
    one("container_pressure_io_stalled_seconds_total", Counter, "Time in which all tasks waited for a disk.", |u| {
        u.pressure.io.map(full)
    }),
];

fn full(pressure: Pressure) -> Number {
    microseconds(pressure.full_us)
}

/// One direction's counter of an interface.
type NetFigure = fn(&Counters) -> u64;

const NETWORK: &[(&str, &str, NetFigure)] = &[
    ("bytes_total", "Bytes", |c| c.bytes),
    ("packets_total", "Packets", |c| c.packets),
    ("errors_total", "Packets that were damaged or could not go out", |c| c.errors),
    ("packets_dropped_total", "Packets that were dropped", |c| c.dropped),
];

/// A counter of a disk.
type DiskFigure = fn(&IoUsage) -> u64;

const DISKS: &[(&str, &str, DiskFigure)] = &[
    ("container_fs_reads_bytes_total", "Bytes read from the disk.", |d| d.read_bytes),
    ("container_fs_writes_bytes_total", "Bytes written to the disk.", |d| d.written_bytes),
    ("container_fs_reads_total", "Requests to read from the disk.", |d| d.reads),
    ("container_fs_writes_total", "Requests to write to the disk.", |d| d.writes),
];

/// Writes all of them.
pub(super) fn write(text: &mut Text, samples: &[Sample], now: Timestamp) {
    let live: Vec<(&Sample, &Usage)> = samples.iter().filter_map(|sample| Some((sample, sample.usage.as_ref()?))).collect();
    text.family(
        ("container_cpu_usage_seconds_total", Counter, "Processor time."),
        live.iter().filter_map(|(s, u)| Some((format!("cpu=\"total\",{}", s.labels), Nanoseconds(u.cpu.total_ns?)))),
    );
    for One { name, kind, help, number } in ONES {
        text.family((name, *kind, help), live.iter().filter_map(|(s, u)| Some((&s.labels, number(u)?))));
    }
    faults(text, &live);
    asked(text, &live);
    disks(text, &live);
    network(text, &live);
    text.family(
        ("container_last_seen", Gauge, "When it was last seen, in seconds since 1970."),
        live.iter().map(|(s, _)| (&s.labels, Signed(now.as_second()))),
    );
    text.family(
        ("container_start_time_seconds", Gauge, "When it was started, in seconds since 1970."),
        // A container that is stopping came into that state later.
        live.iter()
            .filter(|(s, _)| s.report.state == InstanceState::Running)
            .map(|(s, _)| (&s.labels, Signed(s.report.since.as_second()))),
    );
}

fn faults(text: &mut Text, live: &[(&Sample, &Usage)]) {
    let of = |sample: &Sample, kind: &str, number: Option<u64>| {
        Some((format!("failure_type=\"{kind}\",scope=\"container\",{}", sample.labels), Count(number?)))
    };
    text.family(
        ("container_memory_failures_total", Counter, "Page faults; pgmajfault: those that waited for a disk."),
        live.iter().flat_map(|(s, u)| {
            [of(s, "pgfault", u.memory.page_faults), of(s, "pgmajfault", u.memory.major_page_faults)].into_iter().flatten()
        }),
    );
}

/// What documents ask for.
fn asked(text: &mut Text, live: &[(&Sample, &Usage)]) {
    let limited = || live.iter().filter_map(|(s, _)| Some((&s.labels, s.limits.cpus_milli?)));
    text.family(
        ("container_spec_cpu_period", Gauge, "The period of the processor limit, in microseconds."),
        limited().map(|(labels, _)| (labels, Count(CPU_PERIOD_US))),
    );
    text.family(
        ("container_spec_cpu_quota", Gauge, "Processor time in each period, in microseconds; absent without a limit."),
        limited().map(|(labels, milli)| (labels, Count(u64::from(milli) * CPU_PERIOD_US / 1000))),
    );
    text.family(
        ("container_spec_memory_swap_limit_bytes", Gauge, "The limit of memory and swap together, where one is asked for."),
        live.iter().filter_map(|(s, _)| Some((&s.labels, Count(s.limits.memory_swap_bytes?)))),
    );
    text.family(
        ("container_spec_memory_reservation_limit_bytes", Gauge, "Memory left to it when the host runs short, where asked for."),
        live.iter().filter_map(|(s, _)| Some((&s.labels, Count(s.limits.memory_reservation_bytes?)))),
    );
}

fn disks(text: &mut Text, live: &[(&Sample, &Usage)]) {
    let all = || live.iter().flat_map(|(s, u)| u.io.iter().map(move |disk| (*s, disk)));
    for (name, help, figure) in DISKS {
        let labels = |sample: &Sample, disk: &IoUsage| format!("{},{}", device(disk), sample.labels);
        text.family((name, Counter, help), all().map(|(s, disk)| (labels(s, disk), Count(figure(disk)))));
    }
    let operation = |s: &Sample, disk: &IoUsage, operation: &str, bytes: u64| {
        let (major, minor) = disk.device;
        let numbers = format!("major=\"{major}\",minor=\"{minor}\",operation=\"{operation}\"");
        (format!("{},{numbers},{}", device(disk), s.labels), Count(bytes))
    };
    text.family(
        ("container_blkio_device_usage_total", Counter, "Bytes read from and written to the disk."),
        all()
            .flat_map(|(s, disk)| [operation(s, disk, "Read", disk.read_bytes), operation(s, disk, "Write", disk.written_bytes)]),
    );
}

fn device(disk: &IoUsage) -> String {
    label("device", &format!("{}:{}", disk.device.0, disk.device.1))
}

/// Which of an interface's two directions.
type Direction = fn(&Interface) -> &Counters;

const DIRECTIONS: [(&str, &str, Direction); 2] = [("receive", "received", |i| &i.received), ("transmit", "sent", |i| &i.sent)];

fn network(text: &mut Text, live: &[(&Sample, &Usage)]) {
    for (direction, word, counters) in DIRECTIONS {
        for (what, help, figure) in NETWORK {
            let name = format!("container_network_{direction}_{what}");
            let samples = live.iter().flat_map(|(s, _)| s.interfaces.iter().map(move |interface| (s, interface)));
            text.family(
                (&name, Counter, &format!("{help}, {word}.")),
                samples.map(|(s, interface)| {
                    (format!("{},{}", label("interface", &interface.name), s.labels), Count(figure(counters(interface))))
                }),
            );
        }
    }
}
