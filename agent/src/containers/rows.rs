//! The list: what the agent reports, and beside it what the documents say.

use super::InstanceRow;
use crate::sync::desired::desired;
use crate::sync::ledger::Ledger;
use coord_shared::decide::planner::{Desired, Spec, Target};
use coord_shared::document::{PortMapping, Protocol};
use coord_shared::wire::InstanceReport;
use std::net::IpAddr;
use std::sync::Arc;

/// A row for each report, in the order of the reports.
pub fn rows(reports: &[InstanceReport], ledger: &Ledger) -> Vec<InstanceRow> {
    let wanted = ledger.state().map(|state| desired(state, ledger.previous())).unwrap_or_default();
    let row = |report: &InstanceReport| {
        let spec = spec_of(report, &wanted);
        InstanceRow {
            report: report.clone(),
            image: spec.as_ref().map(|spec| spec.image.reference.to_string()),
            ports: spec.iter().flat_map(|spec| &spec.document.container.ports).map(port_text).collect(),
        }
    };
    reports.iter().map(row).collect()
}

/// What an instance runs, or is to run where it has not run yet: of the revisions that are known, the one reported.
pub fn spec_of(report: &InstanceReport, wanted: &Desired) -> Option<Arc<Spec>> {
    let wanted = wanted.get(&report.instance)?;
    let target = match &wanted.target {
        Target::Run(spec) => Some(spec),
        Target::Rejected { .. } => None,
    };
    let runs = |spec: &&Arc<Spec>| report.revision == Some(spec.revision);
    let known = [target, wanted.previous.as_ref()];
    let running = known.into_iter().flatten().find(runs);
    running.or(target.filter(|_| report.revision.is_none())).cloned()
}

/// As docker writes it: `127.0.0.1:8080->80/tcp`.
fn port_text(port: &PortMapping) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let address = match port.host_ip {
        None => String::new(),
        Some(IpAddr::V4(ip)) => format!("{ip}:"),
        Some(IpAddr::V6(ip)) => format!("[{ip}]:"),
    };
    format!("{address}{}->{}/{protocol}", port.host_port, port.container_port)
}
