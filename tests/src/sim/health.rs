//! Hooks and health in the sim: whether a process really is well, and an agent that asks it by the real schedule and judgement.

use super::agent::{Agent, Seen};
use super::machine::{Process, Stage};
use super::promises::Promise;
use super::scenario::Behaviour;
use super::world::{Event, World};
use coord_shared::decide::Mono;
use coord_shared::decide::health::{Check, Health, Outcome, Status};
use coord_shared::decide::planner::{self, Phase, Spec, Target};
use coord_shared::decide::restart;
use coord_shared::document::RolloutOrder;
use coord_shared::names::ContainerId;
use std::time::Duration;

/// How long an agent may take to see what a process is, the news of its end included.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

/// The check of a document, if it has one; images have none here.
pub(super) fn check(spec: &Spec) -> Option<Check> {
    Check::merge(spec.document.healthcheck.as_ref(), None)
}

impl Process {
    /// Whether its command runs and does its work at `now`.
    pub(super) fn is_well(&self, now: Duration) -> bool {
        let Stage::Alive { since } = self.stage else { return false };
        let age = now.saturating_sub(since);
        match Behaviour::of(&self.spec.document) {
            Behaviour::Ill => false,
            Behaviour::Ails => age >= Duration::from_secs(1) && self.ails_after.is_none_or(|after| age < after),
            Behaviour::Warms => age >= Duration::from_secs(8),
            Behaviour::Serves
            | Behaviour::Slow
            | Behaviour::Stubborn
            | Behaviour::Crashes
            | Behaviour::Works
            | Behaviour::Missing
            | Behaviour::Prepares
            | Behaviour::Unprepared => true,
        }
    }

    /// Since when it runs and is ill, if it will not become well any more.
    fn ill_since(&self) -> Option<Duration> {
        let Stage::Alive { since } = self.stage else { return None };
        match Behaviour::of(&self.spec.document) {
            Behaviour::Ill => Some(since),
            Behaviour::Ails => self.ails_after.map(|after| since + after),
            Behaviour::Warms
            | Behaviour::Serves
            | Behaviour::Slow
            | Behaviour::Stubborn
            | Behaviour::Crashes
            | Behaviour::Works
            | Behaviour::Missing
            | Behaviour::Prepares
            | Behaviour::Unprepared => None,
        }
    }

    /// The longest that its check takes to find out, when it runs by an agent that lives.
    fn found_out_within(&self) -> Duration {
        check(&self.spec)
            .map_or(Duration::ZERO, |check| check.start_period.0 + check.interval.0 * (check.retries + 2) + SEEN_WITHIN)
    }
}

impl World {
    /// Its command runs. Its hooks come next, and then it is asked.
    pub(super) fn runs(&mut self, host: usize, id: &ContainerId, spec: &Spec, since: Mono) {
        let now = self.host_clock(host);
        let Some(agent) = &mut self.machines[host].agent else { return };
        let life = agent.observed.histories.get(&id.instance).map(|history| history.life(id)).unwrap_or_default();
        if !spec.document.post_start.is_empty() && !life.hooks_done {
            agent.set_phase(id, Phase::Starting { since: now.mono });
            agent.set_in_hooks(id, true);
            return self.run_hooks(host, id, spec);
        }
        agent.set_in_hooks(id, false);
        agent.set_phase(id, Phase::Running { since });
        let Some(check) = check(spec) else { return };
        let was_ill = agent.observed.histories.get(&id.instance).is_some_and(|history| history.ended_as_ill(id));
        let health = match was_ill {
            true => Health { status: Status::Unhealthy, ..Health::starting(now.mono) },
            false if life.healthy => Health::healthy(since),
            false => Health::starting(since),
        };
        let run = agent.run;
        agent.set_health(id, health.clone());
        let delay = check.first_pause(&health, self.dice.share());
        self.schedule(delay, Event::Asked { host, run, container: id.clone() });
    }

    fn run_hooks(&mut self, host: usize, id: &ContainerId, spec: &Spec) {
        let Some(run) = self.machines[host].agent.as_ref().map(|agent| agent.run) else { return };
        let fails = Behaviour::of(&spec.document) == Behaviour::Unprepared;
        let delay = self.dice.millis(50, 20_000);
        self.schedule(delay, Event::Hooked { host, run, container: id.clone(), fails });
    }

    /// The hooks came to their end, if the agent that ran them lives.
    pub(super) fn hooked(&mut self, host: usize, run: u64, container: ContainerId, fails: bool) {
        if self.machines[host].agent.as_ref().is_some_and(|agent| agent.run == run) {
            self.tell_agent(host, Seen::Hooked { container, fails });
        }
    }

    pub(super) fn agent_sees_hooks(&mut self, host: usize, id: &ContainerId, fails: bool) {
        let now = self.host_clock(host);
        let Some(spec) = self.machines[host].containers.get(id).map(|process| process.spec.clone()) else { return };
        let Some(agent) = &mut self.machines[host].agent else { return };
        let in_hooks = agent.observed.containers.get(id).is_some_and(|container| container.in_hooks);
        let Some(Phase::Starting { since }) = agent.phase(id).filter(|_| in_hooks) else { return };
        if fails {
            self.stats.hooks_failed += 1;
            if let Some(history) = agent.observed.histories.get_mut(&id.instance) {
                history.note_start_failure("a hook failed".to_owned(), now.mono);
            }
            let kill_at = now.mono.after(spec.document.stop_grace_period.0);
            agent.set_phase(id, Phase::Stopping { since: now.mono, kill_at, killed: false });
            agent.set_in_hooks(id, false);
            return self.ask_to_end(host, id);
        }
        agent.note_life(id, |life| life.hooks_done = true);
        self.runs(host, id, &spec, since);
    }

    /// An agent asks a container whether it is well.
    pub(super) fn asked(&mut self, host: usize, run: u64, id: ContainerId) {
        let now = self.host_clock(host);
        let at = self.now;
        let machine = &mut self.machines[host];
        let Some(process) = machine.containers.get(&id) else { return };
        let Some(agent) = machine.agent.as_mut().filter(|agent| agent.run == run) else { return };
        let (Some(check), Some(Phase::Running { since })) = (check(&process.spec), agent.phase(&id)) else { return };
        let Some(before) = agent.observed.containers.get(&id).and_then(|container| container.health.clone()) else { return };
        let outcome = match process.stage {
            Stage::Alive { .. } if process.is_well(at) => Outcome::Well,
            Stage::Alive { .. } => Outcome::Ill("it does not answer".to_owned()),
            Stage::Making | Stage::Dead { .. } => Outcome::Unknown,
        };
        let health = before.judge(&check, since, now.mono, outcome);
        let (is_news, is_other) = (health.is_news(&before), health.status != before.status);
        let pause = check.pause(&health, since, now.mono);
        let healthy = health.status == Status::Healthy;
        agent.set_health(&id, health);
        if is_other {
            agent.note_life(&id, |life| life.healthy = healthy);
        }
        self.schedule(pause, Event::Asked { host, run, container: id });
        if is_news {
            self.act(host);
        }
    }

    /// Before an agent stops a container for being ill.
    pub(super) fn check_illness(&mut self, host: usize, id: &ContainerId) {
        let now = self.now;
        let Some(process) = self.machines[host].containers.get(id) else { return };
        let is_ill = !process.is_well(now);
        let policy = (process.spec.document.restart, process.spec.document.restart_policy);
        self.stats.ended_as_ill += 1;
        self.promise(is_ill, Promise::TheWellAreLeftAlone, || {
            format!("host-{host} ends {id} as ill ({policy:?}), which is well")
        });
    }

    /// Before an agent stops a container that serves, to give its place to another one: with `start-first`, that one serves.
    pub(super) fn check_successor(&mut self, host: usize, id: &ContainerId, next: &Spec) {
        let now = self.now;
        let machine = &self.machines[host];
        let Some(process) = machine.containers.get(id) else { return };
        let Some(agent) = &machine.agent else { return };
        let has_history =
            agent.observed.histories.get(&id.instance).is_some_and(|history| history.fingerprint == next.fingerprint);
        // A job that did its work has taken over, and is gone.
        let is_job = Behaviour::of(&next.document) == Behaviour::Works && has_history;
        // It is asked only so often, and news take a moment: what the agent has had no time to see does not count.
        let is_believed = |id: &ContainerId| agent.observed.containers.get(id).is_some_and(planner::Container::is_ready);
        let serves = |(id, other): (&ContainerId, &Process)| match other.stage {
            Stage::Making => false,
            Stage::Alive { .. } if other.is_well(now) => true,
            Stage::Alive { .. } => is_believed(id) && other.ill_since().is_some_and(|ill| now < ill + other.found_out_within()),
            Stage::Dead { at, .. } => is_believed(id) && now < at + SEEN_WITHIN,
        };
        let mut own = machine.containers.iter().filter(|(other, _)| other.instance == id.instance && *other != id);
        let has_successor = own.any(serves);
        let start_first = next.document.rollout.order == RolloutOrder::StartFirst;
        let holds = !start_first || is_job || has_successor || !process.is_well(now);
        self.stats.gave_way += u64::from(start_first && has_successor && check(next).is_some());
        self.promise(holds, Promise::ReadyBeforeItGivesWay, || {
            format!("host-{host} stops {id}, which serves, and nothing serves in its place")
        });
    }

    /// After an agent has acted: whoever is ill for long, and would be started again, is on its way out.
    pub(super) fn check_the_ill(&mut self, host: usize) {
        let now = self.now;
        let machine = &self.machines[host];
        let Some(agent) = &machine.agent else { return };
        let forgotten = machine.containers.iter().find(|(id, process)| {
            let Some(ill_since) = process.ill_since() else { return false };
            let Some(Target::Run(spec)) = agent.desired.get(&id.instance).map(|wanted| &wanted.target) else { return false };
            let history = agent.observed.histories.get(&id.instance).filter(|history| history.fingerprint == spec.fingerprint);
            let (policy, settings) = (spec.document.restart, &spec.document.restart_policy);
            let failures = history.map_or(0, |history| history.failures).saturating_add(1);
            let is_restarted = restart::after_failure(policy, settings, failures).is_ok();
            let late = now > ill_since.max(agent.up_since) + process.found_out_within();
            let runs_on = matches!(agent.phase(id), Some(Phase::Running { .. }));
            late && runs_on && is_restarted && spec.fingerprint == process.spec.fingerprint
        });
        let forgotten = forgotten.map(|(id, _)| id.clone());
        self.promise(forgotten.is_none(), Promise::TheIllAreRestarted, || {
            format!("host-{host} leaves {forgotten:?}, which is ill")
        });
    }
}

impl Agent {
    fn set_health(&mut self, id: &ContainerId, health: Health) {
        if let Some(container) = self.observed.containers.get_mut(id) {
            container.health = Some(health);
        }
    }

    fn set_in_hooks(&mut self, id: &ContainerId, in_hooks: bool) {
        if let Some(container) = self.observed.containers.get_mut(id) {
            container.in_hooks = in_hooks;
        }
    }

    fn note_life(&mut self, id: &ContainerId, change: impl FnOnce(&mut coord_shared::decide::planner::Life)) {
        if let Some(history) = self.observed.histories.get_mut(&id.instance) {
            let mut life = history.life(id);
            change(&mut life);
            history.note_life(id, life);
        }
    }
}
