//! What an instance went through: the part of the past that decisions need, and that survives an agent.

use crate::decide::{Mono, restart};
use crate::names::{ContainerId, Digest, Revision};
use crate::wire::Exit;
use std::collections::BTreeMap;

/// What happened to an instance before, in one make of its container.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct History {
    /// The make; ends of another one do not count.
    pub fingerprint: Digest,
    /// The revision whose starts `last_start` counts.
    pub revision: Revision,
    /// The number of its last start.
    pub last_start: u32,
    /// Starts after it ended by itself, or was ended because it was ill.
    pub restarts: u32,
    /// Ends and failed starts in a row without a stable run between them.
    pub failures: u32,
    /// How its last container ended, or did not start; `None` while the first one has not ended.
    pub last_end: Option<End>,
    /// What the next agent cannot see of those of its containers that live, of whichever make.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lives: BTreeMap<ContainerId, Life>,
}

/// What cannot be seen of a container that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Life {
    /// Its `post_start` hooks came to a good end.
    pub hooks_done: bool,
    /// It was healthy when it was last asked.
    pub healthy: bool,
}

/// How a container came to its end.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It ended by itself.
    Exited {
        /// How.
        exit: Exit,
        /// When.
        at: Mono,
    },
    /// It could not be started, or its hooks failed.
    StartFailed {
        /// The error, with its cure.
        error: String,
        /// When.
        at: Mono,
    },
    /// It was ill, and therefore asked to end.
    Unhealthy {
        /// Which one; it may not have ended yet.
        container: ContainerId,
        /// Failed checks in a row.
        failures: u32,
        /// What the last of them said.
        output: String,
        /// When.
        at: Mono,
    },
}

impl History {
    /// The history of an instance whose first container of this make is being started.
    pub fn begin(container: &ContainerId, fingerprint: Digest) -> Self {
        Self {
            fingerprint,
            revision: container.revision,
            last_start: container.start,
            restarts: 0,
            failures: 0,
            last_end: None,
            lives: BTreeMap::new(),
        }
    }

    /// Takes note of a start of `container`, made as `fingerprint` says.
    pub fn note_start(&mut self, container: &ContainerId, fingerprint: &Digest) {
        if self.fingerprint == *fingerprint {
            let is_restart = matches!(self.last_end, Some(End::Exited { .. } | End::Unhealthy { .. }));
            self.restarts = self.restarts.saturating_add(u32::from(is_restart));
            self.revision = container.revision;
            self.last_start = container.start;
        } else {
            *self = Self { lives: std::mem::take(&mut self.lives), ..Self::begin(container, fingerprint.clone()) };
        }
    }

    /// Takes note that the instance is no longer wanted and gone. Only the count of its starts is kept, so that no container's name
    /// comes back with it; what went wrong before is forgotten.
    pub fn note_gone(&mut self) {
        self.restarts = 0;
        self.failures = 0;
        self.last_end = None;
        self.lives.clear();
    }

    /// Takes note that the container ended by itself; `was_stable` as [`super::Container::was_stable`] says.
    pub fn note_exit(&mut self, exit: Exit, at: Mono, was_stable: bool) {
        self.failures = restart::count_failure(self.failures, was_stable);
        self.last_end = Some(End::Exited { exit, at });
    }

    /// Takes note that a container is found ended that ended while no agent looked, or that an agent noted just before it died.
    pub fn note_found_exit(&mut self, container: &ContainerId, exit: Exit, at: Mono) {
        let is_noted = match &self.last_end {
            Some(End::Exited { exit: noted, .. }) => *noted == exit,
            Some(End::Unhealthy { container: noted, .. }) => noted == container,
            Some(End::StartFailed { .. }) | None => false,
        };
        if !is_noted {
            self.note_exit(exit, at, false);
        }
    }

    /// Takes note that the container could not be started.
    pub fn note_start_failure(&mut self, error: String, at: Mono) {
        self.failures = self.failures.saturating_add(1);
        self.last_end = Some(End::StartFailed { error, at });
    }

    /// Takes note that the container is ill and asked to end, once for each container.
    pub fn note_unhealthy(&mut self, container: &ContainerId, failures: u32, output: String, at: Mono, was_stable: bool) {
        if !self.ended_as_ill(container) {
            self.failures = restart::count_failure(self.failures, was_stable);
            self.last_end = Some(End::Unhealthy { container: container.clone(), failures, output, at });
        }
    }

    /// Whether that container was asked to end because it was ill.
    pub fn ended_as_ill(&self, container: &ContainerId) -> bool {
        matches!(&self.last_end, Some(End::Unhealthy { container: noted, .. }) if noted == container)
    }

    /// Takes note of what cannot be seen of a container that lives.
    pub fn note_life(&mut self, container: &ContainerId, life: Life) {
        self.lives.insert(container.clone(), life);
    }

    /// What was noted of a container.
    pub fn life(&self, container: &ContainerId) -> Life {
        self.lives.get(container).copied().unwrap_or_default()
    }

    /// Forgets a container that no longer lives.
    pub fn forget_life(&mut self, container: &ContainerId) {
        self.lives.remove(container);
    }
}
