//! Connects the containers of one host: a bridge, an address for each, published ports.
//!
//! Knows no document and no container runtime: whoever calls it says which containers want an address, hands over their network
//! namespaces, and says which ports lead where. What should be there is one value, [`Wanted`]; [`Network::apply`] makes it so, however
//! it was before, and is called again whenever it changes and every now and then: a table that somebody flushed comes back.
//!
//! Deliberately absent: networks across hosts, names of other containers, load balancing.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// How a host's containers are connected; `[network]` of `agent.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The bridge's name, at most 15 bytes.
    pub bridge: String,
    /// Where IPv4 addresses come from; the first is the bridge's own.
    pub pool: (Ipv4Addr, u8),
    /// Where IPv6 addresses come from; no IPv6 where absent.
    pub pool6: Option<(Ipv6Addr, u8)>,
    /// Of every link; the default route's where absent.
    pub mtu: Option<u32>,
}

/// The addresses of one container, its own until [`Network::release`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Which container.
    pub container: String,
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address, where the host's network has IPv6.
    pub ipv6: Option<Ipv6Addr>,
    /// The bridge's, which is the host as the container reaches it.
    pub gateway: Ipv4Addr,
    /// The bridge's IPv6 address.
    pub gateway6: Option<Ipv6Addr>,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A door of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPort {
    /// Every address of the host where absent.
    pub ip: Option<IpAddr>,
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// What should be there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Containers whose links and addresses stay. All others of ours go.
    pub containers: Vec<String>,
    /// Which door leads to which container's port.
    pub published: BTreeMap<HostPort, (String, u16)>,
}

/// See the crate's description.
#[derive(Clone)]
pub struct Network {
    _settings: Settings,
    _folder: PathBuf,
}

impl Network {
    /// Opens the books in `folder`, which does not survive a reboot. Changes nothing on the host yet.
    pub fn open(settings: Settings, folder: &Path) -> Result<Network, NetworkError> {
        Ok(Network { _settings: settings, _folder: folder.to_owned() })
    }

    /// Reserves addresses for a container, and writes that down. Repeated for the same container, it gives the same ones.
    pub fn lease(&self, container: &str) -> Result<Lease, NetworkError> {
        Err(NetworkError::NotYet { container: container.to_owned() })
    }

    /// The lease that a container has.
    pub fn leased(&self, _container: &str) -> Option<Lease> {
        None
    }

    /// Gives a new network namespace, in which nothing is up yet but `lo`, its link, addresses and routes. Makes the bridge when it is
    /// missing.
    pub async fn attach(&self, lease: &Lease, _namespace: BorrowedFd<'_>) -> Result<(), NetworkError> {
        Err(NetworkError::NotYet { container: lease.container.clone() })
    }

    /// Takes a container's link and addresses back. What is gone already is fine.
    pub async fn release(&self, _container: &str) -> Result<(), NetworkError> {
        Ok(())
    }

    /// Makes the host's links, table and maps as wanted. May be repeated; costs little when all is as it should be.
    pub async fn apply(&self, _wanted: &Wanted) -> Result<(), NetworkError> {
        Ok(())
    }

    /// The doors at which programs of the host itself listen now.
    pub fn listeners() -> std::io::Result<std::collections::BTreeSet<HostPort>> {
        Ok(std::collections::BTreeSet::new())
    }

    /// Takes away everything of ours: links, bridge, table, books. For uninstalling.
    pub async fn remove_all(&self) -> Result<(), NetworkError> {
        Ok(())
    }
}

/// Why containers cannot be connected.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Placeholder of the first version.
    #[error("cannot connect {container}")]
    NotYet {
        /// Which.
        container: String,
    },
}
