//! Control groups: one per container, below a folder `coord/KEY` of our own, limited before the container enters it.
//!
//! Three kinds of hosts. Pure v2 under systemd: systemd gives every container a scope of its own (`systemd`), because
//! processes in the agent's own unit would be in the way of its restart. Pure v2 without systemd: the tree is ours.
//! Hybrid: limits through the v1 controllers, each of which has its own tree, and a group in the v2 tree without
//! controllers, because v2 alone kills a whole group at once, counts processor time and holds device rules for nothing.
//! KEY tells agents on one machine apart.
//!
//! ```text
//! BASE/{ct,shim}     BASE = coord/KEY/ID, or the scope; the container is in ct; the shim (later: the monitor) is in shim,
//!                    which only a scope has
//! v1: CONTROLLER/<the agent's own group>/coord/KEY/ID
//!
//! A container within which others run divides its groups (`nested`): {main,nested/ID} in BASE/ct and in each group of v1.
//!
//! trees (what is mounted) ─▶ limits, devices (which files, which rules: pure) ─▶ groups here ─▶ usage … ─▶ removal
//! ```
//! Deliberately absent: limits of single disks, huge pages, RDMA.

mod devices;
mod limits;
mod nested;
mod removal;
mod survey;
mod trees;
mod usage;
mod v1;
mod v2;

pub(super) use devices::oci_rules as oci_device_rules;
pub(super) use nested::{Nested, remove_empty as remove_empty_nested};
pub use survey::{CgroupSurvey, survey};
pub use usage::{CpuUsage, IoUsage, MemoryUsage, PidsUsage, Pressure, Pressures, Usage};

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ContainerSpec;
use super::error::RuntimeError;
use super::request::CgroupPlacement;
use devices::DeviceRules;
use trees::{Mounts, Tree};

/// Without these v1 controllers a host is not one of v1, whatever else it has mounted.
const V1_DECISIVE: [&str; 3] = ["memory", "cpu", "pids"];

/// The host's cgroups, as the agent uses them.
pub(super) struct Cgroups {
    /// The v2 tree.
    unified: Option<Tree>,
    /// Only on hybrid and v1 hosts: (controller, tree).
    v1: Vec<(&'static str, Tree)>,
    /// Tells agents on one machine apart.
    key: String,
    /// How device rules are enforced in the v2 tree.
    device_rules: DeviceRules,
}

/// A container's groups; kept in `state.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct ContainerCgroup {
    /// The v2 groups of container and shim are `ct` and `shim` in here.
    pub(super) unified: Option<PathBuf>,
    pub(super) v1: Vec<PathBuf>,
    /// The file with the line `oom_kill N`.
    pub(super) oom_events: Option<PathBuf>,
    /// systemd's scope.
    pub(super) scope: Option<String>,
    /// What this host cannot limit, in words.
    #[serde(default)]
    pub(super) weakened: Vec<String>,
    /// Its own processes are in `main` of each group, so that others may be in `nested`.
    #[serde(default)]
    pub(super) divided: bool,
    /// The group of its monitor, where that is not `shim` in its own.
    #[serde(default)]
    pub(super) monitors: Option<PathBuf>,
}

impl ContainerCgroup {
    /// Where its monitor belongs; not every host has such a group.
    pub(super) fn monitors(&self) -> Option<PathBuf> {
        self.monitors.clone().or_else(|| Some(self.unified.as_ref()?.join("shim")))
    }
}

impl Cgroups {
    /// Looks at what is mounted. `state_dir` makes the key.
    pub(super) fn detect(state_dir: &Path) -> Result<Cgroups, RuntimeError> {
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|source| RuntimeError::File { operation: "read", path: path.into(), source })
        };
        let mounts = Mounts { mountinfo: read("/proc/self/mountinfo")?, own: read("/proc/self/cgroup")? };
        let metadata = fs::metadata(state_dir).map_err(|source| RuntimeError::File {
            operation: "read",
            path: state_dir.to_owned(),
            source,
        })?;
        let key = format!("{:x}-{:x}", metadata.dev(), metadata.ino());
        let mut v1 = v1::CONTROLLERS.into_iter().filter_map(|name| Some((name, mounts.v1(name)?))).collect::<Vec<_>>();
        if !v1.iter().any(|(name, _)| V1_DECISIVE.contains(name)) {
            v1.clear();
        }
        let mut unified = mounts.unified();
        if let (Some(tree), true) = (&mut unified, v1.is_empty()) {
            // All of it is ours: our own group holds processes, and v2 allows no groups beside those.
            tree.base = PathBuf::new();
        }
        Ok(Cgroups { unified, v1, key, device_rules: DeviceRules::default() })
    }

    /// Makes the groups of a container, sets its limits and device rules, and moves the shim into its group. `scope` is
    /// the path that systemd has given, from the mount on.
    pub(super) fn create(
        &self,
        spec: &ContainerSpec,
        shim: u32,
        scope: Option<(String, PathBuf)>,
    ) -> Result<ContainerCgroup, RuntimeError> {
        let rules = devices::rules(spec)?;
        let mut made = ContainerCgroup { divided: spec.nests, ..ContainerCgroup::default() };
        let make = || {
            self.create_v2(spec, shim, scope, &mut made)?;
            let rules = self.enforce_in_v2(&spec.id, rules, &mut made);
            self.create_v1(spec, rules, &mut made)
        };
        match make() {
            Ok(()) => {
                let of_all = spec.parent.iter().flat_map(|parent| &parent.nested().weakened);
                let more = of_all.filter(|words| !made.weakened.contains(words)).cloned().collect::<Vec<_>>();
                made.weakened.extend(more);
                Ok(made)
            }
            Err(error) => {
                made.remove_now();
                Err(error)
            }
        }
    }

    /// Makes this as on a kernel that takes no device programs.
    #[cfg(test)]
    pub(super) fn refuse_device_programs(&self, is_refused: bool) {
        self.device_rules.is_refused.store(is_refused, std::sync::atomic::Ordering::Relaxed);
    }

    /// What the shim is told.
    pub(super) fn placement(&self, cgroup: &ContainerCgroup) -> CgroupPlacement {
        let mount = self.unified.as_ref().map(|tree| tree.mount.clone()).unwrap_or_default();
        let group = |path: PathBuf| Some(Path::new("/").join(path.strip_prefix(&mount).ok()?));
        CgroupPlacement {
            unified: cgroup.unified.as_ref().and_then(|base| group(cgroup.own(&base.join("ct")))),
            v1_tasks: cgroup.v1.iter().map(|group| cgroup.own(group).join("tasks")).collect(),
            unified_mount: mount,
        }
    }

    /// Where the v2 tree is mounted.
    pub(super) fn unified_mount(&self) -> Option<&Path> {
        self.unified.as_ref().map(|tree| tree.mount.as_path())
    }

    /// Whether a container may have a cgroup mount of its own. Not on v1, where "read-only" would not hold.
    pub(super) fn may_be_mounted(&self) -> bool {
        self.v1.is_empty() && self.unified.is_some()
    }

    /// Removes the folders that containers of this agent shared. Only when no container is left.
    pub(super) fn remove_own_folders(&self) {
        for tree in self.trees() {
            // One that is not there, or not empty, is not ours to remove.
            let _ = fs::remove_dir(tree.ours(&self.key));
        }
    }

    /// Removes `coord`, where no other agent on this machine has a folder in it.
    pub(super) fn remove_shared_folders(&self) {
        for tree in self.trees() {
            let _ = fs::remove_dir(tree.shared());
        }
    }

    fn trees(&self) -> impl Iterator<Item = &Tree> {
        self.unified.iter().chain(self.v1.iter().map(|(_, tree)| tree))
    }

    /// Groups of ours that have no container in `known`: left by a crash.
    pub(super) fn strays(&self, known: &BTreeSet<String>) -> Vec<ContainerCgroup> {
        let stray = |path: &PathBuf| {
            path.is_dir() && path.file_name().is_some_and(|name| !known.contains(name.to_string_lossy().as_ref()))
        };
        let list = |tree: &Tree| {
            fs::read_dir(tree.ours(&self.key)).into_iter().flatten().flatten().map(|entry| entry.path()).filter(stray)
        };
        let unified = self.unified.iter().flat_map(list);
        // Controllers may share a tree.
        let v1 = self.v1.iter().flat_map(|(_, tree)| list(tree)).collect::<BTreeSet<_>>();
        unified
            .map(|path| ContainerCgroup { unified: Some(path), ..Default::default() })
            .chain(v1.into_iter().map(|path| ContainerCgroup { v1: vec![path], ..Default::default() }))
            .collect()
    }
}

/// Makes a group. Those above it must be there already if it lies within another container's: that one may be gone by now.
fn make_group(path: &Path, is_within: bool) -> Result<(), RuntimeError> {
    if !is_within {
        return make_folder(path);
    }
    match fs::create_dir(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(RuntimeError::File { operation: "make", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn make_folder(path: &Path) -> Result<(), RuntimeError> {
    fs::create_dir_all(path).map_err(|source| RuntimeError::File { operation: "make", path: path.to_owned(), source })
}

/// Writes to a file of the kernel. One that is not there is `NotFound`, where asking to create it would be "permission
/// denied".
fn write(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests;
