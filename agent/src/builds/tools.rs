//! What building takes, in one place: the host's tools, the way to the coordinator, and where everything lies.

use super::board::Board;
use super::door::Door;
use super::error::BuildError;
use super::places::Places;
use super::source::Repositories;
use super::users::own_users;
use crate::config::{BuilderConfig, Config};
use crate::engine::Engine;
use crate::images::Room;
use crate::nested::Doors;
use coord_image::ImageStore;
use coord_network::Network;
use coord_registry::Registry;
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Containers that have addresses, or are about to.
pub(super) type Claims = Arc<Mutex<BTreeSet<String>>>;

/// See the module's description.
pub(super) struct Tools {
    pub(super) config: Config,
    pub(super) builder: BuilderConfig,
    pub(super) places: Places,
    pub(super) images: ImageStore,
    pub(super) registry: Registry,
    /// Makes room for images.
    pub(super) room: Option<Room>,
    /// Connects containers; in words, why it cannot.
    pub(super) network: Result<Network, String>,
    pub(super) repositories: Box<dyn Repositories>,
    pub(super) doors: Doors,
    pub(super) door: Door,
    pub(super) board: Board,
    /// The number of this boot.
    pub(super) boot: String,
    pub(super) claims: Claims,
    pub(super) engine: OnceCell<Engine>,
}

impl Tools {
    /// What runs containers; opened by whoever asks first.
    pub(super) fn engine(&self) -> Result<&Engine, BuildError> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let engine = open_engine(&self.places, &self.config)?;
        Ok(self.engine.get_or_init(|| engine))
    }

    pub(super) fn claims(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens what runs the steps of this host.
pub(super) fn open_engine(places: &Places, config: &Config) -> Result<Engine, BuildError> {
    let isolation = own_users(config.isolation.of_containers());
    Engine::open(&places.state, &places.run, &config.helpers_dir, isolation).map_err(BuildError::Runtime)
}
