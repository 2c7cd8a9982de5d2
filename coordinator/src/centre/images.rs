//! What images stand for: those of the image centre are looked up in it, all others are asked of their registries.

use crate::documents::resolve::{ResolveError, ResolveImage};
use coord_centre::through::Through;
use coord_centre::{Centre, CentreError, Reference, Tag};
use coord_shared::names::{Digest, ImageReference, Repository};
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// Knows the centre, and who knows the rest.
pub struct CentreImages {
    centre: Centre,
    /// Whoever copies what is not there yet, if anybody does.
    through: Option<Arc<Through>>,
    others: Arc<dyn ResolveImage>,
}

impl CentreImages {
    /// Over the centre, its copies and the registries.
    pub fn new(centre: Centre, through: Option<Arc<Through>>, others: Arc<dyn ResolveImage>) -> Self {
        Self { centre, through, others }
    }

    async fn look_up(&self, image: &ImageReference) -> Result<Digest, ResolveError> {
        let repository: Repository = image.repository().parse().map_err(|error| ResolveError(format!("{error}")))?;
        let reference = reference(image)?;
        let fail = |error: CentreError| ResolveError(coord_registry::chain(&error));
        if let Some(through) = &self.through {
            through.bring(&self.centre, &repository, &reference).await.map_err(fail)?;
        }
        let found = self.centre.resolve(&repository, &reference).await.map_err(fail)?;
        let missing = || {
            ResolveError(format!(
                "the image centre has no {image}; push it (`docker push` to this coordinator), or run its pipeline"
            ))
        };
        let digest = found.ok_or_else(missing)?.digest;
        // From here on until the document names it, nothing may take it away.
        if self.centre.touch(&repository, &digest).await.map_err(fail)? { Ok(digest) } else { Err(missing()) }
    }
}

fn reference(image: &ImageReference) -> Result<Reference, ResolveError> {
    if let Some(digest) = image.digest() {
        return Ok(Reference::Digest(digest.clone()));
    }
    let tag: Tag = image.tag().unwrap_or("latest").parse().map_err(|error| ResolveError(format!("{error}")))?;
    Ok(Reference::Tag(tag))
}

impl ResolveImage for CentreImages {
    fn resolve<'a>(&'a self, image: &'a ImageReference) -> BoxFuture<'a, Result<Digest, ResolveError>> {
        if image.is_in_centre() { Box::pin(self.look_up(image)) } else { self.others.resolve(image) }
    }
}
