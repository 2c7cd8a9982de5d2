//! One host as it is: containers, an image store, a ledger on disk. Its agent sees it late and forgets it when it dies.

use super::agent::{Agent, Ledger, Seen};
use super::doors::Kernel;
use super::scenario::{self, Behaviour};
use super::world::{Event, World};
use coord_shared::decide::planner::Spec;
use coord_shared::names::{ContainerId, Digest, HostName, Labels, PinnedImage};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A machine.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) name: HostName,
    pub(super) up: bool,
    pub(super) boot: u64,
    pub(super) booted_at: Duration,
    /// From `agent.toml`.
    pub(super) labels: Labels,
    /// Whether its agent is of an older release.
    pub(super) is_old_release: bool,
    /// Whether starts fail for a reason of the host.
    pub(super) starts_fail: bool,
    pub(super) store: BTreeSet<Digest>,
    pub(super) containers: BTreeMap<ContainerId, Process>,
    pub(super) ledger: Ledger,
    pub(super) kernel: Kernel,
    pub(super) agent: Option<Agent>,
    /// Counts its agent processes.
    pub(super) runs: u64,
}

/// A container as it is.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) spec: Arc<Spec>,
    pub(super) stage: Stage,
    pub(super) asked_to_end_at: Option<Duration>,
    /// After which time of running it falls ill.
    pub(super) ails_after: Option<Duration>,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stage {
    Making,
    Alive {
        since: Duration,
    },
    Dead {
        /// `None`: nobody saw how.
        end: Option<Ending>,
        at: Duration,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Ending {
    Code(i32),
    Signal(i32),
}

impl Process {
    pub(super) fn is_alive(&self) -> bool {
        matches!(self.stage, Stage::Making | Stage::Alive { .. })
    }
}

/// The registry that all hosts pull from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Registry {
    pub(super) up: bool,
    pub(super) slow: bool,
}

impl World {
    pub(super) fn start_process(&mut self, host: usize, container: &ContainerId, spec: &Arc<Spec>) {
        let process = Process { spec: spec.clone(), stage: Stage::Making, asked_to_end_at: None, ails_after: None };
        let slow = Behaviour::of(&spec.document) == Behaviour::Slow;
        let delay = if slow { self.dice.millis(2_000, 15_000) } else { self.dice.millis(5, 300) };
        let machine = &mut self.machines[host];
        machine.containers.insert(container.clone(), process);
        let boot = machine.boot;
        self.schedule(delay, Event::Made { host, boot, container: container.clone() });
        self.stats.starts += 1;
    }

    /// The start of a container comes out, whatever became of the agent that asked for it.
    pub(super) fn made(&mut self, host: usize, boot: u64, container: ContainerId) {
        let now = self.now;
        let machine = &mut self.machines[host];
        if machine.boot != boot || !machine.up {
            return;
        }
        let Some(process) = machine.containers.get_mut(&container) else { return };
        let behaviour = Behaviour::of(&process.spec.document);
        if behaviour == Behaviour::Missing || machine.starts_fail {
            machine.containers.remove(&container);
            return self.tell_agent(host, Seen::StartFailed { container });
        }
        process.stage = Stage::Alive { since: now };
        let own_end = match behaviour {
            Behaviour::Serves
            | Behaviour::Slow
            | Behaviour::Stubborn
            | Behaviour::Missing
            | Behaviour::Ill
            | Behaviour::Warms
            | Behaviour::Prepares
            | Behaviour::Unprepared => None,
            Behaviour::Ails => {
                process.ails_after = Some(self.dice.millis(3_000, 300_000));
                None
            }
            Behaviour::Crashes => Some((self.dice.millis(1, 15_000), Ending::Code(1))),
            Behaviour::Works => Some((self.dice.millis(100, 30_000), Ending::Code(0))),
        };
        if let Some((delay, end)) = own_end {
            self.schedule(delay, Event::Ended { host, boot, container: container.clone(), end });
        }
        self.tell_agent(host, Seen::Started { container });
    }

    pub(super) fn ended(&mut self, host: usize, boot: u64, container: ContainerId, end: Ending) {
        let at = self.now;
        let machine = &mut self.machines[host];
        let Some(process) = machine.containers.get_mut(&container).filter(|process| process.is_alive()) else { return };
        if machine.boot == boot && machine.up {
            process.stage = Stage::Dead { end: Some(end), at };
            self.tell_agent(host, Seen::Exited { container, end, at });
        }
    }

    pub(super) fn ask_to_end(&mut self, host: usize, container: &ContainerId) {
        let now = self.now;
        let machine = &mut self.machines[host];
        let boot = machine.boot;
        let Some(process) = machine.containers.get_mut(container).filter(|process| process.is_alive()) else { return };
        process.asked_to_end_at = Some(now);
        self.stats.stops += 1;
        if Behaviour::of(&process.spec.document) != Behaviour::Stubborn {
            let end = if self.dice.percent(50) { Ending::Code(0) } else { Ending::Signal(15) };
            let delay = self.dice.millis(2, 4_000);
            self.schedule(delay, Event::Ended { host, boot, container: container.clone(), end });
        }
    }

    pub(super) fn kill(&mut self, host: usize, container: &ContainerId) {
        let boot = self.machines[host].boot;
        let delay = self.dice.millis(1, 50);
        self.schedule(delay, Event::Ended { host, boot, container: container.clone(), end: Ending::Signal(9) });
        self.stats.kills += 1;
    }

    /// Removing is the agent's own work: it dies with it.
    pub(super) fn remove(&mut self, host: usize, run: u64, container: &ContainerId) {
        let fails = self.faults_on && self.dice.percent(10);
        let delay = self.dice.millis(1, 200);
        self.schedule(delay, Event::Removed { host, run, container: container.clone(), fails });
        self.stats.removals += 1;
    }

    pub(super) fn removed(&mut self, host: usize, run: u64, container: ContainerId, fails: bool) {
        let machine = &mut self.machines[host];
        if machine.agent.as_ref().is_some_and(|agent| agent.run == run) {
            if !fails {
                machine.containers.remove(&container);
            }
            self.tell_agent(host, Seen::Removed { container, fails });
        }
    }

    /// So is pulling; a registry that goes away in the middle fails it.
    pub(super) fn pull(&mut self, host: usize, run: u64, image: &PinnedImage) {
        let (fails, delay) = match (self.registry.up, scenario::is_bad(&image.reference), self.registry.slow) {
            (false, _, _) => (true, self.dice.millis(100, 5_000)),
            (true, true, _) => (true, self.dice.millis(20, 1_000)),
            (true, false, true) => (false, self.dice.millis(5_000, 120_000)),
            (true, false, false) => (self.faults_on && self.dice.percent(5), self.dice.millis(100, 8_000)),
        };
        let digest = image.digest.clone();
        self.schedule(delay / 2, Event::HalfPulled { host, run, digest: digest.clone() });
        self.schedule(delay, Event::Pulled { host, run, digest, fails });
        self.stats.pulls += 1;
    }

    pub(super) fn pulled(&mut self, host: usize, run: u64, digest: Digest, fails: bool) {
        let fails = fails || !self.registry.up;
        let machine = &mut self.machines[host];
        if machine.agent.as_ref().is_some_and(|agent| agent.run == run) {
            if !fails {
                machine.store.insert(digest.clone());
            }
            self.tell_agent(host, Seen::Pulled { digest, fails });
        }
    }

    /// The power goes: nothing runs, and nobody saw how it ended.
    pub(super) fn power_off(&mut self, host: usize) {
        let at = self.now;
        let machine = &mut self.machines[host];
        machine.up = false;
        machine.agent = None;
        machine.kernel = Kernel::default();
        for process in machine.containers.values_mut().filter(|process| process.is_alive()) {
            process.stage = Stage::Dead { end: None, at };
        }
    }

    pub(super) fn power_on(&mut self, host: usize) {
        let booted_at = self.now;
        let machine = &mut self.machines[host];
        machine.up = true;
        machine.boot += 1;
        machine.booted_at = booted_at;
        let delay = self.dice.millis(100, 5_000);
        self.schedule(delay, Event::AgentUp { host });
    }
}
