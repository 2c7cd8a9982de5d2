//! The OCI runtime specification (`config.json`, github.com/opencontainers/runtime-spec 1.x) of a container, and the few
//! files that are bound into it.
//!
//! Pure: what a container may do is decided here and can be read in one place. The shim adds the user's numbers, the home,
//! the paths of namespaces and the root; seccomp is loaded by the shim (libcontainer ignores it without libseccomp), so
//! it does not stand here. What the operator mounts is the shim's as well ([`mounts`]).

mod capabilities;
mod check;
mod mounts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub use capabilities::CAPABILITIES;
pub(super) use capabilities::{Capabilities, capability_set};
pub(super) use check::check;
pub(super) use mounts::{device_nodes, mount_requests};

use super::{ContainerSpec, NetworkMode, Parent};

/// Kernel interfaces that tell too much of the host; the list is moby's (oci/defaults.go).
const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Kernel interfaces that steer the host; the list is moby's.
const READ_ONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Groups that may send echo requests without raw sockets (icmp(7)): all that every user namespace of ours knows.
const PING_GROUPS: (&str, &str) = ("net.ipv4.ping_group_range", "0 65535");

/// How many files a process may have open, softly and at most, where nobody says otherwise: systemd's limits for services,
/// as engines give them.
const OPEN_FILES: (u64, u64) = (1024, 524_288);

/// For commands without a path, in images that set none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the host says to a container's specification.
pub(super) struct HostFacts {
    /// The container's group in the v2 tree.
    pub(super) cgroup: Option<PathBuf>,
    /// It may see it.
    pub(super) mount_cgroup: bool,
    /// More kernel interfaces to hide, which not every host has.
    pub(super) masked_paths: Vec<String>,
    /// The largest number of open files that the agent may give to others.
    pub(super) open_files_max: u64,
    /// The host's device files; for those that may use all.
    pub(super) devices: Vec<Value>,
}

/// The content of `config.json`.
pub(super) fn oci(spec: &ContainerSpec, host: &HostFacts) -> Value {
    let security = &spec.security;
    let capabilities = Capabilities::of(spec).names();
    let unmasked = security.unmasked || security.privileged;
    let masked = MASKED_PATHS.into_iter().chain(host.masked_paths.iter().map(String::as_str));
    let rlimits = rlimits(spec, host).into_iter().map(|(kind, soft, hard)| json!({ "type": kind, "soft": soft, "hard": hard }));
    let mut linux = json!({
        "namespaces": namespaces(spec).into_iter().map(|kind| json!({ "type": kind })).collect::<Vec<_>>(),
        "cgroupsPath": host.cgroup.as_deref().unwrap_or(Path::new("")),
        "maskedPaths": if unmasked { Vec::new() } else { masked.collect::<Vec<_>>() },
        "readonlyPaths": if unmasked { &[] } else { READ_ONLY_PATHS.as_slice() },
    });
    linux["sysctl"] = sysctls(spec).into_iter().map(|(name, value)| (name, json!(value))).collect();
    if security.privileged {
        linux["devices"] = host.devices.clone().into();
    }
    json!({
        "ociVersion": "1.2.0",
        "hostname": spec.hostname,
        "root": { "path": "rootfs", "readonly": spec.read_only },
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": spec.args,
            "env": environment(spec),
            "cwd": if spec.cwd.is_empty() { "/" } else { &spec.cwd },
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                "inheritable": [], "ambient": [],
            },
            "rlimits": rlimits.collect::<Vec<_>>(),
            "noNewPrivileges": !gains_privileges(spec),
            // The agent's own must not be inherited.
            "oomScoreAdj": spec.parent.as_ref().map_or(spec.oom_score_adj, |parent| spec.oom_score_adj.max(parent.oom_score_adj())),
        },
        "mounts": mounts::kernel_mounts(spec, host.mount_cgroup),
        "linux": linux,
    })
}

/// Whether it sees the host's network: as it asked for, or because its parent does.
pub(super) fn has_hosts_network(spec: &ContainerSpec) -> bool {
    match spec.network {
        NetworkMode::Host => true,
        NetworkMode::None | NetworkMode::Connected(_) => false,
        NetworkMode::Parent => spec.parent.as_ref().is_some_and(Parent::has_hosts_network),
    }
}

/// Whether its programs may have more rights than those that run them.
pub(super) fn gains_privileges(spec: &ContainerSpec) -> bool {
    spec.security.new_privileges || spec.security.privileged
}

fn namespaces(spec: &ContainerSpec) -> Vec<&'static str> {
    let all = [
        ("pid", !spec.security.host_pid),
        ("mount", true),
        ("ipc", !spec.security.host_ipc),
        ("uts", true),
        ("cgroup", true),
        ("network", !has_hosts_network(spec)),
    ];
    all.into_iter().filter(|(_, own)| *own).map(|(kind, _)| kind).collect()
}

/// Kernel parameters: those that were given, and one that lets everybody `ping` who has a network of his own.
fn sysctls(spec: &ContainerSpec) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = spec.sysctls.iter().cloned().collect();
    let given = all.keys().any(|name| name.replace('/', ".") == PING_GROUPS.0);
    if !given && !matches!(spec.network, NetworkMode::Host | NetworkMode::Parent) {
        all.insert(PING_GROUPS.0.to_owned(), PING_GROUPS.1.to_owned());
    }
    all
}

/// Limits of its processes: those that were given, or its parent's, and one that nobody can do without.
fn rlimits(spec: &ContainerSpec, host: &HostFacts) -> Vec<(String, u64, u64)> {
    let mut rlimits = spec.parent.as_ref().map_or_else(|| spec.rlimits.clone(), Parent::rlimits);
    if !rlimits.iter().any(|(name, ..)| name == "RLIMIT_NOFILE") {
        let hard = OPEN_FILES.1.min(host.open_files_max);
        rlimits.push(("RLIMIT_NOFILE".to_owned(), OPEN_FILES.0.min(hard), hard));
    }
    rlimits
}

fn environment(spec: &ContainerSpec) -> Vec<String> {
    let mut environment = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
    for (name, value) in [("PATH", DEFAULT_PATH), ("HOSTNAME", &spec.hostname)] {
        if !spec.env.iter().any(|(given, _)| given == name) {
            environment.push(format!("{name}={value}"));
        }
    }
    environment
}

/// The files of the container's `/etc` that are ours: name and content. `host` reads a file of the host's `/etc`.
pub(super) fn etc_files(spec: &ContainerSpec, host: impl Fn(&str) -> Option<String>) -> [(&'static str, String); 3] {
    let hosts = spec.hosts_file.clone().unwrap_or_else(|| make_hosts(spec, shared(spec, "hosts", &host)));
    let resolv_conf = spec.resolv_conf.clone().or_else(|| shared(spec, "resolv.conf", &host)).unwrap_or_default();
    [("hosts", hosts), ("hostname", format!("{}\n", spec.hostname)), ("resolv.conf", resolv_conf)]
}

fn make_hosts(spec: &ContainerSpec, host: Option<String>) -> String {
    let mut hosts = host.unwrap_or_else(|| "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n".to_owned());
    let known = hosts.lines().any(|line| line.split_whitespace().skip(1).any(|name| name == spec.hostname));
    if !known {
        if !hosts.ends_with('\n') {
            hosts.push('\n');
        }
        hosts.push_str(&format!("127.0.1.1\t{}\n", spec.hostname));
    }
    hosts
}

/// A file of whose network it shares: the host's, or its parent's.
fn shared(spec: &ContainerSpec, name: &str, host: impl Fn(&str) -> Option<String>) -> Option<String> {
    match spec.network {
        NetworkMode::Host => host(name),
        NetworkMode::Parent => spec.parent.as_ref()?.etc_file(name),
        NetworkMode::None | NetworkMode::Connected(_) => None,
    }
}

#[cfg(test)]
mod tests;
