//! The plan: pure, from the model and what hosts report to what each host should be told.
//!
//! Each workload is rolled out by itself; a host's assignment is the union. Its generation grows only if that union changed.

use super::board::{Board, TargetBoard, WorkloadPlan};
use super::logins::Logins;
use super::model::Model;
use crate::hosts::Observed;
use crate::pipeline::Orders;
use crate::records::{AssignRecord, Assigned, ParsedRevision, WorkloadRecord};
use coord_shared::decide::liveness::Liveness;
use coord_shared::decide::prefetch;
use coord_shared::decide::reason::Reason;
use coord_shared::decide::rollout::{TargetState, rollout};
use coord_shared::decide::targets::targets;
use coord_shared::decide::{Mono, Now};
use coord_shared::document::Document;
use coord_shared::names::{Digest, Generation, HostName, InstanceId, Labels, Revision, WorkloadName};
use std::collections::{BTreeMap, BTreeSet};

/// Every workload has one instance on each of its targets.
const ONLY_INDEX: u32 = 0;

/// The answer.
#[derive(Debug, Default)]
pub(super) struct FleetPlan {
    /// Hosts that are told something new.
    pub(super) assign: BTreeMap<HostName, AssignRecord>,
    /// What there is to say of each workload that is not deleted.
    pub(super) workloads: BTreeMap<WorkloadName, WorkloadPlan>,
    /// When to decide again although nothing has changed.
    pub(super) wake_at: Option<Mono>,
}

/// What hosts are given beside their instances; decided elsewhere.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) logins: &'a Logins,
    pub(super) orders: &'a Orders,
}

/// Decides for the whole fleet.
pub(super) fn plan(model: &Model, given: Given<'_>, observed: &BTreeMap<HostName, Observed>, now: Now) -> FleetPlan {
    let mut plan = FleetPlan::default();
    let labels = model.labels();
    let mut wanted: BTreeMap<&HostName, Vec<Assigned>> = BTreeMap::new();
    let mut later: BTreeMap<&HostName, Vec<Assigned>> = BTreeMap::new();
    let workloads: Vec<_> = model.workloads.iter().filter(|(_, record)| !record.deleted).collect();
    for (name, record) in workloads {
        let view = View { model, observed, now, name, record };
        let (one, wake_at) = view.plan(&labels);
        for (host, target) in &one.targets {
            if let (Some(revision), Some((host, _))) = (target.assigned, model.hosts.get_key_value(host)) {
                wanted.entry(host).or_default().push(Assigned { workload: name.clone(), index: ONLY_INDEX, revision });
                if target.prefetches {
                    let revision = record.newest;
                    later.entry(host).or_default().push(Assigned { workload: name.clone(), index: ONLY_INDEX, revision });
                }
            }
        }
        plan.wake_at = [plan.wake_at, wake_at].into_iter().flatten().min();
        plan.workloads.insert(name.clone(), one);
    }
    // A host that was forgotten is told that nothing is left, should it ever ask again.
    let everyone: BTreeSet<&HostName> = model.hosts.keys().chain(model.assigns.keys()).collect();
    for host in everyone {
        let mut instances = wanted.remove(host).unwrap_or_default();
        instances.sort();
        let told = model.assigns.get(host).map(|(assign, _)| assign.clone()).unwrap_or_default();
        let prefetch = ahead(model, &instances, later.remove(host).unwrap_or_default());
        let mut assign =
            AssignRecord { generation: told.generation, instances, prefetch, logins: None, orders: given.orders.digest(host) };
        assign.logins = given.logins.digest(model, &assign);
        if assign != told {
            assign.generation = Generation(told.generation.0 + 1);
            plan.assign.insert(host.clone(), assign);
        }
    }
    plan
}

/// What of `later` a host fetches before its turn comes.
fn ahead(model: &Model, instances: &[Assigned], later: Vec<Assigned>) -> Vec<Assigned> {
    let digest = |assigned: &Assigned| Some(model.revision(&assigned.workload, assigned.revision)?.record.digest.clone());
    let needed = instances.iter().filter_map(digest).collect();
    prefetch::choose(later.into_iter().filter_map(|assigned| digest(&assigned).map(|digest| (assigned, digest))), &needed)
}

/// One workload in the light of everything.
struct View<'a> {
    model: &'a Model,
    observed: &'a BTreeMap<HostName, Observed>,
    now: Now,
    name: &'a WorkloadName,
    record: &'a WorkloadRecord,
}

impl View<'_> {
    fn plan(&self, labels: &BTreeMap<HostName, Labels>) -> (WorkloadPlan, Option<Mono>) {
        let newest = self.model.revision(self.name, self.record.newest);
        let Some((document, fingerprint)) = newest.and_then(|r| r.document.as_ref().zip(r.fingerprint.as_ref())) else {
            return (self.frozen(), None);
        };
        let (selected, mut reasons) = targets(document, labels);
        let states: BTreeMap<HostName, TargetState> =
            selected.into_iter().map(|host| (host.clone(), self.target(&host, fingerprint))).collect();
        let mut rolled = rollout(self.record.newest, &document.rollout, &states, self.now);
        let targets = states.into_iter().map(|(host, state)| {
            let assigned = rolled.assign.get(&host).copied();
            let liveness = self.observed.get(&host).map_or(Liveness::Unknown, |o| o.liveness);
            let is_newest = |(revision, _): (Revision, Mono)| revision == self.record.newest;
            let is_ready = liveness.is_reachable() && assigned == Some(self.record.newest) && state.ready.is_some_and(is_newest);
            let reason = self.away(&host, liveness).or_else(|| rolled.reasons.remove(&host));
            let prefetches = rolled.prefetch.contains(&host);
            (host, TargetBoard { assigned, reason, is_ready, prefetches })
        });
        let targets = targets.collect();
        reasons.dedup();
        (WorkloadPlan { targets, reasons }, rolled.wake_at)
    }

    fn target(&self, host: &HostName, newest: &Digest) -> TargetState {
        let assigned = self.assigned(host);
        let makes_newest = |revision: Revision| self.fingerprint(revision).is_some_and(|found| found == newest);
        let Some(observed) = self.observed.get(host) else {
            let same_container = assigned.is_some_and(makes_newest);
            return TargetState { liveness: Liveness::Unknown, assigned, same_container, ready: None };
        };
        let id = InstanceId { workload: self.name.clone(), index: ONLY_INDEX };
        // A container that is the same in the newest revision is ready in it as soon as its host has accepted that.
        let has_accepted = || observed.accepted >= self.model.assigns.get(host).map(|(assign, _)| assign.generation);
        let ready = observed.ready.get(&id).map(|mark| {
            let is_told = assigned == Some(self.record.newest);
            let counts_as_newest = is_told && mark.revision < self.record.newest && makes_newest(mark.revision);
            let revision = if counts_as_newest && has_accepted() { self.record.newest } else { mark.revision };
            (revision, mark.since)
        });
        TargetState { liveness: observed.liveness, assigned, same_container: assigned.is_some_and(makes_newest), ready }
    }

    fn away(&self, host: &HostName, liveness: Liveness) -> Option<Reason> {
        match liveness {
            Liveness::Unknown => Some(Reason::HostUnknown),
            Liveness::Lost => {
                let last_seen = self.observed.get(host).and_then(|o| o.last_seen);
                Some(last_seen.map_or(Reason::HostUnknown, |last_seen| Reason::HostLost { last_seen }))
            }
            Liveness::Ready | Liveness::Late => None,
        }
    }

    fn assigned(&self, host: &HostName) -> Option<Revision> {
        self.model.assigns.get(host).and_then(|(assign, _)| assign.revision_of(self.name))
    }

    fn fingerprint(&self, revision: Revision) -> Option<&Digest> {
        self.model.revision(self.name, revision).and_then(|r: &std::sync::Arc<ParsedRevision>| r.fingerprint.as_ref())
    }

    /// The newest text cannot be read by this version: everyone keeps what he was told.
    fn frozen(&self) -> WorkloadPlan {
        let error = "this version of the coordinator cannot read its text; publish it again".to_owned();
        let told = self.model.hosts.keys().filter_map(|host| {
            let assigned = self.assigned(host)?;
            Some((host.clone(), TargetBoard { assigned: Some(assigned), ..TargetBoard::default() }))
        });
        WorkloadPlan { targets: told.collect(), reasons: vec![Reason::DocumentRejected { error }] }
    }
}

/// What publishing `document` (with its image at `digest`) would do to which hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preview {
    /// Hosts where it would start.
    pub starts_on: Vec<HostName>,
    /// Hosts where its container would be replaced.
    pub replaces_on: Vec<HostName>,
    /// Hosts where it would stop.
    pub stops_on: Vec<HostName>,
    /// What a person should know.
    pub reasons: Vec<Reason>,
}

/// Compares `new` (nothing: a deletion) with what hosts are told now. Without a digest, an image that stays as written is taken for
/// unchanged.
pub fn preview(board: &Board, name: &WorkloadName, new: Option<(&Document, Option<&Digest>)>) -> Preview {
    let labels: BTreeMap<_, _> = board.hosts.iter().map(|(host, h)| (host.clone(), h.labels.clone())).collect();
    let (selected, reasons) = new.map(|(document, _)| targets(document, &labels)).unwrap_or_default();
    let newest = board.workloads.get(name).and_then(|w| w.newest.as_ref());
    let replaces = new.is_some_and(|(document, digest)| {
        newest.is_none_or(|old| {
            let digest = digest.or_else(|| (old.record.image == document.image).then_some(&old.record.digest));
            digest.map(|digest| document.fingerprint(digest)) != old.fingerprint
        })
    });
    let mut preview = Preview { reasons, ..Preview::default() };
    for (host, h) in &board.hosts {
        match (h.assigned.contains_key(name), selected.contains(host)) {
            (false, true) => preview.starts_on.push(host.clone()),
            (true, false) => preview.stops_on.push(host.clone()),
            (true, true) if replaces => preview.replaces_on.push(host.clone()),
            (true, true) | (false, false) => {}
        }
    }
    preview
}
