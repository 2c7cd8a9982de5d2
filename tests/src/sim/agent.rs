//! An agent: takes in one event at a time, asks the planner, carries out the answer, and writes down what it must not forget.
//!
//! What it writes down is the [`Ledger`]; the rest dies with the process. How it talks to the coordinator is in [`calls`].

mod calls;

use super::doors::Doors;
use super::machine::{Ending, Stage};
use super::network::HostState;
use super::promises::Promise;
use super::scenario;
use super::world::{Event, World};
use coord_shared::decide::planner::{
    self, Action, Container, Desired, History, Image, Observed, Phase, Spec, Target, Traffic, Wanted,
};
use coord_shared::decide::{Mono, Now, restart};
use coord_shared::names::{ContainerId, Digest, InstanceId, PinnedImage};
use coord_shared::wire::Exit;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) use calls::Calls;

/// What survives an agent.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) accepted: Option<HostState>,
    /// What ran before, for instances whose newest revision may not have taken its place.
    previous: BTreeMap<InstanceId, Arc<Spec>>,
    /// Kept for instances that are not desired any more too: a name that was used stays used. Its times are those of the clock of
    /// whichever boot it was.
    histories: BTreeMap<InstanceId, History>,
}

/// An agent process.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) run: u64,
    /// When it started, by the world's clock.
    pub(super) up_since: Duration,
    pub(super) desired: Desired,
    /// What it fetches ahead.
    pub(super) ahead: Vec<PinnedImage>,
    pub(super) observed: Observed,
    /// When an instance was first heard of.
    arrived: BTreeMap<InstanceId, Mono>,
    failed_pulls: BTreeMap<Digest, u32>,
    failed_removals: BTreeMap<ContainerId, u32>,
    timer: u64,
    pub(super) doors: Doors,
    pub(super) calls: Calls,
}

/// What an agent learns of its machine.
#[derive(Debug, Clone)]
pub(super) enum Seen {
    Started { container: ContainerId },
    Hooked { container: ContainerId, fails: bool },
    StartFailed { container: ContainerId },
    Exited { container: ContainerId, end: Ending, at: Duration },
    Removed { container: ContainerId, fails: bool },
    DoorsAreAsWished { number: u64 },
    HalfPulled { digest: Digest },
    Pulled { digest: Digest, fails: bool },
}

impl World {
    /// An agent starts, from the ledger and from what it finds.
    pub(super) fn agent_up(&mut self, host: usize) {
        if !self.machines[host].up || self.machines[host].agent.is_some() {
            return;
        }
        let now = self.host_clock(host);
        let machine = &mut self.machines[host];
        machine.runs += 1;
        let mut agent = Agent {
            run: machine.runs,
            up_since: self.now,
            desired: Desired::new(),
            ahead: Vec::new(),
            observed: Observed { histories: machine.ledger.histories.clone(), ..Observed::default() },
            arrived: BTreeMap::new(),
            failed_pulls: BTreeMap::new(),
            failed_removals: BTreeMap::new(),
            timer: 0,
            doors: Doors::default(),
            calls: Calls::default(),
        };
        agent.observed.images = machine.store.iter().map(|digest| (digest.clone(), Image::Present)).collect();
        if let Some(accepted) = &machine.ledger.accepted {
            agent.desired = desired(accepted, &machine.ledger.previous, machine.is_old_release);
            agent.ahead.clone_from(&accepted.prefetch);
        }
        let found: Vec<_> = machine.containers.iter().map(|(id, process)| (id.clone(), process.clone())).collect();
        self.stats.reattached += u64::from(found.iter().any(|(_, process)| process.is_alive()));
        for (id, process) in found {
            let phase = match process.stage {
                Stage::Making => Phase::Starting { since: now.mono },
                Stage::Alive { since } => Phase::Running { since: Mono(since.saturating_sub(self.machines[host].booted_at)) },
                Stage::Dead { .. } => Phase::Exited { at: now.mono },
            };
            if let Stage::Dead { end: Some(end), at } = process.stage {
                agent.note_found_exit(&id, &process.spec, exit(end, self.wall(at)), now);
            }
            agent.observed.containers.insert(id, container(&process.spec, phase));
        }
        let run = agent.run;
        let running = agent.observed.containers.iter().filter_map(|(id, container)| {
            if let Phase::Running { since } = container.phase { Some((id.clone(), since)) } else { None }
        });
        let running: Vec<_> = running.collect();
        self.machines[host].agent = Some(agent);
        for (id, since) in running {
            let Some(spec) = self.machines[host].containers.get(&id).map(|process| process.spec.clone()) else { continue };
            self.runs(host, &id, &spec, since);
        }
        let delay = self.dice.millis(1, 500);
        self.schedule(delay, Event::PollDue { host, run });
        self.schedule(Duration::from_secs(10), Event::ReportDue { host, run, token: 0 });
        self.act(host);
    }

    pub(super) fn host_clock(&self, host: usize) -> Now {
        self.clock(self.machines[host].booted_at)
    }

    /// News of the machine reach the agent a moment later.
    pub(super) fn tell_agent(&mut self, host: usize, what: Seen) {
        let Some(run) = self.machines[host].agent.as_ref().map(|agent| agent.run) else { return };
        let delay = self.dice.millis(1, 20);
        self.schedule(delay, Event::Seen { host, run, what });
    }

    pub(super) fn agent_sees(&mut self, host: usize, run: u64, what: Seen) {
        let now = self.host_clock(host);
        let wall = match &what {
            Seen::Exited { at, .. } => self.wall(*at),
            Seen::Started { .. }
            | Seen::StartFailed { .. }
            | Seen::Hooked { .. }
            | Seen::Removed { .. }
            | Seen::DoorsAreAsWished { .. }
            | Seen::HalfPulled { .. }
            | Seen::Pulled { .. } => now.wall,
        };
        let Some(agent) = self.machines[host].agent.as_mut().filter(|agent| agent.run == run) else { return };
        match what {
            // The news of its start may be overtaken by that of its end.
            Seen::Started { container } if !matches!(agent.phase(&container), Some(Phase::Starting { .. })) => {}
            Seen::Started { container } => {
                let Some(spec) = self.machines[host].containers.get(&container).map(|process| process.spec.clone()) else {
                    return;
                };
                self.runs(host, &container, &spec, now.mono);
            }
            Seen::Hooked { container, fails } => self.agent_sees_hooks(host, &container, fails),
            Seen::StartFailed { container } => agent.start_failed(&container, now),
            Seen::Exited { container, end, .. } => agent.exited(&container, exit(end, wall), now),
            Seen::Removed { container, fails: false } => {
                agent.observed.containers.remove(&container);
            }
            Seen::Removed { container, fails: true } => agent.remove_failed(&container, now),
            Seen::DoorsAreAsWished { number } => agent.doors_are_as_wished(number, now.mono),
            Seen::HalfPulled { digest } => agent.half_pulled(&digest),
            Seen::Pulled { digest, fails } => agent.pulled(digest, fails, now),
        }
        self.act(host);
    }

    /// The time came at which the last plan asked to be looked at again.
    pub(super) fn agent_timer(&mut self, host: usize, run: u64, token: u64) {
        if self.machines[host].agent.as_ref().is_some_and(|agent| agent.run == run && agent.timer == token) {
            self.act(host);
        }
    }

    /// A host state is offered: an older one is refused, and what is accepted is in the ledger before anything is done about it.
    pub(super) fn offered(&mut self, host: usize, mut state: HostState) {
        self.check_offered(host, &state);
        if self.machines[host].is_old_release {
            state.prefetch.clear();
        }
        let accepted = self.machines[host].ledger.accepted.as_ref();
        match accepted.map_or(std::cmp::Ordering::Greater, |accepted| state.generation.cmp(&accepted.generation)) {
            std::cmp::Ordering::Less => return self.stats.stale_states += 1,
            std::cmp::Ordering::Equal => {
                let is_same = accepted.is_some_and(|accepted| accepted.instances == state.instances);
                self.promise(is_same, Promise::GenerationsGrow, || format!("two contents of {}", state.generation));
                return self.helped(host, state);
            }
            std::cmp::Ordering::Greater => self.check_accepted(host, state.generation),
        }
        let now = self.host_clock(host);
        let machine = &mut self.machines[host];
        let Some(agent) = &mut machine.agent else { return };
        let previous = predecessors(&state, &machine.ledger, &agent.observed);
        let ahead = std::mem::take(&mut agent.ahead);
        let before = std::mem::replace(&mut agent.desired, desired(&state, &previous, machine.is_old_release));
        machine.ledger.previous = previous;
        agent.ahead.clone_from(&state.prefetch);
        machine.ledger.accepted = Some(state);
        agent.arrived.retain(|id, _| agent.desired.contains_key(id));
        for (id, wanted) in &agent.desired {
            agent.arrived.entry(id.clone()).or_insert(now.mono);
            let (Some(Target::Run(old)), Target::Run(new)) = (before.get(id).map(|wanted| &wanted.target), &wanted.target) else {
                continue;
            };
            let runs = agent.observed.containers.iter().any(|(container, c)| container.instance == *id && c.phase.is_alive());
            let is_new_image = old.image.digest != new.image.digest;
            self.stats.prefetched +=
                u64::from(is_new_image && ahead.contains(&new.image) && machine.store.contains(&new.image.digest));
            self.stats.adopted += u64::from(runs && old.fingerprint == new.fingerprint && old.revision != new.revision);
        }
        self.act(host);
    }

    /// What is to be fetched ahead may change under an equal generation, when releases of the coordinator take turns.
    fn helped(&mut self, host: usize, state: HostState) {
        let machine = &mut self.machines[host];
        let Some(agent) = &mut machine.agent else { return };
        if agent.ahead != state.prefetch {
            agent.ahead.clone_from(&state.prefetch);
            machine.ledger.accepted = Some(state);
            self.act(host);
        }
    }

    /// Plans and carries out. That the plan was complete is seen by planning again at once.
    pub(super) fn act(&mut self, host: usize) {
        let now = self.host_clock(host);
        let Some(agent) = &self.machines[host].agent else { return };
        let plan = planner::plan(&agent.desired, &agent.ahead, &agent.observed, now);
        self.stats.plans += 1;
        self.check_ahead(host, &plan, now);
        for action in &plan.actions {
            self.check_action(host, action);
            self.note(|| format!("  host-{host} {}", show(action)));
            self.carry_out(host, action, now);
        }
        self.check_plan(host, &plan, now);
        self.check_the_ill(host);
        self.move_doors(host, &plan);
        let machine = &mut self.machines[host];
        let Some(agent) = &mut machine.agent else { return };
        if machine.ledger.histories != agent.observed.histories {
            machine.ledger.histories.clone_from(&agent.observed.histories);
        }
        agent.timer += 1;
        let arrived = |id: &InstanceId| agent.arrived.get(id).copied().unwrap_or(now.mono);
        let reports = planner::status::instance_reports(&agent.desired, &agent.observed, &plan, arrived, now);
        let (run, token) = (agent.run, agent.timer);
        if let Some(at) = plan.wake_at {
            self.schedule(at.since(now.mono), Event::AgentTimer { host, run, token });
        }
        self.content(host, reports);
    }

    fn carry_out(&mut self, host: usize, action: &Action, now: Now) {
        let machine = &mut self.machines[host];
        let Some(agent) = &mut machine.agent else { return };
        let run = agent.run;
        match action {
            Action::Pull(image) => {
                if let Some(Image::Failed { attempts, .. }) = agent.observed.images.get(&image.digest) {
                    agent.failed_pulls.insert(image.digest.clone(), *attempts);
                }
                agent
                    .observed
                    .images
                    .insert(image.digest.clone(), Image::Pulling { done_bytes: 0, total_bytes: 0, bytes_per_s: 0 });
                self.pull(host, run, image);
            }
            Action::Start { container: id, spec } => {
                let target = agent.desired.get(&id.instance).map(|wanted| &wanted.target);
                let is_newest = matches!(target, Some(Target::Run(target)) if target == spec);
                self.stats.predecessors_restarted += u64::from(!is_newest);
                let history = agent.observed.histories.entry(id.instance.clone());
                history
                    .and_modify(|history| history.note_start(id, &spec.fingerprint))
                    .or_insert_with(|| History::begin(id, spec.fingerprint.clone()));
                agent.observed.containers.insert(id.clone(), container(spec, Phase::Starting { since: now.mono }));
                self.start_process(host, id, spec);
            }
            Action::Stop { container, kill_at, is_ill } => {
                if *is_ill {
                    agent.note_illness(container, now);
                }
                let phase = Phase::Stopping { since: now.mono, kill_at: *kill_at, killed: false };
                agent.set_phase(container, phase);
                self.ask_to_end(host, container);
            }
            Action::Kill { container } => {
                if let Some(Phase::Stopping { since, kill_at, .. }) = agent.phase(container) {
                    agent.set_phase(container, Phase::Stopping { since, kill_at, killed: true });
                }
                self.kill(host, container);
            }
            Action::Remove { container } => {
                if let Some(Phase::RemoveFailed { attempts, .. }) = agent.phase(container) {
                    agent.failed_removals.insert(container.clone(), attempts);
                }
                agent.set_phase(container, Phase::Removing { since: now.mono });
                self.remove(host, run, container);
            }
        }
    }
}

impl Agent {
    pub(super) fn phase(&self, container: &ContainerId) -> Option<Phase> {
        self.observed.containers.get(container).map(|container| container.phase)
    }

    pub(super) fn set_phase(&mut self, container: &ContainerId, phase: Phase) {
        if let Some(container) = self.observed.containers.get_mut(container) {
            container.phase = phase;
            container.in_hooks &= matches!(phase, Phase::Starting { .. });
        }
    }

    fn note_illness(&mut self, id: &ContainerId, now: Now) {
        let Some(container) = self.observed.containers.get(id) else { return };
        let (Some(health), Some(history)) = (&container.health, self.observed.histories.get_mut(&id.instance)) else { return };
        if history.fingerprint == container.fingerprint {
            let was_stable = container.was_stable(now.mono);
            history.note_unhealthy(id, health.failures, health.output.clone(), now.mono, was_stable);
        }
    }

    fn start_failed(&mut self, container: &ContainerId, now: Now) {
        self.observed.containers.remove(container);
        if let Some(history) = self.observed.histories.get_mut(&container.instance) {
            history.note_start_failure("no such command".to_owned(), now.mono);
        }
    }

    /// An end that was asked for is not held against the instance.
    fn exited(&mut self, id: &ContainerId, exit: Exit, now: Now) {
        let Some(container) = self.observed.containers.get(id) else { return };
        let by_itself = match container.phase {
            // Of one that is still starting, the news of its start were overtaken.
            Phase::Running { .. } | Phase::Starting { .. } => true,
            Phase::Stopping { .. } => false,
            Phase::Exited { .. } | Phase::Removing { .. } | Phase::RemoveFailed { .. } => return,
        };
        let (fingerprint, was_stable) = (container.fingerprint.clone(), container.was_stable(now.mono));
        if let Some(history) = self.observed.histories.get_mut(&id.instance) {
            history.forget_life(id);
            if by_itself && history.fingerprint == fingerprint {
                history.note_exit(exit, now.mono, was_stable);
            }
        }
        self.set_phase(id, Phase::Exited { at: now.mono });
    }

    /// One that ended while no agent looked, or that an agent noted just before it died.
    fn note_found_exit(&mut self, id: &ContainerId, spec: &Spec, exit: Exit, now: Now) {
        let history = self.observed.histories.get_mut(&id.instance);
        let is_last = |history: &History| (history.revision, history.last_start) == (id.revision, id.start);
        if let Some(history) = history.filter(|history| history.fingerprint == spec.fingerprint && is_last(history)) {
            history.note_found_exit(id, exit, now.mono);
        }
    }

    fn remove_failed(&mut self, container: &ContainerId, now: Now) {
        let attempts = self.failed_removals.remove(container).unwrap_or(0) + 1;
        self.set_phase(container, Phase::RemoveFailed { at: now.mono, attempts });
    }

    fn half_pulled(&mut self, digest: &Digest) {
        if let Some(image @ Image::Pulling { .. }) = self.observed.images.get_mut(digest) {
            *image = Image::Pulling { done_bytes: 500, total_bytes: 1000, bytes_per_s: 0 };
        }
    }

    fn pulled(&mut self, digest: Digest, fails: bool, now: Now) {
        let attempts = self.failed_pulls.remove(&digest).unwrap_or(0) + 1;
        let failed = || Image::Failed { error: "the registry does not answer".to_owned(), attempts, at: now.mono };
        self.observed.images.insert(digest, if fails { failed() } else { Image::Present });
    }
}

fn exit(end: Ending, at: jiff::Timestamp) -> Exit {
    let (code, signal) = match end {
        Ending::Code(code) => (Some(code), None),
        Ending::Signal(signal) => (None, Some(signal)),
    };
    Exit { code, signal, oom_killed: false, memory_limit: None, at }
}

fn container(spec: &Spec, phase: Phase) -> Container {
    Container {
        fingerprint: spec.fingerprint.clone(),
        image: spec.image.digest.clone(),
        grace: spec.document.stop_grace_period,
        phase,
        pid: None,
        in_hooks: false,
        health: None,
        window: restart::window(&spec.document.restart_policy),
        ports: spec.document.container.ports.clone(),
        traffic: Traffic::default(),
    }
}

fn desired(state: &HostState, previous: &BTreeMap<InstanceId, Arc<Spec>>, is_old_release: bool) -> Desired {
    let target = |spec: &Arc<Spec>| {
        if is_old_release && scenario::needs_a_newer_agent(&spec.document) {
            Target::Rejected { error: "unknown key".to_owned() }
        } else {
            Target::Run(spec.clone())
        }
    };
    let wanted = |id: &InstanceId, spec| Wanted { target: target(spec), previous: previous.get(id).cloned() };
    state.instances.iter().map(|(id, spec)| (id.clone(), wanted(id, spec))).collect()
}

/// What must be remembered as having run before `next`: the make that was started last, or else what was remembered before.
fn predecessors(next: &HostState, ledger: &Ledger, observed: &Observed) -> BTreeMap<InstanceId, Arc<Spec>> {
    let current = |id: &InstanceId| {
        let instances = ledger.accepted.iter().flat_map(|state| &state.instances);
        instances.filter(move |(other, _)| other == id).map(|(_, spec)| spec).next()
    };
    let predecessor = |(id, spec): &(InstanceId, Arc<Spec>)| {
        let remembered = ledger.previous.get(id);
        let make = observed.histories.get(id).map(|history| &history.fingerprint);
        let is_it = |spec: &&Arc<Spec>| Some(&spec.fingerprint) == make;
        let started_last = current(id).filter(is_it).or_else(|| remembered.filter(is_it));
        let previous = started_last.or(remembered).filter(|previous| *previous != spec)?;
        Some((id.clone(), previous.clone()))
    };
    next.instances.iter().filter_map(predecessor).collect()
}

fn show(action: &Action) -> String {
    match action {
        Action::Pull(image) => format!("pulls {}", image.reference),
        Action::Start { container, .. } => format!("starts {container}"),
        Action::Stop { container, .. } => format!("stops {container}"),
        Action::Kill { container } => format!("kills {container}"),
        Action::Remove { container } => format!("removes {container}"),
    }
}
