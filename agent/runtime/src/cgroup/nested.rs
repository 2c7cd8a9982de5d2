//! Groups within a container's groups, for containers that run within it.
//!
//! ```text
//! BASE/ct, and each group of v1    the container's limits: they hold for the sum
//! ├─ main                          its own processes
//! └─ nested                        limits for all that run within it, together
//!    └─ ID                         one of them: a BASE of its own in v2, its group in v1
//! ```
//! The division is there from the container's start on, because v2 lets no group hold processes and controlled groups beside each
//! other (cgroup-v2.rst, "No Internal Process Constraint"), and because processes that moved would leave their memory behind.
//! Deliberately absent: a third level.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::v1::{count_below, inherit_cpuset};
use super::{Cgroups, ContainerCgroup, limits, make_group, write};
use crate::{Resources, RuntimeError};

/// Where a container's own processes are.
const MAIN: &str = "main";
/// Where the others are.
const NESTED: &str = "nested";

/// The groups in which containers run within one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nested {
    /// In the v2 tree, where there is one.
    unified: Option<PathBuf>,
    /// In the trees of the v1 controllers.
    v1: Vec<PathBuf>,
    /// Where their monitors are, if that is not where the agent is.
    monitors: Option<PathBuf>,
    /// What this host cannot limit, in words.
    pub(crate) weakened: Vec<String>,
}

impl ContainerCgroup {
    /// Where in one of its groups its own processes are.
    pub(super) fn own(&self, group: &Path) -> PathBuf {
        if self.divided { group.join(MAIN) } else { group.to_owned() }
    }
}

impl Cgroups {
    /// Makes room in a container's groups for others, which get no more than `within` together. May be repeated.
    pub(crate) fn nest(&self, id: &str, cgroup: &ContainerCgroup, within: &Resources) -> Result<Nested, RuntimeError> {
        let mut nested = Nested {
            monitors: cgroup.scope.as_ref().and(cgroup.unified.as_ref()).map(|base| base.join("shim")),
            ..Nested::default()
        };
        if let Some(base) = &cgroup.unified {
            let group = base.join("ct").join(NESTED);
            make_group(&group, true)?;
            if self.v1.is_empty() {
                limits::set(id, &group, &limits::v2(within), &mut nested.weakened)?;
                super::v2::enable(&group);
            }
            nested.unified = Some(group);
        }
        self.refuse_unsupported(id, within, &mut nested.weakened)?;
        for (controller, tree) in &self.v1 {
            let Some(above) = cgroup.v1.iter().find(|group| group.starts_with(&tree.mount)) else { continue };
            let group = above.join(NESTED);
            if !nested.v1.contains(&group) {
                make_group(&group, true)?;
                nested.v1.push(group.clone());
            }
            count_below(controller, &group)?;
            if *controller == "cpuset" {
                let inherited = inherit_cpuset(&tree.mount, &group);
                inherited.map_err(|source| RuntimeError::File { operation: "prepare", path: group.clone(), source })?;
            }
            limits::set(id, &group, &limits::v1(controller, &within_quota(within, above)), &mut nested.weakened)?;
        }
        Ok(nested)
    }
}

impl Nested {
    /// The v2 group of container `id`.
    pub(super) fn group_of(&self, id: &str) -> Result<PathBuf, RuntimeError> {
        let missing = || RuntimeError::Internal { id: id.to_owned(), what: "its parent has no group in cgroup v2".to_owned() };
        self.unified.as_ref().map(|group| group.join(id)).ok_or_else(missing)
    }

    /// The v1 group of container `id` in the tree that is mounted at `mount`.
    pub(super) fn v1_group_of(&self, mount: &Path, id: &str) -> Option<PathBuf> {
        self.v1.iter().find(|group| group.starts_with(mount)).map(|group| group.join(id))
    }

    /// Takes a shim, which is to be a monitor, to where the monitors are. Returns where that is.
    pub(super) fn receive_monitor(&self, shim: u32) -> Result<Option<PathBuf>, RuntimeError> {
        let Some(group) = &self.monitors else { return Ok(None) };
        let path = group.join("cgroup.procs");
        match write(&path, &shim.to_string()) {
            Ok(()) => Ok(Some(group.clone())),
            Err(source) => Err(RuntimeError::File { operation: "write", path, source }),
        }
    }

    /// What `wanted` is in the groups of one of the containers: v1 takes no quota of processor time above that of a group above.
    pub(super) fn limited(&self, wanted: &Resources) -> Resources {
        self.v1.iter().fold(wanted.clone(), |wanted, group| within_quota(&wanted, group))
    }
}

/// The same with no more processor time than this v1 group has.
fn within_quota(wanted: &Resources, group: &Path) -> Resources {
    let number = |file: &str| fs::read_to_string(group.join(file)).ok().and_then(|text| text.trim().parse::<u64>().ok());
    // -1, no quota, is no number here.
    let quota = number("cpu.cfs_quota_us").zip(number("cpu.cfs_period_us").filter(|period| *period > 0));
    let milli = quota.and_then(|(quota, period)| u32::try_from(quota.saturating_mul(1000) / period).ok());
    let cpus_milli = match (wanted.cpus_milli, milli) {
        (Some(wanted), Some(limit)) => Some(wanted.min(limit)),
        (wanted, _) => wanted,
    };
    Resources { cpus_milli, ..wanted.clone() }
}

/// The processes in a group and in those below it.
pub(super) fn processes(group: &Path) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(group.join("cgroup.procs"))?;
    let mut found = text.lines().map(str::to_owned).collect::<Vec<_>>();
    for entry in fs::read_dir(group)?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        // One that is being removed has none.
        found.extend(processes(&entry.path()).unwrap_or_default());
    }
    Ok(found)
}

/// Removes groups in which a start has ended half-way and nothing runs.
pub(crate) fn remove_empty(cgroup: &ContainerCgroup) {
    if !cgroup.divided {
        return;
    }
    for above in cgroup.unified.iter().map(|base| base.join("ct")).chain(cgroup.v1.iter().cloned()) {
        for entry in fs::read_dir(above.join(NESTED)).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && processes(&path).is_ok_and(|left| left.is_empty()) {
                // What is entered meanwhile stays, because the kernel removes no group with processes.
                let _ = super::removal::remove_tree(&path);
            }
        }
    }
}
