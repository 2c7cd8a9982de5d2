//! A container's network: its addresses, and what it finds in `/etc/hosts` and `/etc/resolv.conf`.

use super::Executor;
use coord_runtime::NetworkMode;
use coord_shared::document::{self, Network};
use coord_shared::names::ContainerId;

/// What a container sees of networks.
pub(super) struct Connected {
    pub(super) mode: NetworkMode,
    pub(super) hosts_file: Option<String>,
    pub(super) resolv_conf: Option<String>,
}

impl Executor {
    pub(super) async fn network(&self, _container: &ContainerId, asked: &document::Container) -> Result<Connected, String> {
        let mode = match asked.network {
            Network::Bridge => return Err("network = \"bridge\" is not there yet".to_owned()),
            Network::Host => NetworkMode::Host,
            Network::None => NetworkMode::None,
        };
        Ok(Connected { mode, hosts_file: None, resolv_conf: None })
    }
}
