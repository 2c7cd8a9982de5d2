//! What a manifest says, as far as a registry must know: its kind, and what it refers to.
//!
//! Pure. Taken are image manifests and indexes of OCI (image spec 1.1) and of Docker (schema 2), which hold every artifact of today by
//! their `artifactType` or their config's type. Other media types are refused: what they refer to could not be known, and would be
//! collected under them.

use coord_shared::names::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Largest manifest, in bytes (distribution spec 1.1, "Pushing Manifests": at least 4 MiB).
pub const MANIFEST_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Most things that one manifest refers to: an image has at most 127 layers, an index a manifest per platform; all of them are written
/// into one record.
const REFERENCES_MAX: usize = 4096;

/// An image, of OCI.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Images for several platforms, of OCI.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An image, of Docker.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Images for several platforms, of Docker.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Whether this is the media type of a manifest that we take.
pub fn is_manifest_type(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | OCI_INDEX | DOCKER_MANIFEST | DOCKER_LIST)
}

/// What a manifest refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outline {
    pub(crate) media_type: String,
    /// Blobs that must be there: config first, each once.
    pub(crate) blobs: Vec<Digest>,
    /// Manifests that must be there, each once.
    pub(crate) manifests: Vec<Digest>,
    /// What it says something about; need not be there.
    pub(crate) subject: Option<Digest>,
    /// The artifact type that its referrer shows.
    pub(crate) artifact_type: Option<String>,
    /// What config and layers weigh together, by their descriptors.
    pub(crate) content_bytes: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    subject: Option<RawDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    urls: Option<Vec<String>>,
}

impl RawDescriptor {
    fn digest(&self) -> Result<Digest, String> {
        self.digest.parse().map_err(|error| format!("{error}"))
    }

    /// A layer that lies elsewhere and was never meant to be pushed.
    fn is_foreign(&self) -> bool {
        let is_kind = self.media_type.contains(".nondistributable.") || self.media_type.contains(".foreign.");
        is_kind && self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
    }
}

impl Outline {
    /// Reads a manifest. `content_type`: what the request said, if it did.
    pub(crate) fn read(bytes: &[u8], content_type: Option<&str>) -> Result<Self, String> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| format!("it is not a manifest in JSON: {error}"))?;
        if raw.schema_version != Some(2) {
            return Err("its schemaVersion is not 2".to_owned());
        }
        let media_type = media_type(&raw, content_type)?;
        let is_index = matches!(media_type.as_str(), OCI_INDEX | DOCKER_LIST);
        let mut outline = Self {
            media_type,
            blobs: Vec::new(),
            manifests: Vec::new(),
            subject: raw.subject.as_ref().map(RawDescriptor::digest).transpose()?,
            artifact_type: raw.artifact_type.clone().filter(|kind| !kind.is_empty()),
            content_bytes: 0,
        };
        if is_index {
            outline.take_index(&raw)?
        } else {
            outline.take_image(&raw)?
        }
        if outline.blobs.len() + outline.manifests.len() > REFERENCES_MAX {
            return Err(format!("it refers to more than {REFERENCES_MAX} blobs and manifests"));
        }
        Ok(outline)
    }

    fn take_image(&mut self, raw: &Raw) -> Result<(), String> {
        if raw.manifests.is_some() {
            return Err("an image manifest has no manifests".to_owned());
        }
        let config = raw.config.as_ref().ok_or("an image manifest needs a config")?;
        let layers = raw.layers.as_ref().ok_or("an image manifest needs layers")?;
        if self.artifact_type.is_none() && !config.media_type.is_empty() {
            self.artifact_type = Some(config.media_type.clone());
        }
        for descriptor in std::iter::once(config).chain(layers) {
            let digest = descriptor.digest()?;
            self.content_bytes = self.content_bytes.saturating_add(descriptor.size);
            if !descriptor.is_foreign() {
                self.blobs.push(digest);
            }
        }
        keep_first(&mut self.blobs);
        Ok(())
    }

    fn take_index(&mut self, raw: &Raw) -> Result<(), String> {
        if raw.config.is_some() || raw.layers.is_some() {
            return Err("an index has neither config nor layers".to_owned());
        }
        for descriptor in raw.manifests.as_ref().ok_or("an index needs manifests")? {
            let digest = descriptor.digest()?;
            // BuildKit keeps its cache in indexes whose entries are layers.
            if is_manifest_type(&descriptor.media_type) {
                self.manifests.push(digest);
            } else {
                self.content_bytes = self.content_bytes.saturating_add(descriptor.size);
                self.blobs.push(digest);
            }
        }
        keep_first(&mut self.blobs);
        keep_first(&mut self.manifests);
        Ok(())
    }
}

/// What the request says, what the manifest says, or what its fields say; the first two must agree.
fn media_type(raw: &Raw, content_type: Option<&str>) -> Result<String, String> {
    let said = content_type.map(|text| text.split(';').next().unwrap_or(text).trim()).filter(|text| !text.is_empty());
    let own = raw.media_type.as_deref().filter(|text| !text.is_empty());
    if let (Some(said), Some(own)) = (said, own)
        && said != own
    {
        return Err(format!("its mediaType is {own:?}, and the request's Content-Type is {said:?}"));
    }
    let inferred = if raw.manifests.is_some() { OCI_INDEX } else { OCI_MANIFEST };
    let media_type = said.or(own).unwrap_or(inferred);
    if !is_manifest_type(media_type) {
        let shown: String = media_type.chars().take(120).collect();
        return Err(format!("media type {shown:?} is not one of {OCI_MANIFEST}, {OCI_INDEX}, {DOCKER_MANIFEST}, {DOCKER_LIST}"));
    }
    Ok(media_type.to_owned())
}

fn keep_first(digests: &mut Vec<Digest>) {
    let mut seen = std::collections::BTreeSet::new();
    digests.retain(|digest| seen.insert(digest.clone()));
}

/// How something is referred to (OCI image spec, descriptor.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its content.
    pub digest: Digest,
    /// Its size.
    #[serde(rename = "size")]
    pub bytes: u64,
    /// What kind of artifact it is, in the list of referrers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The annotations of the manifest itself, in the list of referrers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The annotations of a manifest; none if they cannot be read.
pub(crate) fn annotations(bytes: &[u8]) -> BTreeMap<String, String> {
    #[derive(Deserialize)]
    struct Annotated {
        #[serde(default)]
        annotations: BTreeMap<String, String>,
    }
    serde_json::from_slice::<Annotated>(bytes).map(|manifest| manifest.annotations).unwrap_or_default()
}
