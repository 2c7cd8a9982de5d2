//! `[resources]`: upper limits of the container.

use crate::document::diagnostic::Rule;
use crate::document::model::{PidsLimit, Resources};
use crate::document::parts::CpuSet;
use crate::document::raw::{Field, Mistakes, field};
use crate::quantity::{ByteSize, MilliCpus};
use std::collections::BTreeSet;
use toml::de::DeTable;

/// Least memory limit. The kernel charges a starting process for its page tables, its stack and the program's first pages before it
/// runs its first instruction; below this it would be killed on every start, with an error that explains nothing.
const MEMORY_MIN: ByteSize = ByteSize(4 << 20);
/// Most processes that a kernel can have (Linux, `PID_MAX_LIMIT`).
pub(super) const PIDS_MAX: u32 = 1 << 22;
/// Most CPUs that a kernel can have (Linux, `NR_CPUS` of x86).
const CPUS_MAX: u32 = 8192;
/// Range of `io.weight` that every scheduler of the kernel takes, and Compose's upper end.
const IO_WEIGHT_MAX: u32 = 1000;

pub(crate) fn limits(table: &DeTable<'_>, section: &str, mistakes: &mut Mistakes) -> Resources {
    let key = |name| field(table, section, name);
    let resources = Resources {
        memory: key("memory").and_then(|field| memory(&field, mistakes)),
        memory_swap: key("memory_swap").and_then(|field| swap(&field, mistakes)),
        memory_reservation: key("memory_reservation").and_then(|field| field.size(ByteSize(1), mistakes)),
        cpus: key("cpus").and_then(|field| cpus(&field, mistakes)),
        cpuset: key("cpuset").and_then(|field| cpuset(&field, mistakes)),
        pids: key("pids").and_then(|field| pids(&field, mistakes)),
        io_weight: key("io_weight")
            .and_then(|field| field.integer(1..=IO_WEIGHT_MAX, mistakes))
            .and_then(|weight| u16::try_from(weight).ok()),
    };
    if let Some(field) = key("memory_swap") {
        check_swap(&field, key("memory").as_ref(), &resources, mistakes);
    }
    if let (Some(memory), Some(reserved), Some(field)) =
        (resources.memory, resources.memory_reservation, key("memory_reservation"))
        && reserved > memory
    {
        let more = field.wrong(Rule::Conflict, format!("{reserved} is more than `memory`, {memory}"));
        mistakes.push(more.hint("reserve at most what the container may have"));
    }
    resources
}

pub(super) fn cpus(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<MilliCpus> {
    let cpus = MilliCpus::from_cpus(field.number(mistakes)?);
    cpus.map_err(|error| mistakes.push(field.wrong(Rule::BadCpus, error))).ok()
}

pub(super) fn memory(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<ByteSize> {
    let memory: ByteSize = field.parse("a size", Rule::BadSize, mistakes)?;
    if memory >= MEMORY_MIN {
        return Some(memory);
    }
    let small =
        field.wrong(Rule::MemoryTooSmall, format!("{memory} is too little for a process to start; {MEMORY_MIN} is the least"));
    mistakes.push(small.hint("mind the unit: 256MiB, not 256"));
    None
}

fn swap(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<ByteSize> {
    if field.value.get_ref().as_integer().is_some_and(|number| number.as_str() == "-1") {
        let unlimited = field.wrong(Rule::BadSize, "-1 is not a size, and swap without a limit would be everybody's");
        mistakes.push(unlimited.hint("write memory and swap together, as in \"1GiB\""));
        return None;
    }
    field.parse("a size", Rule::BadSize, mistakes)
}

fn check_swap(field: &Field<'_>, memory: Option<&Field<'_>>, resources: &Resources, mistakes: &mut Mistakes) {
    let Some(memory_field) = memory else {
        let alone = field.wrong(Rule::Conflict, "there is no `memory`, without which swap has no limit");
        mistakes.push(alone.hint("set `memory`, too: memory_swap is memory and swap together"));
        return;
    };
    if let (Some(memory), Some(swap)) = (resources.memory, resources.memory_swap)
        && swap < memory
    {
        let less = field.wrong(Rule::Conflict, format!("{swap} is less than `memory`, {memory}"));
        mistakes.push(less.related(memory_field.span(), "memory alone").hint("memory_swap is memory and swap together"));
    }
}

fn pids(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<PidsLimit> {
    if field.value.get_ref().as_str() == Some("unlimited") {
        return Some(PidsLimit::Unlimited);
    }
    if field.value.get_ref().as_integer().is_some_and(|number| number.as_str() == "-1") {
        mistakes.push(field.is_wrong(Rule::OutOfRange, format!("must be from 1 to {PIDS_MAX}")).hint("write \"unlimited\""));
        return None;
    }
    field.integer(1..=PIDS_MAX, mistakes).map(PidsLimit::Count)
}

/// Reads `0-3,8` (cpuset(7), "List format"), and writes it sorted.
fn cpuset(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<CpuSet> {
    let text = field.text(mistakes)?;
    let cpus = cpus_of(text);
    if cpus.is_none() {
        let bad = field.wrong(Rule::BadCpuset, format!("{text:?} is not a list of CPUs from 0 to {}", CPUS_MAX - 1));
        mistakes.push(bad.hint("write for example \"0-3,8\""));
    }
    cpus.map(|cpus| CpuSet(list_of(&cpus)))
}

fn cpus_of(text: &str) -> Option<BTreeSet<u32>> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|cpu| *cpu < CPUS_MAX && text.bytes().all(|b| b.is_ascii_digit()));
    let mut cpus = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first.trim())?, number(last.trim())?);
        if first > last {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

fn list_of(cpus: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            Some(_) | None => ranges.push((cpu, cpu)),
        }
    }
    let range = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}
