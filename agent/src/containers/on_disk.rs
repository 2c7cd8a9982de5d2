//! What the containers' folders say where no agent runs that could be asked.

use super::{ContainersError, InstanceRow};
use crate::builds;
use crate::config::Config;
use crate::one_off;
use coord_runtime::Inspected;
use coord_shared::names::ContainerId;
use coord_shared::wire::{Exit, InstanceReport, InstanceState};
use jiff::Timestamp;
use std::path::Path;

/// A report for each container. Whether one is ready is for an agent to say: none is here.
///
/// # Errors
/// When a folder or a file cannot be read.
pub fn reports(config: &Config, now: Timestamp) -> Result<Vec<InstanceReport>, ContainersError> {
    Ok(inspected(&config.state_dir, &config.run_dir)?.into_iter().map(|(id, found)| report(id, &found, now)).collect())
}

/// A row for each one-off container. Whether an agent runs is nothing to them.
///
/// # Errors
/// As `reports`.
pub fn one_offs(config: &Config, now: Timestamp) -> Result<Vec<InstanceRow>, ContainersError> {
    let mut rows = Vec::new();
    for (state_dir, run_dir) in one_off::folders(&config.state_dir, &config.run_dir) {
        for (id, found) in inspected(&state_dir, &run_dir)? {
            let image = found.meta.get("image").and_then(|image| image.as_str()).map(str::to_owned);
            let report = report(id, &found, now);
            let ready = report.state == InstanceState::Running;
            rows.push(InstanceRow { report: InstanceReport { ready, ..report }, image, ports: Vec::new() });
        }
    }
    Ok(rows)
}

/// A row for each step of a build, named after its run. Whether an agent runs is nothing to them either.
///
/// # Errors
/// As `reports`.
pub fn steps(config: &Config, now: Timestamp) -> Result<Vec<InstanceRow>, ContainersError> {
    let mut rows = Vec::new();
    let (state_dir, run_dir) = builds::folders(&config.state_dir, &config.run_dir);
    if !run_dir.join("c").exists() {
        return Ok(rows);
    }
    for id in coord_runtime::containers(&run_dir).map_err(ContainersError::Files)? {
        let found = coord_runtime::inspect(&state_dir, &run_dir, &id).map_err(ContainersError::Files)?;
        if let (Some(shown), Some(found)) = (builds::shown_as(&id), found) {
            let report = report(shown, &found, now);
            let ready = report.state == InstanceState::Running;
            rows.push(InstanceRow { report: InstanceReport { ready, ..report }, image: None, ports: Vec::new() });
        }
    }
    Ok(rows)
}

/// The containers of these folders; what is not ours, or just going, is passed over.
fn inspected(state_dir: &Path, run_dir: &Path) -> Result<Vec<(ContainerId, Inspected)>, ContainersError> {
    let mut containers = Vec::new();
    for id in coord_runtime::containers(run_dir).map_err(ContainersError::Files)? {
        let found = coord_runtime::inspect(state_dir, run_dir, &id).map_err(ContainersError::Files)?;
        containers.extend(id.parse::<ContainerId>().ok().zip(found));
    }
    Ok(containers)
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
        nested: None,
    }
}
