//! What a registry serves under a digest: a manifest or an index of manifests, OCI or Docker v2 schema 2.
//!
//! The two families have the same JSON shape, so one pair of types reads both. The kind is decided by the media type, or by shape
//! where there is none (the OCI spec allows its absence). What is no image is refused by name: Docker's schema 1 (it has no diff ids
//! to verify), charts, signatures and other artifacts that registries also hold. OCI 1.1's `subject` and `artifactType` of an image
//! say nothing that we need, and are passed over.

use coord_shared::names::Digest;
use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageIndex, OciImageManifest,
};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Largest manifest or index that is read (OCI distribution spec 1.1: registries must take at least this much, and none takes more).
pub const MANIFEST_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Most layers of an image: overlayfs takes 500 lowers, other tools stop at 127.
const LAYERS_MAX: usize = 500;
/// Most entries of an index: real ones have some tens, and each costs a hundred times its text in memory.
const ENTRIES_MAX: usize = 1000;
/// Docker's schema 1, signed and not.
const SCHEMA_1: [&str; 2] =
    ["application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws"];

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
    /// Only counted: these take no memory.
    manifests: Option<Vec<IgnoredAny>>,
    layers: Option<Vec<IgnoredAny>>,
}

impl ManifestOrIndex {
    /// Reads verified bytes.
    ///
    /// # Errors
    /// What is wrong, without naming the object.
    pub fn parse(bytes: &[u8]) -> Result<ManifestOrIndex, String> {
        let shape: Shape = serde_json::from_slice(bytes).map_err(|e| format!("not a manifest: {e}"))?;
        let media_type = shape.media_type.as_deref();
        if shape.schema_version == Some(1) || media_type.is_some_and(|media_type| SCHEMA_1.contains(&media_type)) {
            return Err(
                "a Docker schema 1 manifest, a format given up in 2019; push the image again with a current tool".to_owned()
            );
        }
        let is_index = match media_type {
            Some(OCI_IMAGE_INDEX_MEDIA_TYPE | IMAGE_MANIFEST_LIST_MEDIA_TYPE) => true,
            Some(OCI_IMAGE_MEDIA_TYPE | IMAGE_MANIFEST_MEDIA_TYPE) => false,
            Some(other) => return Err(format!("of media type {other:?}, which is no image")),
            None => shape.manifests.is_some() && shape.layers.is_none(),
        };
        // Both at once could be read as either, by us and by a signer (CVE-2021-41190).
        if shape.manifests.is_some() && shape.layers.is_some() {
            return Err("both a manifest and an index; push the image again".to_owned());
        }
        let count = |list: &Option<Vec<IgnoredAny>>| list.as_ref().map_or(0, Vec::len);
        if count(&shape.layers) > LAYERS_MAX {
            return Err(format!("{} layers, more than {LAYERS_MAX}; squash the image", count(&shape.layers)));
        }
        if count(&shape.manifests) > ENTRIES_MAX {
            return Err(format!("an index of {} images, more than {ENTRIES_MAX}", count(&shape.manifests)));
        }
        if is_index {
            let index: OciImageIndex = serde_json::from_slice(bytes).map_err(|e| format!("not an index: {e}"))?;
            return Ok(ManifestOrIndex::Index(Box::new(index)));
        }
        let manifest: OciImageManifest = serde_json::from_slice(bytes).map_err(|e| format!("not a manifest: {e}"))?;
        check_config(&manifest)?;
        check_layers(&manifest.layers)?;
        Ok(ManifestOrIndex::Manifest(Box::new(manifest)))
    }
}

/// Whether it is an image at all: an artifact has another config, or one that says so itself.
fn check_config(manifest: &OciImageManifest) -> Result<(), String> {
    let media_type = manifest.config.media_type.as_str();
    if [IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE].contains(&media_type) {
        return Ok(());
    }
    let kind = manifest.artifact_type.as_deref().filter(|kind| !kind.is_empty()).unwrap_or(media_type);
    Err(format!("an artifact of type {kind:?}, not a container image; check the name, or its digest"))
}

/// Layers must lie in this registry, under a digest that we can check, and be archives that we can read. Which compression they have
/// is seen in their bytes: registries hold plenty of layers whose type is wrong in that.
fn check_layers(layers: &[OciDescriptor]) -> Result<(), String> {
    for layer in layers {
        let (digest, media_type) = (&layer.digest, &layer.media_type);
        digest.parse::<Digest>().map_err(|e| format!("a layer's {e}"))?;
        let is_foreign = media_type.contains("foreign") || media_type.contains("nondistributable");
        if is_foreign || layer.urls.as_ref().is_some_and(|urls| !urls.is_empty()) {
            return Err(format!(
                "layer {digest} is to be fetched from elsewhere (foreign or with urls), which is refused; push an image with its own layers"
            ));
        }
        if media_type.ends_with("json") {
            return Err(format!("layer {digest} is a {media_type:?}, so this is an artifact, not a container image"));
        }
        if media_type.ends_with("+encrypted") {
            return Err(format!("layer {digest} is encrypted, which is not supported; push the image unencrypted"));
        }
    }
    Ok(())
}
