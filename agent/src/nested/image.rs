//! The image of a second container: which it is, and how it gets here. What is here already, and what was resolved a moment ago, costs no
//! word to a registry.

use super::record::About;
use super::refusal::{cure, ending, refuse};
use super::tools::Tools;
use crate::clock;
use coord_image::{Image, Progress, PullError, StoreError};
use coord_registry::RegistryError;
use coord_shared::decide::Mono;
use coord_shared::names::{Digest, ImageReference};
use coord_shared::wire::ErrorBody;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a tag stood for is believed for so long: a test runner starts its containers one after the other.
const RESOLVED_MAX: Duration = Duration::from_secs(60);
/// Tags that are remembered.
const TAGS_MAX: usize = 256;

/// What tags stood for a moment ago.
#[derive(Default)]
pub(super) struct Resolved(Mutex<BTreeMap<ImageReference, (Digest, Mono)>>);

/// An image that is ready to be stacked.
pub(super) struct Ready {
    pub(super) image: Image,
    pub(super) lowers: Vec<PathBuf>,
}

/// The image that is meant. One without a registry would be looked for in the world's, which is hardly meant in a fleet: it is refused,
/// unless it is the parent's own.
pub(super) fn named(text: &str, about: &About) -> Result<ImageReference, ErrorBody> {
    let own = &about.image;
    if text == own.to_string() {
        return Ok(own.reference.clone());
    }
    let image: ImageReference = text.parse().map_err(|error| refuse("invalid_reference", format!("{error}")))?;
    let first = text.split('/').next().unwrap_or_default();
    let names_registry = text.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    if names_registry || image == own.reference {
        return Ok(image);
    }
    let refusal = refuse("invalid_reference", format!("image {text:?} does not say in which registry it is"));
    Err(cure(refusal, format!("write it out, as in {}; it could be {image}", own.reference)))
}

/// What it stands for now.
pub(super) async fn resolve(tools: &Tools, about: &About, image: &ImageReference) -> Result<Digest, ErrorBody> {
    if let Some(digest) = image.digest() {
        return Ok(digest.clone());
    }
    if *image == about.image.reference {
        return Ok(about.image.digest.clone());
    }
    if let Some(digest) = tools.resolved.recent(image, clock::now().mono) {
        return Ok(digest);
    }
    let digest = tools.hands.registry.resolve(image).await.map_err(|error| missing(image, &error, &error))?;
    tools.resolved.note(image, &digest, clock::now().mono);
    Ok(digest)
}

/// Fetches it where it is not here, and mounts it. It must be noted as in use before.
pub(super) async fn ready(tools: &Tools, reference: &ImageReference, digest: &Digest) -> Result<Ready, ErrorBody> {
    if let Some(ready) = mount(tools, digest).await? {
        return Ok(ready);
    }
    pull(tools, reference, digest).await.map_err(|error| not_pulled(reference, &error))?;
    let gone = || refuse("pull_failed", format!("image {reference} is gone again; try again"));
    mount(tools, digest).await?.ok_or_else(gone)
}

/// One that is here; one that is damaged is as good as absent: it is pulled, which repairs it.
async fn mount(tools: &Tools, digest: &Digest) -> Result<Option<Ready>, ErrorBody> {
    let (images, digest) = (tools.hands.images.clone(), digest.clone());
    let mounted = tokio::task::spawn_blocking(move || {
        let Some(image) = images.get(&digest)? else { return Ok(None) };
        Ok(Some(Ready { image, lowers: images.mount(&digest)?.lowers }))
    });
    match mounted.await.map_err(|_| ending())? {
        Ok(ready) => Ok(ready),
        Err(StoreError::Damaged { .. } | StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(refuse("agent_failed", crate::chain(&error))),
    }
}

async fn pull(tools: &Tools, image: &ImageReference, digest: &Digest) -> Result<Image, PullError> {
    let hands = &tools.hands;
    let progress = Arc::new(Progress::default());
    let pull = async || hands.images.pull(&hands.registry, image, digest, Arc::clone(&progress)).await;
    match pull().await {
        Err(error) => match &hands.room {
            Some(room) if room.make_for(&error, &progress).await => pull().await,
            Some(_) | None => Err(error),
        },
        pulled => pulled,
    }
}

fn not_pulled(image: &ImageReference, error: &PullError) -> ErrorBody {
    match error {
        PullError::Registry { source, .. } => missing(image, source, error),
        PullError::Shared { source } => not_pulled(image, source),
        PullError::Platform { .. } | PullError::BadImage { .. } | PullError::Layer { .. } | PullError::Store { .. } => {
            refuse("pull_failed", crate::chain(error))
        }
    }
}

fn missing(image: &ImageReference, answer: &RegistryError, error: &(dyn std::error::Error + 'static)) -> ErrorBody {
    match answer {
        RegistryError::NotFound { .. } => {
            refuse("image_not_found", format!("image {image} is not to be had: {}", crate::chain(error)))
        }
        RegistryError::Config { .. }
        | RegistryError::Unauthorized { .. }
        | RegistryError::RateLimited { .. }
        | RegistryError::Server { .. }
        | RegistryError::Unreachable { .. }
        | RegistryError::BadAnswer { .. } => {
            refuse("pull_failed", format!("image {image} cannot be pulled: {}", crate::chain(error)))
        }
    }
}

impl Resolved {
    fn recent(&self, image: &ImageReference, now: Mono) -> Option<Digest> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(image).filter(|(_, at)| now.since(*at) < RESOLVED_MAX).map(|(digest, _)| digest.clone())
    }

    fn note(&self, image: &ImageReference, digest: &Digest, now: Mono) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, at)| now.since(*at) < RESOLVED_MAX);
        if known.len() < TAGS_MAX {
            known.insert(image.clone(), (digest.clone(), now));
        }
    }
}
