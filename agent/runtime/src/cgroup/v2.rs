//! A container's group in the v2 tree: alone there with all its limits, or beside v1 controllers with none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::devices::Rule;
use super::{Cgroups, ContainerCgroup, limits, make_folder, make_group, write};
use crate::{ContainerSpec, RuntimeError};

/// The controllers that limits and figures need.
pub(super) const CONTROLLERS: [&str; 5] = ["memory", "cpu", "pids", "cpuset", "io"];

impl Cgroups {
    /// Makes the group and sets the limits, where there is a v2 tree.
    pub(super) fn create_v2(
        &self,
        spec: &ContainerSpec,
        shim: u32,
        scope: Option<(String, PathBuf)>,
        made: &mut ContainerCgroup,
    ) -> Result<(), RuntimeError> {
        let Some(tree) = &self.unified else { return Ok(()) };
        let alone = self.v1.is_empty();
        let base = match scope {
            Some((name, path)) => {
                made.scope = Some(name);
                let base = tree.mount.join(path);
                // No group may hold both processes and controlled groups. Without a scope the shim stays where the agent
                // is, which is one move less: a move makes the kernel wait for all processors, for some milliseconds.
                make_folder(&base.join("shim"))?;
                let procs = base.join("shim/cgroup.procs");
                write(&procs, &shim.to_string()).map_err(|source| RuntimeError::File {
                    operation: "write",
                    path: procs,
                    source,
                })?;
                base
            }
            None => match &spec.parent {
                Some(parent) => {
                    made.monitors = parent.nested().receive_monitor(shim)?;
                    parent.nested().group_of(&spec.id)?
                }
                None => {
                    let ours = tree.ours(&self.key);
                    if alone {
                        hand_down(&tree.mount, &ours)?;
                    }
                    ours.join(&spec.id)
                }
            },
        };
        made.unified = Some(base.clone());
        let (container, is_within) = (base.join("ct"), spec.parent.is_some());
        make_group(&base, is_within)?;
        if alone {
            // Without a controller its limit is refused below, by name.
            enable(&base);
        }
        make_group(&container, is_within)?;
        let own = made.own(&container);
        if alone {
            made.oom_events = Some(own.join("memory.events"));
            limits::set(&spec.id, &container, &limits::v2(&spec.resources), &mut made.weakened)?;
            if made.divided {
                enable(&container);
            }
        }
        if made.divided {
            make_group(&own, is_within)?;
        }
        if alone && let Some(bytes) = spec.resources.memory_reservation_bytes {
            if made.divided {
                // What is reserved for the whole is for its own processes.
                let _ = write(&own.join("memory.low"), &bytes.to_string());
            }
            reserve_above(&container, &tree.mount, made.scope.is_some());
        }
        Ok(())
    }

    /// Lets the container's v2 group refuse all other devices, if the kernel can. Gives the rules back if it cannot.
    pub(super) fn enforce_in_v2(&self, id: &str, rules: Option<Vec<Rule>>, made: &mut ContainerCgroup) -> Option<Vec<Rule>> {
        let rules = rules?;
        let base = made.unified.as_ref()?;
        match self.device_rules.enforce(&base.join("ct"), &rules) {
            Ok(()) => None,
            Err(error) => {
                tracing::debug!(instance = id, %error, "the kernel takes no device rules in the cgroup v2 tree");
                Some(rules)
            }
        }
    }
}

/// Hands our controllers down from the top of the tree to the folder `ours`, which is made.
fn hand_down(mount: &Path, ours: &Path) -> Result<(), RuntimeError> {
    let mut folder = mount.to_owned();
    enable(&folder);
    for part in ours.strip_prefix(mount).unwrap_or(Path::new("")) {
        folder.push(part);
        make_folder(&folder)?;
        enable(&folder);
    }
    Ok(())
}

/// Hands down what of our controllers the folder has and does not hand down yet. What is missing shows when a limit needs it.
pub(super) fn enable(folder: &Path) {
    let words = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
    let (has, done) = (words("cgroup.controllers"), words("cgroup.subtree_control"));
    let lists = |words: &str, name: &str| words.split_ascii_whitespace().any(|word| word == name);
    for controller in CONTROLLERS.into_iter().filter(|name| lists(&has, name) && !lists(&done, name)) {
        // One by one, because one that is refused would spoil the others.
        if let Err(error) = write(&folder.join("cgroup.subtree_control"), &format!("+{controller}")) {
            tracing::debug!(controller, folder = %folder.display(), %error, "cannot hand a cgroup controller down");
        }
    }
}

/// Reserved memory holds only as far as all groups above reserve it too: each of ours gets what its groups reserve together.
/// Groups of systemd's are systemd's business, all but the scope, which it has delegated.
fn reserve_above(container: &Path, mount: &Path, is_scope: bool) {
    let levels = if is_scope { 1 } else { usize::MAX };
    for group in container.ancestors().skip(1).take_while(|group| *group != mount).take(levels) {
        if let Err(error) = reserve_sum(group) {
            tracing::debug!(group = %group.display(), %error, "cannot reserve memory above a container");
        }
    }
}

fn reserve_sum(group: &Path) -> io::Result<()> {
    let mut sum = 0_u64;
    for entry in fs::read_dir(group)? {
        let low = fs::read_to_string(entry?.path().join("memory.low")).unwrap_or_default();
        sum = sum.saturating_add(low.trim().parse().unwrap_or(0));
    }
    write(&group.join("memory.low"), &sum.to_string())
}
