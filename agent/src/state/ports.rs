//! What the agent knows of published ports: which of its containers have some, and who else listens where.

use super::Agent;
use coord_shared::decide::Mono;
use coord_shared::decide::planner::{self, Plan, Target};
use coord_shared::decide::ports::{Door, Doors, Listener};
use coord_shared::names::ContainerId;
use std::collections::BTreeMap;
use std::time::Duration;

/// What was seen this long ago still holds: a host where everything crashes plans many times a second.
const LISTENERS_AGE_MAX: Duration = Duration::from_millis(500);

impl Agent {
    /// Every container that there is anything of.
    pub fn containers(&self) -> impl Iterator<Item = &ContainerId> {
        self.observed.containers.keys()
    }

    /// Which published port leads to which container now.
    pub fn doors(&self, plan: &Plan) -> Doors {
        planner::ports::doors(&self.observed, &plan.draining)
    }

    /// Whether an instance waits to be started for whose ports it matters who listens on this host.
    pub fn needs_listeners(&self, now: Mono) -> bool {
        let is_fresh = self.listeners_at.is_some_and(|at| now.since(at) < LISTENERS_AGE_MAX);
        !is_fresh && !self.doors_wanted().is_empty()
    }

    /// The ports of desired instances that have no live container of their make.
    pub fn doors_wanted(&self) -> Vec<Door> {
        let specs = self.desired.iter().filter_map(|(id, wanted)| match &wanted.target {
            Target::Run(spec) if !spec.document.container.ports.is_empty() => Some((id, spec)),
            Target::Run(_) | Target::Rejected { .. } => None,
        });
        let waiting = specs.filter(|(id, spec)| {
            let own = self.observed.containers.iter().filter(|(container, _)| container.instance == **id);
            !own.into_iter().any(|(_, container)| container.phase.is_alive() && container.fingerprint == spec.fingerprint)
        });
        waiting.flat_map(|(_, spec)| spec.document.container.ports.iter().map(Door::of)).collect()
    }

    /// Who was seen to listen there.
    pub fn listener(&self, door: &Door) -> Option<&Listener> {
        self.observed.listeners.get(door)
    }

    /// Takes note of who listens on this host.
    pub fn found_listeners(&mut self, listeners: BTreeMap<Door, Listener>, now: Mono) {
        self.observed.listeners = listeners;
        self.listeners_at = Some(now);
    }

    /// The container whose first process this is.
    pub fn container_of(&self, pid: u32) -> Option<&ContainerId> {
        self.observed.containers.iter().find(|(_, container)| container.pid == Some(pid)).map(|(id, _)| id)
    }
}
