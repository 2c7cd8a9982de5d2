//! The end of a container's groups: everything in them is killed, and they are removed.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::ContainerCgroup;
use super::nested::processes;

/// How often and at what distance to look whether killed processes have left their group: 5 s in all. They are gone within
/// milliseconds, except where the kernel holds one in a device or a network file system.
const EMPTY_ATTEMPTS: u32 = 2500;
const EMPTY_PAUSE: Duration = Duration::from_millis(2);
/// So often is looked whether monitors have ended by themselves: 1 s in all.
const MONITORS_ATTEMPTS: u32 = 500;

impl ContainerCgroup {
    /// Kills all processes of the container, and of those within it; the monitor lives on, to tell of it.
    pub(crate) fn kill(&self) {
        let at_once = self.unified.as_ref().is_some_and(|base| fs::write(base.join("ct/cgroup.kill"), "1").is_ok());
        if !at_once {
            // Before Linux 5.14, and on v1 alone.
            for group in self.unified.iter().map(|base| base.join("ct")).chain(self.v1.iter().cloned()) {
                kill_one_by_one(&group);
            }
        }
    }

    /// Kills what is left, the monitor too, and removes the groups. Waits until they are empty.
    pub(crate) fn remove_now(&self) {
        self.kill();
        self.wait_for_monitors();
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

    /// Monitors of containers within this one may be where its own is: they have yet to tell how those have ended.
    fn wait_for_monitors(&self) {
        let Some(base) = self.unified.as_ref().filter(|_| self.divided && self.scope.is_some()) else { return };
        for _ in 0..MONITORS_ATTEMPTS {
            if processes(&base.join("shim")).map_or(true, |left| left.is_empty()) {
                return;
            }
            std::thread::sleep(EMPTY_PAUSE);
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

fn kill_one_by_one(group: &Path) {
    for _ in 0..EMPTY_ATTEMPTS {
        let processes = processes(group).unwrap_or_default();
        if processes.is_empty() {
            break;
        }
        for process in processes.iter().filter_map(|line| rustix::process::Pid::from_raw(line.parse().ok()?)) {
            // Gone meanwhile is just as well.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
        std::thread::sleep(EMPTY_PAUSE);
    }
}

/// Removes a group and all below it. One that is not there is fine.
pub(super) fn remove_tree(group: &Path) -> io::Result<()> {
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
