//! Real OCI images, made from nothing but bytes: layers, configuration and manifest.
//!
//! No engine and no internet: the only program inside comes from Debian's `busybox-static`. The same input gives
//! the same digests, so a test may compare them. What the images of the tests and of the quickstart hold is in [`web`].

use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

pub mod web;

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

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

/// An image, ready to be pushed.
#[derive(Debug, Clone)]
pub struct Image {
    pub manifest: Blob,
    pub config: Blob,
    pub layers: Vec<Blob>,
}

impl Image {
    /// The media type under which the manifest is served.
    pub const MEDIA_TYPE: &str = MANIFEST_TYPE;

    /// Everything that a registry must hold before the manifest.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.layers.iter().chain([&self.config])
    }
}

/// What becomes an [`Image`].
#[derive(Debug, Clone, Default)]
pub struct ImageBuilder {
    layers: Vec<Vec<u8>>,
    command: Vec<String>,
    environment: Vec<String>,
    user: String,
    working_dir: String,
}

impl ImageBuilder {
    /// Adds a layer on top.
    pub fn layer(mut self, layer: Layer) -> Result<ImageBuilder> {
        self.layers.push(layer.finish()?);
        Ok(self)
    }

    /// The command that runs when a document names none.
    pub fn command(mut self, command: &[&str]) -> ImageBuilder {
        self.command = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> ImageBuilder {
        self.environment.push(format!("{name}={value}"));
        self
    }

    pub fn user(mut self, user: &str) -> ImageBuilder {
        user.clone_into(&mut self.user);
        self
    }

    pub fn working_dir(mut self, dir: &str) -> ImageBuilder {
        dir.clone_into(&mut self.working_dir);
        self
    }

    /// Compresses, hashes and writes the two JSON documents.
    pub fn build(self) -> Result<Image> {
        let diff_ids: Vec<String> = self.layers.iter().map(|tar| sha256(tar)).collect();
        let layers = self.layers.iter().map(|tar| gzip(tar).map(Blob::new));
        let layers = layers.collect::<Result<Vec<Blob>>>()?;
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Cmd": self.command,
                "Env": self.environment,
                "User": self.user,
                "WorkingDir": self.working_dir,
            },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = Blob::new(serde_json::to_vec(&config)?);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config.descriptor(CONFIG_TYPE),
            "layers": layers.iter().map(|layer| layer.descriptor(LAYER_TYPE)).collect::<Vec<_>>(),
        });
        Ok(Image { manifest: Blob::new(serde_json::to_vec(&manifest)?), config, layers })
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
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
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
