//! Keeps the host's network as the loop wants it: links, rules, published ports.
//!
//! The loop says what is wanted after each plan; here it is made so, and looked after: what somebody flushed or deleted comes back.
//! Deliberately absent: deciding. Which container a port leads to is decided in `coord_shared::decide::ports`.

use crate::event::Event;
use crate::state::Agent;
use coord_network::{HostPort, Lease, Network, Protocol, Wanted};
use coord_shared::decide::ports::{Door, Doors, Listener};
use coord_shared::document;
use coord_shared::names::ContainerId;
use coord_shared::wire::FullReport;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How long something that was flushed may be missing. A look costs a few system calls.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How soon what failed is tried again, at first, and at most.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Changes within this time are made together: a host full of crash loops changes its doors all the time.
const PAUSE: Duration = Duration::from_millis(20);

/// What is wished of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Grows with every wish.
    pub(crate) number: u64,
    /// What it should be like.
    pub(crate) network: Wanted,
    /// Somebody waits to be told when it is.
    pub(crate) is_awaited: bool,
}

/// What the network should be like for these containers and doors.
pub(crate) fn wanted<'a>(containers: impl Iterator<Item = &'a ContainerId>, doors: &Doors) -> Wanted {
    let published = doors.iter().map(|(door, target)| (host_port(door), (target.container.to_string(), target.port)));
    Wanted { containers: containers.map(ContainerId::to_string).collect(), published: published.collect() }
}

/// A door, in the network's words.
pub(crate) fn host_port(door: &Door) -> HostPort {
    let protocol = match door.protocol {
        document::Protocol::Tcp => Protocol::Tcp,
        document::Protocol::Udp => Protocol::Udp,
    };
    HostPort { ip: door.ip, port: door.port, protocol }
}

/// A door, in the planner's words.
pub(crate) fn door(port: &HostPort) -> Door {
    let protocol = match port.protocol {
        Protocol::Tcp => document::Protocol::Tcp,
        Protocol::Udp => document::Protocol::Udp,
    };
    Door { ip: port.ip, port: port.port, protocol }
}

/// Who listens at the doors that somebody is about to want. Looking for a program's name goes through all processes, so what is known
/// of a door at which somebody still listens is kept.
pub(crate) fn listeners(agent: &Agent) -> BTreeMap<Door, Listener> {
    let wanted = agent.doors_wanted();
    let found = match Network::listeners() {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "cannot see who listens on this host; ports that programs of the host use are not noticed");
            return BTreeMap::new();
        }
    };
    let met = found.iter().map(|port| (port, door(port))).filter(|(_, at)| wanted.iter().any(|wanted| wanted.overlaps(at)));
    met.map(|(port, at)| (at, agent.listener(&at).cloned().unwrap_or_else(|| whoever(agent, port)))).collect()
}

fn whoever(agent: &Agent, port: &HostPort) -> Listener {
    let Some(owner) = coord_network::owner(*port) else { return Listener::Program("that cannot be named".to_owned()) };
    let line = std::iter::once(owner.pid).chain(owner.ancestors.iter().copied());
    match line.filter_map(|pid| agent.container_of(pid)).next() {
        Some(container) => Listener::Container(container.clone()),
        None => Listener::Program(format!("{} (pid {})", owner.name, owner.pid)),
    }
}

/// Adds the containers' addresses to what is told of their instances.
pub(crate) fn tell_addresses(network: &Network, report: &mut FullReport) {
    for instance in &mut report.instances {
        let lease = instance.container.as_ref().and_then(|container| network.leased(&container.to_string()));
        instance.addresses = lease.as_ref().map(addresses).unwrap_or_default();
    }
}

/// A container's addresses.
pub(crate) fn addresses(lease: &Lease) -> Vec<IpAddr> {
    [Some(IpAddr::from(lease.ipv4)), lease.ipv6.map(IpAddr::from)].into_iter().flatten().collect()
}

/// Runs until nobody wants anything any more. Without a network, no door leads anywhere, whatever is wished.
pub(crate) async fn run(network: Option<Network>, mut wishes: watch::Receiver<Option<Wish>>, events: mpsc::Sender<Event>) {
    let mut retry = RETRY_MIN;
    let (mut told, mut fulfilled) = (None, 0);
    loop {
        // Nothing is known to be unwanted before the first wish.
        let Some(wish) = wishes.borrow_and_update().clone() else {
            if wishes.changed().await.is_err() {
                return;
            }
            continue;
        };
        let applied = match &network {
            Some(network) => network.apply(&wish.network).await,
            None => Ok(()),
        };
        let problem = applied.err().map(|error| crate::chain(&error));
        let pause = if problem.is_some() { retry } else { LOOK_INTERVAL };
        retry = if problem.is_some() { (retry * 2).min(RETRY_MAX) } else { RETRY_MIN };
        if told != problem {
            if let Some(problem) = &problem {
                tracing::error!(%problem, "the containers' network is not as it should be; trying again");
            }
            told.clone_from(&problem);
            let _ = events.send(Event::NetworkProblem(problem)).await;
        }
        if told.is_none() && wish.is_awaited && fulfilled != wish.number {
            fulfilled = wish.number;
            let _ = events.send(Event::NetworkIsAsWished(fulfilled)).await;
        }
        tokio::time::sleep(PAUSE).await;
        if let Ok(Err(_)) = tokio::time::timeout(pause, wishes.changed()).await {
            return;
        }
    }
}
