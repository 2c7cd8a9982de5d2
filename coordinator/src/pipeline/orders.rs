//! Orders: what each host is asked to look at and to build, made from the records alone.
//!
//! The controller of hosts puts them into the host states. Because records make them, a coordinator that starts again gives every host
//! the orders that it had, before any decision is made.

use super::model::Model;
use coord_shared::names::{Digest, HostName};
use coord_shared::wire::{BuildOrder, RunState, SourceWatch};
use serde::Serialize;
use std::collections::BTreeMap;

/// The orders of all hosts; those without any are absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    by_host: BTreeMap<HostName, (HostOrders, Digest)>,
}

/// The orders of one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HostOrders {
    /// Sources to look at, by pipeline.
    pub watches: Vec<SourceWatch>,
    /// Runs to build, the oldest first.
    pub builds: Vec<BuildOrder>,
}

impl Orders {
    /// What the records say.
    pub(super) fn new(model: &Model) -> Self {
        let mut by_host: BTreeMap<HostName, HostOrders> = BTreeMap::new();
        let mut building = Vec::new();
        for (name, pipeline) in &model.pipelines {
            if let (Some(watcher), false) = (&pipeline.record.watcher, pipeline.record.deleted) {
                let (asked, document) = (pipeline.record.asked, pipeline.record.text.clone());
                let watch = SourceWatch { pipeline: name.clone(), asked, document };
                by_host.entry(watcher.clone()).or_default().watches.push(watch);
            }
            let is_deleted = pipeline.record.deleted;
            building.extend(model.runs_of(name).filter(|(_, run)| run.record.state == RunState::Building).map(|(id, run)| {
                let order = BuildOrder {
                    run: id.clone(),
                    commit: run.record.head.commit.clone(),
                    since: run.record.since.clone(),
                    cancelled: run.record.cancel.is_some() || is_deleted,
                    document: run.record.text.clone(),
                };
                (run.record.made_at, run.record.builder.clone(), order)
            }));
        }
        building.sort_by(|a, b| (a.0, &a.2.run).cmp(&(b.0, &b.2.run)));
        for (_, builder, order) in building {
            if let Some(builder) = builder {
                by_host.entry(builder).or_default().builds.push(order);
            }
        }
        let named = by_host.into_iter().map(|(host, orders)| {
            // Strings, numbers and lists of them: JSON can always hold those.
            let digest = Digest::of(&serde_json::to_vec(&orders).unwrap_or_default());
            (host, (orders, digest))
        });
        Self { by_host: named.collect() }
    }

    /// Those of one host.
    pub fn of(&self, host: &HostName) -> Option<&HostOrders> {
        self.by_host.get(host).map(|(orders, _)| orders)
    }

    /// Names the orders of a host: a change must be told.
    pub fn digest(&self, host: &HostName) -> Option<Digest> {
        self.by_host.get(host).map(|(_, digest)| digest.clone())
    }
}
