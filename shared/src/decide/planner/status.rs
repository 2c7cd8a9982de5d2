//! What a host says of its instances: derived from what was planned and seen, never kept beside it.

use super::{Container, Desired, End, Observed, Phase, Plan, Target};
use crate::decide::health::Health;
use crate::decide::reason::Reason;
use crate::decide::{Mono, Now};
use crate::names::{ContainerId, InstanceId, Revision};
use crate::wire::{InstanceReport, InstanceState};
use std::collections::BTreeSet;

/// One report for every instance that is desired or still has a container. `arrived` is when the agent first knew of an instance
/// that has no container to tell its age.
pub fn instance_reports(
    desired: &Desired,
    observed: &Observed,
    plan: &Plan,
    arrived: impl Fn(&InstanceId) -> Mono,
    now: Now,
) -> Vec<InstanceReport> {
    let with_container = observed.containers.keys().map(|id| &id.instance);
    let all: BTreeSet<&InstanceId> = desired.keys().chain(with_container).collect();
    all.into_iter().map(|id| instance_report(id, desired, observed, plan, arrived(id), now)).collect()
}

fn instance_report(
    id: &InstanceId,
    desired: &Desired,
    observed: &Observed,
    plan: &Plan,
    arrived: Mono,
    now: Now,
) -> InstanceReport {
    let history = observed.histories.get(id);
    let shown = newest(id, observed, plan);
    let (state, since) = match shown.map(|(_, container)| container.phase) {
        Some(Phase::Starting { since }) => (InstanceState::Starting, since),
        Some(Phase::Running { since }) => (InstanceState::Running, since),
        Some(Phase::Stopping { since, .. }) => (InstanceState::Stopping, since),
        Some(Phase::Exited { at } | Phase::Removing { since: at } | Phase::RemoveFailed { at, .. }) => {
            (InstanceState::Exited, at)
        }
        None => match history.and_then(|history| history.last_end.as_ref()) {
            Some(End::Exited { at, .. } | End::Unhealthy { at, .. }) => (InstanceState::Exited, at.in_this_boot(now.mono)),
            Some(End::StartFailed { at, .. }) => (InstanceState::Pending, at.in_this_boot(now.mono)),
            None => (InstanceState::Pending, arrived),
        },
    };
    // A container of the desired make is the desired revision, whatever revision it was started for; so is what it left behind.
    let target = match desired.get(id).map(|wanted| &wanted.target) {
        Some(Target::Run(spec)) => Some(spec),
        Some(Target::Rejected { .. }) | None => None,
    };
    let make = shown.map(|(_, c)| &c.fingerprint).or(history.map(|history| &history.fingerprint));
    let adopted = target.filter(|spec| make == Some(&spec.fingerprint)).map(|spec| spec.revision);
    let own = shown.map(|(id, _)| id.revision).or(history.map(|history| history.revision));
    let last_exit = history.and_then(|history| history.last_end.as_ref()).and_then(|end| match end {
        End::Exited { exit, .. } => Some(*exit),
        End::StartFailed { .. } | End::Unhealthy { .. } => None,
    });
    let reason = plan.reasons.get(id).cloned();
    // A leftover of another make that still lives is not the one that did its work.
    let lives = shown.is_some_and(|(_, container)| container.phase.is_alive());
    let has_done_its_work = !lives && reason.as_ref().is_some_and(Reason::is_content);
    InstanceReport {
        instance: id.clone(),
        state,
        revision: adopted.or(own),
        ready: shown.is_some_and(|(_, container)| container.is_ready()) || has_done_its_work,
        since: now.wall_at(since),
        restarts: history.map_or(0, |history| history.restarts),
        last_exit,
        container: shown.map(|(id, _)| id.clone()),
        pid: shown.and_then(|(_, container)| container.pid),
        reason,
        health: shown.and_then(|(_, container)| shown_health(container)).map(Health::report),
        loosened: Vec::new(),
        addresses: Vec::new(),
        nested: None,
    }
}

/// What the health check says of a container that is asked.
fn shown_health(container: &Container) -> Option<&Health> {
    container.health.as_ref().filter(|_| matches!(container.phase, Phase::Running { .. }))
}

/// The container that stands for the instance: one that does its work, else the one furthest alive, the newest among equals.
fn newest<'a>(id: &InstanceId, observed: &'a Observed, plan: &Plan) -> Option<(&'a ContainerId, &'a Container)> {
    let rank = |id: &ContainerId, container: &Container| match container.phase {
        Phase::Running { .. } if plan.draining.contains_key(id) => 1,
        Phase::Running { .. } if container.is_ready() => 4,
        Phase::Running { .. } => 3,
        Phase::Starting { .. } => 2,
        Phase::Stopping { .. } => 1,
        Phase::Exited { .. } | Phase::Removing { .. } | Phase::RemoveFailed { .. } => 0,
    };
    // Containers lie in the order of their instances, so that a host full of them is not searched for each of them.
    let first = ContainerId { instance: id.clone(), revision: Revision(0), start: 0 };
    let own = observed.containers.range(first..).take_while(|(container, _)| container.instance == *id);
    own.max_by_key(|(container, c)| (rank(container, c), container.revision, container.start))
}
