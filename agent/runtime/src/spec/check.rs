//! What is wrong with a specification, as far as that can be told without the image and the host.

use std::path::{Component, Path};

use super::capabilities;
use crate::{ContainerSpec, NetworkMode, parent};

/// What is wrong with a specification, as far as that can be told without the image.
pub(crate) fn check(spec: &ContainerSpec) -> Result<(), String> {
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
    if let Some(name) = capabilities::unknown(spec) {
        return Err(format!("{name:?} is no capability"));
    }
    parent::check(spec)?;
    check_mounts(spec)?;
    check_limits(spec)?;
    check_sysctls(spec)
}

fn check_mounts(spec: &ContainerSpec) -> Result<(), String> {
    let targets =
        spec.mounts.iter().map(|mount| Path::new(&mount.target)).chain(spec.devices.iter().map(|device| device.target.as_path()));
    for target in targets {
        let shown = target.display();
        let mut parts = target.components();
        if parts.next() != Some(Component::RootDir) || !parts.clone().all(|part| matches!(part, Component::Normal(_))) {
            return Err(format!("the mount target {shown} is not an absolute path without \"..\""));
        }
        let parts = parts.collect::<Vec<_>>();
        let [Component::Normal(first), rest @ ..] = parts.as_slice() else {
            return Err("nothing can be mounted over the whole root: choose a folder in it".to_owned());
        };
        if *first == "proc" || *first == "sys" || *first == "dev" && rest.is_empty() {
            return Err(format!("nothing can be mounted onto {shown}, which is the kernel's"));
        }
    }
    for device in &spec.devices {
        if !device.target.starts_with("/dev") {
            return Err(format!("the device file {} does not lie in /dev", device.target.display()));
        }
    }
    Ok(())
}

fn check_limits(spec: &ContainerSpec) -> Result<(), String> {
    for (name, soft, hard) in &spec.rlimits {
        if !RLIMITS.contains(&name.as_str()) {
            return Err(format!("{name:?} is no limit of processes"));
        }
        if soft > hard {
            return Err(format!("the soft limit {soft} of {name} is above the hard one, {hard}"));
        }
    }
    match spec.oom_score_adj {
        -1000..=1000 => Ok(()),
        other => Err(format!("oom_score_adj = {other} is not between -1000 and 1000")),
    }
}

/// Kernel parameters that exist once per container: those of its IPC and network namespaces. All others would be the host's.
fn check_sysctls(spec: &ContainerSpec) -> Result<(), String> {
    for (name, _) in &spec.sysctls {
        let name = name.replace('/', ".");
        let ipc = IPC_SYSCTLS.contains(&name.as_str()) || name.starts_with("fs.mqueue.");
        let network = name.starts_with("net.");
        if name.split('.').any(str::is_empty) || !ipc && !network {
            return Err(format!(
                "the kernel parameter {name} is not one of a container's own: only net.*, fs.mqueue.* and IPC's are"
            ));
        }
        if ipc && spec.security.host_ipc {
            return Err(format!("the kernel parameter {name} is the host's, whose IPC it shares"));
        }
        if network && matches!(spec.network, NetworkMode::Host) {
            return Err(format!("the kernel parameter {name} is the host's, whose network it shares"));
        }
        if network && matches!(spec.network, NetworkMode::Parent) {
            return Err(format!("the kernel parameter {name} is its parent's, whose network it shares"));
        }
    }
    Ok(())
}

/// Kernel parameters of an IPC namespace (the list is runc's).
const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Limits of processes (getrlimit(2)).
const RLIMITS: [&str; 16] = [
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
];

/// A folder and a unit of systemd are named by it.
const ID_MAX_BYTES: usize = 128;

/// The kernel's limit for a host name.
const HOSTNAME_MAX_BYTES: usize = 64;
