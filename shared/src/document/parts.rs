//! The parts of a checked document: ports, mounts, security, health checks. See [`super::model`].

use crate::names::VolumeName;
use crate::quantity::{ByteSize, Span};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the container. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Port {
    /// The number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// A port of the host that leads to a port of the container (Compose's `ports`, short syntax; ranges are spelt out).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
pub struct PortMapping {
    /// The host's address; every address of the host, IPv4 and IPv6, where absent.
    pub host_ip: Option<IpAddr>,
    /// The host's port. Never 0.
    pub host_port: u16,
    /// The container's port. Never 0.
    pub container_port: u16,
    /// Of both.
    pub protocol: Protocol,
}

/// An address in `extra_hosts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostAddress {
    /// This one.
    Ip(IpAddr),
    /// Docker's `host-gateway`: the host, as the container reaches it.
    HostGateway,
}

/// What `/etc/resolv.conf` says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Dns {
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Search domains.
    pub search: Vec<String>,
    /// Options of resolv.conf(5), such as `ndots:1`.
    pub options: Vec<String>,
}

/// Something mounted into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Absolute and normalised: no `.`, no `..`, no slash at the end; never `/`, nor within `/proc`, `/sys`, nor `/dev` itself.
    pub target: String,
    /// What.
    pub source: MountSource,
    /// Whether it refuses writes.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A volume with a life of its own.
    Volume {
        /// Its name on the host.
        name: VolumeName,
        /// Do not fill an empty volume with what the image has at the target.
        no_copy: bool,
    },
    /// A volume of this instance alone, named after it and the target.
    Anonymous,
    /// A file or folder of the host. A missing one is an error before the start.
    Bind {
        /// Absolute and normalised.
        path: String,
        /// Whether mounts that appear on one side show on the other.
        propagation: Propagation,
    },
    /// Memory; empty at each start.
    Tmpfs {
        /// Half of the host's memory where absent (the kernel's default).
        size: Option<ByteSize>,
        /// Permissions of its root; 1777 where absent.
        mode: Option<u32>,
    },
}

/// Mount propagation (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// Neither way, and nothing below the source but itself and what is mounted there now.
    #[default]
    Rprivate,
    /// From the host into the container.
    Rslave,
    /// Both ways.
    Rshared,
}

/// What sets a container apart from the default isolation. The default of every field is the strictest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Security {
    /// Capabilities beside the default ones, in the form `CAP_NET_ADMIN`; `ALL` is spelt out.
    pub cap_add: BTreeSet<String>,
    /// Capabilities taken from the default ones.
    pub cap_drop: BTreeSet<String>,
    /// All capabilities, all devices, no seccomp, nothing masked, the host's user namespace.
    pub privileged: bool,
    /// No system call filter (`security_opt = ["seccomp=unconfined"]`).
    pub seccomp_unconfined: bool,
    /// Kernel interfaces are neither masked nor read-only (`systempaths=unconfined`).
    pub unmasked: bool,
    /// Programs may gain rights by setuid bits and file capabilities (`no-new-privileges:false`).
    pub new_privileges: bool,
    /// User 0 of the container is user 0 of the host (`userns_mode = "host"`).
    pub host_users: bool,
    /// It sees the host's processes (`pid = "host"`).
    pub host_pid: bool,
    /// It shares the host's IPC (`ipc = "host"`).
    pub host_ipc: bool,
    /// Groups of the process beside those of its user, by name or number.
    pub group_add: Vec<String>,
}

/// A device that the container may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// A device file of the host (Compose: `/dev/ttyUSB0:/dev/modem:rw`).
    File {
        /// On the host.
        source: String,
        /// In the container.
        target: String,
        /// Whether it may be read.
        read: bool,
        /// Whether it may be written.
        write: bool,
    },
    /// A device of the Container Device Interface, `vendor.com/class=name` (CDI 1.0, github.com/cncf-tags/container-device-interface).
    Cdi(String),
}

/// A limit of each process (setrlimit(2)); `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ulimit {
    /// What applies.
    pub soft: Option<u64>,
    /// Up to which the process may raise it itself.
    pub hard: Option<u64>,
}

/// CPUs, as the kernel writes lists: `0-3,8`. Sorted and without repetition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CpuSet(pub String);

/// What runs a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeName {
    /// The agent's own.
    Embedded,
    /// The program `crun`.
    Crun,
    /// The program `runc`.
    Runc,
    /// gVisor's program `runsc`.
    Runsc,
}

/// Where a container's output goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Logging {
    /// To whom.
    pub driver: LogDriver,
    /// The file is rotated before it grows beyond this; the agent's setting where absent.
    pub max_size: Option<ByteSize>,
    /// Files kept, the current one included; the agent's setting where absent.
    pub max_files: Option<u32>,
    /// Bytes in a second that are written down; what is more is counted and dropped. Absent: no limit.
    pub rate: Option<ByteSize>,
}

/// To whom output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// A file of JSON lines (the key's value `json-file`).
    #[default]
    JsonFile,
    /// The file, and the host's journal besides.
    Journald,
    /// Nobody.
    None,
}

/// How the agent asks whether a container is well (Compose's `healthcheck`). What is absent is the image's, else Compose's default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Healthcheck {
    /// Not at all, whatever the image says.
    pub disable: bool,
    /// How; as the image says where absent.
    pub probe: Option<Probe>,
    /// Between two checks: 30 s.
    pub interval: Option<Span>,
    /// After which a check counts as failed: 30 s.
    pub timeout: Option<Span>,
    /// From the start on, in which failures do not count: 0 s.
    pub start_period: Option<Span>,
    /// Between two checks in that time: 5 s.
    pub start_interval: Option<Span>,
    /// Failures in a row that make it ill: 3.
    pub retries: Option<u32>,
}

/// One way of asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A program run in the container; well if it exits with 0. Never empty; a shell's line is already in its shell's.
    Exec(Vec<String>),
    /// GET; well if the answer's status is 200 to 399.
    Http {
        /// The `Host` header; the address where absent.
        host: Option<String>,
        /// In the container's network.
        port: u16,
        /// With its query.
        path: String,
    },
    /// Well if a connection can be made.
    Tcp {
        /// In the container's network.
        port: u16,
    },
}

/// A program that is run in the container at a point of its life (Compose's `post_start` and `pre_stop`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Hook {
    /// Program and arguments; never empty.
    pub command: Vec<String>,
    /// Who runs it; as the container's own program where absent.
    pub user: Option<String>,
    /// Where; as the container's own program where absent.
    pub working_dir: Option<String>,
    /// Added to the container's environment.
    pub environment: BTreeMap<String, String>,
}

/// Bounds and pace of restarts (Compose's `deploy.restart_policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct RestartSettings {
    /// The pause before the first restart in a row, doubled with each one; 100 ms where absent.
    pub delay: Option<Span>,
    /// Restarts in a row after which the instance is left ended; no bound where absent. Also counts with `restart = "always"`.
    pub max_attempts: Option<u32>,
    /// A container that ran this long was stable: what went wrong before no longer counts. 10 s where absent.
    pub window: Option<Span>,
}
