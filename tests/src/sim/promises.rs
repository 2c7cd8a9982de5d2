//! The promises, and what must be remembered of a run to hold the fleet to them.
//!
//! Checked against what is (the machines, the whole past), never against what an agent or the coordinator believes.

use super::agent::Agent;
use super::machine::Stage;
use super::network::HostState;
use super::scenario::Behaviour;
use super::world::World;
use coord_shared::decide::liveness::LivenessLimits;
use coord_shared::decide::planner::{self, Action, Image, Phase, Plan, Spec, Target, Wanted};
use coord_shared::decide::reason::{AfterUnhealthy, Reason};
use coord_shared::decide::{Mono, Now, backoff};
use coord_shared::document::{RestartPolicy, RolloutOrder};
use coord_shared::names::{ContainerId, Digest, Generation, InstanceId, Revision, WorkloadName};
use coord_shared::wire::InstanceReport;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What the fleet promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// With `stop-first`, a container is only started when no other one of its instance lives.
    OneAtATime,
    /// Nothing old is stopped before the new image is complete on that host.
    ImageFirst,
    /// A container that is as it should be is never stopped: not for a revision that keeps its make, not because an agent or the
    /// coordinator died.
    NoNeedlessStop,
    /// Nothing runs that was neither asked for nor ran before.
    OnlyWhatIsWanted,
    /// At most `parallelism` reachable hosts are between revisions.
    Parallelism,
    /// Generations only grow, and one generation means one content.
    GenerationsGrow,
    /// Revisions that a host is told only grow.
    RevisionsGrow,
    /// A container's name is never used twice on a host.
    NamesOnce,
    /// A kill only follows a request to end, and only after the grace period.
    GraceFirst,
    /// Only what has ended is removed.
    RemovesTheDead,
    /// What its health check finds well is not ended for illness.
    TheWellAreLeftAlone,
    /// What is ill and would be started again is ended within the time that its check allows.
    TheIllAreRestarted,
    /// With `start-first`, what serves is not stopped before another one serves in its place.
    ReadyBeforeItGivesWay,
    /// With `start-first`, what has published ports is not stopped before they lead elsewhere, and whoever is connected has had his time.
    DrainedFirst,
    /// Whatever is not as desired has a reason.
    Reasons,
    /// A reason with a time comes true: by then something is done.
    ReasonsAct,
    /// What is under way is not asked for again.
    AsksOnce,
    /// What is fetched ahead changes nothing else that a host does, and comes after every image that is waited for.
    PrefetchOnlyHelps,
    /// What is being made is not reported as ready.
    ReadyMeansReady,
    /// Without faults, the fleet settles in a bounded time.
    Settles,
    /// One seed is one run.
    Repeats,
}

/// A promise and how it was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The promise.
    pub promise: Promise,
    /// What happened.
    pub detail: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.detail)
    }
}

/// A host that was told another revision, until it is through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Between {
    pub(super) told: Revision,
    /// Whether that replaces its container.
    pub(super) replaces: bool,
}

/// What the checks remember; nobody else looks at it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    names: Vec<BTreeSet<ContainerId>>,
    published: Vec<BTreeMap<Generation, HostState>>,
    accepted: Vec<Generation>,
    /// By workload and host.
    pub(super) between: BTreeMap<(WorkloadName, usize), Between>,
    /// When a report of each host last reached the coordinator.
    pub(super) heard: Vec<Option<Duration>>,
}

impl Memory {
    pub(super) fn new(hosts: usize) -> Self {
        Self {
            names: vec![BTreeSet::new(); hosts],
            published: vec![BTreeMap::new(); hosts],
            accepted: vec![Generation(0); hosts],
            between: BTreeMap::new(),
            heard: vec![None; hosts],
        }
    }
}

impl World {
    /// Ends the run if a promise does not hold.
    pub(super) fn promise(&mut self, holds: bool, promise: Promise, detail: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(Broken { promise, detail: detail() });
        }
    }

    /// Before an agent carries out `action`.
    pub(super) fn check_action(&mut self, host: usize, action: &Action) {
        match action {
            Action::Pull(_) => {}
            Action::Start { container, spec } => self.check_start(host, container, spec),
            Action::Stop { container, is_ill: true, .. } => self.check_illness(host, container),
            Action::Stop { container, .. } => self.check_stop(host, container),
            Action::Kill { container } => {
                let process = self.machines[host].containers.get(container).filter(|process| process.is_alive());
                let due = process.map(|process| process.asked_to_end_at.map(|at| at + process.spec.document.stop_grace_period.0));
                let now = self.now;
                self.promise(due.is_none_or(|due| due.is_some_and(|due| now >= due)), Promise::GraceFirst, || {
                    format!("host-{host} kills {container}, due at {due:?}")
                });
            }
            Action::Remove { container } => {
                let dead = self.machines[host].containers.get(container).is_none_or(|process| !process.is_alive());
                self.promise(dead, Promise::RemovesTheDead, || format!("host-{host} removes {container}, which lives"));
            }
        }
    }

    fn check_start(&mut self, host: usize, container: &ContainerId, spec: &Arc<Spec>) {
        let is_new = self.memory.names[host].insert(container.clone());
        self.promise(is_new, Promise::NamesOnce, || format!("host-{host} starts {container} again"));
        let mut own = self.machines[host].containers.iter().filter(|(id, _)| id.instance == container.instance);
        let other = own.find(|(_, process)| process.is_alive()).map(|(id, _)| id.clone());
        let alone = spec.document.rollout.order == RolloutOrder::StartFirst || other.is_none();
        self.promise(alone, Promise::OneAtATime, || format!("host-{host} starts {container} beside {other:?}"));
        let wanted = self.machines[host].agent.as_ref().and_then(|agent| agent.desired.get(&container.instance));
        let is_wanted = wanted.is_some_and(|wanted| {
            matches!(&wanted.target, Target::Run(target) if target == spec) || wanted.previous.as_ref() == Some(spec)
        });
        self.promise(is_wanted, Promise::OnlyWhatIsWanted, || format!("host-{host} starts {container}, which nobody wants"));
        let is_here = self.machines[host].store.contains(&spec.image.digest);
        self.promise(is_here, Promise::ImageFirst, || format!("host-{host} starts {container} without its image"));
    }

    fn check_stop(&mut self, host: usize, container: &ContainerId) {
        let machine = &self.machines[host];
        let Some(wanted) = machine.agent.as_ref().and_then(|agent| agent.desired.get(&container.instance)) else { return };
        let next = match &wanted.target {
            Target::Run(spec) => Some(spec),
            Target::Rejected { .. } => wanted.previous.as_ref(),
        };
        let Some(next) = next else {
            return self.promise(false, Promise::NoNeedlessStop, || format!("host-{host} stops {container} for nothing"));
        };
        let Some(process) = machine.containers.get(container) else { return };
        let lives = |make: &Digest| {
            let mut own = machine.containers.iter().filter(|(id, _)| id.instance == container.instance);
            own.any(|(_, other)| other.is_alive() && other.spec.fingerprint == *make)
        };
        // A predecessor may still be taking over from its own, while the newest has to wait.
        let previous = wanted.previous.as_ref().filter(|previous| previous.fingerprint != process.spec.fingerprint);
        let gives_way = machine.store.contains(&next.image.digest)
            || lives(&next.fingerprint)
            || previous.is_some_and(|previous| lives(&previous.fingerprint));
        let is_it = process.spec.fingerprint == next.fingerprint;
        let (next, wanted) = (next.clone(), wanted.clone());
        self.check_successor(host, container, &next);
        self.check_drained(host, container, &next, &wanted);
        self.promise(!is_it, Promise::NoNeedlessStop, || format!("host-{host} stops {container}, which is as desired"));
        self.promise(gives_way, Promise::ImageFirst, || {
            format!("host-{host} stops {container} while the image of the next is not here")
        });
    }

    /// After an agent has carried out `plan`: asked again at once, the planner must have nothing to add.
    pub(super) fn check_plan(&mut self, host: usize, plan: &Plan, now: Now) {
        let Some(agent) = &self.machines[host].agent else { return };
        let again = planner::plan(&agent.desired, &agent.ahead, &agent.observed, now);
        let mut earlier = plan.actions.iter().enumerate().map(|(place, action)| (action, &plan.actions[..place]));
        let at_once = earlier.find(|(action, earlier)| is_repeated(action, earlier)).map(|(action, _)| action);
        let twice = at_once.or_else(|| again.actions.iter().find(|action| is_repeated(action, &plan.actions))).cloned();
        let wrong = again.reasons.iter().find(|(id, reason)| !may_rest(agent.desired.get(*id), reason));
        let wrong = wrong.map(|(id, reason)| format!("{id}: {reason}"));
        let silent = silent(agent, &again);
        let wakes_by = |due: Mono| plan.wake_at.is_some_and(|wake| wake <= due);
        // What follows without an event: by its own time, or at once.
        let next = again.wake_at.into_iter().chain(again.actions.first().map(|_| now.mono)).min();
        let sleeps = next.filter(|next| !wakes_by(*next));
        // Nothing that is waited for by time takes longer than a backoff; grace periods are shorter here.
        let far = again.wake_at.filter(|wake| wake.since(now.mono) > backoff::RESTART.max.max(backoff::PULL.max));
        // One that was killed has nothing more to wait for but its end; one that is being made, its start.
        let waits = |id: &InstanceId| {
            let mut own = agent.observed.containers.iter().filter(|(container, _)| container.instance == *id);
            own.any(|(_, c)| matches!(c.phase, Phase::Stopping { killed: true, .. } | Phase::Starting { .. }))
        };
        let by_time = again.reasons.iter().filter(|(id, _)| !waits(id));
        let idle = by_time.filter_map(|(id, reason)| Some((id, reason, reason.due()?)));
        let idle = idle.filter(|(.., due)| again.wake_at.is_none_or(|wake| now.wall_at(wake) > *due));
        let idle = idle.map(|(id, reason, due)| format!("{id}: {reason}, due {due}")).next().filter(|_| again.actions.is_empty());
        self.promise(twice.is_none(), Promise::AsksOnce, || format!("host-{host} asks again for {twice:?}"));
        self.promise(silent.is_none(), Promise::Reasons, || format!("host-{host} says nothing of {silent:?}"));
        self.promise(wrong.is_none(), Promise::Reasons, || format!("host-{host} leaves what it must restart, {wrong:?}"));
        self.promise(sleeps.is_none(), Promise::ReasonsAct, || format!("host-{host} oversleeps {sleeps:?}: {plan:?}"));
        self.promise(far.is_none(), Promise::ReasonsAct, || format!("host-{host} waits until {far:?}: {again:?}"));
        self.promise(idle.is_none(), Promise::ReasonsAct, || format!("host-{host} will not act on {idle:?}"));
    }

    /// Before an agent reports its instances.
    pub(super) fn check_reports(&mut self, host: usize, reports: &[InstanceReport]) {
        let containers = &self.machines[host].containers;
        let is_being_made = |id: &ContainerId| containers.get(id).is_some_and(|process| process.stage == Stage::Making);
        let never = [Behaviour::Ill, Behaviour::Unprepared];
        let is_never_ready =
            |id: &ContainerId| containers.get(id).is_some_and(|process| never.contains(&Behaviour::of(&process.spec.document)));
        let is_early = |id: &ContainerId| is_being_made(id) || is_never_ready(id);
        // What was ended with success in time did its work, whatever became of its health.
        let claims = |report: &&InstanceReport| report.ready && report.reason != Some(Reason::Completed);
        let mut ready = reports.iter().filter(claims);
        let early = ready.find(|report| report.container.as_ref().is_some_and(is_early));
        let early = early.map(|report| report.instance.clone());
        self.promise(early.is_none(), Promise::ReadyMeansReady, || format!("host-{host} reports {early:?} before it runs"));
    }

    /// Before the coordinator offers `state` to anyone.
    pub(super) fn check_published(&mut self, host: usize, state: &HostState) {
        let published = &mut self.memory.published[host];
        let newest = published.last_key_value().map(|(generation, _)| *generation);
        let grows = newest.is_none_or(|newest| state.generation > newest);
        let before = newest.and_then(|newest| published.get(&newest)).cloned();
        published.insert(state.generation, state.clone());
        self.promise(grows, Promise::GenerationsGrow, || {
            format!("generation {} of host-{host} after {newest:?}", state.generation)
        });
        let shrinks = state.instances.iter().find(|(id, spec)| {
            let older = before.as_ref().and_then(|before| before.instances.iter().find(|(other, _)| other == id));
            older.is_some_and(|(_, older)| older.revision > spec.revision)
        });
        self.promise(shrinks.is_none(), Promise::RevisionsGrow, || format!("host-{host} is sent back: {shrinks:?}"));
    }

    /// When an agent is offered `state`. A release that knows nothing of fetching ahead leaves it out.
    pub(super) fn check_offered(&mut self, host: usize, state: &HostState) {
        let published = self.memory.published[host].get(&state.generation);
        let is_published = published.is_some_and(|published| {
            published.instances == state.instances && (published.prefetch == state.prefetch || state.prefetch.is_empty())
        });
        let generation = state.generation;
        self.promise(is_published, Promise::GenerationsGrow, || {
            format!("host-{host} is offered generation {generation} with other content than was published")
        });
    }

    /// When an agent has accepted a new generation.
    pub(super) fn check_accepted(&mut self, host: usize, generation: Generation) {
        let newest = std::mem::replace(&mut self.memory.accepted[host], generation);
        self.promise(generation > newest, Promise::GenerationsGrow, || {
            format!("host-{host} accepts generation {generation} after {newest}")
        });
    }

    /// Before an agent carries out `plan`: without anything to fetch ahead it would do the same, but for one pull that holds up none.
    pub(super) fn check_ahead(&mut self, host: usize, plan: &Plan, now: Now) {
        let Some(agent) = &self.machines[host].agent else { return };
        let without = planner::plan(&agent.desired, &[], &agent.observed, now);
        let more = plan.actions.strip_prefix(without.actions.as_slice());
        let is_pulled = |image: &Image| matches!(image, Image::Pulling { .. });
        let is_busy =
            agent.observed.images.values().any(is_pulled) || without.actions.iter().any(|a| matches!(a, Action::Pull(_)));
        let only_helps = match more {
            Some([]) => true,
            Some([Action::Pull(image)]) => {
                !is_busy && agent.ahead.contains(image) && !self.machines[host].store.contains(&image.digest)
            }
            Some([..]) | None => false,
        };
        self.stats.pulls_ahead += more.map_or(0, |more| more.len() as u64);
        let holds = only_helps && plan.reasons == without.reasons;
        self.promise(holds, Promise::PrefetchOnlyHelps, || format!("host-{host} would do {without:?}, and does {plan:?}"));
    }

    /// When the coordinator tells a host to replace a container that serves. `most` is the parallelism of the newest document.
    pub(super) fn check_turn(&mut self, workload: &WorkloadName, host: usize, told: Revision, most: usize) {
        let lost_after = LivenessLimits::default().lost_after;
        let key = (workload.clone(), host);
        let between = self.memory.between.iter().filter(|(_, between)| between.replaces).map(|(key, _)| key);
        let others = between.filter(|(name, other)| name == workload && *other != host);
        let heard = |host: usize| self.memory.heard[host].is_some_and(|at| self.now.saturating_sub(at) < lost_after);
        let others: Vec<usize> = others.map(|(_, other)| *other).filter(|other| heard(*other)).collect();
        let in_turn = self.memory.between.contains_key(&key) || others.len() < most;
        self.memory.between.insert(key, Between { told, replaces: true });
        self.stats.turns += 1;
        self.promise(in_turn, Promise::Parallelism, || {
            format!("host-{host} is told {workload} r{told} while hosts {others:?} are between revisions; {most} may be")
        });
    }
}

/// An instance that is not as desired, and of which the plan says nothing.
fn silent(agent: &Agent, plan: &Plan) -> Option<InstanceId> {
    let runs = |id: &InstanceId, spec: &Spec| {
        let mut own = agent.observed.containers.iter().filter(|(container, _)| container.instance == *id);
        own.any(|(_, c)| c.fingerprint == spec.fingerprint && c.is_ready())
    };
    let not_yet = agent.desired.iter().filter(|(id, wanted)| !matches!(&wanted.target, Target::Run(spec) if runs(id, spec)));
    let left =
        agent.observed.containers.keys().map(|container| &container.instance).filter(|id| !agent.desired.contains_key(*id));
    not_yet.map(|(id, _)| id).chain(left).find(|id| !plan.reasons.contains_key(*id)).cloned()
}

/// Whether an instance may be left as it ended, if that is what `reason` says of it.
fn may_rest(wanted: Option<&Wanted>, reason: &Reason) -> bool {
    let is_left = |then: &AfterUnhealthy| matches!(then, AfterUnhealthy::Left { .. } | AfterUnhealthy::NotRestarted { .. });
    let is_at_rest = matches!(reason, Reason::Completed | Reason::NotRestarted { .. } | Reason::NotStarted { .. })
        || matches!(reason, Reason::Unhealthy { then, .. } if is_left(then));
    let Some(Wanted { target: Target::Run(spec), .. }) = wanted else { return !is_at_rest };
    !is_at_rest
        || spec.document.restart_policy.max_attempts.is_some()
        || match spec.document.restart {
            RestartPolicy::No | RestartPolicy::OnFailure(Some(_)) => true,
            RestartPolicy::OnFailure(None) => *reason == Reason::Completed,
            RestartPolicy::Always => false,
        }
}

/// Whether the same was already asked for; who carried that out is about to be told of its end.
fn is_repeated(action: &Action, before: &[Action]) -> bool {
    before.iter().any(|other| match (action, other) {
        (Action::Pull(one), Action::Pull(other)) => one.digest == other.digest,
        (Action::Start { container: one, .. }, Action::Start { container: other, .. }) => one.instance == other.instance,
        (Action::Stop { container: one, .. }, Action::Stop { container: other, .. })
        | (Action::Kill { container: one }, Action::Kill { container: other })
        | (Action::Remove { container: one }, Action::Remove { container: other }) => one == other,
        (Action::Pull(_) | Action::Start { .. } | Action::Stop { .. } | Action::Kill { .. } | Action::Remove { .. }, _) => false,
    })
}
