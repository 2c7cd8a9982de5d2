//! A group of cgroups of its own for every simulated host, one in each hierarchy.
//!
//! An agent makes its containers' cgroups below the one that it runs in. Giving each agent its own keeps the hosts of
//! one test apart, and lets the test end everything that an agent has started, monitors and containers included, when
//! the agent itself no longer can. Serves cgroup v1, hybrid and v2; nothing outside the test's own group is touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

const ROOT: &str = "/sys/fs/cgroup";
/// Killing is at once; a process in an uninterruptible wait takes a little.
const EMPTY_LIMIT: Duration = Duration::from_secs(20);
/// Every group of the tests is called `coord-test-PID-NUMBER`, after the test's process.
const PREFIX: &str = "coord-test-";

/// The cgroups of one simulated host. Dropping it kills what is inside and removes them.
#[derive(Debug)]
pub struct Group {
    dirs: Vec<PathBuf>,
}

impl Group {
    /// One directory in every hierarchy, below this process's own place there.
    pub fn create() -> Result<Group> {
        static GROUPS: AtomicUsize = AtomicUsize::new(0);
        let number = GROUPS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let mut group = Group { dirs: Vec::new() };
        for parent in own_dirs()? {
            let dir = parent.join(&name);
            fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
            group.dirs.push(dir.clone());
            inherit_cpuset(&parent, &dir)?;
        }
        Ok(group)
    }

    /// The directories, for [`crate::process::Place::cgroups`].
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// Every process inside, of any hierarchy.
    pub fn pids(&self) -> Vec<Pid> {
        let mut pids = self.dirs.iter().flat_map(|dir| pids_below(dir)).collect::<Vec<_>>();
        pids.sort();
        pids.dedup();
        pids
    }

    /// The power cord: every process inside dies at once.
    pub fn kill(&self) -> Result<()> {
        end_all(&self.dirs)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            crate::say(&format!("{error:#}"));
        }
        self.dirs.iter().for_each(|dir| remove_tree(dir));
    }
}

/// Ends and removes what killed tests have left behind: groups of test processes that no longer exist.
pub fn sweep() -> Result<()> {
    for parent in own_dirs()? {
        for entry in fs::read_dir(&parent)?.flatten() {
            let name = entry.file_name();
            let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            let owner = owner.and_then(|rest| rest.split('-').next()?.parse::<i32>().ok());
            if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                end_all(&[entry.path()])?;
                remove_tree(&entry.path());
            }
        }
    }
    Ok(())
}

/// This process's directory in every hierarchy that is mounted.
fn own_dirs() -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
    Ok(text.lines().filter_map(|line| own_dir(Path::new(ROOT), line)).collect())
}

/// `4:memory:/a/b` is `/sys/fs/cgroup/memory/a/b`; `0::/a/b` is version 2, alone or as `unified`.
fn own_dir(root: &Path, line: &str) -> Option<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let mount = match controllers {
        "" if root.join("unified").is_dir() => root.join("unified"),
        "" if root.join("cgroup.procs").exists() => root.to_owned(),
        "" => return None,
        named => root.join(named.strip_prefix("name=").unwrap_or(named)),
    };
    let dir = mount.join(path.trim_start_matches('/'));
    dir.is_dir().then_some(dir)
}

/// In version 1 a new cpuset is empty, and nothing may join an empty one.
fn inherit_cpuset(parent: &Path, dir: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (parent.join(file), dir.join(file));
        if parent.join("cpuset.cpu_exclusive").exists() && from.exists() {
            let value = fs::read(&from).with_context(|| format!("read {}", from.display()))?;
            fs::write(&to, value).with_context(|| format!("write {}", to.display()))?;
        }
    }
    Ok(())
}

fn end_all(dirs: &[PathBuf]) -> Result<()> {
    let what = format!("everything in {dirs:?} ends");
    wait::wait_until(EMPTY_LIMIT, &what, || {
        for dir in dirs {
            let _ = fs::write(dir.join("cgroup.kill"), "1");
            let _ = fs::write(dir.join("freezer.state"), "THAWED");
        }
        let pids: Vec<Pid> = dirs.iter().flat_map(|dir| pids_below(dir)).collect();
        for pid in &pids {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        pids.is_empty()
    })
}

fn pids_below(dir: &Path) -> Vec<Pid> {
    let own = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<Pid> = own.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| *pid > 1).map(Pid::from_raw).collect();
    pids.extend(subdirs(dir).iter().flat_map(|dir| pids_below(dir)));
    pids
}

fn remove_tree(dir: &Path) {
    subdirs(dir).iter().for_each(|dir| remove_tree(dir));
    // What was killed a moment ago still counts until its parent has heard of it.
    let what = format!("{} can be removed", dir.display());
    let removed = wait::wait_until(EMPTY_LIMIT, &what, || fs::remove_dir(dir).is_ok() || !dir.exists());
    if let Err(error) = removed {
        crate::say(&format!("{error:#}"));
    }
}

fn subdirs(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
