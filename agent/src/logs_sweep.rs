//! Removes logs of instances that are gone, once nobody is likely to ask for them any more.

use crate::nested::Doors;
use crate::state::Agent;
use coord_shared::names::InstanceId;
use std::path::Path;
use std::time::Duration;

/// How long the log of an instance that is gone is kept: what ended it on Friday is looked for on Monday.
const LOG_KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// Containers that are gone of which the logs of what ran within them are kept: one that ends again and again makes a folder each time.
const FOLDERS_MAX: usize = 100;

/// Looks through the log folder once. A file that cannot be judged or removed is left for the next time.
pub(crate) fn sweep(dir: &Path, agent: &Agent) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let instance = name.to_str().and_then(|name| name.split_once(".jsonl")).and_then(|(id, _)| id.parse::<InstanceId>().ok());
        let Some(instance) = instance.filter(|instance| !agent.knows(instance)) else { continue };
        let is_old = entry.metadata().and_then(|m| m.modified()).is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LOG_KEEP));
        if is_old && std::fs::remove_file(entry.path()).is_ok() {
            tracing::info!(%instance, file = %entry.path().display(), "log removed: its instance is gone for a week");
        }
    }
}

/// The same for logs of what ran within containers: a folder each. Of those that are gone, the newest [`FOLDERS_MAX`] are kept.
pub(crate) fn sweep_nested(dir: &Path, doors: &Doors) {
    let mut gone = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_known = entry.file_name().to_str().is_some_and(|container| doors.knows(container));
        if let (false, Ok(at)) = (is_known, entry.metadata().and_then(|found| found.modified())) {
            gone.push((at, entry.path()));
        }
    }
    gone.sort_by(|a, b| b.cmp(a));
    for (number, (at, folder)) in gone.into_iter().enumerate() {
        let is_old = at.elapsed().is_ok_and(|age| age > LOG_KEEP);
        if (is_old || number >= FOLDERS_MAX) && std::fs::remove_dir_all(&folder).is_ok() {
            tracing::info!(folder = %folder.display(), "logs removed: the container in which they were written is gone");
        }
    }
}
