//! What the containers' folders say where no agent runs that could be asked.

use super::ContainersError;
use crate::config::Config;
use coord_runtime::Inspected;
use coord_shared::names::ContainerId;
use coord_shared::wire::{Exit, InstanceReport, InstanceState};
use jiff::Timestamp;

/// A report for each container. Whether one is ready is for an agent to say: none is here.
///
/// # Errors
/// When a folder or a file cannot be read.
pub fn reports(config: &Config, now: Timestamp) -> Result<Vec<InstanceReport>, ContainersError> {
    let ids = coord_runtime::containers(&config.run_dir).map_err(ContainersError::Files)?;
    let mut reports = Vec::new();
    for id in ids {
        let inspected = coord_runtime::inspect(&config.state_dir, &config.run_dir, &id).map_err(ContainersError::Files)?;
        // What is not ours, or just going, is passed over.
        if let (Some(inspected), Ok(id)) = (inspected, id.parse::<ContainerId>()) {
            reports.push(report(id, &inspected, now));
        }
    }
    Ok(reports)
}

fn report(id: ContainerId, inspected: &Inspected, now: Timestamp) -> InstanceReport {
    let exit = inspected.exit.as_ref();
    let state = match (inspected.pid, exit, inspected.started_at) {
        (Some(_), _, _) => InstanceState::Running,
        (None, Some(_), _) | (None, None, Some(_)) => InstanceState::Exited,
        (None, None, None) => InstanceState::Starting,
    };
    InstanceReport {
        instance: id.instance.clone(),
        state,
        revision: Some(id.revision),
        ready: false,
        since: exit.map(|exit| exit.at).or(inspected.started_at).unwrap_or(now),
        restarts: 0,
        last_exit: exit.map(|exit| Exit {
            code: exit.code,
            signal: exit.signal,
            oom_killed: exit.oom_killed,
            memory_limit: None,
            at: exit.at,
        }),
        container: Some(id),
        pid: inspected.pid.and_then(|pid| u32::try_from(pid).ok()),
        reason: None,
        health: None,
        loosened: Vec::new(),
        addresses: Vec::new(),
    }
}
