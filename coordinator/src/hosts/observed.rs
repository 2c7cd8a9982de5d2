//! What decisions see of a host.

use coord_shared::decide::Mono;
use coord_shared::decide::liveness::Liveness;
use coord_shared::names::{ContainerId, Generation, InstanceId, Revision};
use coord_shared::wire::InstanceReport;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// One host, as far as decisions depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Whether it is heard of.
    pub liveness: Liveness,
    /// When it last was.
    pub last_seen: Option<Timestamp>,
    /// The host state that it accepted last.
    pub accepted: Option<Generation>,
    /// The instances that it reports as ready.
    pub ready: BTreeMap<InstanceId, ReadyMark>,
}

/// An instance that is ready, and since when it is without a break, by our clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyMark {
    /// The revision that it reports.
    pub revision: Revision,
    /// The container that is ready; another one starts the time anew.
    pub container: Option<ContainerId>,
    /// Since when.
    pub since: Mono,
}

impl ReadyMark {
    /// The mark after `report`, given the one before it; `None` while it is not ready.
    pub(super) fn of(report: &InstanceReport, before: Option<&Self>, now: Mono) -> Option<Self> {
        let revision = report.revision.filter(|_| report.ready)?;
        let container = report.container.clone();
        let since = before.filter(|mark| mark.container == container).map_or(now, |mark| mark.since);
        Some(Self { revision, container, since })
    }
}
