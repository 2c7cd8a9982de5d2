//! Published ports in the sim: where the kernel's rules lead on each machine, who is connected, and an agent that has them moved and
//! looks, by the real judgement of who gives way when.

use super::agent::{Agent, Seen};
use super::machine::Stage;
use super::promises::Promise;
use super::scenario::Behaviour;
use super::world::{Event, World};
use coord_shared::decide::Mono;
use coord_shared::decide::planner::{self, Drain, Plan, Spec, Traffic, Wanted};
use coord_shared::document::RolloutOrder;
use coord_shared::names::ContainerId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the kernel of a machine knows. It survives agents, and no power cut.
#[derive(Debug, Clone, Default)]
pub(super) struct Kernel {
    /// Containers that a door leads to.
    led_to: BTreeSet<ContainerId>,
    /// Containers that one led to once, and none does any more: since when, and when the last who came by it is gone.
    closed: BTreeMap<ContainerId, (Duration, Duration)>,
    /// The agent's run and the number of its wish that was carried out last.
    done: (u64, u64),
}

/// What an agent wishes and knows of its machine's doors.
#[derive(Debug, Default)]
pub(super) struct Doors {
    number: u64,
    led_to: BTreeSet<ContainerId>,
    is_awaited: bool,
    /// The first wish since which no door was to lead to a container.
    closed_by: BTreeMap<ContainerId, u64>,
    looks_at: BTreeSet<ContainerId>,
}

impl World {
    /// After an agent has planned: its wish for the doors, and a look at each container that is only waited for.
    pub(super) fn move_doors(&mut self, host: usize, plan: &Plan) {
        let Some(agent) = &mut self.machines[host].agent else { return };
        let run = agent.run;
        let led_to: BTreeSet<ContainerId> =
            planner::ports::doors(&agent.observed, &plan.draining).into_values().map(|target| target.container).collect();
        let is_awaited = plan.draining.values().any(|stage| *stage == Drain::MovingDoors);
        let is_news = agent.doors.led_to != led_to || agent.doors.is_awaited != is_awaited;
        agent.wish(led_to.clone(), is_awaited, is_news);
        let number = agent.doors.number;
        let emptying = plan.draining.iter().filter(|(_, stage)| **stage == Drain::Emptying).map(|(id, _)| id);
        let looks: Vec<ContainerId> = emptying.filter(|id| agent.doors.looks_at.insert((*id).clone())).cloned().collect();
        if is_news {
            // Now and then the rules cannot be told at first.
            let longest = if self.faults_on && self.dice.percent(5) { 20_000 } else { 200 };
            let delay = self.dice.millis(1, longest);
            self.schedule(delay, Event::DoorsMoved { host, run, number, led_to, is_awaited });
        }
        for container in looks {
            let delay = self.dice.millis(1, 500);
            self.schedule(delay, Event::Looked { host, run, container });
        }
    }

    /// The kernel has other rules, if the agent that told it lives, and has not told it something newer.
    pub(super) fn doors_moved(&mut self, host: usize, wish: (u64, u64), led_to: BTreeSet<ContainerId>, is_awaited: bool) {
        let (run, number) = wish;
        let machine = &mut self.machines[host];
        let is_old = machine.kernel.done.0 == run && machine.kernel.done.1 >= number;
        if is_old || machine.agent.as_ref().is_none_or(|agent| agent.run != run) {
            return;
        }
        machine.kernel.done = wish;
        machine.kernel.closed.retain(|id, _| !led_to.contains(id));
        for id in std::mem::replace(&mut machine.kernel.led_to, led_to) {
            if !machine.kernel.led_to.contains(&id) {
                let stays = if self.dice.percent(50) { Duration::ZERO } else { self.dice.millis(1, 5_000) };
                machine.kernel.closed.insert(id, (self.now, self.now + stays));
            }
        }
        if is_awaited {
            self.tell_agent(host, Seen::DoorsAreAsWished { number });
        }
    }

    /// An agent looks who is connected.
    pub(super) fn looked(&mut self, host: usize, run: u64, id: &ContainerId) {
        let now = self.now;
        let machine = &mut self.machines[host];
        let Some(agent) = machine.agent.as_mut().filter(|agent| agent.run == run) else { return };
        agent.doors.looks_at.remove(id);
        let Some(container) = agent.observed.containers.get_mut(id) else { return };
        let is_connected = machine.kernel.closed.get(id).is_some_and(|(_, last)| now < *last);
        if container.traffic.closed_since.is_some() {
            container.traffic.connections = Some(u32::from(is_connected));
        }
        self.act(host);
    }

    /// Before an agent stops a container that gives way to one of `wanted`: nobody can come to it any more, and whoever came has had his
    /// time.
    pub(super) fn check_drained(&mut self, host: usize, id: &ContainerId, next: &Spec, wanted: &Wanted) {
        let now = self.now;
        let machine = &self.machines[host];
        let Some(process) = machine.containers.get(id) else { return };
        // A predecessor may be the one that takes over, by its own rules.
        let policies = || [Some(next), wanted.previous.as_deref()].into_iter().flatten().map(|spec| spec.document.rollout);
        let start_first = policies().all(|rollout| rollout.order == RolloutOrder::StartFirst);
        let drain = policies().map(|rollout| rollout.drain.0).min().unwrap_or_default();
        let is_job = Behaviour::of(&next.document) == Behaviour::Works;
        let serves = matches!(process.stage, Stage::Alive { .. }) && !process.spec.document.container.ports.is_empty();
        if !start_first || is_job || !serves {
            return;
        }
        let is_led_to = machine.kernel.led_to.contains(id);
        let closed = machine.kernel.closed.get(id).copied();
        let settled = closed.is_none_or(|(at, last)| now >= at + drain || (now >= at + planner::drain::SETTLE && now >= last));
        self.stats.drained += u64::from(closed.is_some());
        self.promise(!is_led_to && settled, Promise::DrainedFirst, || {
            format!("host-{host} stops {id}, to which doors lead: {is_led_to}, or from which they moved at {closed:?}")
        });
    }
}

impl Agent {
    fn wish(&mut self, led_to: BTreeSet<ContainerId>, is_awaited: bool, is_news: bool) {
        let doors = &mut self.doors;
        doors.number += u64::from(is_news);
        for (id, container) in &mut self.observed.containers {
            if led_to.contains(id) {
                doors.closed_by.remove(id);
                container.traffic = Traffic::default();
            } else {
                doors.closed_by.entry(id.clone()).or_insert(doors.number);
            }
        }
        (doors.led_to, doors.is_awaited) = (led_to, is_awaited);
    }

    pub(super) fn doors_are_as_wished(&mut self, number: u64, now: Mono) {
        for (id, _) in self.doors.closed_by.iter().filter(|(_, first)| **first <= number) {
            if let Some(container) = self.observed.containers.get_mut(id) {
                container.traffic.closed_since.get_or_insert(now);
            }
        }
    }
}
