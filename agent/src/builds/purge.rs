//! Takes everything of builds off this host: for the day the agent is uninstalled.

use super::error::BuildError;
use super::places::{Places, make_folder};
use super::step;
use super::tools::open_engine;
use crate::config::Config;
use crate::volumes;

/// Removes all containers of builds, running or not, and everything that was kept for builds. How many containers those were.
///
/// # Errors
/// When something cannot be removed.
pub(crate) async fn purge(config: &Config) -> Result<usize, BuildError> {
    let places = Places::new(&config.state_dir, &config.run_dir);
    let mut count = 0;
    if places.has_containers() {
        for folder in [&places.state, &places.run] {
            make_folder(folder)?;
        }
        let engine = open_engine(&places, config)?;
        for container in engine.found("") {
            step::remove(&engine, &places, &container).await;
            count += 1;
        }
        engine.runtime.remove_shared();
    }
    for folder in [places.state, places.run] {
        volumes::delete(&folder).map_err(BuildError::Remove)?;
    }
    Ok(count)
}
