//! A container's groups in the trees of the v1 controllers.

use std::fs;
use std::io;
use std::path::Path;

use super::devices::Rule;
use super::limits::{self, Limit};
use super::{Cgroups, ContainerCgroup, make_group, write};
use crate::{ContainerSpec, Resources, RuntimeError};

/// The controllers that we use. Two of them may share a tree.
pub(super) const CONTROLLERS: [&str; 7] = ["memory", "pids", "cpu", "cpuset", "blkio", "devices", "cpuacct"];

const NO_DEVICE_RULES: &str = "no device rules: the kernel takes none; device files cannot be made or used from its own disks";

impl Cgroups {
    /// Makes the groups that this container needs and sets its limits. `rules` are device rules that nobody enforces yet.
    pub(super) fn create_v1(
        &self,
        spec: &ContainerSpec,
        rules: Option<Vec<Rule>>,
        made: &mut ContainerCgroup,
    ) -> Result<(), RuntimeError> {
        self.refuse_unsupported(&spec.id, &spec.resources, &mut made.weakened)?;
        let resources = spec.parent.as_ref().map_or_else(|| spec.resources.clone(), |it| it.nested().limited(&spec.resources));
        for (controller, tree) in &self.v1 {
            let limits = limits::v1(controller, &resources);
            let is_wanted = match *controller {
                // Each group that a process enters costs time: those without use are left out.
                "cpu" => !limits.is_empty() || spec.nests,
                "cpuset" => !limits.is_empty(),
                "devices" => rules.is_some() || spec.nests && spec.security.privileged,
                // The v2 tree counts processor time too.
                "cpuacct" => self.unified.is_none(),
                _ => true,
            };
            let group = match &spec.parent {
                // In all of its parent's groups, and in no other: it would be outside of its parent there.
                Some(parent) => match parent.nested().v1_group_of(&tree.mount, &spec.id) {
                    Some(group) => group,
                    None => continue,
                },
                None if !is_wanted => continue,
                None => tree.ours(&self.key).join(&spec.id),
            };
            if !made.v1.contains(&group) {
                make_group(&group, spec.parent.is_some())?;
                made.v1.push(group.clone());
            }
            let own = made.own(&group);
            if made.divided {
                count_below(controller, &group)?;
                make_group(&own, true)?;
            }
            let failed = |what, path: &Path| {
                let path = path.to_owned();
                move |source: io::Error| RuntimeError::File { operation: what, path, source }
            };
            match *controller {
                "memory" => made.oom_events = Some(own.join("memory.oom_control")),
                "cpuset" => inherit_cpuset(&tree.mount, &group).map_err(failed("prepare", &group))?,
                "devices" => {
                    if let Some(rules) = &rules {
                        set_device_rules(&group, rules).map_err(failed("set device rules in", &group))?;
                    }
                }
                _ => {}
            }
            limits::set(&spec.id, &group, &limits, &mut made.weakened)?;
            if *controller == "cpuset" && made.divided {
                // Not earlier: none may have more than the one above.
                inherit_cpuset(&tree.mount, &own).map_err(failed("prepare", &own))?;
            }
        }
        if rules.is_some() && !self.v1.iter().any(|(name, _)| *name == "devices") {
            made.weakened.push(NO_DEVICE_RULES.to_owned());
        }
        Ok(())
    }

    /// On hosts with v1 controllers, or with none at all: one that is missing would be missed silently.
    pub(super) fn refuse_unsupported(
        &self,
        id: &str,
        resources: &Resources,
        weakened: &mut Vec<String>,
    ) -> Result<(), RuntimeError> {
        if self.v1.is_empty() && self.unified.is_some() {
            return Ok(()); // each limit is a file, whose absence is an error
        }
        for controller in CONTROLLERS.iter().filter(|name| !self.v1.iter().any(|(have, _)| have == *name)) {
            for limit in limits::v1(controller, resources) {
                limits::lacking(&limit, weakened).map_err(|_| {
                    let Limit { name: limit, value, .. } = limit;
                    let source = io::Error::other(format!("the host has no cgroup controller `{controller}`"));
                    RuntimeError::Limit { id: id.to_owned(), limit, value, source }
                })?;
            }
        }
        Ok(())
    }
}

/// Lets a group's memory be that of the groups below it, too. Since Linux 5.11 it always is.
pub(super) fn count_below(controller: &str, group: &Path) -> Result<(), RuntimeError> {
    let path = group.join("memory.use_hierarchy");
    if controller != "memory" || !fs::read_to_string(&path).is_ok_and(|text| text.trim() == "0") {
        return Ok(());
    }
    write(&path, "1").map_err(|source| RuntimeError::File { operation: "write", path, source })
}

/// A new cpuset group has neither processors nor memory nodes, and then takes no process: from the top down, each group that
/// has none gets those of the one above.
pub(super) fn inherit_cpuset(mount: &Path, group: &Path) -> io::Result<()> {
    let mut folders = group.ancestors().take_while(|folder| *folder != mount).collect::<Vec<_>>();
    folders.reverse();
    for folder in folders {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if !fs::read_to_string(folder.join(file))?.trim().is_empty() {
                continue;
            }
            let above = fs::read_to_string(folder.parent().unwrap_or(mount).join(file))?;
            write(&folder.join(file), above.trim())?;
        }
    }
    Ok(())
}

fn set_device_rules(group: &Path, rules: &[Rule]) -> io::Result<()> {
    write(&group.join("devices.deny"), "a")?;
    for rule in rules {
        write(&group.join("devices.allow"), &rule.to_string())?;
    }
    Ok(())
}
