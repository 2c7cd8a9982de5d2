//! Everything that goes wrong. Each run has its own selection of faults: with all of them at once, none would show alone.

use super::dice::Dice;
use super::machine::{Ending, Stage};
use super::network::Link;
use super::world::{Event, World};
use coord_shared::decide::planner::{Image, Target};
use coord_shared::names::{ContainerId, Digest};
use std::collections::BTreeSet;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    AgentDies,
    AgentLosesAnImage,
    CoordinatorDies,
    Reboot,
    LongPowerCut,
    LinkCut,
    LinkPoor,
    RegistryDown,
    RegistrySlow,
    ContainerDies,
    StartsFail,
    ImagesPruned,
}

const FAULTS: [Fault; 12] = [
    Fault::AgentDies,
    Fault::AgentLosesAnImage,
    Fault::CoordinatorDies,
    Fault::Reboot,
    Fault::LongPowerCut,
    Fault::LinkCut,
    Fault::LinkPoor,
    Fault::RegistryDown,
    Fault::RegistrySlow,
    Fault::ContainerDies,
    Fault::StartsFail,
    Fault::ImagesPruned,
];

/// The faults of one run.
#[derive(Debug)]
pub(super) struct Faults {
    kinds: Vec<Fault>,
    longest_pause_ms: u64,
}

impl Faults {
    pub(super) fn choose(dice: &mut Dice) -> Self {
        let share = *dice.pick(&[10, 40, 80]);
        let kinds = FAULTS.into_iter().filter(|_| dice.percent(share)).collect();
        Self { kinds, longest_pause_ms: *dice.pick(&[5_000, 30_000, 120_000]) }
    }
}

impl World {
    pub(super) fn wreak_havoc(&mut self) {
        if !self.faults_on || self.faults.kinds.is_empty() {
            return;
        }
        let pause = self.dice.millis(200, self.faults.longest_pause_ms);
        self.schedule(pause, Event::Chaos);
        let fault = *self.dice.pick(&self.faults.kinds);
        let host = self.dice.below(self.machines.len());
        self.note(|| format!("  {fault:?}, host-{host} if it concerns a host"));
        match fault {
            Fault::AgentDies => self.kill_agent(host),
            Fault::AgentLosesAnImage => {
                self.kill_agent(host);
                let store = &mut self.machines[host].store;
                let lost = store.iter().nth(self.dice.below(store.len().max(1))).cloned();
                lost.map(|digest| store.remove(&digest));
            }
            Fault::CoordinatorDies if self.coordinator.up => {
                self.coordinator_down();
                let delay = self.dice.millis(100, 120_000);
                self.schedule(delay, Event::CoordinatorUp);
            }
            Fault::CoordinatorDies => {}
            Fault::Reboot => self.reboot(host, 30_000),
            Fault::LongPowerCut => self.reboot(host, 300_000),
            Fault::LinkCut => {
                let (cut_up, cut_down) = *self.dice.pick(&[(true, true), (true, false), (false, true)]);
                self.break_link(host, Link { cut_up, cut_down, ..Link::default() });
            }
            Fault::LinkPoor => {
                self.break_link(host, Link { loss_percent: 20, twice_percent: 40, delay_max_ms: 20_000, ..Link::default() });
            }
            Fault::RegistryDown | Fault::RegistrySlow => {
                self.registry.up = fault != Fault::RegistryDown;
                self.registry.slow = fault == Fault::RegistrySlow;
                let delay = self.dice.millis(1_000, 180_000);
                self.schedule(delay, Event::RegistryHeals);
            }
            Fault::ContainerDies => self.kill_a_container(host),
            Fault::StartsFail => {
                self.machines[host].starts_fail = true;
                let delay = self.dice.millis(1_000, 60_000);
                self.schedule(delay, Event::StartsWork { host });
            }
            Fault::ImagesPruned => self.prune(host),
        }
    }

    fn kill_agent(&mut self, host: usize) {
        if self.machines[host].agent.take().is_some() {
            let delay = self.dice.millis(50, 60_000);
            self.schedule(delay, Event::AgentUp { host });
        }
    }

    fn reboot(&mut self, host: usize, longest_ms: u64) {
        if self.machines[host].up {
            self.power_off(host);
            let delay = self.dice.millis(2_000, longest_ms);
            self.schedule(delay, Event::HostUp { host });
        }
    }

    fn break_link(&mut self, host: usize, link: Link) {
        self.links[host] = link;
        let delay = self.dice.millis(500, 180_000);
        self.schedule(delay, Event::LinkHeals { host });
    }

    fn kill_a_container(&mut self, host: usize) {
        let machine = &self.machines[host];
        let alive = machine.containers.iter().filter(|(_, process)| matches!(process.stage, Stage::Alive { .. }));
        let alive: Vec<ContainerId> = alive.map(|(id, _)| id.clone()).collect();
        let boot = machine.boot;
        if !alive.is_empty() {
            let container = self.dice.pick(&alive).clone();
            let end = *self.dice.pick(&[Ending::Signal(9), Ending::Signal(11), Ending::Code(1), Ending::Code(0)]);
            self.ended(host, boot, container, end);
        }
    }

    /// What an agent does for want of space: whatever nothing needs goes.
    fn prune(&mut self, host: usize) {
        let machine = &mut self.machines[host];
        let Some(agent) = &mut machine.agent else { return };
        let mut needed: BTreeSet<Digest> = agent.observed.containers.values().map(|container| container.image.clone()).collect();
        needed.extend(agent.ahead.iter().map(|image| image.digest.clone()));
        for wanted in agent.desired.values() {
            needed.extend(wanted.previous.iter().map(|spec| spec.image.digest.clone()));
            if let Target::Run(spec) = &wanted.target {
                needed.insert(spec.image.digest.clone());
            }
        }
        machine.store.retain(|digest| needed.contains(digest));
        agent.observed.images.retain(|digest, image| needed.contains(digest) || *image != Image::Present);
        self.act(host);
    }

    /// All faults end, but for a machine that may stay dark for good.
    pub(super) fn calm_down(&mut self) {
        self.faults_on = false;
        self.links.fill(Link::default());
        self.registry.up = true;
        self.registry.slow = false;
        for host in 0..self.machines.len() {
            self.machines[host].starts_fail = false;
        }
        if self.dice.percent(30) {
            let host = self.dice.below(self.machines.len());
            self.power_off(host);
            self.note(|| format!("  host-{host} stays dark"));
            self.dark = Some(host);
        }
        self.schedule(Duration::from_millis(1), Event::Mend);
    }
}
