//! A container's network: its addresses, and what it finds in `/etc/hosts` and `/etc/resolv.conf`.
//!
//! Its addresses are reserved before anything else is made, because both files may name them. They are given back when the start fails
//! or the container is removed.

mod files;

use super::Executor;
use coord_network::Lease;
use coord_runtime::{Connect, NetworkMode};
use coord_shared::document::{self, Network};
use coord_shared::names::ContainerId;
use std::future::Future;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

/// What a container sees of networks.
pub(crate) struct Connected {
    pub(crate) mode: NetworkMode,
    pub(crate) hosts_file: Option<String>,
    pub(crate) resolv_conf: Option<String>,
}

impl Executor {
    /// Reserves what the container needs. The error is in words for the operator.
    pub(super) async fn network(&self, container: &ContainerId, asked: &document::Container) -> Result<Connected, String> {
        let bridge = match asked.network {
            Network::Bridge => {
                let lease = self.lease(container)?;
                Some((lease.clone(), self.connect(lease)?))
            }
            Network::Host | Network::None => None,
        };
        Ok(connected(container, asked, bridge))
    }

    fn lease(&self, container: &ContainerId) -> Result<Lease, String> {
        self.network.as_ref().map_err(String::clone)?.lease(&container.to_string()).map_err(|e| crate::chain(&e))
    }

    /// What connects the container once it has a network namespace.
    fn connect(&self, lease: Lease) -> Result<Connect, String> {
        let network = self.network.as_ref().map_err(String::clone)?.clone();
        let connect = move |namespace: OwnedFd| {
            let (network, lease) = (network.clone(), lease.clone());
            let attached = async move { network.attach(&lease, namespace.as_fd()).await.map_err(|e| crate::chain(&e)) };
            Box::pin(attached) as std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>>
        };
        Ok(Connect(Arc::new(connect)))
    }

    /// Gives back what [`Executor::network`] reserved. What cannot be given back now is taken back by the network's keeper.
    pub(super) async fn release_network(&self, container: &ContainerId) {
        let Ok(network) = &self.network else { return };
        if let Err(error) = network.release(&container.to_string()).await {
            tracing::warn!(%container, error = %crate::chain(&error), "its addresses are not given back yet");
        }
    }
}

/// What a container sees, once it is known who connects it to the bridge, if that is where it is to be.
pub(crate) fn connected(container: &ContainerId, asked: &document::Container, bridge: Option<(Lease, Connect)>) -> Connected {
    let hostname = super::container_spec::hostname(container, asked);
    let hosts = files::hosts(asked, &hostname, bridge.as_ref().map(|(lease, _)| lease), &read("/etc/hosts"));
    let resolv_conf = match asked.network {
        Network::Bridge => Some(files::resolv_conf(&asked.dns, &read(files::RESOLV_CONF), || read(files::RESOLVED))),
        Network::Host | Network::None => None,
    };
    let mode = match (asked.network, bridge) {
        (Network::Host, _) => NetworkMode::Host,
        (_, Some((_, connect))) => NetworkMode::Connected(connect),
        (Network::None | Network::Bridge, None) => NetworkMode::None,
    };
    Connected { mode, hosts_file: Some(hosts), resolv_conf }
}

/// A file of the host's; empty where there is none.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
