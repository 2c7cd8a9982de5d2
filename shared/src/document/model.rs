//! The checked document: a model that cannot be invalid.
//!
//! Made only by [`super::parse`]. Every default is already filled in, so nobody downstream has to know one. Fields carry Compose's
//! names and meanings where Compose has the key (compose-spec, 05-services.md and deploy.md).

use super::parts::{
    CpuSet, Device, Dns, Healthcheck, Hook, HostAddress, Logging, Mount, Port, PortMapping, RestartSettings, RuntimeName,
    Security, Ulimit,
};
use crate::names::{Digest, HostSelector, ImagePattern, ImageReference};
use crate::quantity::{ByteSize, MilliCpus, Signal, Span};
use serde::{Deserialize, Serialize};
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
    /// Bounds and pace of restarts; what is absent is the agent's default.
    pub restart_policy: RestartSettings,
    /// How the agent asks whether the container is well; where absent, as the image says.
    pub healthcheck: Option<Healthcheck>,
    /// Run in the container once it has started, one after the other. One that fails ends the container as a failed start.
    pub post_start: Vec<Hook>,
    /// Run in the container before it is asked to end, within the grace period. One that fails is told, and changes nothing.
    pub pre_stop: Vec<Hook>,
    /// How one revision gives way to the next.
    pub rollout: Rollout,
}

/// Everything that shapes the container itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
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
    /// Ports of the host that lead to ports of the container. Only with [`Network::Bridge`].
    pub ports: Vec<PortMapping>,
    /// Ports that the container is known to listen on; tells people, opens nothing.
    pub expose: Vec<Port>,
    /// Added to the container's `/etc/hosts`: name -> addresses.
    pub extra_hosts: BTreeMap<String, Vec<HostAddress>>,
    /// What the container's `/etc/resolv.conf` says; the host's where empty.
    pub dns: Dns,
    /// Volumes, bind mounts and tmpfs, sorted by target: what lies within another comes behind it. Targets differ from each other.
    pub mounts: Vec<Mount>,
    /// Size of the container's `/dev/shm`; 64 MiB where absent.
    pub shm_size: Option<ByteSize>,
    /// Whether the root file system refuses writes.
    pub read_only: bool,
    /// Whether a small init is process 1: it passes signals on and reaps.
    pub init: bool,
    /// What sets the container apart from the default isolation.
    pub security: Security,
    /// Devices it may use, beside the usual pseudo devices.
    pub devices: Vec<Device>,
    /// Limits of each of its processes, by Compose's names (`nofile`, `memlock`, ...).
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Kernel parameters of the container's own namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// How readily the kernel ends it when the whole host is out of memory: -1000 (never) to 1000.
    pub oom_score_adj: Option<i16>,
    /// What runs it; the host's default where absent.
    pub runtime: Option<RuntimeName>,
    /// Where its output goes.
    pub logging: Logging,
    /// The signal that asks the container to end; the image's own, else SIGTERM, where absent.
    pub stop_signal: Option<Signal>,
    /// Upper limits; absent means none.
    pub resources: Resources,
    /// What it may start within itself; nothing where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nested: Option<Nested>,
}

/// What a container may start within itself: second containers, and file caches to hand them files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nested {
    /// Second containers that run at a time; at least 1.
    pub containers: u32,
    /// Memory of them all together; only the parent's own limit where absent.
    pub memory: Option<ByteSize>,
    /// CPU time of them all together; only the parent's own limit where absent.
    pub cpus: Option<MilliCpus>,
    /// Processes and threads of them all together; at least 1.
    pub pids: u32,
    /// What they may be made of; the parent's own image alone where empty.
    pub images: Vec<ImagePattern>,
    /// What all file caches together may hold.
    pub caches: ByteSize,
    /// The widest network that they may see.
    pub network: NestedNetwork,
}

impl Default for Nested {
    fn default() -> Self {
        Self {
            containers: 8,
            memory: None,
            cpus: None,
            pids: 500,
            images: Vec::new(),
            caches: ByteSize(512 << 20),
            network: NestedNetwork::None,
        }
    }
}

/// Which network a second container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NestedNetwork {
    /// Its parent's own: the same addresses and ports.
    Parent,
    /// A loopback interface and nothing else.
    #[default]
    None,
}

/// Which network a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// A network of the host's containers, with an address of its own; its ports are reached where they are published.
    Bridge,
    /// The host's own.
    Host,
    /// A loopback interface and nothing else.
    #[default]
    None,
}

/// Upper limits of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Resources {
    /// Memory, without swap.
    pub memory: Option<ByteSize>,
    /// Memory and swap together (Compose's `memswap_limit`); as much as `memory`, which means no swap, where absent.
    pub memory_swap: Option<ByteSize>,
    /// What is left to the container when the host runs short of memory.
    pub memory_reservation: Option<ByteSize>,
    /// CPU time per time.
    pub cpus: Option<MilliCpus>,
    /// The CPUs it may run on, as the kernel writes lists: `0-3,8`.
    pub cpuset: Option<CpuSet>,
    /// Processes and threads; [`super::PIDS_DEFAULT`] where absent.
    pub pids: Option<PidsLimit>,
    /// Its share of disk time against other containers', 1 to 1000; 100 where absent.
    pub io_weight: Option<u16>,
}

/// How many processes and threads there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PidsLimit {
    /// So many; at least 1.
    Count(u32),
    /// As many as the host has room for.
    Unlimited,
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
    /// With `start-first`: how long at most the old container serves on whoever came through its published ports.
    pub drain: Span,
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

/// Keys of [`Container`] that every fingerprint holds, said or not. What the format gained later counts only where it is said: an agent
/// that knows more keys must not take the containers of the one before it for others.
const ALWAYS_IN_FINGERPRINT: [&str; 11] = [
    "entrypoint",
    "command",
    "working_dir",
    "user",
    "hostname",
    "environment",
    "labels",
    "network",
    "read_only",
    "stop_signal",
    "resources",
];
/// The same for [`Resources`].
const RESOURCES_ALWAYS_IN_FINGERPRINT: [&str; 3] = ["memory", "cpus", "pids"];

impl Document {
    /// Names what the container is made of: two documents with one fingerprint make the same container, so a change between them
    /// (of `hosts`, `restart`, `rollout`, ...) needs no restart.
    pub fn fingerprint(&self, image: &Digest) -> Digest {
        let mut container = said(&self.container, &Container::default(), &ALWAYS_IN_FINGERPRINT);
        container["resources"] = said(&self.container.resources, &Resources::default(), &RESOURCES_ALWAYS_IN_FINGERPRINT);
        let shape = serde_json::json!({ "image": image, "container": container });
        Digest::of(shape.to_string().as_bytes())
    }
}

/// What `value` says, without the keys that say what `default` says, but for those that are `always` there.
fn said<T: Serialize>(value: &T, default: &T, always: &[&str]) -> serde_json::Value {
    // Plain data with text for keys, which always serialises.
    let of = |value: &T| serde_json::to_value(value).unwrap_or_default();
    let (mut value, default) = (of(value), of(default));
    if let (Some(keys), Some(default)) = (value.as_object_mut(), default.as_object()) {
        keys.retain(|key, value| always.contains(&key.as_str()) || default.get(key) != Some(value));
    }
    value
}
