//! What a specification depends on of this host: limits that the agent may pass on, kernel interfaces, devices.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{major, minor};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};

use super::ContainerSpec;
use super::spec::HostFacts;

/// Device files that are given to a container that may use all; hosts have a few hundred.
const DEVICES_MAX: usize = 4096;

/// Lets `shim` pass on limits above our own, and gathers the facts. The error is in words for the operator.
pub(super) fn facts(spec: &ContainerSpec, shim: i32) -> Result<HostFacts, String> {
    for (name, _, hard) in &spec.rlimits {
        raise(shim, name, *hard)?;
    }
    Ok(HostFacts {
        cgroup: None,
        mount_cgroup: false,
        masked_paths: thermal_throttles(),
        open_files_max: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
        devices: if spec.security.privileged { devices(Path::new("/dev")) } else { Vec::new() },
    })
}

/// Raises a hard limit of the shim's, as far as it is below `hard`: in its user namespace, the container may not.
fn raise(shim: i32, name: &str, hard: u64) -> Result<(), String> {
    let Some(resource) = resource(name) else { return Ok(()) };
    let own = getrlimit(resource);
    let Some(maximum) = own.maximum.filter(|maximum| *maximum < hard) else { return Ok(()) };
    let wanted = Rlimit { current: own.current, maximum: (hard != u64::MAX).then_some(hard) };
    match prlimit(Pid::from_raw(shim), resource, wanted) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the host allows {name} to be at most {maximum} ({error})")),
    }
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_STACK" => Resource::Stack,
        _ => return None,
    })
}

/// Counters of each processor's heat, from which programs of others can be guessed; moby masks them as well.
fn thermal_throttles() -> Vec<String> {
    let cpus = fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let paths = cpus.map(|cpu| cpu.path().join("thermal_throttle")).filter(|path| path.exists());
    paths.map(|path| path.to_string_lossy().into_owned()).collect()
}

/// The device files below `folder`, in the form of `config.json`; without those that each container has of its own.
fn devices(folder: &Path) -> Vec<Value> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else { continue };
            let kind = metadata.file_type();
            let own = ["pts", "shm", "mqueue", "console", "ptmx"].iter().any(|name| path == Path::new("/dev").join(name));
            if own || found.len() >= DEVICES_MAX {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_char_device() || kind.is_block_device() {
                found.push(json!({
                    "path": path,
                    "type": if kind.is_block_device() { "b" } else { "c" },
                    "major": major(metadata.rdev()),
                    "minor": minor(metadata.rdev()),
                    "fileMode": metadata.mode() & 0o777,
                    "uid": metadata.uid(),
                    "gid": metadata.gid(),
                }));
            }
        }
    }
    found
}
