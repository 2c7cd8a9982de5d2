//! After the start of an agent: what has become of the containers that earlier agents have started?
//!
//! Per folder in memory: of another boot, or half created -> cleaned | exit.json -> exited | init alive -> watched, with
//! a new monitor if it has none | else unknown. Then all that has no such folder: folders on disk, cgroups.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch as signal;

use super::cgroup::remove_empty_nested;
use super::embedded::{Container, Inner, list};
use super::error::RuntimeError;
use super::request::{MonitorConfig, ProcessId};
use super::start::open_process;
use super::state::{ContainerState, Phase, boot_id};
use super::watch::{self, has_ended, read_exit, wait_ended};
use super::{Exit, Recovered, RecoveredState, Running, systemd};

/// A killed shim is gone at once; a monitor whose container has ended writes the rest of the log first.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// So long is waited for the exit status of a container that ended while there was neither agent nor monitor.
const FINISH_TIMEOUT: Duration = Duration::from_millis(500);

/// What callers have kept beside the containers of an agent that does not run now, by ID; reads, and looks after nothing.
///
/// # Errors
/// When the folder or one of the containers' files cannot be read.
pub fn peek(run_dir: &Path) -> Result<Vec<(String, serde_json::Value)>, RuntimeError> {
    let folder = run_dir.join("c");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for id in list(&folder)? {
        if let Some(state) = ContainerState::load(&folder.join(&id))? {
            found.push((id, state.meta));
        }
    }
    Ok(found)
}

/// See [`super::Runtime::recover`].
pub(super) fn recover(inner: &Arc<Inner>) -> Result<Vec<Recovered>, RuntimeError> {
    let boot = boot_id()?;
    let (in_memory, on_disk) = inner.folders.list()?;
    let mut recovered = Vec::new();
    let mut known = BTreeSet::new();
    for id in in_memory {
        match recover_one(inner, &id, &boot) {
            Ok(Some(container)) => {
                known.insert(id);
                recovered.push(container);
            }
            Ok(None) => {
                tracing::info!(instance = id, "cleaning up a container of an earlier boot, or one half created");
                clean(inner, &id);
            }
            // One that cannot be read must not keep the others from being looked after.
            Err(error) => {
                tracing::error!(instance = id, %error, "cannot tell what has become of this container");
                known.insert(id);
            }
        }
    }
    for id in on_disk {
        clean(inner, &id);
    }
    for stray in inner.cgroups.strays(&known) {
        stray.remove_now();
    }
    if inner.systemd
        && let Some(mount) = inner.cgroups.unified_mount()
    {
        tokio::spawn(systemd::stop_empty_scopes(mount.to_owned()));
    }
    Ok(recovered)
}

fn clean(inner: &Inner, id: &str) {
    if let Err(error) = inner.clean(id) {
        tracing::warn!(instance = id, %error, "cannot clean up");
    }
}

/// `None`: there is nothing to be recovered.
fn recover_one(inner: &Arc<Inner>, id: &str, boot: &str) -> Result<Option<Recovered>, RuntimeError> {
    let run = inner.folders.run(id);
    let Some(mut state) = ContainerState::load(&run)? else { return Ok(None) };
    if state.boot_id != boot {
        return Ok(None);
    }
    if state.phase == Phase::Creating {
        // Stopped first, looked at again afterwards: it may have come to its end between the two.
        if let Some(shim) = state.shim.and_then(open_process) {
            let _ = pidfd_send_signal(&shim, Signal::KILL);
            wait_ended(&shim, END_TIMEOUT);
        }
        match ContainerState::load(&run)? {
            Some(later) if later.phase == Phase::Running => state = later,
            _ => return Ok(None),
        }
    }
    let Some(init) = state.init else { return Ok(None) };
    if let Some(range) = state.users {
        inner.users.keep(id, range);
    }
    let recovered = |state: RecoveredState, meta| Ok(Some(Recovered { id: id.to_owned(), meta, state }));
    let (meta, started_at) = (std::mem::take(&mut state.meta), state.started_at());
    let weakened = std::mem::take(&mut state.weakened);
    let monitor = state.monitor.and_then(open_process);
    let alive = open_process(init).filter(|init| !has_ended(init));
    let Some(init_fd) = alive else {
        if let Some(monitor) = &monitor {
            wait_ended(monitor, END_TIMEOUT);
        }
        let exit = read_exit(&run).or_else(|| finish_log(inner, &state.monitor_config, &run, init));
        let exit = exit.filter(|exit| !exit.unknown);
        return recovered(exit.map_or(RecoveredState::Unknown, RecoveredState::Exited), meta);
    };
    let container = Arc::new(Container {
        id: id.to_owned(),
        run,
        init,
        init_fd,
        cgroup: state.cgroup,
        monitor: state.monitor_config,
        runtime: state.runtime,
        ended: signal::Sender::new(false),
    });
    remove_empty_nested(&container.cgroup);
    let weakened = [container.cgroup.weakened.clone(), weakened].concat();
    inner.containers().insert(id.to_owned(), container.clone());
    tokio::spawn(watch::watch(inner.clone(), container, monitor));
    recovered(RecoveredState::Running(Running { id: id.to_owned(), pid: init.pid, started_at, weakened }), meta)
}

/// Monitor and container are gone: what that monitor had not yet written is in its file, and another one writes it. It may also learn how
/// the container has ended.
fn finish_log(inner: &Inner, monitor: &MonitorConfig, run: &Path, init: ProcessId) -> Option<Exit> {
    let child = inner.helpers.spawn_monitor(monitor, run, init).ok()?;
    let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).ok()?;
    if wait_ended(&process, FINISH_TIMEOUT) {
        watch::reap(&process);
    } else {
        tokio::spawn(async move {
            watch::ended(&process).await;
            watch::reap(&process);
        });
    }
    read_exit(run)
}
