//! The OCI runtime specification (`config.json`, github.com/opencontainers/runtime-spec 1.x) of a container, and the few
//! files that are bound into it.
//!
//! Pure: what a container may do is decided here and can be read in one place. The shim adds the user's numbers, the home
//! and the path of the network namespace; seccomp is loaded by the shim (libcontainer ignores it without libseccomp), so
//! it does not stand here.

use std::path::Path;

use serde_json::{Value, json};

use super::{ContainerSpec, NetworkMode};

/// What root may do in a container: the usual fourteen of container engines, without MKNOD, because no device rules would
/// stand behind it.
pub const CAPABILITIES: [&str; 13] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Kernel interfaces that tell too much of the host; the list is moby's.
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

/// For commands without a path, in images that set none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The content of `config.json`. `bundle` holds the files to be bound (in `etc/`), `cgroup` is the container's group in the
/// v2 tree, `mount_cgroup` whether it may see it.
pub(super) fn oci(spec: &ContainerSpec, bundle: &Path, cgroup: Option<&Path>, mount_cgroup: bool) -> Value {
    let mut namespaces = vec!["pid", "mount", "ipc", "uts", "cgroup"];
    if !matches!(spec.network, NetworkMode::Host) {
        namespaces.push("network");
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
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
                "inheritable": [], "ambient": [],
            },
            "noNewPrivileges": true,
            // The agent's own must not be inherited.
            "oomScoreAdj": 0,
        },
        "mounts": mounts(bundle, mount_cgroup),
        "linux": {
            "namespaces": namespaces.into_iter().map(|kind| json!({ "type": kind })).collect::<Vec<_>>(),
            "cgroupsPath": cgroup.unwrap_or(Path::new("")),
            "maskedPaths": MASKED_PATHS,
            "readonlyPaths": READ_ONLY_PATHS,
        },
    })
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

fn mounts(bundle: &Path, mount_cgroup: bool) -> Vec<Value> {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        // Always: device nodes made in the root itself would be the image's to choose.
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    if mount_cgroup {
        mounts.push(mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]));
    }
    for name in ["hosts", "hostname", "resolv.conf"] {
        mounts.push(json!({
            "destination": format!("/etc/{name}"),
            "type": "bind",
            "source": bundle.join("etc").join(name),
            "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
        }));
    }
    mounts
}

/// The files of the container's `/etc` that are ours: name and content. `host` reads a file of the host's `/etc`.
pub(super) fn etc_files(spec: &ContainerSpec, host: impl Fn(&str) -> Option<String>) -> [(&'static str, String); 3] {
    let (mut hosts, resolv) = match spec.network {
        NetworkMode::Host => (host("hosts"), host("resolv.conf")),
        NetworkMode::None | NetworkMode::Connected(_) => (None, None),
    };
    let hosts = hosts.get_or_insert_with(|| "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n".to_owned());
    let known = hosts.lines().any(|line| line.split_whitespace().skip(1).any(|name| name == spec.hostname));
    if !known {
        if !hosts.ends_with('\n') {
            hosts.push('\n');
        }
        hosts.push_str(&format!("127.0.1.1\t{}\n", spec.hostname));
    }
    [("hosts", hosts.clone()), ("hostname", format!("{}\n", spec.hostname)), ("resolv.conf", resolv.unwrap_or_default())]
}

/// What is wrong with a specification, as far as that can be told without the image.
pub(super) fn check(spec: &ContainerSpec) -> Result<(), String> {
    let nameable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if spec.id.is_empty() || spec.id.len() > ID_MAX_BYTES || !spec.id.bytes().all(nameable) || spec.id.starts_with('.') {
        return Err("its ID is not made of 1 to 128 letters, digits, dots, underscores and hyphens".to_owned());
    }
    if spec.args.first().is_none_or(String::is_empty) {
        return Err("there is no command: neither the document nor the image has one".to_owned());
    }
    if spec.lowers.is_empty() {
        return Err("its image has no layers".to_owned());
    }
    if !spec.cwd.is_empty() && !spec.cwd.starts_with('/') {
        return Err(format!("the working directory {:?} is not an absolute path", spec.cwd));
    }
    if spec.hostname.is_empty() || spec.hostname.len() > HOSTNAME_MAX_BYTES || !spec.hostname.bytes().all(nameable) {
        return Err(format!("the host name {:?} is not one", spec.hostname));
    }
    if let Some((name, _)) = spec.env.iter().find(|(name, _)| name.is_empty() || name.contains('=')) {
        return Err(format!("{name:?} is no name of an environment variable"));
    }
    let env = spec.env.iter().flat_map(|(name, value)| [name, value]);
    if spec.args.iter().chain(env).chain([&spec.cwd, &spec.user]).any(|text| text.contains('\0')) {
        return Err("its command, environment, user or working directory holds a zero byte".to_owned());
    }
    Ok(())
}

/// A folder and a unit of systemd are named by it.
const ID_MAX_BYTES: usize = 128;

/// The kernel's limit for a host name.
const HOSTNAME_MAX_BYTES: usize = 64;

#[cfg(test)]
mod tests;
