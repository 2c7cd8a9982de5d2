//! Compile: from what a host was told to the text that its agent reads.

use super::model::Model;
use super::plan::Given;
use crate::hosts::Compiled;
use bytes::Bytes;
use coord_shared::names::{Digest, HostName, Revision, WorkloadName};
use coord_shared::wire::{DesiredInstance, HostState, Prefetch};

/// A host state could not be compiled, because the store lost a text that it needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot compile the state of host {host}: the store has no text of workload {workload}, revision {revision}; publish it again"
)]
pub(super) struct CompileError {
    host: HostName,
    workload: WorkloadName,
    revision: Revision,
}

/// The state of `host`.
pub(super) fn compile(model: &Model, given: Given<'_>, host: &HostName) -> Result<Compiled, CompileError> {
    let mut state = HostState::empty(host.clone());
    if let Some((assign, _)) = model.assigns.get(host) {
        state.generation = assign.generation;
        for assigned in &assign.instances {
            let revision = model.revision(&assigned.workload, assigned.revision).ok_or_else(|| CompileError {
                host: host.clone(),
                workload: assigned.workload.clone(),
                revision: assigned.revision,
            })?;
            state.instances.push(DesiredInstance {
                workload: assigned.workload.clone(),
                index: assigned.index,
                revision: assigned.revision,
                digest: revision.record.digest.clone(),
                document: revision.record.text.clone(),
            });
        }
        // One whose text is lost is not fetched ahead: it is a help, and holds up nothing.
        let ahead = assign.prefetch.iter().filter_map(|assigned| model.revision(&assigned.workload, assigned.revision));
        state.prefetch = ahead
            .map(|revision| Prefetch { image: revision.record.image.clone(), digest: revision.record.digest.clone() })
            .collect();
        state.registries = given.logins.of_host(model, assign);
        if let Some(orders) = given.orders.of(host) {
            state.watches.clone_from(&orders.watches);
            state.builds.clone_from(&orders.builds);
        }
    }
    let body = Bytes::from(state.to_toml());
    let etag = format!("\"{}-{}\"", state.generation, Digest::of(&body).short());
    Ok(Compiled { generation: state.generation, etag, body })
}
