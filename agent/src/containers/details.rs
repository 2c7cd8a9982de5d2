//! Everything about one instance, gathered from where it lies.

use super::happenings::Happening;
use super::{ContainerDetails, ContainersError, InstanceDetails, rows, spec_of};
use crate::execute::log_path;
use crate::sync::desired::desired;
use crate::sync::ledger::Ledger;
use coord_shared::names::{ContainerId, InstanceId};
use coord_shared::wire::InstanceReport;
use std::path::Path;

/// The details of the instance `wanted`, which is an instance's name or a container's ID.
///
/// # Errors
/// `NotFound`; and when a file cannot be read.
pub fn details(
    wanted: &str,
    reports: &[InstanceReport],
    (state_dir, run_dir): (&Path, &Path),
    happened: Vec<Happening>,
) -> Result<InstanceDetails, ContainersError> {
    let missing = || ContainersError::NotFound { wanted: wanted.to_owned() };
    let instance = instance_of(wanted).ok_or_else(missing)?;
    let report = reports.iter().find(|report| report.instance == instance).ok_or_else(missing)?;
    let ledger = Ledger::of_any_host(state_dir).map_err(ContainersError::Ledger)?;
    let row = rows(std::slice::from_ref(report), &ledger).pop().ok_or_else(missing)?;
    let mut containers = Vec::new();
    for id in coord_runtime::containers(run_dir).map_err(ContainersError::Files)? {
        if id.parse::<ContainerId>().is_ok_and(|id| id.instance == instance)
            && let Some(files) = coord_runtime::inspect(state_dir, run_dir, &id).map_err(ContainersError::Files)?
        {
            containers.push(ContainerDetails { upper: state_dir.join("c").join(&id).join("upper"), files });
        }
    }
    let wanted = ledger.state().map(|state| desired(state, ledger.previous())).unwrap_or_default();
    let spec = spec_of(report, &wanted);
    let known = ledger.state().into_iter().flat_map(|state| &state.instances).chain(ledger.previous());
    let document = known
        .filter(|one| one.id() == instance)
        .find(|one| spec.as_ref().is_none_or(|spec| spec.revision == one.revision))
        .map(|one| one.document.clone());
    Ok(InstanceDetails {
        row,
        pinned_image: spec.map(|spec| spec.image.to_string()),
        document,
        log: log_path(&state_dir.join("log"), &instance),
        containers,
        events: happened.into_iter().filter(|one| one.instance.as_ref() == Some(&instance)).collect(),
    })
}

fn instance_of(wanted: &str) -> Option<InstanceId> {
    let by_name = wanted.parse::<InstanceId>().ok();
    by_name.or_else(|| Some(wanted.parse::<ContainerId>().ok()?.instance))
}
