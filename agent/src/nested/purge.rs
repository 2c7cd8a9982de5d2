//! Takes everything of nested containers off this host: for the day the agent is uninstalled.

use super::places::Places;
use crate::config::Config;
use crate::engine::Engine;
use crate::volumes;
use coord_runtime::{Isolation, RuntimeError};

/// Why something is left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PurgeError {
    /// The runtime is in trouble.
    #[error("cannot remove second containers")]
    Runtime(#[source] RuntimeError),
    /// A folder does not go away.
    #[error("cannot remove the folder of nested containers")]
    Folder(#[source] volumes::VolumesError),
}

/// Removes all second containers, running or not, and all file caches. How many containers those were.
///
/// # Errors
/// When something cannot be removed.
pub(crate) async fn purge(config: &Config) -> Result<usize, PurgeError> {
    let places = Places::new(&config.state_dir, &config.run_dir);
    let mut count = 0;
    if places.has_containers() {
        let isolation = Isolation { user_count: 0, ..config.isolation.of_containers() };
        let engine = Engine::open(&places.state, &places.run, &config.helpers_dir, isolation).map_err(PurgeError::Runtime)?;
        for container in engine.found("") {
            engine.remove(&container).await.map_err(PurgeError::Runtime)?;
            count += 1;
        }
        engine.runtime.remove_shared();
    }
    for folder in [places.state, places.run] {
        volumes::delete(&folder).map_err(PurgeError::Folder)?;
    }
    Ok(count)
}
