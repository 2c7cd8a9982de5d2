//! Where a workload's instances are: for requests that an agent answers.

use super::App;
use super::error::ApiError;
use axum::http::StatusCode;
use coord_shared::decide::liveness::Liveness;
use coord_shared::names::{HostName, InstanceId, WorkloadName};
use std::collections::BTreeSet;

/// An instance on its host.
pub(super) type Place = (HostName, InstanceId);

/// Where the workload runs, should run or ran, as far as it is asked for; never empty. Errors if there is none.
pub(super) fn places(
    app: &App,
    name: &WorkloadName,
    on: Option<&HostName>,
    numbered: Option<u32>,
) -> Result<Vec<Place>, ApiError> {
    let board = app.board.borrow();
    let workload = board.workloads.get(name);
    let told = workload.into_iter().flat_map(|w| w.targets.keys());
    let id = |index| InstanceId { workload: name.clone(), index };
    let mut places: BTreeSet<Place> = told.map(|host| (host.clone(), id(0))).collect();
    for (host, summary) in app.hosts.summaries(crate::clock::now().mono) {
        let reported = summary.full.iter().flat_map(|full| &full.instances).map(|report| &report.instance);
        places.extend(reported.filter(|i| i.workload == *name).map(|i| (host.clone(), i.clone())));
    }
    if places.is_empty() {
        let problem = if workload.is_some() { "has no instance on any host" } else { "is not known" };
        return Err(ApiError::not_found(format!("workload {name} {problem}")));
    }
    places
        .retain(|(host, instance)| on.is_none_or(|asked| asked == host) && numbered.is_none_or(|asked| asked == instance.index));
    if places.is_empty() {
        return Err(ApiError::not_found(format!("no instance of workload {name} is where the query asks for it")));
    }
    Ok(places.into_iter().collect())
}

/// Errors if the host's agent cannot be asked now.
pub(super) fn reachable(app: &App, host: &HostName) -> Result<(), ApiError> {
    let liveness = app.hosts.summaries(crate::clock::now().mono).get(host).map(|summary| summary.liveness);
    if liveness.is_some_and(Liveness::is_reachable) {
        return Ok(());
    }
    let message = format!("host {host} is {}", liveness.unwrap_or(Liveness::Unknown));
    Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "host_unreachable", message))
}
