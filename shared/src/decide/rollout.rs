//! Rollout: which host runs which revision of a workload now.
//!
//! Called on every change and on a timer, with nothing remembered between calls but what each host was last told. The promises:
//!
//! - No more than `parallelism` hosts that are not lost are between revisions at a time. A host counts from the moment it is told
//!   until it has been ready in the new revision for `monitor`.
//! - A host that is lost does not hold up the others, and is not told either: when it returns it waits for its turn like everyone.
//! - A host that runs nothing of the workload yet disturbs nobody, and is told at once; so is one whose container stays as it is.
//! - "No report" is never taken for "down": a host that has not reported since the coordinator started (`Unknown`) holds its place
//!   until it does, or is lost.

use super::liveness::Liveness;
use super::reason::Reason;
use super::{Mono, Now};
use crate::document::Rollout;
use crate::names::{HostName, Revision};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetState {
    /// Whether its reports are fresh. `Unknown` as long as the coordinator holds no full report of it, and [`Liveness::Lost`] when it
    /// has waited for one in vain (see [`super::liveness::liveness_since`]).
    pub liveness: Liveness,
    /// The revision that it was last told to run; `None` if none.
    pub assigned: Option<Revision>,
    /// Whether that revision makes the same container as the newest one, so that moving on disturbs nothing.
    pub same_container: bool,
    /// The revision that it reports as ready, and since when (by the coordinator's monotonic clock) it does without a break.
    pub ready: Option<(Revision, Mono)>,
}

/// The answer for one workload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RolloutPlan {
    /// What each target should be told to run.
    pub assign: BTreeMap<HostName, Revision>,
    /// Targets whose turn for the newest revision has yet to come: they may fetch its image meanwhile. A host that is not heard of
    /// stays among them, so that nothing is told anew because a coordinator starts.
    pub prefetch: BTreeSet<HostName>,
    /// Why a target is not (known to be) ready in the newest revision.
    pub reasons: BTreeMap<HostName, Reason>,
    /// When to decide again although nothing has changed.
    pub wake_at: Option<Mono>,
}

/// Decides which target runs which revision. `newest` is the workload's newest published revision.
pub fn rollout(newest: Revision, policy: &Rollout, targets: &BTreeMap<HostName, TargetState>, now: Now) -> RolloutPlan {
    let mut plan = RolloutPlan::default();
    let mut in_turn: Vec<HostName> = Vec::new();
    let mut queue: Vec<(bool, Reverse<Revision>, &HostName)> = Vec::new();
    for (host, target) in targets {
        match target.assigned {
            // Nothing there yet: there is nothing to disturb, and nobody to wait for.
            None => {
                plan.assign.insert(host.clone(), newest);
                plan.reasons.insert(host.clone(), waiting_for_host(target, newest));
            }
            Some(assigned) if assigned >= newest => {
                plan.assign.insert(host.clone(), assigned);
                match progress(target, newest, policy, now) {
                    Progress::Through => {}
                    Progress::Watched(until) => {
                        plan.wake_at = Some(plan.wake_at.map_or(until, |at: Mono| at.min(until)));
                        if !target.liveness.is_away() {
                            in_turn.push(host.clone());
                        }
                        plan.reasons.insert(host.clone(), Reason::Monitoring { until: now.wall_at(until) });
                    }
                    Progress::NotReady => {
                        if !target.liveness.is_away() {
                            in_turn.push(host.clone());
                        }
                        plan.reasons.insert(host.clone(), waiting_for_host(target, newest));
                    }
                }
            }
            Some(assigned) if target.same_container => {
                // It may still be on its way to that very container, and holds its place until it is through.
                if !target.liveness.is_away() && !matches!(progress(target, assigned, policy, now), Progress::Through) {
                    in_turn.push(host.clone());
                }
                plan.assign.insert(host.clone(), newest);
                plan.reasons.insert(host.clone(), waiting_for_host(target, newest));
            }
            Some(assigned) => {
                plan.assign.insert(host.clone(), assigned);
                if target.liveness.is_reachable() {
                    let is_settled = matches!(progress(target, assigned, policy, now), Progress::Through);
                    queue.push((is_settled, Reverse(assigned), host));
                } else if target.liveness.is_away() {
                    plan.reasons.insert(host.clone(), Reason::WaitingForTurn { revision: newest, after: Vec::new() });
                } else {
                    // It may be between older revisions.
                    in_turn.push(host.clone());
                    plan.reasons.insert(host.clone(), Reason::HostUnknown);
                }
            }
        }
    }
    // A host that is between older revisions, or does not serve steadily anyway, goes first: moving it on disturbs no further host, and may
    // mend it. Of these, those that were told last were told for a reason that may still stand.
    queue.sort();
    let free = policy.parallelism.of(targets.len()).saturating_sub(in_turn.len());
    for (place, (.., host)) in queue.iter().enumerate() {
        if place < free {
            plan.assign.insert((*host).clone(), newest);
            plan.reasons.insert((*host).clone(), Reason::WaitingForHost { revision: newest });
            in_turn.push((*host).clone());
        }
    }
    let waiting = queue.split_off(free.min(queue.len()));
    if waiting.is_empty() {
        // Nobody's turn hangs on it: a host that is ready has nothing more to explain.
        plan.reasons.retain(|_, reason| !matches!(reason, Reason::Monitoring { .. }));
    }
    for (.., host) in waiting {
        plan.reasons.insert(host.clone(), Reason::WaitingForTurn { revision: newest, after: in_turn.clone() });
    }
    plan.prefetch = plan.assign.iter().filter(|(_, told)| **told < newest).map(|(host, _)| host.clone()).collect();
    plan
}

enum Progress {
    /// Ready in the new revision for long enough.
    Through,
    /// Ready, and watched until then.
    Watched(Mono),
    NotReady,
}

fn progress(target: &TargetState, newest: Revision, policy: &Rollout, now: Now) -> Progress {
    match target.ready {
        Some((revision, since)) if revision >= newest => {
            let until = since.after(policy.monitor.0);
            if now.mono >= until { Progress::Through } else { Progress::Watched(until) }
        }
        Some(_) | None => Progress::NotReady,
    }
}

fn waiting_for_host(target: &TargetState, revision: Revision) -> Reason {
    match target.liveness {
        Liveness::Unknown => Reason::HostUnknown,
        Liveness::Ready | Liveness::Late | Liveness::Lost => Reason::WaitingForHost { revision },
    }
}

#[cfg(test)]
mod tests;
