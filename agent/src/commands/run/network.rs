//! The bridge, for a container that is nobody's: its addresses come from the agent that runs here, or from the books themselves where
//! none runs.

use super::super::failure;
use coord_agent::config::Config;
use coord_agent::control::{Client, OneOffAsked};
use coord_agent::{chain, one_off};
use coord_network::{Lease, Network};
use coord_runtime::Connect;
use coord_shared::names::ContainerId;
use coord_shared::wire::ErrorBody;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

/// Whoever gives out addresses.
#[derive(Clone)]
pub(super) enum Bridge {
    /// The agent that runs.
    Agent(Client),
    /// We, because nobody else does.
    Own(Network),
}

type Connecting = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl Bridge {
    /// Finds out who.
    pub(super) async fn open(config: &Config) -> Result<Bridge, ErrorBody> {
        let client = Client::new(&config.run_dir);
        match client.info().await {
            Ok(_) => return Ok(Self::Agent(client)),
            Err(error) if error.code != "unreachable" => return Err(error),
            Err(_) => {}
        }
        let network = Network::open(config.network.clone(), &config.run_dir.join("net")).map_err(|e| problem(&e))?;
        Ok(Self::Own(network))
    }

    /// Reserves addresses, and says how they are given to the container.
    pub(super) async fn lease(&self, container: &ContainerId, config: &Config) -> Result<(Lease, Connect), ErrorBody> {
        let lease = match self {
            Self::Agent(client) => client.post::<Lease>("/v1/one-off/lease", &asked(container, PathBuf::new())).await?,
            Self::Own(network) => {
                tidy(network, config).await;
                network.lease(&container.to_string()).map_err(|e| problem(&e))?
            }
        };
        let (bridge, given, container) = (self.clone(), lease.clone(), container.clone());
        let connect = move |namespace: OwnedFd| -> Connecting {
            let (bridge, lease, container) = (bridge.clone(), given.clone(), container.clone());
            Box::pin(async move { bridge.connect(&lease, &container, namespace).await })
        };
        Ok((lease, Connect(Arc::new(connect))))
    }

    async fn connect(self, lease: &Lease, container: &ContainerId, namespace: OwnedFd) -> Result<(), String> {
        match self {
            Self::Agent(client) => {
                let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
                let done = client.post::<()>("/v1/one-off/connect", &asked(container, path.into())).await;
                done.map_err(|error| error.message)
            }
            Self::Own(network) => network.attach(lease, namespace.as_fd()).await.map_err(|e| chain(&e)),
        }
    }

    /// Gives back what was reserved. What cannot be given back now is taken back by an agent that starts, or by the next of us.
    pub(super) async fn release(&self, container: &ContainerId) {
        // Nothing depends on it any more.
        let _ = match self {
            Self::Agent(client) => client.post::<()>("/v1/one-off/release", &asked(container, PathBuf::new())).await,
            Self::Own(network) => network.release(&container.to_string()).await.map_err(|e| problem(&e)),
        };
    }
}

/// Takes back what those had that were killed. Containers of documents, which go on without an agent, are not ours to judge.
async fn tidy(network: &Network, config: &Config) {
    let live = one_off::containers(&config.run_dir);
    for left in network.leases() {
        let is_left = left.parse::<ContainerId>().is_ok_and(|id| one_off::is_one_off(&id) && !live.contains(&id));
        if is_left {
            let _ = network.release(&left).await;
        }
    }
}

fn asked(container: &ContainerId, namespace: PathBuf) -> OneOffAsked {
    OneOffAsked { container: container.to_string(), namespace }
}

fn problem(error: &coord_network::NetworkError) -> ErrorBody {
    failure("network", chain(error))
}
