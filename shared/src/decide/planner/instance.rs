//! The plan for one instance.

use super::start::{StartDecision, start_decision};
use super::{Action, Container, End, Image, Observed, Phase, Plan, Spec, Target, Wanted, stops_first};
use super::{drain, ports};
use crate::decide::health::{Health, Status};
use crate::decide::ports::Taken;
use crate::decide::reason::{AfterUnhealthy, Reason};
use crate::decide::restart;
use crate::decide::{Mono, Now, backoff};
use crate::names::{ContainerId, InstanceId, PinnedImage};
use std::sync::Arc;

/// Plans one instance; what it decides goes into `plan`.
pub(super) struct Planner<'a> {
    pub(super) id: &'a InstanceId,
    /// This instance's containers.
    pub(super) containers: &'a [(&'a ContainerId, &'a Container)],
    pub(super) observed: &'a Observed,
    pub(super) now: Now,
    pub(super) plan: &'a mut Plan,
}

impl Planner<'_> {
    /// The instance is desired.
    pub(super) fn keep(mut self, wanted: &Wanted) {
        let (active, not_yet) = self.choose(wanted);
        self.remove_exited();
        match active {
            Some(spec) => self.run(&spec, not_yet.is_some()),
            // Nothing that could be started: what runs is left alone, but one that was told to end is still seen to its end.
            None => self.see_stops_through(),
        }
        if let Some(reason) = not_yet {
            self.plan.reasons.insert(self.id.clone(), reason);
        }
    }

    /// The instance is not desired here any more: everything of it goes.
    pub(super) fn wind_down(mut self) {
        self.remove_exited();
        let reason = match self.stop_all(|_| true) {
            Some(kill_at) => Reason::Stopping { kill_at: self.now.wall_at(kill_at) },
            None => self.removing(),
        };
        self.plan.reasons.insert(self.id.clone(), reason);
    }

    /// How far the removal of the last of it is: the first failure, if there is one.
    fn removing(&self) -> Reason {
        let failed = self.containers.iter().find_map(|(_, container)| match container.phase {
            Phase::RemoveFailed { at, attempts } => {
                let retry_at = self.now.wall_at(at.after(backoff::PULL.delay(attempts)));
                Some(Reason::RemoveFailed { attempts, retry_at })
            }
            Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping { .. }
            | Phase::Exited { .. }
            | Phase::Removing { .. } => None,
        });
        failed.unwrap_or(Reason::Removing)
    }

    /// The make that should run now, and why it is not the one that was asked for.
    fn choose(&mut self, wanted: &Wanted) -> (Option<Arc<Spec>>, Option<Reason>) {
        let previous =
            wanted.previous.as_ref().filter(|spec| matches!(self.observed.images.get(&spec.image.digest), Some(Image::Present)));
        let spec = match &wanted.target {
            Target::Run(spec) => spec,
            Target::Rejected { error } => return (previous.cloned(), Some(Reason::DocumentRejected { error: error.clone() })),
        };
        // Where this very make was started before, what came before it is history, even if the image was lost since.
        let has_run = self.observed.histories.get(self.id).is_some_and(|history| history.fingerprint == spec.fingerprint);
        let previous = previous.filter(|_| !has_run);
        // A container of this very make needs no image to go on.
        let already_runs = self.containers.iter().any(|(_, c)| c.fingerprint == spec.fingerprint && c.phase.is_alive());
        match self.image_or_reason(&spec.image) {
            None => (Some(spec.clone()), None),
            Some(_) if already_runs => (Some(spec.clone()), None),
            Some(reason) => (previous.cloned(), Some(reason)),
        }
    }

    /// `None` once the image is complete and verified; until then what it waits for, with a pull asked for when one is due.
    fn image_or_reason(&mut self, image: &PinnedImage) -> Option<Reason> {
        match self.observed.images.get(&image.digest) {
            Some(Image::Present) => None,
            Some(Image::Pulling { done_bytes, total_bytes, bytes_per_s }) => {
                Some(Reason::Pulling { done_bytes: *done_bytes, total_bytes: *total_bytes, bytes_per_s: *bytes_per_s })
            }
            Some(Image::Failed { error, attempts, at }) => {
                let due = at.after(backoff::PULL.delay(*attempts));
                if self.now.mono >= due {
                    self.plan.actions.push(Action::Pull(image.clone()));
                } else {
                    self.plan.wake(due);
                }
                Some(Reason::PullFailed { error: error.clone(), attempts: *attempts, retry_at: self.now.wall_at(due) })
            }
            None => {
                self.plan.actions.push(Action::Pull(image.clone()));
                Some(Reason::Pulling { done_bytes: 0, total_bytes: 0, bytes_per_s: 0 })
            }
        }
    }

    /// Brings the instance to exactly one live container of this make. One that only goes on until the newest can take its place
    /// takes nobody else's: what lives beside it is left alone until it runs.
    fn run(&mut self, spec: &Arc<Spec>, only_goes_on: bool) {
        let current = self.containers.iter().find(|(_, c)| c.fingerprint == spec.fingerprint && c.phase.is_alive());
        let Some((current, container)) = current else {
            return self.start(spec, only_goes_on);
        };
        let current = *current;
        match container.phase {
            Phase::Running { .. } => match &container.health {
                Some(health) if health.status == Status::Starting => {
                    self.make_room_for(current, spec, only_goes_on);
                    let output = health.output.clone();
                    self.plan.reasons.insert(self.id.clone(), Reason::WaitingForHealth { output });
                }
                Some(health) if health.status == Status::Unhealthy => {
                    self.answer_illness(current, container, health, spec, only_goes_on);
                }
                Some(_) | None => self.take_over(current, spec),
            },
            Phase::Starting { .. } => {
                self.make_room_for(current, spec, only_goes_on);
                self.plan.reasons.insert(self.id.clone(), Reason::Starting);
            }
            Phase::Stopping { kill_at, .. } => {
                // Asked to end, and now wanted again: it is seen to its end, and a new one follows.
                self.see_stops_through();
                let reason = self.why_it_stops(current, self.now.wall_at(kill_at));
                self.plan.reasons.insert(self.id.clone(), reason);
            }
            Phase::Exited { .. } | Phase::Removing { .. } | Phase::RemoveFailed { .. } => {}
        }
    }

    /// `current` does its work: everything else ends, once nobody is served by it any more.
    fn take_over(&mut self, current: &ContainerId, spec: &Spec) {
        let others = self.containers.iter().filter(|(id, _)| *id != current);
        let draining: Vec<_> =
            others.filter_map(|(id, container)| Some((*id, drain::draining(container, spec, self.now.mono)?))).collect();
        self.stop_all(|id| id != current && draining.iter().all(|(draining, _)| *draining != id));
        for (id, one) in draining {
            if let Some(at) = one.look_at {
                self.plan.wake(at);
            }
            let until = one.until.map(|until| self.now.wall_at(until));
            self.plan.reasons.insert(self.id.clone(), Reason::Draining { until, connections: one.connections });
            self.plan.draining.insert(id.clone(), one.stage);
        }
    }

    /// `current` is on its way: with `stop-first`, nothing lives beside it.
    fn make_room_for(&mut self, current: &ContainerId, spec: &Spec, only_goes_on: bool) {
        if stops_first(spec) && !only_goes_on {
            self.stop_all(|id| id != current);
        } else {
            self.see_stops_through();
        }
    }

    /// `current` is ill. It is ended where its policy starts it again, and left as it is where nothing would follow.
    fn answer_illness(&mut self, current: &ContainerId, container: &Container, health: &Health, spec: &Spec, only_goes_on: bool) {
        let document = &spec.document;
        let before = self.observed.histories.get(self.id).filter(|history| history.fingerprint == spec.fingerprint);
        let is_noted = before.is_some_and(|history| history.ended_as_ill(current));
        let before = before.map_or(0, |history| history.failures);
        let failures = if is_noted { before } else { restart::count_failure(before, container.was_stable(self.now.mono)) };
        let then = match restart::after_failure(document.restart, &document.restart_policy, failures) {
            Ok(_) => {
                let kill_at = self.stop(|id| id == current, true).unwrap_or(self.now.mono);
                AfterUnhealthy::Stopping { kill_at: self.now.wall_at(kill_at) }
            }
            Err(bound) => {
                self.make_room_for(current, spec, only_goes_on);
                AfterUnhealthy::Left { policy: bound.to_string() }
            }
        };
        let reason = Reason::Unhealthy { failures: health.failures, output: health.output.clone(), then };
        self.plan.reasons.insert(self.id.clone(), reason);
    }

    /// Why a container of the very make that is wanted was asked to end.
    fn why_it_stops(&self, container: &ContainerId, kill_at: jiff::Timestamp) -> Reason {
        match self.observed.histories.get(self.id).and_then(|history| history.last_end.as_ref()) {
            Some(End::Unhealthy { container: ill, failures, output, .. }) if ill == container => {
                let then = AfterUnhealthy::Stopping { kill_at };
                Reason::Unhealthy { failures: *failures, output: output.clone(), then }
            }
            Some(_) | None => Reason::StoppingPrevious { kill_at },
        }
    }

    /// No container of this make lives: starts one, or says why not now.
    fn start(&mut self, spec: &Arc<Spec>, only_goes_on: bool) {
        match start_decision(spec, self.observed.histories.get(self.id), self.now) {
            StartDecision::Now => {
                if let Some(taken) = ports::taken(self.id, spec, self.observed, self.plan) {
                    return self.wait_for_port(taken);
                }
                let others_alive = self.containers.iter().any(|(_, c)| c.phase.is_alive());
                if others_alive && only_goes_on {
                    return self.see_stops_through();
                }
                if others_alive && stops_first(spec) {
                    if let Some(kill_at) = self.stop_all(|_| true) {
                        let kill_at = self.now.wall_at(kill_at);
                        self.plan.reasons.insert(self.id.clone(), Reason::StoppingPrevious { kill_at });
                    }
                    return;
                }
                self.see_stops_through();
                let container = self.next_container(spec);
                self.plan.actions.push(Action::Start { container, spec: spec.clone() });
                self.plan.reasons.insert(self.id.clone(), Reason::Starting);
            }
            StartDecision::At(due, reason) => {
                self.plan.wake(due);
                self.plan.reasons.insert(self.id.clone(), reason);
                self.see_stops_through();
            }
            StartDecision::Never(reason) => {
                // What was to take over and never became ready takes nobody's place.
                let takes_over = !only_goes_on && (stops_first(spec) || reason.is_content());
                self.plan.reasons.insert(self.id.clone(), reason);
                self.stop_all(|_| takes_over);
            }
        }
    }

    /// Somebody else has a port that it wants. Nothing is stopped for what cannot start.
    fn wait_for_port(&mut self, taken: Taken) {
        if taken.is_program {
            self.plan.wake(self.now.mono.after(ports::LOOK_AGAIN));
        }
        let Taken { door, by, .. } = taken;
        self.plan.reasons.insert(self.id.clone(), Reason::PortTaken { port: door.port, protocol: door.protocol, by });
        self.see_stops_through();
    }

    /// A name for the next container that none before it had.
    fn next_container(&self, spec: &Spec) -> ContainerId {
        let seen = self.containers.iter().filter(|(id, _)| id.revision == spec.revision).map(|(id, _)| id.start);
        let noted = self.observed.histories.get(self.id).filter(|h| h.revision == spec.revision).map(|h| h.last_start);
        let last = seen.chain(noted).max().unwrap_or(0);
        ContainerId { instance: self.id.clone(), revision: spec.revision, start: last.saturating_add(1) }
    }

    fn remove_exited(&mut self) {
        for (id, container) in self.containers {
            match container.phase {
                Phase::Exited { .. } => self.plan.actions.push(Action::Remove { container: (*id).clone() }),
                Phase::RemoveFailed { at, attempts } => {
                    let due = at.after(backoff::PULL.delay(attempts));
                    if self.now.mono >= due {
                        self.plan.actions.push(Action::Remove { container: (*id).clone() });
                    } else {
                        self.plan.wake(due);
                    }
                }
                Phase::Starting { .. } | Phase::Running { .. } | Phase::Stopping { .. } | Phase::Removing { .. } => {}
            }
        }
    }

    /// Kills what was asked to end and has used up its time.
    fn see_stops_through(&mut self) {
        self.stop_all(|_| false);
    }

    /// Asks the chosen running containers to end, and sees every stop to its end. Returns when the last of the chosen ones will be
    /// killed, or `None` if none of them is alive. One that is still being made is stopped once it runs.
    fn stop_all(&mut self, chosen: impl Fn(&ContainerId) -> bool) -> Option<Mono> {
        self.stop(chosen, false)
    }

    /// The same; `is_ill` says why.
    fn stop(&mut self, chosen: impl Fn(&ContainerId) -> bool, is_ill: bool) -> Option<Mono> {
        let mut last = None;
        for (id, container) in self.containers {
            let kill_at = match container.phase {
                Phase::Running { .. } | Phase::Starting { .. } if chosen(id) && can_be_asked(container) => {
                    let kill_at = self.now.mono.after(container.grace.0);
                    self.plan.actions.push(Action::Stop { container: (*id).clone(), kill_at, is_ill });
                    self.plan.wake(kill_at);
                    kill_at
                }
                Phase::Stopping { kill_at, killed, .. } => {
                    if !killed && self.now.mono >= kill_at {
                        self.plan.actions.push(Action::Kill { container: (*id).clone() });
                    } else if !killed {
                        self.plan.wake(kill_at);
                    }
                    kill_at
                }
                Phase::Starting { .. } if chosen(id) => self.now.mono.after(container.grace.0),
                Phase::Running { .. }
                | Phase::Starting { .. }
                | Phase::Exited { .. }
                | Phase::Removing { .. }
                | Phase::RemoveFailed { .. } => continue,
            };
            if chosen(id) {
                last = last.max(Some(kill_at));
            }
        }
        last
    }
}

/// Whether its command runs, so that it can be asked to end.
fn can_be_asked(container: &Container) -> bool {
    container.in_hooks || matches!(container.phase, Phase::Running { .. })
}
