//! Gives one network namespace its link, addresses and routes.
//!
//! What is asked of the kernel on the host's side is asked from there; then the calling thread enters the namespace, does the rest, and
//! must not be used for anything else: [`crate::own_thread`] ends it. The namespace may belong to another user namespace: root of the
//! host has every right there.

use crate::error::kernel;
use crate::links::{Links, Pair};
use crate::{Lease, NetworkError, Settings, bridge, sysctl};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};

/// What the link is called where the container sees it.
const PEER: &str = "eth0";

pub(crate) fn attach(settings: &Settings, lease: &Lease, namespace: &OwnedFd) -> Result<(), NetworkError> {
    let mut links = Links::open().map_err(kernel("speak to the kernel about links"))?;
    let bridge = bridge::ensure(&mut links, settings)?;
    let name = lease.link();
    let pair = Pair {
        host_name: &name,
        bridge: bridge.index,
        mtu: bridge::mtu(&mut links, settings),
        namespace: namespace.as_fd(),
        peer_name: PEER,
        peer_hardware: lease.hardware(),
    };
    let mut made = links.add_pair(&pair);
    if made.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists) {
        // The name follows from an address that is this container's alone: what an attempt before this one has left.
        links.remove(&name).map_err(kernel(format!("remove the old link {name}")))?;
        made = links.add_pair(&pair);
    }
    match made {
        Err(error) if error.raw_os_error() == Some(libc::EXFULL) => {
            return Err(NetworkError::BridgeFull { bridge: settings.bridge.clone() });
        }
        made => made.map_err(kernel(format!("make the link {name} of {}", lease.container)))?,
    }
    let of_host = kernel(format!("configure the link {name} of {}", lease.container));
    let_back(&mut links, &name).map_err(of_host)?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|e| kernel(format!("enter the network namespace of {}", lease.container))(e.into()))?;
    configure(settings, lease)
}

fn let_back(links: &mut Links, name: &str) -> std::io::Result<()> {
    match links.find(name)? {
        Some(link) => links.let_back(link.index),
        None => Err(std::io::ErrorKind::NotFound.into()),
    }
}

/// In the namespace.
fn configure(settings: &Settings, lease: &Lease) -> Result<(), NetworkError> {
    let container = &lease.container;
    let mut links = Links::open().map_err(kernel(format!("speak to the kernel in the namespace of {container}")))?;
    let found = links.find(PEER).map_err(kernel(format!("find {PEER} of {container}")))?;
    let Some(peer) = found else {
        return Err(kernel(format!("find {PEER} of {container}"))(std::io::ErrorKind::NotFound.into()));
    };
    let index = peer.index;
    sysctl::set_ipv6(PEER, lease.ipv6.is_some()).map_err(kernel(format!("set kernel parameters of {PEER} of {container}")))?;
    let prefix6 = settings.pool6.map(|(_, prefix)| prefix);
    let addresses = [Some((IpAddr::from(lease.ipv4), settings.pool.1)), lease.ipv6.map(IpAddr::from).zip(prefix6)];
    for (address, prefix) in addresses.into_iter().flatten() {
        links.add_address(index, address, prefix).map_err(kernel(format!("give {container} the address {address}")))?;
    }
    links.set_up(index).map_err(kernel(format!("set {PEER} of {container} up")))?;
    for gateway in [Some(IpAddr::from(lease.gateway)), lease.gateway6.map(IpAddr::from)].into_iter().flatten() {
        links.add_default_route(index, gateway).map_err(kernel(format!("give {container} a route by way of {gateway}")))?;
    }
    Ok(())
}
