//! What is mounted into a container: by the runtime, what every container has of the kernel; by the shim, the rest.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{major, minor};
use serde_json::{Value, json};

use crate::request::{BindPropagation, DeviceNode, MountFrom, MountRequest};
use crate::{ContainerSpec, Mount, MountSource, Propagation};

/// The kernel's file systems. `/dev` always: device files of the image's own making would be the image's to choose.
pub(super) fn kernel_mounts(spec: &ContainerSpec, cgroup: bool) -> Vec<Value> {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    let host = |path: &str| json!({ "destination": path, "type": "bind", "source": path, "options": ["rbind", "nosuid", "noexec", "nodev"] });
    let closed = if spec.security.privileged { "rw" } else { "ro" };
    let shm_size = format!("size={}", spec.shm_bytes);
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", closed]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        match spec.security.host_ipc && Path::new("/dev/shm").is_dir() {
            true => host("/dev/shm"),
            false => mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", &shm_size]),
        },
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    if cgroup {
        mounts.push(mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", closed]));
    }
    mounts
}

/// Everything else, in an order in which nothing hides what is mounted into it: our files of `/etc` (in `bundle`), and what the
/// operator mounts.
pub(crate) fn mount_requests(spec: &ContainerSpec, bundle: &Path) -> Vec<MountRequest> {
    let ours = ["hosts", "hostname", "resolv.conf"].into_iter().map(|name| MountRequest {
        target: Path::new("/etc").join(name),
        read_only: true,
        source: MountFrom::Bind { path: bundle.join("etc").join(name), propagation: BindPropagation::Private },
    });
    let theirs = spec.mounts.iter().map(|Mount { target, source, read_only }| MountRequest {
        target: target.into(),
        read_only: *read_only,
        source: match source.clone() {
            MountSource::Volume { path, copy_up } => MountFrom::Volume { path, copy_up },
            MountSource::Bind { path, propagation } => MountFrom::Bind { path, propagation: from(propagation) },
            MountSource::Tmpfs { size_bytes, mode } => MountFrom::Tmpfs { size_bytes, mode },
            MountSource::Parents { path } => MountFrom::Parents { path },
        },
    });
    let mounted_on = |target: &Path| spec.mounts.iter().any(|mount| Path::new(&mount.target) == target);
    let mut all = ours.filter(|request| !mounted_on(&request.target)).chain(theirs).collect::<Vec<_>>();
    all.sort_by_key(|request| request.target.components().count());
    all
}

fn from(propagation: Propagation) -> BindPropagation {
    match propagation {
        Propagation::Private => BindPropagation::Private,
        Propagation::Slave => BindPropagation::Slave,
        Propagation::Shared => BindPropagation::Shared,
    }
}

/// What the shim makes for the devices that a container is given. The error is in words for the operator.
pub(crate) fn device_nodes(spec: &ContainerSpec) -> Result<Vec<DeviceNode>, String> {
    let node = |device: &crate::DeviceFile| {
        let metadata = device.source.metadata().map_err(|error| format!("the device {}: {error}", device.source.display()))?;
        let kind = metadata.file_type();
        if !kind.is_block_device() && !kind.is_char_device() {
            return Err(format!("{} is no device file", device.source.display()));
        }
        // A right that it does not have, it does not have by its mode either.
        let rights = if device.read { 0o444 } else { 0 } | if device.write { 0o222 } else { 0 };
        Ok(DeviceNode {
            target: device.target.clone(),
            block: kind.is_block_device(),
            major: major(metadata.rdev()),
            minor: minor(metadata.rdev()),
            mode: metadata.mode() & rights,
            uid: metadata.uid(),
            gid: metadata.gid(),
        })
    };
    spec.devices.iter().map(node).collect()
}
