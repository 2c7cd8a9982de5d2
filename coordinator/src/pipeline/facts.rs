//! Facts: what decisions see of a run, from its record, the hosts' board and their reports.

use super::model::Known;
use super::records::RunRecord;
use crate::control::Board;
use crate::hosts::BuilderView;
use coord_shared::decide::pipeline::{RolloutFacts, RunFacts};
use coord_shared::names::{HostName, WorkloadName};
use coord_shared::wire::Deployed;
use std::collections::BTreeMap;
use std::time::Duration;

/// One run.
pub(super) fn run_facts(run: &Known<RunRecord>, rollout: Option<RolloutFacts>) -> RunFacts {
    RunFacts {
        state: run.record.state,
        settings: run.settings.clone(),
        builder: run.record.builder.clone(),
        attempt: run.record.attempt,
        at: run.record.at,
        cancelled_at: run.record.cancel.as_ref().map(|cancel| cancel.at),
        archive: run.record.archive.as_ref().map(|archive| archive.digest.clone()),
        rollout,
        is_told: run.record.told,
    }
}

/// How far the hosts are with what was published. A host that is away is not waited for.
pub(super) fn rollout_facts(deployed: &Deployed, board: &Board, builders: &BTreeMap<HostName, BuilderView>) -> RolloutFacts {
    let name: &WorkloadName = &deployed.workload;
    let workload = board.workloads.get(name);
    let mut facts = RolloutFacts {
        revision: deployed.revision,
        newest: workload.map(|workload| workload.record.newest),
        is_deleted: workload.is_some_and(|workload| workload.record.deleted && workload.record.newest > deployed.revision),
        targets: 0,
        waiting: BTreeMap::new(),
        stuck_for: Duration::ZERO,
    };
    for (host, target) in workload.into_iter().flat_map(|workload| &workload.targets) {
        facts.targets = facts.targets.saturating_add(1);
        let is_away = builders.get(host).is_some_and(|view| view.liveness.is_away());
        if !target.is_ready && !is_away {
            let reported = builders.get(host).and_then(|view| view.full.as_ref()).and_then(|full| {
                let report = full.instances.iter().find(|report| report.instance.workload == *name)?;
                report.reason.as_ref().map(ToString::to_string)
            });
            let why = reported.or_else(|| target.reason.as_ref().map(ToString::to_string));
            facts.waiting.insert(host.clone(), why.unwrap_or_default());
        }
    }
    facts
}
