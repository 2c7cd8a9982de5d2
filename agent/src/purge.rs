//! Takes everything of ours off this host: containers, their mounts, cgroups and folders, images, logs, ledger. Volumes stay: nothing
//! deletes one but a person who names it.
//!
//! For the day the agent is uninstalled. Needs no coordinator, and refuses while an agent runs.

use crate::builds;
use crate::config::Config;
use crate::daemon::{self, DaemonError};
use crate::nested;
use coord_runtime::{Recovered, RecoveredState, Runtime as _};
use std::ffi::{OsStr, OsString};
use std::path::Path;
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
    match nested::purge(config).await {
        Ok(count) => purged.containers += count,
        Err(error) => purged.left.push(crate::chain(&error)),
    }
    match builds::purge(config).await {
        Ok(count) => purged.containers += count,
        Err(error) => purged.left.push(crate::chain(&error)),
    }
    if let Ok(network) = &opened.network
        && let Err(error) = network.remove_all().await
    {
        purged.left.push(crate::chain(&error));
    }
    if purged.left.is_empty() {
        opened.runtime.remove_shared();
        if let Err(error) = opened.images.unmount_all() {
            purged.left.push(crate::chain(&error));
        }
        let volumes = opened.volumes.folder().to_owned();
        // Fails unless it is empty.
        if std::fs::remove_dir(&volumes).is_err() && volumes.exists() {
            tracing::warn!(folder = %volumes.display(), "volumes are kept; delete the folder if nobody needs what is in it");
        }
        drop(opened);
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
            let Some(coord_runtime::RuntimeEvent::Exited { id, .. }) = events.recv().await else { return };
            alive.remove(id.as_str());
        }
    };
    let _ = tokio::time::timeout(GRACE, all_ended).await;
}

/// Removes what the agent makes in `folder`, and the folder if nothing else is in it: a `state_dir` may have been chosen badly.
fn remove_ours(folder: &Path, left: &mut Vec<String>) {
    let filters = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let filters =
        filters.filter(|name| name.to_string_lossy().starts_with("seccomp") && name.to_string_lossy().ends_with(".bpf"));
    let filters: Vec<_> = filters.collect();
    let ours =
        ["c", "images", "log", "net", "one-off", "one-off.lock", "ledger.json", "history.json", "agent.lock", "agent.sock"];
    for name in ours.iter().map(OsStr::new).chain(filters.iter().map(OsString::as_os_str)) {
        let path = folder.join(name);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => left.push(format!("{}: {e}", path.display())),
        }
    }
    // Fails where volumes are left, or what is not ours.
    let _ = std::fs::remove_dir(folder);
}
