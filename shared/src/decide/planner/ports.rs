//! Published ports of one host: where each leads now, and whether an instance can have its own. See [`crate::decide::ports`].

use super::{Action, Container, Drain, Observed, Phase, Plan, Spec};
use crate::decide::ports::{Doors, Resident, Standing, Taken, doors as lead, taken as find_taken};
use crate::names::{ContainerId, InstanceId};
use std::collections::BTreeMap;
use std::time::Duration;

/// How soon it is looked again whether a program of the host still listens: nobody tells when it ends.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Where each published port leads now, with these containers about to be asked to end.
pub fn doors(observed: &Observed, draining: &BTreeMap<ContainerId, Drain>) -> Doors {
    lead(observed.containers.iter().filter_map(|(id, container)| resident(id, container, draining.contains_key(id))))
}

fn resident<'a>(container: &'a ContainerId, known: &'a Container, is_draining: bool) -> Option<Resident<'a>> {
    let standing = match known.phase {
        Phase::Running { .. } if is_draining => Standing::Stopping,
        Phase::Running { .. } if known.is_ready() => Standing::Ready,
        Phase::Running { .. } => Standing::Running,
        Phase::Stopping { .. } => Standing::Stopping,
        Phase::Starting { .. } | Phase::Exited { .. } | Phase::Removing { .. } | Phase::RemoveFailed { .. } => return None,
    };
    Some(Resident { container, standing, ports: &known.ports })
}

/// The first port that `id` cannot have if it is started now: another instance lives with it or is about to, or a program of the host
/// listens there.
pub(super) fn taken(id: &InstanceId, spec: &Spec, observed: &Observed, plan: &Plan) -> Option<Taken> {
    let wanted = &spec.document.container.ports;
    if wanted.is_empty() {
        return None;
    }
    let alive = observed.containers.iter().filter(|(_, container)| container.phase.is_alive());
    let alive = alive.map(|(id, container)| (&id.instance, container.ports.as_slice()));
    let planned = plan.actions.iter().filter_map(|action| match action {
        Action::Start { container, spec } => Some((&container.instance, spec.document.container.ports.as_slice())),
        Action::Pull(_) | Action::Stop { .. } | Action::Kill { .. } | Action::Remove { .. } => None,
    });
    find_taken(id, wanted, alive.chain(planned), &observed.listeners)
}
