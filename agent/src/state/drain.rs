//! What the agent knows of those who come through published ports: since when none can come any more, and how many have stayed.
//!
//! The doors are moved by somebody else, later. So wishes are numbered, and each container has the number of the first wish since which no
//! door was to lead to it: once that one or a later one is fulfilled, none does. News of an older one say nothing of it.

use super::Agent;
use coord_shared::decide::Mono;
use coord_shared::decide::planner::drain::SETTLE;
use coord_shared::decide::planner::{Drain, Plan, Traffic};
use coord_shared::decide::ports::Doors;
use coord_shared::document::Protocol;
use coord_shared::names::ContainerId;
use std::collections::BTreeSet;

/// A container whose connections are to be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Which.
    pub container: ContainerId,
    /// Its first process.
    pub pid: u32,
    /// Its published TCP ports, as it knows them.
    pub ports: BTreeSet<u16>,
}

impl Agent {
    /// Takes note that the wish of this number, and of no smaller one before, is for these doors.
    pub fn wished(&mut self, number: u64, doors: &Doors) {
        let led_to: BTreeSet<&ContainerId> = doors.values().map(|target| &target.container).collect();
        for (id, container) in self.observed.containers.iter_mut().filter(|(_, container)| !container.ports.is_empty()) {
            if led_to.contains(id) {
                self.closed_by.remove(id);
                container.traffic = Traffic::default();
            } else {
                self.closed_by.entry(id.clone()).or_insert(number);
            }
        }
    }

    /// The containers that have given way, and are to be asked to end as soon as nobody is connected to them.
    pub fn watched(&self, plan: &Plan) -> Vec<Watched> {
        let emptying = plan.draining.iter().filter(|(_, stage)| **stage == Drain::Emptying).map(|(id, _)| id);
        let watched = |id: &ContainerId| {
            let container = self.observed.containers.get(id)?;
            let tcp = container.ports.iter().filter(|mapping| mapping.protocol == Protocol::Tcp);
            let ports = tcp.map(|mapping| mapping.container_port).collect();
            Some(Watched { container: id.clone(), pid: container.pid?, ports })
        };
        emptying.filter_map(watched).collect()
    }

    pub(super) fn network_is_as_wished(&mut self, number: u64, now: Mono) {
        for (id, _) in self.closed_by.iter().filter(|(_, first)| **first <= number) {
            if let Some(container) = self.observed.containers.get_mut(id) {
                container.traffic.closed_since.get_or_insert(now);
            }
        }
    }

    /// Somebody who was counted before the time had come for it would be missed.
    pub(super) fn counted(&mut self, id: &ContainerId, open: Option<u32>, now: Mono) {
        let Some(container) = self.observed.containers.get_mut(id) else { return };
        if container.traffic.closed_since.is_some_and(|closed| now >= closed.after(SETTLE)) {
            container.traffic.connections = open;
        }
    }
}
