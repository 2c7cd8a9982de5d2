//! Real OCI images, made from nothing but bytes: layers, configuration and manifest.
//!
//! No engine and no internet: the only program inside comes from Debian's `busybox-static`. The same input gives
//! the same digests, so a test may compare them. What the images of the tests and of the quickstart hold is in [`web`];
//! one with every kind of entry that a file system knows is [`kinds`].

use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

pub mod entry;
pub mod kinds;
pub mod runner;
pub mod web;

use entry::Entry;

/// How the pieces of an image are called by OCI (image spec, media-types.md).
const OCI: MediaTypes = MediaTypes {
    manifest: "application/vnd.oci.image.manifest.v1+json",
    index: "application/vnd.oci.image.index.v1+json",
    config: "application/vnd.oci.image.config.v1+json",
    layer: "application/vnd.oci.image.layer.v1.tar",
};
/// And by Docker (Image Manifest Version 2, Schema 2).
const DOCKER: MediaTypes = MediaTypes {
    manifest: "application/vnd.docker.distribution.manifest.v2+json",
    index: "application/vnd.docker.distribution.manifest.list.v2+json",
    config: "application/vnd.docker.container.image.v1+json",
    layer: "application/vnd.docker.image.rootfs.diff.tar",
};

#[derive(Debug, Clone, Copy)]
struct MediaTypes {
    manifest: &'static str,
    index: &'static str,
    config: &'static str,
    /// Of a layer that is not compressed.
    layer: &'static str,
}

/// How layers travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    #[default]
    Gzip,
    Zstd,
    /// As they are.
    Plain,
}

/// Some bytes and their name: `sha256:...`.
#[derive(Debug, Clone)]
pub struct Blob {
    pub digest: String,
    pub bytes: Vec<u8>,
}

impl Blob {
    pub fn new(bytes: Vec<u8>) -> Blob {
        Blob { digest: sha256(&bytes), bytes }
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}

/// `sha256:` and 64 hex digits.
pub fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

/// Bytes that no compressor makes fewer; the same number gives the same ones (xorshift64, Marsaglia 2003).
pub fn noise(bytes: usize, number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(bytes).collect()
}

/// An image, ready to be pushed.
#[derive(Debug, Clone)]
pub struct Image {
    /// Under which the manifest is served.
    pub media_type: &'static str,
    pub manifest: Blob,
    pub config: Blob,
    pub layers: Vec<Blob>,
    platform: Value,
}

impl Image {
    /// The media type of manifests, unless an image is asked to be Docker's.
    pub const MEDIA_TYPE: &str = OCI.manifest;

    /// Writes it as an OCI layout (image spec, image-layout.md) into a new folder, for tools that read one.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let blobs = dir.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).with_context(|| format!("make {}", blobs.display()))?;
        for blob in self.blobs().chain([&self.manifest]) {
            std::fs::write(blobs.join(blob.digest.trim_start_matches("sha256:")), &blob.bytes)?;
        }
        let index = json!({ "schemaVersion": 2, "manifests": [self.manifest.descriptor(self.media_type)] });
        std::fs::write(dir.join("index.json"), serde_json::to_vec(&index)?)?;
        Ok(std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?)
    }

    /// Everything that a registry must hold before the manifest.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.layers.iter().chain([&self.config])
    }
}

/// One name for several images, each for a platform.
#[derive(Debug, Clone)]
pub struct Index {
    pub media_type: &'static str,
    pub blob: Blob,
}

impl Index {
    /// Of OCI's kind, or a manifest list of Docker's if the first image is.
    pub fn of(images: &[Image]) -> Result<Index> {
        let is_docker = images.first().is_some_and(|image| image.media_type == DOCKER.manifest);
        let media_type = if is_docker { DOCKER.index } else { OCI.index };
        let manifests = images.iter().map(|image| {
            let mut descriptor = image.manifest.descriptor(image.media_type);
            descriptor["platform"] = image.platform.clone();
            descriptor
        });
        let manifests: Vec<Value> = manifests.collect();
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests });
        Ok(Index { media_type, blob: Blob::new(serde_json::to_vec(&index)?) })
    }

    /// Writes it and its images as one OCI layout into a new folder.
    pub fn save(&self, images: &[Image], dir: &Path) -> Result<()> {
        for image in images {
            image.save(dir)?;
        }
        std::fs::write(dir.join("blobs/sha256").join(self.blob.digest.trim_start_matches("sha256:")), &self.blob.bytes)?;
        let index = json!({ "schemaVersion": 2, "manifests": [self.blob.descriptor(self.media_type)] });
        Ok(std::fs::write(dir.join("index.json"), serde_json::to_vec(&index)?)?)
    }
}

/// What becomes an [`Image`].
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    layers: Vec<Vec<u8>>,
    compression: Compression,
    media_types: MediaTypes,
    /// The config's `config`: what to run and how.
    run: Map<String, Value>,
    environment: Vec<String>,
    /// What the config has besides.
    besides: Map<String, Value>,
    annotations: Map<String, Value>,
    platform: Value,
    history: bool,
}

impl Default for ImageBuilder {
    fn default() -> ImageBuilder {
        ImageBuilder {
            layers: Vec::new(),
            compression: Compression::default(),
            media_types: OCI,
            run: Map::new(),
            environment: Vec::new(),
            besides: Map::new(),
            annotations: Map::new(),
            platform: json!({ "os": "linux", "architecture": architecture() }),
            history: false,
        }
    }
}

impl ImageBuilder {
    /// Adds a layer on top.
    pub fn layer(mut self, layer: Layer) -> Result<ImageBuilder> {
        self.layers.push(layer.finish()?);
        Ok(self)
    }

    /// The command that runs when a document names none.
    pub fn command(self, command: &[&str]) -> ImageBuilder {
        self.with("Cmd", json!(command))
    }

    pub fn env(mut self, name: &str, value: &str) -> ImageBuilder {
        self.environment.push(format!("{name}={value}"));
        self
    }

    pub fn user(self, user: &str) -> ImageBuilder {
        self.with("User", json!(user))
    }

    pub fn working_dir(self, dir: &str) -> ImageBuilder {
        self.with("WorkingDir", json!(dir))
    }

    /// Any other key of the config's `config`, such as `StopSignal`.
    pub fn with(mut self, key: &str, value: Value) -> ImageBuilder {
        self.run.insert(key.to_owned(), value);
        self
    }

    /// Any other key beside it, such as `created`.
    pub fn beside(mut self, key: &str, value: Value) -> ImageBuilder {
        self.besides.insert(key.to_owned(), value);
        self
    }

    /// Of the manifest.
    pub fn annotation(mut self, key: &str, value: &str) -> ImageBuilder {
        self.annotations.insert(key.to_owned(), json!(value));
        self
    }

    pub fn compression(mut self, compression: Compression) -> ImageBuilder {
        self.compression = compression;
        self
    }

    /// With Docker's media types instead of OCI's.
    pub fn docker(mut self) -> ImageBuilder {
        self.media_types = DOCKER;
        self
    }

    /// For another platform than this machine's; an empty variant is none.
    pub fn platform(mut self, architecture: &str, variant: &str) -> ImageBuilder {
        self.platform = json!({ "os": "linux", "architecture": architecture });
        if !variant.is_empty() {
            self.platform["variant"] = json!(variant);
        }
        self
    }

    /// With a history that tells of every layer, and of one step that made none.
    pub fn history(mut self) -> ImageBuilder {
        self.history = true;
        self
    }

    /// Compresses, hashes and writes the two JSON documents.
    pub fn build(self) -> Result<Image> {
        let diff_ids: Vec<String> = self.layers.iter().map(|tar| sha256(tar)).collect();
        let layers = self.layers.iter().map(|tar| compress(self.compression, tar).map(Blob::new));
        let layers = layers.collect::<Result<Vec<Blob>>>()?;
        let mut run = self.run;
        if !self.environment.is_empty() {
            run.insert("Env".to_owned(), json!(self.environment));
        }
        let mut config = self.besides;
        config.extend(self.platform.as_object().cloned().unwrap_or_default());
        config.insert("config".to_owned(), Value::Object(run));
        config.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": diff_ids }));
        if self.history {
            let mut steps = vec![json!({ "created_by": "ENV A=1", "empty_layer": true })];
            steps.extend(diff_ids.iter().map(|id| json!({ "created_by": format!("ADD {id} /") })));
            config.insert("history".to_owned(), json!(steps));
        }
        let config = Blob::new(serde_json::to_vec(&config)?);
        let media_type = layer_type(self.media_types, self.compression);
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": self.media_types.manifest,
            "config": config.descriptor(self.media_types.config),
            "layers": layers.iter().map(|layer| layer.descriptor(&media_type)).collect::<Vec<_>>(),
        });
        if !self.annotations.is_empty() {
            manifest["annotations"] = Value::Object(self.annotations);
        }
        let manifest = Blob::new(serde_json::to_vec(&manifest)?);
        Ok(Image { media_type: self.media_types.manifest, manifest, config, layers, platform: self.platform })
    }
}

fn layer_type(types: MediaTypes, compression: Compression) -> String {
    // Docker's separator is its own.
    let separator = if types.layer == DOCKER.layer { '.' } else { '+' };
    match compression {
        Compression::Gzip => format!("{}{separator}gzip", types.layer),
        Compression::Zstd => format!("{}{separator}zstd", types.layer),
        Compression::Plain => types.layer.to_owned(),
    }
}

fn compress(compression: Compression, tar: &[u8]) -> Result<Vec<u8>> {
    match compression {
        Compression::Gzip => gzip(tar),
        Compression::Zstd => zstd::bulk::compress(tar, 3).context("compress a layer"),
        Compression::Plain => Ok(tar.to_vec()),
    }
}

/// One layer: an uncompressed tar under construction. Owned by root, dated to the epoch.
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
}

impl Default for Layer {
    fn default() -> Layer {
        Layer { tar: tar::Builder::new(Vec::new()) }
    }
}

impl Layer {
    pub fn dir(self, path: &str, mode: u32) -> Result<Layer> {
        self.entry(path, EntryType::Directory, mode, None, &[])
    }

    pub fn file(self, path: &str, mode: u32, content: &[u8]) -> Result<Layer> {
        self.entry(path, EntryType::Regular, mode, None, content)
    }

    pub fn symlink(self, path: &str, target: &str) -> Result<Layer> {
        self.entry(path, EntryType::Symlink, 0o777, Some(target), &[])
    }

    /// Says that `path` of the layers below is gone.
    pub fn whiteout(self, path: &str) -> Result<Layer> {
        let path = Path::new(path);
        let name = path.file_name().context("a whiteout needs a file name")?;
        let name = format!(".wh.{}", name.to_string_lossy());
        self.file(&path.with_file_name(name).to_string_lossy(), 0o644, &[])
    }

    /// Any kind of entry, with anything that a tar can say of it.
    pub fn with(mut self, entry: &Entry) -> Layer {
        self.tar.get_mut().extend_from_slice(&entry.to_tar());
        self
    }

    fn entry(mut self, path: &str, kind: EntryType, mode: u32, link: Option<&str>, content: &[u8]) -> Result<Layer> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        let path = path.trim_start_matches('/');
        let added = match link {
            Some(target) => self.tar.append_link(&mut header, path, target),
            None => self.tar.append_data(&mut header, path, content),
        };
        added.with_context(|| format!("layer entry {path}"))?;
        Ok(self)
    }

    fn finish(self) -> Result<Vec<u8>> {
        self.tar.into_inner().context("end the layer")
    }
}

/// The name that OCI (after Go) gives to the architecture of this build.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, bytes)?;
    Ok(encoder.finish()?)
}

/// Debian's statically linked busybox, and the folders and links that make it a small system.
///
/// # Errors
/// When it is not installed, or is the dynamically linked one.
pub fn busybox() -> Result<Layer> {
    const PATH: &str = "/bin/busybox";
    /// The applets that images of ours call.
    const APPLETS: &[&str] = &[
        "cat", "date", "echo", "env", "false", "grep", "head", "hostname", "httpd", "id", "kill", "ls", "mount", "mkdir",
        "nslookup", "ping", "printf", "ps", "rm", "sed", "seq", "sh", "sleep", "stat", "sync", "tail", "test", "touch", "tr",
        "true", "uname", "usleep", "wc", "wget", "yes",
    ];
    let program = std::fs::read(PATH).with_context(|| format!("read {PATH} (package busybox-static)"))?;
    if program.windows(12).take(64 * 1024).any(|bytes| bytes == b"/lib64/ld-li") {
        bail!("{PATH} needs shared libraries: install the package busybox-static in its place");
    }
    let mut layer = Layer::default();
    for (dir, mode) in [("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("var", 0o755), ("proc", 0o555)] {
        layer = layer.dir(dir, mode)?;
    }
    layer = layer.dir("sys", 0o555)?.dir("dev", 0o755)?.dir("root", 0o700)?;
    layer = layer.file("bin/busybox", 0o755, &program)?;
    for applet in APPLETS {
        layer = layer.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    layer.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/tmp:/bin/sh\n")?.file(
        "etc/group",
        0o644,
        b"root:x:0:\napp:x:1000:\n",
    )
}
