//! Status: the board, what waits, and what hosts last said, put together for people.

use crate::control::{Board, TargetBoard, WorkloadBoard};
use crate::documents::waiting::Waiting;
use crate::hosts::HostSummary;
use coord_shared::decide::liveness::Liveness;
use coord_shared::decide::reason::Reason;
use coord_shared::names::{HostName, WorkloadName};
use coord_shared::wire::{
    HostView, HostsView, InstanceReport, InstanceState, InstanceView, ProblemView, StatusView, WorkloadView,
};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Everything that the views are made of, read at one moment.
pub struct Facts<'a> {
    /// The controller's findings.
    pub board: &'a Board,
    /// Texts that wait for their image.
    pub waiting: BTreeMap<WorkloadName, Waiting>,
    /// What hosts said.
    pub hosts: BTreeMap<HostName, HostSummary>,
    /// What a person must mend.
    pub problems: Vec<ProblemView>,
    /// The time of day.
    pub now: Timestamp,
}

type Reported<'a> = BTreeMap<&'a WorkloadName, BTreeMap<&'a HostName, &'a InstanceReport>>;

impl Facts<'_> {
    /// `GET /v1/status`.
    pub fn status(&self) -> StatusView {
        let mut reported: Reported<'_> = BTreeMap::new();
        for (host, summary) in &self.hosts {
            for report in summary.full.iter().flat_map(|full| &full.instances) {
                reported.entry(&report.instance.workload).or_default().insert(host, report);
            }
        }
        let mut workloads: Vec<WorkloadView> = Vec::new();
        for (name, workload) in &self.board.workloads {
            let said = reported.remove(name).unwrap_or_default();
            // A deleted workload is shown until the last container is gone, or its return is on the way.
            if !workload.record.deleted || !said.is_empty() {
                workloads.push(self.workload(name, workload, &said));
            } else if let Some(waiting) = self.waiting.get(name) {
                workloads.push(first_waiting(name, waiting));
            }
        }
        let new = self.waiting.iter().filter(|(name, _)| !self.board.workloads.contains_key(*name));
        workloads.extend(new.map(|(name, waiting)| first_waiting(name, waiting)));
        workloads.sort_by(|a, b| a.name.cmp(&b.name));
        let mut problems = self.problems.clone();
        problems.extend(self.hosts_ahead());
        problems.extend(self.hosts_own());
        StatusView { now: self.now, workloads, problems }
    }

    fn workload(
        &self,
        name: &WorkloadName,
        workload: &WorkloadBoard,
        reported: &BTreeMap<&HostName, &InstanceReport>,
    ) -> WorkloadView {
        let mut instances: BTreeMap<&HostName, InstanceView> = BTreeMap::new();
        for (host, target) in &workload.targets {
            let mut instance = self.instance(host, target, reported.get(host).copied());
            instance.prefetch = workload.newest.as_ref().filter(|_| target.prefetches).and_then(|newest| {
                let full = self.hosts.get(host)?.full.as_ref()?;
                full.prefetch.iter().find(|one| one.digest == newest.record.digest).map(|one| one.state.clone())
            });
            instances.insert(host, instance);
        }
        for (host, report) in reported {
            instances.entry(host).or_insert_with(|| self.instance(host, &TargetBoard::default(), Some(report)));
        }
        let mut reasons = workload.reasons.clone();
        reasons.extend(self.waiting.get(name).and_then(|waiting| waiting.reason.clone()));
        let newest = workload.newest.as_ref().map(|newest| &newest.record);
        WorkloadView {
            name: name.clone(),
            revision: newest.map(|_| workload.record.newest),
            image: newest.map(|record| record.image.clone()),
            digest: newest.map(|record| record.digest.clone()),
            source: workload.record.source.to_string(),
            published_at: newest.map(|record| record.at),
            targets: count(workload.targets.len()),
            ready: count(workload.targets.values().filter(|target| target.is_ready).count()),
            origin: newest.and_then(|record| record.origin.clone()),
            reasons,
            instances: instances.into_values().collect(),
            deleting: workload.record.deleted,
        }
    }

    fn instance(&self, host: &HostName, target: &TargetBoard, report: Option<&InstanceReport>) -> InstanceView {
        let summary = self.hosts.get(host);
        let liveness = summary.map_or(Liveness::Unknown, |summary| summary.liveness);
        let away = match (liveness, summary.and_then(|summary| summary.last_seen)) {
            (Liveness::Lost, Some(last_seen)) => Some(Reason::HostLost { last_seen }),
            _ => None,
        };
        let reason = away.or_else(|| target.reason.clone());
        InstanceView { host: host.clone(), liveness, assigned: target.assigned, report: report.cloned(), reason, prefetch: None }
    }

    /// Hosts whose agents have accepted more than this coordinator ever told them: its store is not the one that they knew.
    fn hosts_ahead(&self) -> Vec<ProblemView> {
        let ahead = self.hosts.iter().filter_map(|(host, summary)| {
            let (accepted, told) = (summary.accepted?, self.board.hosts.get(host)?.generation);
            (accepted > told).then(|| ProblemView {
                source: format!("host:{host}"),
                summary: format!(
                    "the agent of {host} has accepted generation {accepted}, and this coordinator is at {told}: it refuses what is older; \
                     bring back the coordinator's data, or remove the agent's ledger"
                ),
                detail: None,
            })
        });
        ahead.collect()
    }

    /// What agents say is wrong with their hosts as a whole.
    fn hosts_own(&self) -> impl Iterator<Item = ProblemView> {
        self.hosts.iter().flat_map(|(host, summary)| {
            let problems = summary.full.iter().flat_map(|full| &full.problems);
            problems.map(move |problem| ProblemView { source: format!("host:{host}"), summary: problem.clone(), detail: None })
        })
    }

    /// `GET /v1/hosts`.
    pub fn hosts(&self) -> HostsView {
        let hosts = self.board.hosts.iter().map(|(name, host)| {
            let summary = self.hosts.get(name);
            let full = summary.and_then(|summary| summary.full.as_ref());
            let running =
                full.map_or(0, |full| full.instances.iter().filter(|instance| instance.state == InstanceState::Running).count());
            HostView {
                name: name.clone(),
                liveness: summary.map_or(Liveness::Unknown, |summary| summary.liveness),
                last_seen: summary.and_then(|summary| summary.last_seen),
                labels: host.labels.clone(),
                facts: full.map(|full| full.facts.clone()),
                agent_version: summary.and_then(|summary| summary.agent_version.clone()),
                generation: host.generation,
                accepted: summary.and_then(|summary| summary.accepted),
                running: count(running),
                desired: count(host.assigned.len()),
                problems: full.map(|full| full.problems.clone()).unwrap_or_default(),
            }
        });
        HostsView { now: self.now, hosts: hosts.collect() }
    }
}

/// A name of which nothing is published yet.
fn first_waiting(name: &WorkloadName, waiting: &Waiting) -> WorkloadView {
    WorkloadView {
        name: name.clone(),
        revision: None,
        image: Some(waiting.image.clone()),
        digest: None,
        source: waiting.source.to_string(),
        published_at: None,
        targets: 0,
        ready: 0,
        origin: None,
        reasons: waiting.reason.clone().into_iter().collect(),
        instances: Vec::new(),
        deleting: false,
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
