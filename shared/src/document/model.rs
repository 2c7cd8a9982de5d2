//! The checked document: a model that cannot be invalid.
//!
//! Made only by [`super::parse`]. Every default is already filled in, so nobody downstream has to know one. Fields carry Compose's
//! names and meanings where Compose has the key (compose-spec, 05-services.md and deploy.md).

use crate::names::{Digest, HostSelector, ImageReference};
use crate::quantity::{ByteSize, MilliCpus, Signal, Span};
use serde::Serialize;
use std::collections::BTreeMap;

/// The desired state of one workload.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    /// What to run.
    pub image: ImageReference,
    /// Where to run it: a host that any of these selects is a target. Never empty.
    pub hosts: Vec<HostSelector>,
    /// How the container is made. A change here replaces containers.
    pub container: Container,
    /// What to do when the container ends by itself.
    pub restart: RestartPolicy,
    /// How long a stop may take before it becomes a kill.
    pub stop_grace_period: Span,
    /// How one revision gives way to the next.
    pub rollout: Rollout,
}

/// Everything that shapes the container itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Container {
    /// Replaces the image's entrypoint; with it, the image's command no longer applies.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Absolute path; the image's own where absent.
    pub working_dir: Option<String>,
    /// `user[:group]` by name or number; the image's own where absent.
    pub user: Option<String>,
    /// The container's host name; the instance's name where absent. Has no meaning with [`Network::Host`] and is refused there.
    pub hostname: Option<String>,
    /// Added to the image's environment, and stronger than it.
    pub environment: BTreeMap<String, String>,
    /// Carried along for people and tools.
    pub labels: BTreeMap<String, String>,
    /// Which network the container sees.
    pub network: Network,
    /// Whether the root file system refuses writes.
    pub read_only: bool,
    /// The signal that asks the container to end; the image's own, else SIGTERM, where absent.
    pub stop_signal: Option<Signal>,
    /// Upper limits; absent means none.
    pub resources: Resources,
}

/// Which network a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The host's own.
    Host,
    /// A loopback interface and nothing else.
    None,
}

/// Upper limits of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Resources {
    /// Memory, swap included.
    pub memory: Option<ByteSize>,
    /// CPU time per time.
    pub cpus: Option<MilliCpus>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// What to do when a container ends by itself (Compose's `restart`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Leave it ended: a job that runs once per revision.
    No,
    /// Start it again, whatever its exit code.
    Always,
    /// Start it again after an exit code other than 0, at most so many times in a row if a number is given.
    OnFailure(Option<u32>),
}

/// How one revision gives way to the next (Compose's `update_config`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rollout {
    /// How many hosts may be between revisions at a time.
    pub parallelism: Parallelism,
    /// What comes first on each host.
    pub order: RolloutOrder,
    /// How long a new instance must have been ready before the next host's turn comes.
    pub monitor: Span,
}

/// A number of hosts, or a share of the targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Parallelism {
    /// So many hosts; at least 1.
    Count(u32),
    /// So many of a hundred targets, rounded up; 1 to 100.
    Percent(u8),
}

impl Parallelism {
    /// How many of `targets` hosts may change at a time: at least 1.
    pub fn of(self, targets: usize) -> usize {
        match self {
            Self::Count(count) => (count as usize).max(1),
            Self::Percent(percent) => (targets * usize::from(percent)).div_ceil(100).max(1),
        }
    }
}

/// Which of old and new gives way on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutOrder {
    /// The old container ends before the new one starts: safe where they would fight over a port.
    StopFirst,
    /// The new container runs before the old one ends: no gap.
    StartFirst,
}

impl Document {
    /// Names what the container is made of: two documents with one fingerprint make the same container, so a change between them
    /// (of `hosts`, `restart`, `rollout`, ...) needs no restart.
    pub fn fingerprint(&self, image: &Digest) -> Digest {
        let shape = serde_json::json!({ "image": image, "container": self.container });
        Digest::of(shape.to_string().as_bytes())
    }
}
