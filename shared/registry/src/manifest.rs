//! What a registry serves under a digest: a manifest or an index of manifests, OCI or Docker v2 schema 2.
//!
//! The two families have the same JSON shape, so one pair of types reads both. The kind is decided by the media type, or by shape
//! where there is none (the OCI spec allows its absence). Docker's schema 1 is refused by name: it has no diff ids to verify.

use coord_shared::names::Digest;
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciDescriptor,
    OciImageIndex, OciImageManifest,
};
use serde::Deserialize;

/// Largest manifest or index that is read (OCI distribution spec 1.1: registries must take at least this much, and none takes more).
pub const MANIFEST_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Most layers of an image: overlayfs takes 500 lowers, other tools stop at 127.
const LAYERS_MAX: usize = 500;

/// What we tell the registry that we understand.
pub(crate) const ACCEPTED: [&str; 4] =
    [OCI_IMAGE_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE];

/// A manifest, or an index to choose one from.
#[derive(Debug, Clone)]
pub enum ManifestOrIndex {
    /// One image for one platform.
    Manifest(Box<OciImageManifest>),
    /// Images for several platforms.
    Index(Box<OciImageIndex>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
}

impl ManifestOrIndex {
    /// Reads verified bytes. The error says what is wrong, without naming the object.
    pub(crate) fn parse(bytes: &[u8]) -> Result<ManifestOrIndex, String> {
        let shape: Shape = serde_json::from_slice(bytes).map_err(|e| format!("not a manifest: {e}"))?;
        if shape.schema_version == Some(1) {
            return Err(
                "a Docker schema 1 manifest, a format given up in 2019; push the image again with a current tool".to_owned()
            );
        }
        let is_index = match shape.media_type.as_deref() {
            Some(OCI_IMAGE_INDEX_MEDIA_TYPE | IMAGE_MANIFEST_LIST_MEDIA_TYPE) => true,
            Some(OCI_IMAGE_MEDIA_TYPE | IMAGE_MANIFEST_MEDIA_TYPE) => false,
            Some(other) => return Err(format!("of media type {other:?}, which is no image")),
            None => shape.manifests.is_some() && shape.layers.is_none(),
        };
        // Both at once could be read as either, by us and by a signer (CVE-2021-41190).
        if shape.manifests.is_some() && shape.layers.is_some() {
            return Err("both a manifest and an index; push the image again".to_owned());
        }
        if is_index {
            let index: OciImageIndex = serde_json::from_slice(bytes).map_err(|e| format!("not an index: {e}"))?;
            return Ok(ManifestOrIndex::Index(Box::new(index)));
        }
        let manifest: OciImageManifest = serde_json::from_slice(bytes).map_err(|e| format!("not a manifest: {e}"))?;
        check_layers(&manifest.layers)?;
        Ok(ManifestOrIndex::Manifest(Box::new(manifest)))
    }
}

/// Layers must lie in this registry, under a digest that we can check.
fn check_layers(layers: &[OciDescriptor]) -> Result<(), String> {
    if layers.len() > LAYERS_MAX {
        return Err(format!("{} layers, more than {LAYERS_MAX}; squash the image", layers.len()));
    }
    for layer in layers {
        let digest = &layer.digest;
        digest.parse::<Digest>().map_err(|e| format!("a layer's {e}"))?;
        let is_foreign = layer.media_type.contains("foreign") || layer.media_type.contains("nondistributable");
        if is_foreign || layer.urls.as_ref().is_some_and(|urls| !urls.is_empty()) {
            return Err(format!(
                "layer {digest} is to be fetched from elsewhere (foreign or with urls), which is refused; push an image with its own layers"
            ));
        }
    }
    Ok(())
}
