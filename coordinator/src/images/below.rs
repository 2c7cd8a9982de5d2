//! What base images have where new layers land: read from their layers once, and remembered for the next image on the same base.

use super::AssembleError;
use super::base::{Base, BaseLayer};
use coord_archive::Below;
use coord_centre::Centre;
use coord_shared::names::{Digest, Repository};
use coord_tar::Limits;
use futures_util::TryStreamExt as _;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::io::{StreamReader, SyncIoBridge};

/// Bases that are remembered: those of a team's services. Each takes about a megabyte.
const REMEMBERED_MAX: usize = 8;

/// The newest bases, by their manifests.
#[derive(Default)]
pub(super) struct Belows {
    known: Mutex<VecDeque<(Digest, Arc<Below>)>>,
}

impl Belows {
    /// What a base has, whose layers are in `repository` already.
    pub(super) async fn of(
        &self,
        base: Option<&Base>,
        centre: &Centre,
        repository: &Repository,
    ) -> Result<Arc<Below>, AssembleError> {
        let Some(base) = base else { return Ok(Arc::default()) };
        if let Some(known) = self.known(&base.manifest) {
            return Ok(known);
        }
        let mut below = Below::default();
        for layer in &base.layers {
            below = add(below, base, layer, centre, repository).await?;
        }
        let below = Arc::new(below);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.push_front((base.manifest.clone(), Arc::clone(&below)));
        known.truncate(REMEMBERED_MAX);
        Ok(below)
    }

    fn known(&self, manifest: &Digest) -> Option<Arc<Below>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(digest, _)| digest == manifest).map(|(_, below)| Arc::clone(below))
    }
}

async fn add(
    mut below: Below,
    base: &Base,
    layer: &BaseLayer,
    centre: &Centre,
    repository: &Repository,
) -> Result<Below, AssembleError> {
    let stream = centre.read_blob(repository, &layer.digest, 0, None).await?.map_err(std::io::Error::other);
    let reader = SyncIoBridge::new(StreamReader::new(stream));
    let read = tokio::task::spawn_blocking(move || below.add_layer(reader, &Limits::default()).map(|()| below));
    let fail = |source| AssembleError::BaseLayer { image: base.name.clone(), layer: layer.digest.to_string(), source };
    read.await.map_err(|_| AssembleError::Ending)?.map_err(fail)
}
