//! What is worth knowing of instances beside their state: how they are reached, what they have of the host, what their checks said, what runs within them.

use crate::output::{Cell, Table, Tone};
use coord_shared::text::nested::{branches, summary};
use coord_shared::wire::nested::NestedReport;
use coord_shared::wire::{HealthStatus, InstanceReport, WorkloadView};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Most lines on one workload, unless all are asked for.
const LINES_MAX: usize = 2;
/// Most lines of a check's output that are shown.
const OUTPUT_LINES_MAX: usize = 20;

/// Of the second containers of an instance that ended, so many are shown, unless all are asked for.
const ENDED_MAX: usize = 3;

/// Under a workload of the overview: what its instances have of the host that containers have not, once for all that have the same; on
/// demand what runs within each.
pub(super) fn of_workload(workload: &WorkloadView, now: Timestamp, all: bool, table: &mut Table) {
    let mut hosts: BTreeMap<&[String], Vec<&str>> = BTreeMap::new();
    let heard = workload.instances.iter().filter(|instance| instance.liveness.is_reachable());
    for instance in heard {
        if let Some(report) = instance.report.as_ref().filter(|report| !report.loosened.is_empty()) {
            hosts.entry(&report.loosened).or_default().push(instance.host.as_str());
        }
    }
    let shown = if all { hosts.len() } else { LINES_MAX };
    for (loosened, hosts) in hosts.iter().take(shown) {
        let on = match hosts.as_slice() {
            _ if hosts.len() == workload.instances.len() => String::new(),
            [host] => format!(" (on {host})"),
            [..] => format!(" (on {} hosts)", hosts.len()),
        };
        table.note(Cell::default(), Cell::toned(format!("{}{on}", words(loosened)), Tone::Faint), "");
    }
    for instance in workload.instances.iter().filter(|instance| all && instance.liveness.is_reachable()) {
        let Some(report) = instance.report.as_ref() else { continue };
        let Some(nested) = report.nested.as_ref().filter(|nested| !summary(nested).is_empty()) else { continue };
        table.note(Cell::new(&instance.host), Cell::new(format!("within {}: {}", report.instance, summary(nested))), "");
        within(nested, now, true, table);
    }
}

/// The tree of what runs within an instance, as notes under it.
fn within(nested: &NestedReport, now: Timestamp, all: bool, table: &mut Table) {
    for branch in branches(nested, now, if all { usize::MAX } else { ENDED_MAX }) {
        table.note(Cell::new(branch.head), Cell::toned(branch.text, branch.tone), "");
    }
}

/// Under an instance of the detail.
pub(super) fn of_instance(report: &InstanceReport, now: Timestamp, all: bool, table: &mut Table) {
    let mut line = |text: String| table.note(Cell::default(), Cell::toned(text, Tone::Faint), "");
    if let Some(health) =
        report.health.as_ref().filter(|health| health.status != HealthStatus::Healthy && !health.output.is_empty())
    {
        line("its last failed check said:".to_owned());
        health.output.lines().take(OUTPUT_LINES_MAX).for_each(|said| line(format!("  {said}")));
    }
    if !report.addresses.is_empty() {
        let addresses: Vec<String> = report.addresses.iter().map(ToString::to_string).collect();
        line(format!("at {}", addresses.join(" and ")));
    }
    if !report.loosened.is_empty() {
        line(words(&report.loosened));
    }
    if let Some(nested) = &report.nested {
        within(nested, now, all, table);
    }
}

fn words(loosened: &[String]) -> String {
    format!("loosened: {}", loosened.join(", "))
}
