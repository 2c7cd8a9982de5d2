//! One task per container: waits for the end of its monitor, which costs nothing, and says how the container ended.
//!
//! A monitor that ends before its container (somebody killed it) is replaced: the container's output waits in the FIFOs. One that is
//! killed together with its container is replaced too: what it had not yet written is in its file.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::embedded::{Container, Inner};
use super::helpers::Helpers;
use super::request::ProcessId;
use super::state::{ContainerState, read_limited};
use super::{Exit, RuntimeEvent, sys};
use crate::clock;

/// Between two attempts to give a container a monitor that stays. The FIFOs hold 64 KiB meanwhile.
const RESPAWN_PAUSE: Duration = Duration::from_secs(1);

/// `exit.json` is a hundred bytes.
const EXIT_MAX_BYTES: u64 = 64 * 1024;

/// Watches until the container has ended, and says so once. `monitor` is its monitor's pidfd, if it has one.
pub(super) async fn watch(inner: Arc<Inner>, container: Arc<Container>, mut monitor: Option<OwnedFd>) {
    let (mut respawned, mut last) = (false, false);
    let exit = loop {
        if let Some(monitor) = monitor.take() {
            ended(&monitor).await;
            reap(&monitor);
        }
        if let Some(exit) = read_exit(&container.run) {
            break exit;
        }
        let over = has_ended(&container.init_fd);
        if over && last {
            break unknown_exit();
        }
        last = over;
        if respawned {
            tokio::time::sleep(RESPAWN_PAUSE).await;
        }
        respawned = true;
        match respawn(&inner.helpers, &container) {
            Ok(fd) if over => monitor = Some(fd),
            Ok(fd) => {
                tracing::warn!(instance = container.id, "the container had lost its monitor and has a new one");
                monitor = Some(fd);
            }
            Err(error) => {
                tracing::error!(instance = container.id, %error, "cannot start a monitor: the container's log stands still");
            }
        }
    };
    let exit = complete(exit, &container.init_fd);
    container.ended.send_replace(true);
    // Nobody takes events when the agent is ending.
    let _ = inner.events.send(RuntimeEvent::Exited { id: container.id.clone(), exit }).await;
}

fn respawn(helpers: &Helpers, container: &Container) -> std::io::Result<OwnedFd> {
    let child = helpers.spawn_monitor(&container.monitor, &container.run, container.init)?;
    let pid = Pid::from_child(&child);
    let fd = pidfd_open(pid, PidfdFlags::empty())?;
    if let Some(group) = container.cgroup.monitors() {
        // Out of the agent's own group. Where that fails, it works from there too.
        let _ = std::fs::write(group.join("cgroup.procs"), child.id().to_string());
    }
    if let Ok(Some(mut state)) = ContainerState::load(&container.run) {
        state.monitor = ProcessId::of(pid.as_raw_nonzero().get());
        if let Err(error) = state.save(&container.run) {
            tracing::warn!(instance = container.id, %error, "the next agent will not know of this monitor");
        }
    }
    Ok(fd)
}

/// What the monitor left, if it did.
pub(super) fn read_exit(run: &Path) -> Option<Exit> {
    let text = read_limited(&run.join("exit.json"), EXIT_MAX_BYTES).ok()??;
    serde_json::from_slice(&text).ok()
}

/// The last monitor came when the first process was gone already; we may have held its pidfd all the time.
fn complete(exit: Exit, init: &OwnedFd) -> Exit {
    match sys::exit_status(init.as_fd()).filter(|_| exit.unknown) {
        Some(sys::Status::Code(code)) => Exit { code: Some(code), unknown: false, ..exit },
        Some(sys::Status::Signal(signal)) => Exit { signal: Some(signal), unknown: false, ..exit },
        None => exit,
    }
}

/// For a container that ended while nobody looked.
fn unknown_exit() -> Exit {
    Exit { code: None, signal: None, oom_killed: false, at: clock::now(), unknown: true }
}

/// Waits for the end of a process.
pub(super) async fn ended(process: &OwnedFd) {
    let Ok(fd) = process.try_clone() else { return };
    match sys::readable(fd) {
        Ok(fd) => {
            // An error would only make us look too early, and the caller looks again.
            let _ = fd.readable().await;
        }
        Err(error) => tracing::error!(%error, "cannot wait for a monitor"),
    }
}

/// Whether a process has ended, be it reaped or not.
pub(super) fn has_ended(process: &OwnedFd) -> bool {
    wait_ended(process, Duration::ZERO)
}

/// Waits for the end of a process, in the calling thread, at most so long. Returns whether it has ended.
pub(super) fn wait_ended(process: &OwnedFd, at_most: Duration) -> bool {
    let timeout = Timespec::try_from(at_most).unwrap_or_default();
    let mut polled = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    poll(&mut polled, Some(&timeout)).is_ok_and(|count| count > 0)
}

/// Takes note of a child's end. One that was started by an earlier agent is not our child.
pub(super) fn reap(process: &OwnedFd) {
    let _ = waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
}
