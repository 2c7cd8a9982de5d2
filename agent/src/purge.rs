//! Takes everything of ours off this host: containers, their mounts, cgroups and folders, images, logs, ledger.
//!
//! For the day the agent is uninstalled. Needs no coordinator, and refuses while an agent runs.

use crate::config::Config;
use crate::daemon::{self, DaemonError};
use crate::runtime::{Recovered, RecoveredState, Runtime as _};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a container may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// What was removed.
#[derive(Debug, Default)]
pub struct Purged {
    /// Containers, running or not.
    pub containers: usize,
    /// What could not be removed, with the reason.
    pub left: Vec<String>,
}

/// Purges the host. Everything that can be removed is, even if something else cannot.
pub async fn run(config: &Config) -> Result<Purged, DaemonError> {
    let mut purged = Purged::default();
    let opened = daemon::open(config).await?;
    let found =
        opened.runtime.recover().map_err(|e| DaemonError::Part { part: "from what runs already", source: Box::new(e) })?;
    stop_all(&opened, &found).await;
    for container in found {
        match opened.runtime.remove(&container.id).await {
            Ok(()) => purged.containers += 1,
            Err(error) => purged.left.push(format!("container {}: {}", container.id, crate::chain(&error))),
        }
    }
    if purged.left.is_empty() {
        opened.runtime.remove_shared();
        drop(opened);
        unmount_below(&config.state_dir.join("images"), &mut purged.left);
        for folder in [&config.run_dir, &config.state_dir] {
            remove_ours(folder, &mut purged.left);
        }
    }
    Ok(purged)
}

async fn stop_all(opened: &daemon::Opened, found: &[Recovered]) {
    let running = found.iter().filter(|container| matches!(container.state, RecoveredState::Running(_)));
    let mut alive: std::collections::BTreeSet<&str> = running.map(|container| container.id.as_str()).collect();
    for id in &alive {
        // One that cannot be signalled is killed by its removal.
        let _ = opened.runtime.signal(id, coord_shared::quantity::Signal::TERM.0);
    }
    let Some(mut events) = opened.runtime.events() else { return };
    let all_ended = async {
        while !alive.is_empty() {
            let Some(crate::runtime::RuntimeEvent::Exited { id, .. }) = events.recv().await else { return };
            alive.remove(id.as_str());
        }
    };
    let _ = tokio::time::timeout(GRACE, all_ended).await;
}

/// Takes away every mount below `folder`, the last one first. Whoever still reads there may finish.
fn unmount_below(folder: &Path, left: &mut Vec<String>) {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounts = match std::fs::read_to_string("/proc/self/mountinfo") {
        Ok(mounts) => mounts,
        Err(e) => return left.push(format!("/proc/self/mountinfo: {e}")),
    };
    let below = mounts.lines().filter_map(mount_point).filter(|place| place.starts_with(&folder)).collect::<Vec<_>>();
    for place in below.iter().rev() {
        if let Err(e) = rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH) {
            left.push(format!("the mount at {}: {e}", place.display()));
        }
    }
}

/// Where a line of mountinfo says that something is mounted: its fifth field, in which blanks and backslashes are octal
/// (proc_pid_mountinfo(5)).
fn mount_point(line: &str) -> Option<PathBuf> {
    let field = line.split(' ').nth(4)?;
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        let (byte, after) = match escaped.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => (byte, &tail[3..]),
            None => (*first, tail),
        };
        bytes.push(byte);
        rest = after;
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

/// Removes what the agent makes in `folder`, and the folder if nothing else is in it: a `state_dir` may have been chosen badly.
fn remove_ours(folder: &Path, left: &mut Vec<String>) {
    for name in ["c", "images", "log", "seccomp.bpf", "ledger.json", "history.json", "agent.lock", "agent.sock"] {
        let path = folder.join(name);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => left.push(format!("{}: {e}", path.display())),
        }
    }
    let _ = std::fs::remove_dir(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        let check = |line: &str, expect: Option<&str>| assert_eq!(mount_point(line), expect.map(PathBuf::from), "{line}");
        check("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw", Some("/mnt2"));
        check(r"36 35 98:0 / /a\040b\134c rw - ext3 /dev/root rw", Some(r"/a b\c"));
        check(r"36 35 98:0 / /end\0 rw - ext3 /dev/root rw", Some(r"/end\0"));
        check("36 35 98:0 /", None);
    }

    #[test]
    fn mounts_below_a_folder_are_taken_away() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let images = dir.path().join("images");
        let place = images.join("with a blank");
        std::fs::create_dir_all(&place).expect("created");
        for _ in 0..2 {
            let flags = rustix::mount::MountFlags::empty();
            rustix::mount::mount("tmpfs", &place, "tmpfs", flags, None).expect("mounted; needs root");
        }
        let mut left = Vec::new();
        unmount_below(&images, &mut left);
        assert_eq!(left, Vec::<String>::new());
        std::fs::remove_dir(&place).expect("nothing is mounted there");
    }
}
