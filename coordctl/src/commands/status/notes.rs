//! What is worth knowing of instances beside their state: how they are reached, what they have of the host, what their checks said.

use crate::output::{Cell, Table, Tone};
use coord_shared::wire::{HealthStatus, InstanceReport, WorkloadView};
use std::collections::BTreeMap;

/// Most lines on one workload, unless all are asked for.
const LINES_MAX: usize = 2;
/// Most lines of a check's output that are shown.
const OUTPUT_LINES_MAX: usize = 20;

/// Under a workload of the overview: what its instances have of the host that containers have not, once for all that have the same.
pub(super) fn of_workload(workload: &WorkloadView, all: bool, table: &mut Table) {
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
}

/// Under an instance of the detail.
pub(super) fn of_instance(report: &InstanceReport, table: &mut Table) {
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
}

fn words(loosened: &[String]) -> String {
    format!("loosened: {}", loosened.join(", "))
}
