//! From the host state as it came to what the planner can weigh: documents parsed, makes fingerprinted, predecessors kept.

use coord_shared::decide::planner::{Desired, Observed, Spec, Target, Wanted};
use coord_shared::decide::prefetch::PREFETCH_MAX;
use coord_shared::document;
use coord_shared::names::{InstanceId, PinnedImage};
use coord_shared::wire::{DesiredInstance, HostState, Prefetch};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the host state asks for. `previous` is what ran before each instance's newest revision.
pub fn desired(state: &HostState, previous: &[DesiredInstance]) -> Desired {
    let previous: BTreeMap<InstanceId, &DesiredInstance> = previous.iter().map(|instance| (instance.id(), instance)).collect();
    let wanted = |instance: &DesiredInstance| {
        let target = match spec(instance) {
            Ok(spec) => Target::Run(Arc::new(spec)),
            Err(error) => Target::Rejected { error },
        };
        let previous = previous.get(&instance.id()).and_then(|instance| spec(instance).ok()).map(Arc::new);
        Wanted { target, previous }
    };
    state.instances.iter().map(|instance| (instance.id(), wanted(instance))).collect()
}

/// What the host state asks to be fetched ahead.
pub fn ahead(state: &HostState) -> Vec<PinnedImage> {
    state.prefetch.iter().take(PREFETCH_MAX).map(Prefetch::pinned).collect()
}

/// The agent checks the operator's own text, with its own rules: a coordinator cannot make it run what the text does not say.
fn spec(instance: &DesiredInstance) -> Result<Spec, String> {
    let document = document::parse(&instance.document).map_err(|mistakes| mistakes.summary(&instance.document))?;
    let fingerprint = document.fingerprint(&instance.digest);
    let image = document.image.clone().pin(instance.digest.clone());
    Ok(Spec { revision: instance.revision, image, document, fingerprint })
}

/// What must be remembered as having run before `next`: for each instance that stays, the make that was started last, or else what
/// was remembered before.
pub fn predecessors(
    next: &HostState,
    now: Option<&HostState>,
    before: &[DesiredInstance],
    observed: &Observed,
) -> Vec<DesiredInstance> {
    let known: Vec<&DesiredInstance> = now.into_iter().flat_map(|state| &state.instances).chain(before).collect();
    let started_last = |id: &InstanceId| {
        let noted = observed.histories.get(id).map(|history| &history.fingerprint);
        let seen = || observed.containers.iter().rfind(|(container, _)| container.instance == *id).map(|(_, c)| &c.fingerprint);
        let make = noted.or_else(seen)?;
        let is_it =
            |instance: &&DesiredInstance| instance.id() == *id && spec(instance).is_ok_and(|spec| spec.fingerprint == *make);
        known.iter().copied().find(is_it)
    };
    let remembered = |id: &InstanceId| before.iter().find(|instance| instance.id() == *id);
    let predecessor = |instance: &DesiredInstance| {
        let id = instance.id();
        started_last(&id).or_else(|| remembered(&id)).filter(|predecessor| *predecessor != instance).cloned()
    };
    next.instances.iter().filter_map(predecessor).collect()
}
