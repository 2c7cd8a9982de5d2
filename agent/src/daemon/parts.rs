//! The parts of the service that have tasks of their own, set going one by one. Deliberately absent: the loop.

use super::{DaemonError, Opened, part};
use crate::builds::{self, Builder, Hands};
use crate::clock;
use crate::config::Config;
use crate::containers::happenings::Happenings;
use crate::event::Event;
use crate::images::Room;
use crate::nested::{self, Doors, ParentKind};
use crate::network_keeper::{self, Wish};
use crate::state::Agent;
use crate::sync::coordinators::Coordinators;
use crate::sync::standalone;
use coord_registry::Registry;
use coord_runtime::{Recovered, RecoveredState};
use coord_shared::wire::HostState;
use std::collections::BTreeSet;
use std::path::PathBuf;
use tokio::sync::{mpsc, watch};

/// Makes ready for containers that may start others, and takes over what an earlier agent has left of them.
pub(super) async fn start_doors(
    config: &Config,
    opened: &Opened,
    (registry, room): (&Registry, &Room),
    (happenings, running): (&Happenings, BTreeSet<String>),
) -> Doors {
    let doors = Doors::start(nested::Hands {
        host: config.host.clone(),
        state_dir: config.state_dir.clone(),
        run_dir: config.run_dir.clone(),
        helpers_dir: config.helpers_dir.clone(),
        isolation: config.isolation.of_containers(),
        images: opened.images.clone(),
        registry: registry.clone(),
        room: Some(room.clone()),
        happenings: happenings.clone(),
    });
    doors.recover(ParentKind::Instance, &opened.runtime, &running).await;
    // A builder does so itself, when it has looked for its steps; a host that builds no more has none.
    if config.builder.is_none() && doors.has_left(ParentKind::Step) {
        doors.recover(ParentKind::Step, &opened.runtime, &BTreeSet::new()).await;
    }
    doors
}

/// The containers that run.
pub(super) fn running(recovered: &[Recovered]) -> BTreeSet<String> {
    let running = recovered.iter().filter(|one| matches!(one.state, RecoveredState::Running(_)));
    running.map(|one| one.id.clone()).collect()
}

/// Has the host's network kept as it will be wished.
pub(super) fn keep_network(opened: &Opened, agent: &mut Agent, events: mpsc::Sender<Event>) -> watch::Sender<Option<Wish>> {
    let (wish, wishes) = watch::channel(None);
    if let Err(problem) = &opened.network {
        agent.apply(Event::NetworkProblem(Some(problem.clone())), clock::now());
    }
    drop(tokio::spawn(network_keeper::run(opened.network.clone().ok(), wishes, events)));
    wish
}

/// Has this host build, if it is to.
pub(super) fn start_builder(
    config: &Config,
    opened: &Opened,
    (coordinators, registry, room): (&Coordinators, &Registry, &Room),
    (doors, events): (&Doors, &mpsc::Sender<Event>),
) -> Result<Option<Builder>, DaemonError> {
    if config.builder.is_none() {
        return Ok(None);
    }
    let hands = Hands {
        coordinators: coordinators.clone(),
        images: opened.images.clone(),
        registry: registry.clone(),
        room: Some(room.clone()),
        network: opened.network.clone(),
        repositories: builds::programs(config).map_err(part("the sources of builds"))?,
        doors: doors.clone(),
        events: events.clone(),
    };
    Builder::start(config, hands).map_err(part("the builder"))
}

/// Connects the loop with the coordinators, or with the standalone source that `state` names.
pub(super) fn who_says_what_runs(
    config: &Config,
    state: Option<PathBuf>,
    (registry, accepted): (&Registry, HostState),
    events: &mpsc::Sender<Event>,
) -> Result<Option<Coordinators>, DaemonError> {
    let Some(path) = state else {
        return Coordinators::new(config).map(Some).map_err(part("the coordinator client"));
    };
    let source = standalone::Source {
        path,
        host: config.host.clone(),
        labels: config.labels.clone(),
        registry: registry.clone(),
        accepted,
    };
    tokio::spawn(standalone::run(source, events.clone()));
    Ok(None)
}
