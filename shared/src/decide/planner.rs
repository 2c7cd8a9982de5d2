//! The planner of one host: from what should run, what does run and what time it is, to what to do now and why not yet.
//!
//! Called after every event; every answer is complete. An action that is under way shows in the observation (`Starting`,
//! `Stopping`, `Pulling`), so planning twice asks for nothing twice. The promises:
//!
//! - Nothing old is touched before the new image is complete and verified here. Until then the previous revision is kept running,
//!   and restarted if it ends.
//! - A change that keeps the container's fingerprint restarts nothing: the running container takes on the new revision.
//! - What is fetched ahead comes after every image that an instance waits for, and no container is touched for it.
//! - Whatever is not desired is stopped, killed when its grace period is over, and removed.
//!
//! Deliberately absent: everything fleet-wide. Whose turn it is was decided before (see [`super::rollout`]).

use super::reason::Reason;
use super::restart::{self, AfterExit};
use super::{Mono, Now, backoff};
use crate::document::{Document, RestartPolicy, RolloutOrder};
use crate::names::{ContainerId, Digest, InstanceId, PinnedImage, Revision};
use crate::quantity::Span;
use crate::wire::Exit;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub mod ahead;
mod instance;
pub mod status;
#[cfg(test)]
mod tests;

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

/// What happened to an instance before, in one make of its container.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct History {
    /// The make; ends of another one do not count.
    pub fingerprint: Digest,
    /// The revision whose starts `last_start` counts.
    pub revision: Revision,
    /// The number of its last start.
    pub last_start: u32,
    /// Starts after it ended by itself.
    pub restarts: u32,
    /// Ends and failed starts in a row without a stable run between them.
    pub failures: u32,
    /// How its last container ended, or did not start; `None` while the first one has not ended.
    pub last_end: Option<End>,
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
    /// It could not be started.
    StartFailed {
        /// The error, with its cure.
        error: String,
        /// When.
        at: Mono,
    },
}

impl History {
    /// The history of an instance whose first container of this make is being started.
    pub fn begin(container: &ContainerId, fingerprint: Digest) -> Self {
        Self { fingerprint, revision: container.revision, last_start: container.start, restarts: 0, failures: 0, last_end: None }
    }

    /// Takes note of a start of `container`, made as `fingerprint` says.
    pub fn note_start(&mut self, container: &ContainerId, fingerprint: &Digest) {
        if self.fingerprint == *fingerprint {
            self.restarts = self.restarts.saturating_add(u32::from(matches!(self.last_end, Some(End::Exited { .. }))));
            self.revision = container.revision;
            self.last_start = container.start;
        } else {
            *self = Self::begin(container, fingerprint.clone());
        }
    }

    /// Takes note that the instance is no longer wanted and gone. Only the count of its starts is kept, so that no container's name
    /// comes back with it; what went wrong before is forgotten.
    pub fn note_gone(&mut self) {
        self.restarts = 0;
        self.failures = 0;
        self.last_end = None;
    }

    /// Takes note that the container ended by itself after it had run for `ran_for`.
    pub fn note_exit(&mut self, exit: Exit, at: Mono, ran_for: Duration) {
        self.failures = restart::count_failure(self.failures, ran_for);
        self.last_end = Some(End::Exited { exit, at });
    }

    /// Takes note that the container could not be started.
    pub fn note_start_failure(&mut self, error: String, at: Mono) {
        self.failures = self.failures.saturating_add(1);
        self.last_end = Some(End::StartFailed { error, at });
    }
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

/// What the restart rule says of an instance that has no live container of its make.
pub(crate) enum StartDecision {
    Now,
    At(Mono, Reason),
    Never(Reason),
}

/// Decides whether an instance without a live container of its make is started now.
pub(crate) fn start_decision(spec: &Spec, history: Option<&History>, now: Now) -> StartDecision {
    let Some(history) = history.filter(|history| history.fingerprint == spec.fingerprint) else {
        return StartDecision::Now;
    };
    let at_or_now = |at: Mono, reason| if now.mono >= at { StartDecision::Now } else { StartDecision::At(at, reason) };
    match &history.last_end {
        None => StartDecision::Now,
        Some(End::StartFailed { error, at }) => {
            let due = at.in_this_boot(now.mono).after(backoff::RESTART.delay(history.failures));
            let reason = Reason::StartFailed { error: error.clone(), attempts: history.failures, retry_at: now.wall_at(due) };
            at_or_now(due, reason)
        }
        Some(End::Exited { exit, at }) => match restart::after_exit(spec.document.restart, exit, history.failures) {
            AfterExit::StartAfter(delay) => {
                let due = at.in_this_boot(now.mono).after(delay);
                let reason = Reason::RestartBackoff { exit: *exit, restarts: history.restarts, retry_at: now.wall_at(due) };
                at_or_now(due, reason)
            }
            AfterExit::Completed => StartDecision::Never(Reason::Completed),
            AfterExit::GivenUp => {
                StartDecision::Never(Reason::NotRestarted { exit: *exit, policy: policy_text(spec.document.restart) })
            }
        },
    }
}

fn policy_text(policy: RestartPolicy) -> String {
    match policy {
        RestartPolicy::No => "no".to_owned(),
        RestartPolicy::Always => "always".to_owned(),
        RestartPolicy::OnFailure(None) => "on-failure".to_owned(),
        RestartPolicy::OnFailure(Some(max)) => format!("on-failure:{max}"),
    }
}

/// Whether the old container must be gone before the new one starts.
pub(crate) fn stops_first(spec: &Spec) -> bool {
    spec.document.rollout.order == RolloutOrder::StopFirst
}
