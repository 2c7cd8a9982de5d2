//! What hosts say of sources and builds: for the controller of pipelines, which hears of changes by a bell of its own.

use super::{Host, Hosts};
use coord_shared::decide::Mono;
use coord_shared::decide::liveness::Liveness;
use coord_shared::names::HostName;
use coord_shared::wire::FullReport;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One host, as one that may build.
#[derive(Debug, Clone)]
pub struct BuilderView {
    /// Whether it is heard of.
    pub liveness: Liveness,
    /// How long it counts as lost already.
    pub lost_for: Duration,
    /// What it reported last.
    pub full: Option<Arc<FullReport>>,
}

impl Hosts {
    /// Waits for a report that says something new of a source or a build, or of a host that was not heard of.
    pub async fn building_changed(&self) {
        self.building.notified().await;
    }

    /// Every known host.
    pub fn builders(&self, now: Mono) -> BTreeMap<HostName, BuilderView> {
        let view = |host: &Host| BuilderView {
            liveness: host.liveness(now, self.limits),
            lost_for: host.silent_for(now).saturating_sub(self.limits.lost_after),
            full: host.full.clone(),
        };
        self.lock().iter().map(|(name, host)| (name.clone(), view(host))).collect()
    }

    /// What one host reported last.
    pub fn full(&self, host: &HostName) -> Option<Arc<FullReport>> {
        self.lock().get(host)?.full.clone()
    }
}

impl Host {
    fn silent_for(&self, now: Mono) -> Duration {
        now.since(self.heard_in_full().unwrap_or(self.listening_since))
    }
}

/// Whether `new` says anything that decisions about pipelines depend on and `old` did not.
pub(super) fn is_news(old: Option<&FullReport>, new: &FullReport) -> bool {
    old.is_none_or(|old| {
        old.builder != new.builder || old.heads != new.heads || old.builds != new.builds || old.labels != new.labels
    })
}
