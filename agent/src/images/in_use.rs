//! Which images are needed, read from what an agent left on disk.
//!
//! The accepted host state says what should run, and the containers' folders say what does. Where either cannot be read, nothing is
//! known to be unused.

use super::ImagesError;
use crate::config::Config;
use crate::state::ContainerMeta;
use crate::sync::desired::{ahead, desired};
use crate::sync::ledger::Ledger;
use coord_runtime as runtime;
use coord_shared::decide::planner::{Desired, Target};
use coord_shared::names::{ContainerId, Digest, InstanceId, PinnedImage};
use std::collections::{BTreeMap, BTreeSet};

/// The images that are needed, each with the instances that need it; those that are only fetched ahead have none.
pub type Uses = BTreeMap<Digest, BTreeSet<InstanceId>>;

/// What is needed: by what should run, by what ran before it and may have to come back, and by the containers that are there.
pub fn uses<'a>(
    desired: &Desired,
    ahead: &[PinnedImage],
    containers: impl IntoIterator<Item = (&'a InstanceId, &'a Digest)>,
) -> Uses {
    // What is fetched ahead is kept for nobody yet.
    let mut uses: Uses = ahead.iter().map(|image| (image.digest.clone(), BTreeSet::new())).collect();
    for (instance, wanted) in desired {
        let target = match &wanted.target {
            Target::Run(spec) => Some(spec),
            Target::Rejected { .. } => None,
        };
        for spec in target.into_iter().chain(&wanted.previous) {
            uses.entry(spec.image.digest.clone()).or_default().insert(instance.clone());
        }
    }
    for (instance, image) in containers {
        uses.entry(image.clone()).or_default().insert(instance.clone());
    }
    uses
}

/// The same, read from the ledger and the containers' folders.
///
/// # Errors
/// `Unknown` when one of them cannot be read.
pub fn on_disk(config: &Config) -> Result<Uses, ImagesError> {
    let ledger = Ledger::of_any_host(&config.state_dir).map_err(|e| unknown(&e))?;
    let desired = ledger.state().map(|state| desired(state, ledger.previous())).unwrap_or_default();
    let mut containers = Vec::new();
    for (id, meta) in runtime::peek(&config.run_dir).map_err(|e| unknown(&e))? {
        // What is not ours is nobody's use of an image of ours.
        if let (Ok(id), Ok(meta)) = (id.parse::<ContainerId>(), serde_json::from_value::<ContainerMeta>(meta)) {
            containers.push((id.instance, meta.image));
        }
    }
    let ahead = ledger.state().map(ahead).unwrap_or_default();
    Ok(uses(&desired, &ahead, containers.iter().map(|(instance, image)| (instance, image))))
}

fn unknown(error: &(dyn std::error::Error + 'static)) -> ImagesError {
    ImagesError::Unknown { problem: crate::chain(error) }
}
