//! What a container uses, with all that runs within it, read from its cgroups. A dozen small files; nothing is kept between two readings.
//!
//! A number that this host cannot tell is `None`, never zero. Meanings and names follow cAdvisor, so that its users find
//! what they know: the working set is usage without what the kernel could drop at once (`inactive_file`).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::nested::processes;
use super::{Cgroups, ContainerCgroup};

/// The kernel's files are a few KiB; `io.stat` grows with the number of disks. What does not fit is not read.
const FILE_MAX_BYTES: usize = 16 * 1024;

/// v1 says "no limit" by the largest number of pages, in bytes; everything near it means the same.
const V1_UNLIMITED_FROM: u64 = 1 << 62;

/// What a container uses. Counters grow from its start on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time.
    pub cpu: CpuUsage,
    /// Memory.
    pub memory: MemoryUsage,
    /// Processes and threads.
    pub pids: PidsUsage,
    /// Disks that it has used.
    pub io: Vec<IoUsage>,
    /// Time that it lost by waiting for what was scarce.
    pub pressure: Pressures,
}

/// Processor time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuUsage {
    /// In nanoseconds; user and system together.
    pub total_ns: Option<u64>,
    /// In its own programs.
    pub user_ns: Option<u64>,
    /// In the kernel.
    pub system_ns: Option<u64>,
    /// Periods in which a limit was watched over.
    pub periods: Option<u64>,
    /// Periods in which the limit was reached.
    pub throttled_periods: Option<u64>,
    /// How long it had to wait for the next period.
    pub throttled_ns: Option<u64>,
}

/// Memory, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryUsage {
    /// All that is counted, caches too.
    pub usage: Option<u64>,
    /// The most that it has been.
    pub peak: Option<u64>,
    /// `None` where there is no limit, too.
    pub limit: Option<u64>,
    /// `usage` without what the kernel could drop at once.
    pub working_set: Option<u64>,
    /// Files in memory, tmpfs too.
    pub cache: Option<u64>,
    /// What belongs to no file.
    pub rss: Option<u64>,
    /// Files mapped by programs.
    pub mapped_file: Option<u64>,
    /// In swap space.
    pub swap: Option<u64>,
    /// How often the limit was reached.
    pub failcnt: Option<u64>,
    /// Processes that the kernel has killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Page faults.
    pub page_faults: Option<u64>,
    /// Page faults that had to wait for a disk.
    pub major_page_faults: Option<u64>,
}

/// Processes and threads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PidsUsage {
    /// Processes.
    pub processes: Option<u64>,
    /// Processes and threads.
    pub current: Option<u64>,
    /// `None` where there is no limit, too.
    pub limit: Option<u64>,
    /// How often one more was refused because of the limit.
    pub refused: Option<u64>,
}

/// Use of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IoUsage {
    /// The disk's numbers.
    pub device: (u32, u32),
    /// Read.
    pub read_bytes: u64,
    /// Written.
    pub written_bytes: u64,
    /// Requests to read.
    pub reads: u64,
    /// Requests to write.
    pub writes: u64,
}

/// Pressure stall information (the kernel's accounting/psi.rst).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pressures {
    /// On processors.
    pub cpu: Option<Pressure>,
    /// On memory.
    pub memory: Option<Pressure>,
    /// On disks.
    pub io: Option<Pressure>,
}

/// Time lost by waiting, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pressure {
    /// At least one thread waited.
    pub some_us: u64,
    /// All threads waited.
    pub full_us: u64,
}

impl Cgroups {
    /// What the container in these groups uses now.
    ///
    /// # Errors
    /// When its groups are gone.
    pub(crate) fn usage(&self, cgroup: &ContainerCgroup) -> io::Result<Usage> {
        let mut reader = Reader::new();
        let mut usage = Usage::default();
        let unified = cgroup.unified.as_ref().map(|base| base.join("ct"));
        if let Some(group) = &unified {
            reader.v2_cpu(group, &mut usage)?;
            reader.pressures(group, &mut usage.pressure);
            if self.v1.is_empty() {
                reader.v2_memory(group, &mut usage.memory);
                usage.pids = reader.pids(group, cgroup.divided);
                usage.io = v2_io(reader.text(group, "io.stat").unwrap_or_default());
            }
        }
        for (controller, tree) in &self.v1 {
            let Some(group) = cgroup.v1.iter().find(|group| group.starts_with(&tree.mount)) else { continue };
            match *controller {
                "memory" => reader.v1_memory(group, &cgroup.own(group), &mut usage.memory)?,
                "pids" => usage.pids = reader.pids(group, cgroup.divided),
                "blkio" => usage.io = reader.v1_io(group, cgroup.divided),
                "cpu" => reader.v1_throttling(group, &mut usage.cpu),
                "cpuacct" if unified.is_none() => reader.v1_cpu(group, &mut usage.cpu),
                _ => {}
            }
        }
        Ok(usage)
    }
}

/// Reads small files into one buffer.
struct Reader(Vec<u8>);

impl Reader {
    fn new() -> Reader {
        Reader(vec![0; FILE_MAX_BYTES])
    }

    /// One read is enough: the kernel writes each of these files as a whole, as far as the reader has room.
    fn read(&mut self, group: &Path, file: &str) -> io::Result<&str> {
        let length = File::open(group.join(file))?.read(&mut self.0)?;
        std::str::from_utf8(&self.0[..length]).map_err(io::Error::other)
    }

    fn text(&mut self, group: &Path, file: &str) -> Option<&str> {
        self.read(group, file).ok()
    }

    /// The only number in a file; `None` for `max` too.
    fn number(&mut self, group: &Path, file: &str) -> Option<u64> {
        self.text(group, file)?.trim().parse().ok()
    }

    /// Every v2 group has this file, so it tells whether the group is still there.
    fn v2_cpu(&mut self, group: &Path, usage: &mut Usage) -> io::Result<()> {
        let stat = Table(self.read(group, "cpu.stat")?);
        let ns = |key: &str| stat.value(key).map(|us| us.saturating_mul(1000));
        usage.cpu = CpuUsage {
            total_ns: ns("usage_usec"),
            user_ns: ns("user_usec"),
            system_ns: ns("system_usec"),
            periods: stat.value("nr_periods"),
            throttled_periods: stat.value("nr_throttled"),
            throttled_ns: ns("throttled_usec"),
        };
        Ok(())
    }

    fn v2_memory(&mut self, group: &Path, memory: &mut MemoryUsage) {
        memory.usage = self.number(group, "memory.current");
        memory.peak = self.number(group, "memory.peak");
        memory.limit = self.number(group, "memory.max");
        memory.swap = self.number(group, "memory.swap.current");
        if let Some(stat) = self.text(group, "memory.stat").map(Table) {
            memory.working_set = working_set(memory.usage, stat.value("inactive_file"));
            memory.cache = stat.value("file");
            memory.rss = stat.value("anon");
            memory.mapped_file = stat.value("file_mapped");
            memory.page_faults = stat.value("pgfault");
            memory.major_page_faults = stat.value("pgmajfault");
        }
        if let Some(events) = self.text(group, "memory.events").map(Table) {
            memory.failcnt = events.value("max");
            memory.oom_kills = events.value("oom_kill");
        }
    }

    /// `own`: where its own processes are, which is where the kernel counts its kills.
    fn v1_memory(&mut self, group: &Path, own: &Path, memory: &mut MemoryUsage) -> io::Result<()> {
        memory.usage = self.read(group, "memory.usage_in_bytes")?.trim().parse().ok();
        memory.peak = self.number(group, "memory.max_usage_in_bytes");
        memory.failcnt = self.number(group, "memory.failcnt");
        if let Some(stat) = self.text(group, "memory.stat").map(Table) {
            // With those of groups below, should the container have made some.
            memory.working_set = working_set(memory.usage, stat.value("total_inactive_file"));
            memory.cache = stat.value("total_cache");
            memory.rss = stat.value("total_rss");
            memory.mapped_file = stat.value("total_mapped_file");
            memory.swap = stat.value("total_swap");
            memory.page_faults = stat.value("total_pgfault");
            memory.major_page_faults = stat.value("total_pgmajfault");
            memory.limit = stat.value("hierarchical_memory_limit").filter(|limit| *limit < V1_UNLIMITED_FROM);
        }
        memory.oom_kills = self.text(own, "memory.oom_control").and_then(|text| Table(text).value("oom_kill"));
        Ok(())
    }

    fn v1_cpu(&mut self, group: &Path, cpu: &mut CpuUsage) {
        cpu.total_ns = self.number(group, "cpuacct.usage");
        cpu.user_ns = self.number(group, "cpuacct.usage_user");
        cpu.system_ns = self.number(group, "cpuacct.usage_sys");
    }

    fn v1_throttling(&mut self, group: &Path, cpu: &mut CpuUsage) {
        if let Some(stat) = self.text(group, "cpu.stat").map(Table) {
            cpu.periods = stat.value("nr_periods");
            cpu.throttled_periods = stat.value("nr_throttled");
            cpu.throttled_ns = stat.value("throttled_time");
        }
    }

    /// `divided`: with those in the groups below, as the other numbers are.
    fn pids(&mut self, group: &Path, divided: bool) -> PidsUsage {
        let processes = match divided {
            true => processes(group).ok().map(|all| all.len() as u64),
            false => self.text(group, "cgroup.procs").map(|list| list.lines().count() as u64),
        };
        let (current, limit) = (self.number(group, "pids.current"), self.number(group, "pids.max"));
        let refused = self.text(group, "pids.events").and_then(|text| Table(text).value("max"));
        PidsUsage { processes, current, limit, refused }
    }

    fn v1_io(&mut self, group: &Path, divided: bool) -> Vec<IoUsage> {
        let file = |name: &str| format!("blkio.throttle.{name}{}", if divided { "_recursive" } else { "" });
        let mut disks = Vec::new();
        let bytes = self.text(group, &file("io_service_bytes")).unwrap_or_default();
        add_v1_io(&mut disks, bytes, |disk| (&mut disk.read_bytes, &mut disk.written_bytes));
        let requests = self.text(group, &file("io_serviced")).unwrap_or_default();
        add_v1_io(&mut disks, requests, |disk| (&mut disk.reads, &mut disk.writes));
        disks
    }

    fn pressures(&mut self, group: &Path, pressures: &mut Pressures) {
        pressures.cpu = self.text(group, "cpu.pressure").and_then(pressure);
        pressures.memory = self.text(group, "memory.pressure").and_then(pressure);
        pressures.io = self.text(group, "io.pressure").and_then(pressure);
    }
}

/// Lines of a key and a value.
struct Table<'a>(&'a str);

impl Table<'_> {
    fn value(&self, key: &str) -> Option<u64> {
        self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
    }
}

fn working_set(usage: Option<u64>, inactive_file: Option<u64>) -> Option<u64> {
    Some(usage?.saturating_sub(inactive_file?))
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`, a line for each disk.
fn v2_io(text: &str) -> Vec<IoUsage> {
    let disk = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let value =
            |key: &str| rest.split(' ').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')?.parse().ok()).unwrap_or(0);
        Some(IoUsage {
            device: numbers(device)?,
            read_bytes: value("rbytes"),
            written_bytes: value("wbytes"),
            reads: value("rios"),
            writes: value("wios"),
        })
    };
    text.lines().filter_map(disk).collect()
}

/// `8:0 Read 4096` and `8:0 Write 0`, among other lines.
fn add_v1_io(disks: &mut Vec<IoUsage>, text: &str, fields: impl Fn(&mut IoUsage) -> (&mut u64, &mut u64)) {
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(what), Some(value)) = (words.next().and_then(numbers), words.next(), words.next()) else {
            continue;
        };
        let known = disks.iter().position(|disk| disk.device == device);
        let place = known.unwrap_or_else(|| {
            disks.push(IoUsage { device, ..IoUsage::default() });
            disks.len() - 1
        });
        let (read, written) = fields(&mut disks[place]);
        match what {
            "Read" => *read = value.parse().unwrap_or(0),
            "Write" => *written = value.parse().unwrap_or(0),
            _ => {}
        }
    }
}

fn numbers(device: &str) -> Option<(u32, u32)> {
    let (major, minor) = device.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=12345`, and the same for `full`, which old kernels lack for processors.
fn pressure(text: &str) -> Option<Pressure> {
    let total = |kind: &str| {
        let line = text.lines().find(|line| line.starts_with(kind))?;
        line.rsplit_once("total=")?.1.trim().parse().ok()
    };
    Some(Pressure { some_us: total("some")?, full_us: total("full").unwrap_or(0) })
}

#[cfg(test)]
mod tests;
