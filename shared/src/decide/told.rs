//! What is told of what runs within containers where all of it would be too much for a report: what has ended goes first.

use crate::wire::InstanceReport;
use crate::wire::nested::{ChildState, NestedReport};

/// What the parts of a report about second containers and caches may take together, in bytes: a quarter of a report. A host of usual size
/// needs a hundredth of it.
pub const NESTED_MAX_BYTES: usize = crate::wire::REPORT_MAX_BYTES / 4;

/// Most second containers, and most caches, of one instance that are told where not all can be; half of it where those are too many, and so on.
const KEPT_MAX: usize = 32;

/// Leaves out as much as it must for all of `reports` to fit into `max_bytes`, and counts what it leaves out.
pub fn fit(reports: &mut [InstanceReport], max_bytes: usize) {
    if size(reports) <= max_bytes {
        return;
    }
    each(reports, |nested| keep(nested, |child| !matches!(child, ChildState::Exited | ChildState::Failed), usize::MAX));
    let mut kept = KEPT_MAX;
    while size(reports) > max_bytes {
        each(reports, |nested| keep(nested, |_| true, kept));
        if kept == 0 {
            return;
        }
        kept /= 2;
    }
}

/// In bytes of JSON, as reports travel.
fn size(reports: &[InstanceReport]) -> usize {
    let nested = reports.iter().filter_map(|report| report.nested.as_ref());
    // Plain data, which always serialises.
    nested.map(|nested| serde_json::to_vec(nested).map_or(0, |json| json.len())).sum()
}

fn each(reports: &mut [InstanceReport], mut change: impl FnMut(&mut NestedReport)) {
    reports.iter_mut().filter_map(|report| report.nested.as_mut()).for_each(&mut change);
}

fn keep(nested: &mut NestedReport, wanted: impl Fn(ChildState) -> bool, count: usize) {
    let before = nested.containers.len() + nested.caches.len();
    nested.containers.retain(|child| wanted(child.state));
    nested.containers.truncate(count);
    nested.caches.truncate(count);
    let gone = before - nested.containers.len() - nested.caches.len();
    nested.left_out = nested.left_out.saturating_add(u32::try_from(gone).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests;
