//! The planner of one host: from what should run, what does run and what time it is, to what to do now and why not yet.
//!
//! Called after every event; every answer is complete. An action that is under way shows in the observation (`Starting`,
//! `Stopping`, `Pulling`), so planning twice asks for nothing twice. The promises:
//!
//! - Nothing old is touched before the new image is complete and verified here. Until then the previous revision is kept running,
//!   and restarted if it ends.
//! - A change that keeps the container's fingerprint restarts nothing: the running container takes on the new revision.
//! - With `start-first`, nothing old is asked to end before the new container is ready, however often that one fails, nor before the
//!   published ports lead to it and the old one's connections have had their time to end.
//! - A container that is ill is ended only where its policy starts it again.
//! - What is fetched ahead comes after every image that an instance waits for, and no container is touched for it.
//! - Whatever is not desired is stopped, killed when its grace period is over, and removed.
//!
//! Deliberately absent: everything fleet-wide. Whose turn it is was decided before (see [`super::rollout`]).

use super::health::{Health, Status};
use super::ports::{Door, Listener};
use super::reason::Reason;
use super::{Mono, Now};
use crate::document::{Document, PortMapping, RolloutOrder};
use crate::names::{ContainerId, Digest, InstanceId, PinnedImage, Revision};
use crate::quantity::Span;
use std::collections::BTreeMap;
use std::sync::Arc;

pub mod ahead;
pub mod drain;
mod history;
mod instance;
pub mod ports;
mod start;
pub mod status;
#[cfg(test)]
mod tests;

pub use drain::{Drain, Traffic};
pub use history::{End, History, Life};

/// What the host should run.
pub type Desired = BTreeMap<InstanceId, Wanted>;

/// What one instance should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// What was asked for last.
    pub target: Target,
    /// What ran here before, and goes on until the target can take its place.
    pub previous: Option<Arc<Spec>>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// To run this.
    Run(Arc<Spec>),
    /// Something that this agent cannot honour.
    Rejected {
        /// The first mistake of the document, with its cure.
        error: String,
    },
}

/// One revision of a workload, ready to be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Which revision.
    pub revision: Revision,
    /// Its image, pinned.
    pub image: PinnedImage,
    /// The checked document.
    pub document: Document,
    /// [`Document::fingerprint`] with that image.
    pub fingerprint: Digest,
}

/// What the host does run, as far as its agent knows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observed {
    /// Every container that has a folder or is about to have one.
    pub containers: BTreeMap<ContainerId, Container>,
    /// Images that are here or on their way; one that is not listed is absent.
    pub images: BTreeMap<Digest, Image>,
    /// What happened to each instance before.
    pub histories: BTreeMap<InstanceId, History>,
    /// Who else listens at ports that an instance waits for.
    pub listeners: BTreeMap<Door, Listener>,
}

/// One container.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// What it was made of.
    pub fingerprint: Digest,
    /// Its image.
    pub image: Digest,
    /// The grace period that its document gave it.
    pub grace: Span,
    /// What it does.
    pub phase: Phase,
    /// Its first process, once there is one.
    pub pid: Option<u32>,
    /// While it is being made: its command runs already, and so do its `post_start` hooks. From then on it can be asked to end.
    pub in_hooks: bool,
    /// What its health check says; `None`: it has none.
    pub health: Option<Health>,
    /// How long it must do well to count as stable.
    pub window: Span,
    /// The ports of the host that lead to it.
    pub ports: Vec<PortMapping>,
    /// What is known of those who come through them.
    pub traffic: Traffic,
}

impl Container {
    /// Whether it does its work: its command runs and, if it has a health check, that says so.
    pub fn is_ready(&self) -> bool {
        let is_well = self.health.as_ref().is_none_or(|health| health.status == Status::Healthy);
        matches!(self.phase, Phase::Running { .. }) && is_well
    }

    /// Whether it has done well for so long that what went wrong before it no longer counts. One with a health check does well while
    /// it is healthy.
    pub fn was_stable(&self, now: Mono) -> bool {
        let Phase::Running { since } = self.phase else { return false };
        let well_for = self.health.as_ref().map_or_else(|| now.since(since), |health| health.shown_well_for(now));
        well_for >= self.window.0
    }
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Phase {
    /// Being made.
    Starting {
        /// Since when.
        since: Mono,
    },
    /// Its first process runs.
    Running {
        /// Since when.
        since: Mono,
    },
    /// It was asked to end.
    Stopping {
        /// Since when.
        since: Mono,
        /// When it is to be killed.
        kill_at: Mono,
        /// Whether it was.
        killed: bool,
    },
    /// It ended; its folder, mounts and cgroup are still there.
    Exited {
        /// When.
        at: Mono,
    },
    /// The last of it is being removed.
    Removing {
        /// Since when.
        since: Mono,
    },
    /// It could not be removed.
    RemoveFailed {
        /// When that was tried last.
        at: Mono,
        /// How often it was tried.
        attempts: u32,
    },
}

impl Phase {
    /// Whether it has, or may have, a process.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Starting { .. } | Self::Running { .. } | Self::Stopping { .. })
    }
}

/// One image.
#[derive(Debug, Clone, PartialEq)]
pub enum Image {
    /// On its way.
    Pulling {
        /// Bytes fetched.
        done_bytes: u64,
        /// Bytes in all, 0 while unknown.
        total_bytes: u64,
        /// Bytes in a second, 0 while unknown.
        bytes_per_s: u64,
    },
    /// Complete and verified.
    Present,
    /// The last pull failed.
    Failed {
        /// The error, with its cure.
        error: String,
        /// Failures in a row.
        attempts: u32,
        /// When the last one failed.
        at: Mono,
    },
}

/// One thing to do now. All actions of a plan may be carried out at the same time.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Fetch an image.
    Pull(PinnedImage),
    /// Make a container and start it.
    Start {
        /// Its name, never used before.
        container: ContainerId,
        /// What it runs.
        spec: Arc<Spec>,
    },
    /// Ask a container to end.
    Stop {
        /// Which.
        container: ContainerId,
        /// When it will be killed if it has not.
        kill_at: Mono,
        /// Because it is ill: that counts as if it had failed by itself (see [`History::note_unhealthy`]).
        is_ill: bool,
    },
    /// Kill a container's whole cgroup.
    Kill {
        /// Which.
        container: ContainerId,
    },
    /// Remove what is left of a container that ended.
    Remove {
        /// Which.
        container: ContainerId,
    },
}

/// What to do now, and why not more.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// What to do.
    pub actions: Vec<Action>,
    /// Why an instance is not (yet) as desired; one that is has no entry.
    pub reasons: BTreeMap<InstanceId, Reason>,
    /// Containers that have given way and run on for a while, and how far each is. No door leads to them any more.
    pub draining: BTreeMap<ContainerId, Drain>,
    /// When to plan again although nothing has happened.
    pub wake_at: Option<Mono>,
}

impl Plan {
    fn wake(&mut self, at: Mono) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// Decides what one host does now. `ahead` is what it will be told to run later: fetched when nothing else is, the first one first.
pub fn plan(desired: &Desired, ahead: &[PinnedImage], observed: &Observed, now: Now) -> Plan {
    let mut plan = Plan::default();
    let mut by_instance: BTreeMap<&InstanceId, Vec<(&ContainerId, &Container)>> = BTreeMap::new();
    for (id, container) in &observed.containers {
        by_instance.entry(&id.instance).or_default().push((id, container));
    }
    for (id, wanted) in desired {
        let containers = by_instance.remove(id).unwrap_or_default();
        instance::Planner { id, containers: &containers, observed, now, plan: &mut plan }.keep(wanted);
    }
    for (id, containers) in by_instance {
        instance::Planner { id, containers: &containers, observed, now, plan: &mut plan }.wind_down();
    }
    let mut pulled = std::collections::BTreeSet::new();
    plan.actions.retain(|action| match action {
        Action::Pull(image) => pulled.insert(image.digest.clone()),
        Action::Start { .. } | Action::Stop { .. } | Action::Kill { .. } | Action::Remove { .. } => true,
    });
    ahead::fetch(ahead, observed, now, &mut plan);
    plan
}

/// Whether the old container must be gone before the new one starts.
pub(crate) fn stops_first(spec: &Spec) -> bool {
    spec.document.rollout.order == RolloutOrder::StopFirst
}
