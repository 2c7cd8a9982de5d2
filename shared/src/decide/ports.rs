//! Published ports: which of a host's doors leads to which container, and who is in the way of one.
//!
//! A door is a port of the host, of one address or of all. It leads to the newest container of its instance that is ready; while none
//! is, to the newest that runs, and at the very end to one that is being stopped: as long as anybody could answer, somebody is asked.
//! With `start-first` the new container lives beside the old one, and the doors move when it is ready: all of them, so that a port which
//! is published no more is closed then.
//!
//! Deliberately absent: what programs of the host do with their ports, but for the question whether one is taken.

use crate::document::{PortMapping, Protocol};
use crate::names::{ContainerId, InstanceId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Door {
    /// Of this address; of every one, IPv4 and IPv6, where absent.
    pub ip: Option<IpAddr>,
    /// The number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl Door {
    /// The door of a published port.
    pub fn of(mapping: &PortMapping) -> Self {
        Self { ip: mapping.host_ip, port: mapping.host_port, protocol: mapping.protocol }
    }

    /// Whether a packet could knock at both.
    pub fn overlaps(&self, other: &Door) -> bool {
        let meet = |a: IpAddr, b: IpAddr| match (a, b) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => a == b || a.is_unspecified() || b.is_unspecified(),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        };
        let same_address = match (self.ip, other.ip) {
            (Some(a), Some(b)) => meet(a, b),
            (None, _) | (_, None) => true,
        };
        self.port == other.port && self.protocol == other.protocol && same_address
    }
}

/// What a container can do for whoever knocks, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It was asked to end, or is about to be, and may answer until it has. Nobody is led to it while another one of its instance is ready.
    Stopping,
    /// It runs, and its health check has not said yet that it is well.
    Running,
    /// It does its work.
    Ready,
}

/// A container that can be reached.
#[derive(Debug, Clone, Copy)]
pub struct Resident<'a> {
    /// Which.
    pub container: &'a ContainerId,
    /// What it can do.
    pub standing: Standing,
    /// The ports that it was started with.
    pub ports: &'a [PortMapping],
}

/// Where a door leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// To which container.
    pub container: ContainerId,
    /// To which port of it.
    pub port: u16,
}

/// All doors that lead somewhere.
pub type Doors = BTreeMap<Door, Target>;

/// Decides where each door leads. Two instances that want one door are kept apart before they start; where they live nevertheless,
/// whoever can do more has it, and the first by name among equals.
pub fn doors<'a>(residents: impl Iterator<Item = Resident<'a>>) -> Doors {
    let residents: Vec<Resident<'a>> = residents.collect();
    let is_ready = |resident: &&Resident<'a>| resident.standing == Standing::Ready;
    let ready: BTreeSet<&InstanceId> = residents.iter().filter(is_ready).map(|resident| &resident.container.instance).collect();
    let gave_way =
        |resident: &Resident<'a>| resident.standing == Standing::Stopping && ready.contains(&resident.container.instance);
    let mut best: BTreeMap<Door, (Resident<'a>, u16)> = BTreeMap::new();
    for resident in residents.iter().copied().filter(|resident| !gave_way(resident)) {
        for mapping in resident.ports {
            let entry = best.entry(Door::of(mapping)).or_insert((resident, mapping.container_port));
            if is_better(&resident, &entry.0) {
                *entry = (resident, mapping.container_port);
            }
        }
    }
    let target = |(resident, port): (Resident<'a>, u16)| Target { container: resident.container.clone(), port };
    best.into_iter().map(|(door, chosen)| (door, target(chosen))).collect()
}

fn is_better(a: &Resident<'_>, b: &Resident<'_>) -> bool {
    let age = |container: &ContainerId| (container.revision, container.start);
    let newer = if a.container.instance == b.container.instance {
        age(a.container) > age(b.container)
    } else {
        a.container.instance < b.container.instance
    };
    a.standing > b.standing || (a.standing == b.standing && newer)
}

/// Somebody who listens at a port of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listener {
    /// A container on the host's own network.
    Container(ContainerId),
    /// A program of the host: its name and process number.
    Program(String),
}

/// A door that an instance wants and somebody else has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Which.
    pub door: Door,
    /// Who has it, in words.
    pub by: String,
    /// Whether nobody tells when it is free again.
    pub is_program: bool,
}

/// Finds the first port that `instance` cannot have. `others` are the ports of everybody else who lives or is about to.
pub fn taken<'a>(
    instance: &InstanceId,
    wanted: &[PortMapping],
    others: impl Iterator<Item = (&'a InstanceId, &'a [PortMapping])>,
    listeners: &BTreeMap<Door, Listener>,
) -> Option<Taken> {
    let doors: Vec<Door> = wanted.iter().map(Door::of).collect();
    for (other, ports) in others.filter(|(other, _)| *other != instance) {
        let met = doors.iter().find(|door| ports.iter().any(|mapping| Door::of(mapping).overlaps(door)));
        if let Some(door) = met {
            return Some(Taken { door: *door, by: format!("instance {other}"), is_program: false });
        }
    }
    for (at, listener) in listeners {
        let Some(door) = doors.iter().find(|door| door.overlaps(at)) else { continue };
        let by = match listener {
            // What it runs now on the host's network makes way for what it is to become.
            Listener::Container(container) if container.instance == *instance => continue,
            Listener::Container(container) => format!("instance {}", container.instance),
            Listener::Program(program) => format!("program {program}"),
        };
        return Some(Taken { door: *door, by, is_program: true });
    }
    None
}

#[cfg(test)]
mod tests;
