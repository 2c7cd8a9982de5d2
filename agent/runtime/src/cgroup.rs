//! Control groups: one per container, below a folder `coord/KEY` of our own, limited before the container enters it.
//!
//! Three kinds of hosts. Pure v2 under systemd: systemd gives every container a scope of its own (`systemd`), because
//! processes in the agent's own unit would be in the way of its restart. Pure v2 without systemd: the tree is ours.
//! Hybrid: limits through the v1 controllers, each of which has its own tree, and a group in the v2 tree without
//! controllers, because v2 alone kills a whole group at once. KEY tells agents on one machine apart.
//!
//! ```text
//! BASE/{ct,shim}     BASE = coord/KEY/ID, or the scope; the container is in ct; the shim (later: the monitor) is in shim,
//!                    which only a scope has
//! v1: CONTROLLER/<the agent's own group>/coord/KEY/ID
//! ```
//! Deliberately absent: device rules (no CAP_MKNOD and `nodev` everywhere instead), cpusets, io.

mod survey;

pub use survey::{CgroupSurvey, survey};

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Resources;
use super::error::RuntimeError;
use super::request::CgroupPlacement;

/// Where cgroups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// The controllers that we use; the v1 names are the v2 names.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// Period of processor time, in microseconds; the kernel's own default.
const CPU_PERIOD_US: u64 = 100_000;

/// The kernel takes no quota below this.
const CPU_QUOTA_MIN_US: u64 = 1000;

/// How often and at what distance to look whether killed processes have left their group: 5 s in all. They are gone within
/// milliseconds, except where the kernel holds one in a device or a network file system.
const EMPTY_ATTEMPTS: u32 = 2500;
const EMPTY_PAUSE: Duration = Duration::from_millis(2);

/// The host's cgroups, as the agent uses them.
pub(super) struct Cgroups {
    /// The v2 tree.
    unified: Option<Tree>,
    /// Only on hybrid and v1 hosts: (controller, tree).
    v1: Vec<(&'static str, Tree)>,
    /// Tells agents on one machine apart.
    key: String,
}

/// One mounted tree.
struct Tree {
    mount: PathBuf,
    /// Where our folder `coord` lies, from the mount on.
    base: PathBuf,
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
        let v1 = CONTROLLERS.into_iter().filter_map(|name| Some((name, mounts.v1(name)?))).collect::<Vec<_>>();
        let mut unified = mounts.unified();
        if let (Some(tree), true) = (&mut unified, v1.is_empty()) {
            // All of it is ours: our own group holds processes, and v2 allows no groups beside those.
            tree.base = PathBuf::new();
        }
        Ok(Cgroups { unified, v1, key })
    }

    /// Makes the groups of container `id`, sets the limits, and moves the shim into its group. `scope` is the path that
    /// systemd has given, from the mount on.
    pub(super) fn create(
        &self,
        id: &str,
        resources: &Resources,
        shim: u32,
        scope: Option<(String, PathBuf)>,
    ) -> Result<ContainerCgroup, RuntimeError> {
        self.refuse_unsupported(id, resources)?;
        let mut made = ContainerCgroup::default();
        let result = self.create_unified(id, resources, shim, scope, &mut made).and_then(|()| {
            self.v1.iter().try_for_each(|(controller, tree)| self.create_v1(id, controller, tree, resources, &mut made))
        });
        match result {
            Ok(()) => Ok(made),
            Err(error) => {
                made.remove_now();
                Err(error)
            }
        }
    }

    /// On hosts with v1 controllers, or with none at all: one that is missing would be missed silently.
    fn refuse_unsupported(&self, id: &str, resources: &Resources) -> Result<(), RuntimeError> {
        if self.v1.is_empty() && self.unified.is_some() {
            return Ok(()); // each limit is a file, whose absence is an error
        }
        for controller in CONTROLLERS.iter().filter(|name| !self.v1.iter().any(|(have, _)| have == *name)) {
            if let Some(Limit { name: limit, value, .. }) = v1_limits(controller, resources).pop() {
                let source = io::Error::other(format!("the host has no cgroup controller `{controller}`"));
                return Err(RuntimeError::Limit { id: id.to_owned(), limit, value, source });
            }
        }
        Ok(())
    }

    fn create_unified(
        &self,
        id: &str,
        resources: &Resources,
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
                write(&base.join("shim/cgroup.procs"), &shim.to_string())?;
                base
            }
            None => {
                let ours = tree.base.join("coord").join(&self.key);
                if alone {
                    enable_controllers(&tree.mount, &ours)?;
                }
                tree.mount.join(ours).join(id)
            }
        };
        made.unified = Some(base.clone());
        if alone {
            make_folder(&base)?;
            // Without a controller its limit is refused below, by name.
            enable(&base);
        }
        let container = base.join("ct");
        make_folder(&container)?;
        if alone {
            made.oom_events = Some(container.join("memory.events"));
            return set_limits(id, &container, &v2_limits(resources));
        }
        Ok(())
    }

    fn create_v1(
        &self,
        id: &str,
        controller: &str,
        tree: &Tree,
        resources: &Resources,
        made: &mut ContainerCgroup,
    ) -> Result<(), RuntimeError> {
        let limits = v1_limits(controller, resources);
        if controller == "cpu" && limits.is_empty() {
            return Ok(()); // a group without use; the others tell of memory and processes
        }
        let group = tree.mount.join(&tree.base).join("coord").join(&self.key).join(id);
        make_folder(&group)?;
        made.v1.push(group.clone());
        if controller == "memory" {
            made.oom_events = Some(group.join("memory.oom_control"));
        }
        set_limits(id, &group, &limits)
    }

    /// What the shim is told.
    pub(super) fn placement(&self, cgroup: &ContainerCgroup) -> CgroupPlacement {
        let mount = self.unified.as_ref().map(|tree| tree.mount.clone()).unwrap_or_default();
        let group = |base: &PathBuf| Some(Path::new("/").join(base.join("ct").strip_prefix(&mount).ok()?));
        CgroupPlacement {
            unified: cgroup.unified.as_ref().and_then(group),
            v1_tasks: cgroup.v1.iter().map(|group| group.join("tasks")).collect(),
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
        for folder in self.shared_folders() {
            // One that is not there, or not empty, is not ours to remove.
            let _ = fs::remove_dir(folder.join(&self.key));
        }
    }

    /// Removes `coord`, where no other agent on this machine has a folder in it.
    pub(super) fn remove_shared_folders(&self) {
        for folder in self.shared_folders() {
            let _ = fs::remove_dir(folder);
        }
    }

    fn shared_folders(&self) -> impl Iterator<Item = PathBuf> {
        let trees = self.unified.iter().chain(self.v1.iter().map(|(_, tree)| tree));
        trees.map(|tree| tree.mount.join(&tree.base).join("coord"))
    }

    /// Groups of ours that have no container in `known`: left by a crash.
    pub(super) fn strays(&self, known: &BTreeSet<String>) -> Vec<ContainerCgroup> {
        let folder = |tree: &Tree| tree.mount.join(&tree.base).join("coord").join(&self.key);
        let stray = |path: &PathBuf| {
            path.is_dir() && path.file_name().is_some_and(|name| !known.contains(name.to_string_lossy().as_ref()))
        };
        let list = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).filter(stray);
        let unified = self.unified.iter().flat_map(|tree| list(folder(tree)));
        let v1 = self.v1.iter().flat_map(|(_, tree)| list(folder(tree)));
        unified
            .map(|path| ContainerCgroup { unified: Some(path), ..Default::default() })
            .chain(v1.map(|path| ContainerCgroup { v1: vec![path], ..Default::default() }))
            .collect()
    }
}

impl ContainerCgroup {
    /// Kills all processes of the container; the monitor lives on, to tell of it.
    pub(super) fn kill(&self) {
        let at_once = self.unified.as_ref().is_some_and(|base| fs::write(base.join("ct/cgroup.kill"), "1").is_ok());
        if !at_once {
            // Before Linux 5.14, and on v1 alone.
            for group in self.unified.iter().map(|base| base.join("ct")).chain(self.v1.iter().cloned()) {
                kill_one_by_one(&group);
            }
        }
    }

    /// Kills what is left, the monitor too, and removes the groups. Waits until they are empty.
    pub(super) fn remove_now(&self) {
        self.kill_all();
        for group in self.v1.iter().chain(&self.unified) {
            // systemd removes the group of a scope when it sees that it is empty; when the group is gone before, systemd
            // takes the scope for running for ever.
            let systemds = self.scope.is_some() && self.unified.as_ref() == Some(group);
            let gone = if systemds { self.wait_until_gone(group) } else { self.remove_when_empty(group) };
            if !gone {
                tracing::warn!(group = %group.display(), "a killed process does not leave its cgroup");
            }
        }
    }

    /// Returns whether it is gone, or at least not kept by a process.
    fn remove_when_empty(&self, group: &Path) -> bool {
        for _ in 0..EMPTY_ATTEMPTS {
            match remove_tree(group) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    // Somebody may have entered it after the last time.
                    self.kill_all();
                    std::thread::sleep(EMPTY_PAUSE);
                }
                _ => return true,
            }
        }
        false
    }

    fn wait_until_gone(&self, group: &Path) -> bool {
        for _ in 0..EMPTY_ATTEMPTS {
            if !group.exists() {
                return true;
            }
            self.kill_all();
            std::thread::sleep(EMPTY_PAUSE);
        }
        false
    }

    fn kill_all(&self) {
        self.kill();
        if let Some(base) = &self.unified {
            // Only scopes have it.
            let _ = fs::write(base.join("shim/cgroup.kill"), "1");
        }
    }
}

/// `/proc/self/mountinfo` and `/proc/self/cgroup`.
struct Mounts {
    mountinfo: String,
    own: String,
}

impl Mounts {
    fn unified(&self) -> Option<Tree> {
        let own = self.own.lines().find_map(|line| line.strip_prefix("0::"))?;
        self.tree(own, |kind, _| kind == "cgroup2")
    }

    fn v1(&self, controller: &str) -> Option<Tree> {
        let listed = |list: &str| list.split(',').any(|name| name == controller);
        let own = self.own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            fields.next().filter(|list| listed(list))?;
            fields.next()
        })?;
        self.tree(own, |kind, options| kind == "cgroup" && listed(options))
    }

    /// The mount that `wanted` picks by type and options, and the agent's own group in it.
    fn tree(&self, own: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<Tree> {
        // ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [FIELDS] - TYPE SOURCE SUPEROPTIONS
        self.mountinfo.lines().find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut right = right.split(' ');
            let (kind, _, options) = (right.next()?, right.next()?, right.next()?);
            let mut left = left.split(' ').skip(3);
            let (root, mount) = (left.next()?, PathBuf::from(left.next()?));
            if !wanted(kind, options) || !mount.starts_with(MOUNT) {
                return None;
            }
            let own = Path::new(own).strip_prefix(root).unwrap_or(Path::new("")).to_owned();
            // Somebody else's view of the tree: stay at its top.
            let base = if mount.join(&own).is_dir() { own } else { PathBuf::new() };
            Some(Tree { mount, base })
        })
    }
}

/// One limit: the document's name for it, the file, the value, and whether the host may lack the file.
struct Limit {
    name: &'static str,
    file: &'static str,
    value: String,
    optional: bool,
}

impl Limit {
    fn new(name: &'static str, file: &'static str, value: impl ToString) -> Limit {
        Limit { name, file, value: value.to_string(), optional: false }
    }
}

fn v2_limits(resources: &Resources) -> Vec<Limit> {
    let mut limits = Vec::new();
    if let Some(bytes) = resources.memory_bytes {
        limits.push(Limit::new("memory", "memory.max", bytes));
        // Memory and swap together are what was asked for. Kernels without swap accounting lack the file.
        limits.push(Limit { optional: true, ..Limit::new("memory", "memory.swap.max", 0) });
    }
    if let Some(milli) = resources.cpus_milli {
        limits.push(Limit::new("cpus", "cpu.max", format!("{} {CPU_PERIOD_US}", cpu_quota_us(milli))));
    }
    if let Some(count) = resources.pids {
        limits.push(Limit::new("pids", "pids.max", count));
    }
    limits
}

fn v1_limits(controller: &str, resources: &Resources) -> Vec<Limit> {
    let mut limits = Vec::new();
    match controller {
        "memory" => {
            if let Some(bytes) = resources.memory_bytes {
                limits.push(Limit::new("memory", "memory.limit_in_bytes", bytes));
                limits.push(Limit { optional: true, ..Limit::new("memory", "memory.memsw.limit_in_bytes", bytes) });
            }
        }
        "cpu" => {
            if let Some(milli) = resources.cpus_milli {
                limits.push(Limit::new("cpus", "cpu.cfs_period_us", CPU_PERIOD_US));
                limits.push(Limit::new("cpus", "cpu.cfs_quota_us", cpu_quota_us(milli)));
            }
        }
        _ => {
            if let Some(count) = resources.pids {
                limits.push(Limit::new("pids", "pids.max", count));
            }
        }
    }
    limits
}

fn cpu_quota_us(milli: u32) -> u64 {
    (u64::from(milli) * CPU_PERIOD_US / 1000).max(CPU_QUOTA_MIN_US)
}

fn set_limits(id: &str, group: &Path, limits: &[Limit]) -> Result<(), RuntimeError> {
    for Limit { name: limit, file, value, optional } in limits {
        match fs::write(group.join(file), value) {
            Err(error) if *optional && error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(RuntimeError::Limit { id: id.to_owned(), limit, value: value.clone(), source });
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Hands our controllers down from the top of the tree to the folder `ours`, which is made.
fn enable_controllers(mount: &Path, ours: &Path) -> Result<(), RuntimeError> {
    let mut folder = mount.to_owned();
    enable(&folder);
    for part in ours {
        folder.push(part);
        make_folder(&folder)?;
        enable(&folder);
    }
    Ok(())
}

/// One by one, because a controller that is missing would spoil the others. What is missing shows when a limit needs it.
fn enable(folder: &Path) {
    for controller in CONTROLLERS {
        if let Err(error) = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}")) {
            tracing::debug!(controller, folder = %folder.display(), %error, "cannot hand a cgroup controller down");
        }
    }
}

fn make_folder(path: &Path) -> Result<(), RuntimeError> {
    fs::create_dir_all(path).map_err(|source| RuntimeError::File { operation: "make", path: path.to_owned(), source })
}

fn write(path: &Path, text: &str) -> Result<(), RuntimeError> {
    fs::write(path, text).map_err(|source| RuntimeError::File { operation: "write", path: path.to_owned(), source })
}

fn kill_one_by_one(group: &Path) {
    for _ in 0..EMPTY_ATTEMPTS {
        let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        if processes.is_empty() {
            break;
        }
        for process in processes.lines().filter_map(|line| rustix::process::Pid::from_raw(line.parse().ok()?)) {
            // Gone meanwhile is just as well.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
        std::thread::sleep(EMPTY_PAUSE);
    }
}

/// Removes a group and all below it. One that is not there is fine.
fn remove_tree(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
