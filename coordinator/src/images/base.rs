//! The image that another one stands on: found in the image centre or at a registry, and its layers copied into the new image's
//! repository, so that the image is whole there, whatever becomes of the base.

use super::AssembleError;
use super::json::Platform;
use coord_centre::{Centre, Reference};
use coord_registry::{HostPlatform, ManifestOrIndex, Registry, RegistryError};
use coord_shared::names::{Digest, ImageReference, Repository};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;

/// Largest config that is read: as large as a manifest may be.
const CONFIG_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Layers that are copied at a time: as many as clients pull.
const COPIES_AT_ONCE: usize = 3;
/// How often a copy goes on after its connection broke.
const COPY_ATTEMPTS_MAX: u32 = 5;
/// Docker's types of layers, and OCI's for the same bytes.
const LAYER_TYPES: [(&str, &str); 3] = [
    ("application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.oci.image.layer.v1.tar+gzip"),
    ("application/vnd.docker.image.rootfs.diff.tar.zstd", "application/vnd.oci.image.layer.v1.tar+zstd"),
    ("application/vnd.docker.image.rootfs.diff.tar", "application/vnd.oci.image.layer.v1.tar"),
];

/// A base image for one platform.
pub(super) struct Base {
    /// As the recipe names it.
    pub(super) name: String,
    /// What the name stands for: an index, or the manifest.
    pub(super) digest: Digest,
    pub(super) manifest: Digest,
    pub(super) config: Value,
    pub(super) layers: Vec<BaseLayer>,
    shelf: Shelf,
}

/// One of its layers.
#[derive(Debug, Clone)]
pub(super) struct BaseLayer {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
    /// In OCI's words.
    pub(super) media_type: String,
}

/// Where it lies.
enum Shelf {
    Centre(Centre, Repository),
    Registry(Registry, ImageReference),
}

/// What an image for this platform must be; the coordinator's own architecture where nothing is said. Never what only this machine's CPU
/// can do: the image is for others.
pub(super) fn platform(wanted: Option<&str>) -> Result<(Platform, HostPlatform), AssembleError> {
    let Some(wanted) = wanted else {
        let architecture = HostPlatform::current().architecture;
        let host = HostPlatform { variant: usual_variant(&architecture), architecture: architecture.clone() };
        return Ok((Platform { architecture, variant: None }, host));
    };
    let fail = |problem| AssembleError::Platform { platform: wanted.to_owned(), problem };
    let mut parts = wanted.split('/');
    if parts.next() != Some("linux") {
        return Err(fail("only Linux runs here; write for example \"linux/arm64\""));
    }
    let architecture = parts.next().filter(|part| !part.is_empty()).ok_or_else(|| fail("write for example \"linux/arm64\""))?;
    let variant = parts.next();
    let number = match variant {
        None => usual_variant(architecture),
        Some(variant) => variant
            .strip_prefix('v')
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| fail("its variant is no \"v\" and a number, as in \"linux/arm/v7\""))?,
    };
    let host = HostPlatform { architecture: architecture.to_owned(), variant: number };
    Ok((Platform { architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }, host))
}

/// What every machine of an architecture can do.
fn usual_variant(architecture: &str) -> u32 {
    match architecture {
        "amd64" => 1,
        "arm64" => 8,
        "arm" => 7,
        _ => 0,
    }
}

impl Base {
    /// Finds it, and reads what it says of itself.
    pub(super) async fn find(
        centre: &Centre,
        registry: Registry,
        image: &ImageReference,
        host: &HostPlatform,
    ) -> Result<Base, AssembleError> {
        let bad = |problem: String| AssembleError::Base { image: image.to_string(), problem };
        let (shelf, digest) = if image.is_in_centre() {
            let repository: Repository = image.repository().parse().map_err(|error| bad(format!("{error}")))?;
            let wanted = image.digest().map_or_else(|| image.tag().unwrap_or("latest").to_owned(), ToString::to_string);
            let wanted: Reference = wanted.parse().map_err(|error| bad(format!("{error}")))?;
            let found = centre.resolve(&repository, &wanted).await?;
            let found = found.ok_or_else(|| bad("the image centre has no such image; push it, or correct `base`".to_owned()))?;
            (Shelf::Centre(centre.clone(), repository), found.digest)
        } else {
            let digest = registry.resolve(image).await.map_err(|source| of_registry(image, source))?;
            (Shelf::Registry(registry, image.clone()), digest)
        };
        let (manifest_digest, manifest) = match shelf.manifest(image, &digest).await? {
            ManifestOrIndex::Manifest(manifest) => (digest.clone(), manifest),
            ManifestOrIndex::Index(index) => {
                let entry = host.select(&index).ok_or_else(|| {
                    let offered = HostPlatform::offered(&index);
                    bad(format!("it is not for {host}, but for {offered}; choose another base, or set `platform`"))
                })?;
                let digest: Digest = entry.digest.parse().map_err(|error| bad(format!("its index has a bad {error}")))?;
                match shelf.manifest(image, &digest).await? {
                    ManifestOrIndex::Manifest(manifest) => (digest, manifest),
                    ManifestOrIndex::Index(_) => {
                        return Err(bad("its index leads to another index; choose one of those".to_owned()));
                    }
                }
            }
        };
        let size =
            |bytes: i64| u64::try_from(bytes).map_err(|_| bad("its manifest has a size below zero; push it again".to_owned()));
        let config_digest: Digest =
            manifest.config.digest.parse().map_err(|error| bad(format!("its manifest has a bad {error}")))?;
        let config = shelf.config(image, &config_digest, size(manifest.config.size)?).await?;
        let config: Value = serde_json::from_slice(&config).map_err(|error| bad(format!("its config is malformed: {error}")))?;
        let layers = manifest.layers.iter().map(|layer| {
            let digest = layer.digest.parse().map_err(|error| bad(format!("its manifest has a bad {error}")))?;
            let known = LAYER_TYPES.iter().find(|(docker, _)| *docker == layer.media_type);
            let media_type = known.map_or_else(|| layer.media_type.clone(), |(_, oci)| (*oci).to_owned());
            Ok(BaseLayer { digest, bytes: size(layer.size)?, media_type })
        });
        let layers = layers.collect::<Result<Vec<_>, AssembleError>>()?;
        let base = Base { name: image.to_string(), digest, manifest: manifest_digest, config, layers, shelf };
        base.check(host).map_err(bad)?;
        Ok(base)
    }

    /// What a config must say to be built on.
    fn check(&self, host: &HostPlatform) -> Result<(), String> {
        let text = |key| self.config.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (os, architecture) = (text("os").unwrap_or("linux"), text("architecture"));
        if os != "linux" || architecture.is_some_and(|architecture| architecture != host.architecture) {
            let is = architecture.unwrap_or("nothing that it names");
            return Err(format!("it is for {os}/{is}, not for {host}; choose another base, or set `platform`"));
        }
        let diff_ids = self.config.pointer("/rootfs/diff_ids").and_then(Value::as_array).map_or(0, Vec::len);
        if diff_ids != self.layers.len() {
            let layers = self.layers.len();
            return Err(format!("its config names {diff_ids} layers and its manifest {layers}; push it again"));
        }
        Ok(())
    }

    /// Makes all its layers visible in a repository of the centre.
    pub(super) async fn copy_layers(&self, centre: &Centre, to: &Repository, by: &str) -> Result<(), AssembleError> {
        futures_util::stream::iter(self.layers.clone())
            .map(|layer| async move { self.copy_layer(centre, to, by, &layer).await })
            .buffer_unordered(COPIES_AT_ONCE)
            .try_collect::<()>()
            .await
    }

    async fn copy_layer(&self, centre: &Centre, to: &Repository, by: &str, layer: &BaseLayer) -> Result<(), AssembleError> {
        if centre.has_blob(to, &layer.digest).await?.is_some() {
            return Ok(());
        }
        match &self.shelf {
            Shelf::Centre(_, from) => {
                if centre.mount(from, to, &layer.digest).await? {
                    return Ok(());
                }
                let problem = format!("its layer {} is gone from the image centre; push it again", layer.digest);
                Err(AssembleError::Base { image: self.name.clone(), problem })
            }
            Shelf::Registry(registry, image) => {
                let upload = centre.upload(to, by, Some(layer.bytes)).await?;
                let mut attempts = 0;
                loop {
                    attempts += 1;
                    let rest = upload.offset().await?..layer.bytes;
                    match copy_rest(registry, image, layer, rest, &upload).await? {
                        Ok(()) => break,
                        Err(error) if error.is_retryable() && attempts < COPY_ATTEMPTS_MAX => {
                            tracing::warn!(image = %image, layer = %layer.digest, error = %coord_registry::chain(&error), "copying goes on");
                        }
                        Err(error) => {
                            let _ = upload.cancel().await;
                            return Err(of_registry(image, error));
                        }
                    }
                }
                centre.finish(&upload, &layer.digest).await?;
                tracing::info!(image = %image, layer = %layer.digest, bytes = layer.bytes, "copied a layer of a base image");
                Ok(())
            }
        }
    }
}

/// The rest of a layer into an upload. What came before an error stays.
async fn copy_rest(
    registry: &Registry,
    image: &ImageReference,
    layer: &BaseLayer,
    rest: std::ops::Range<u64>,
    upload: &coord_centre::Upload,
) -> Result<Result<(), RegistryError>, AssembleError> {
    if rest.is_empty() {
        return Ok(Ok(()));
    }
    let mut stream = match registry.blob(image, &layer.digest, layer.bytes, rest).await {
        Ok(stream) => stream,
        Err(error) => return Ok(Err(error)),
    };
    loop {
        match stream.chunk().await {
            Ok(Some(bytes)) => drop(upload.write(bytes).await?),
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// The rest of a small blob. What came before an error stays.
async fn read_rest(
    registry: &Registry,
    image: &ImageReference,
    digest: &Digest,
    size: u64,
    read: &mut Vec<u8>,
) -> Result<(), RegistryError> {
    let have = read.len() as u64;
    if have >= size {
        return Ok(());
    }
    let mut stream = registry.blob(image, digest, size, have..size).await?;
    while let Some(bytes) = stream.chunk().await? {
        read.extend_from_slice(&bytes);
    }
    Ok(())
}

impl Shelf {
    async fn manifest(&self, image: &ImageReference, digest: &Digest) -> Result<ManifestOrIndex, AssembleError> {
        let bad = |problem: String| AssembleError::Base { image: image.to_string(), problem };
        match self {
            Shelf::Registry(registry, image) => {
                registry.manifest(image, digest).await.map_err(|source| of_registry(image, source))
            }
            Shelf::Centre(centre, repository) => {
                let manifest = centre.manifest(repository, digest).await?;
                let manifest =
                    manifest.ok_or_else(|| bad(format!("the image centre has no manifest {digest}; push it again")))?;
                ManifestOrIndex::parse(&manifest.bytes).map_err(bad)
            }
        }
    }

    async fn config(&self, image: &ImageReference, digest: &Digest, size: u64) -> Result<Vec<u8>, AssembleError> {
        let bad = |problem: String| AssembleError::Base { image: image.to_string(), problem };
        if size > CONFIG_MAX_BYTES {
            return Err(bad(format!("its config has {size} bytes, more than {CONFIG_MAX_BYTES}")));
        }
        let mut config = Vec::new();
        match self {
            Shelf::Registry(registry, image) => {
                let mut attempts = 0;
                while let Err(error) = read_rest(registry, image, digest, size, &mut config).await {
                    attempts += 1;
                    if !error.is_retryable() || attempts >= COPY_ATTEMPTS_MAX {
                        return Err(of_registry(image, error));
                    }
                }
            }
            Shelf::Centre(centre, repository) => {
                let mut stream = centre.read_blob(repository, digest, 0, Some(CONFIG_MAX_BYTES)).await?;
                while let Some(bytes) = stream.try_next().await? {
                    config.extend_from_slice(&bytes);
                }
            }
        }
        if Digest::of(&config) != *digest {
            return Err(bad(format!("its config is not {digest}; the registry or something before it is broken")));
        }
        Ok(config)
    }
}

fn of_registry(image: &ImageReference, source: RegistryError) -> AssembleError {
    AssembleError::Registry { image: image.to_string(), source }
}
