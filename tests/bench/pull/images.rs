//! The images: OCI layouts in a folder (`tests/bench/images.sh` makes them), pushed to the benchmark's registry as they are.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use coord_tests::process::describe;
use coord_tests::registry::TestRegistry;
use serde_json::Value;

/// An image that the registry serves.
pub(crate) struct Served {
    name: String,
    pub(crate) zstd: bool,
    pub(crate) authority: String,
    pub(crate) reference: String,
    /// Where each layer is to be had.
    pub(crate) layers: Vec<String>,
    compressed_bytes: u64,
}

impl Served {
    pub(crate) fn title(&self) -> String {
        let (kind, layers) = (if self.zstd { "zstd" } else { "gzip" }, self.layers.len());
        let plural = if layers == 1 { "" } else { "s" };
        format!("{}, {kind}, {} MB in {layers} layer{plural}", self.name, self.compressed_bytes / 1_000_000)
    }
}

/// Pushes `DIR/NAME`, or `DIR/NAME-zstd`, and tells what became of it. Digests are kept: skopeo would put a gzip layer that it knows to
/// be there in the place of the same layer with zstd.
pub(crate) fn serve(dir: &Path, name: &str, zstd: bool, registry: &TestRegistry) -> Result<Served> {
    let layout = dir.join(if zstd { format!("{name}-zstd") } else { name.to_owned() });
    let reference = registry.reference(&format!("bench/{name}"), if zstd { "zstd" } else { "gzip" });
    let (from, to) = (format!("oci:{}:latest", layout.display()), format!("docker://{reference}"));
    let pushed =
        Command::new("skopeo").args(["copy", "-q", "--preserve-digests", "--dest-tls-verify=false", &from, &to]).output();
    let pushed = pushed.context("run skopeo; tests/setup.sh bench installs it")?;
    if !pushed.status.success() {
        bail!("push {}: {}", layout.display(), describe(&pushed));
    }
    let manifest = manifest(&layout).with_context(|| format!("read the layout {}", layout.display()))?;
    let layers = manifest["layers"].as_array().context("the manifest has no layers")?;
    let url = |layer: &Value| {
        let digest = layer["digest"].as_str().context("a layer without a digest")?;
        Ok(format!("http://{}/v2/bench/{name}/blobs/{digest}", registry.authority()))
    };
    Ok(Served {
        name: name.to_owned(),
        zstd,
        authority: registry.authority().to_owned(),
        reference,
        layers: layers.iter().map(url).collect::<Result<_>>()?,
        compressed_bytes: layers.iter().filter_map(|layer| layer["size"].as_u64()).sum(),
    })
}

/// The manifest that `latest` of a layout with one image stands for.
fn manifest(layout: &Path) -> Result<Value> {
    let read = |path: &Path| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
    let index = read(&layout.join("index.json"))?;
    let digest = index["manifests"][0]["digest"].as_str().context("the index names no manifest")?;
    read(&layout.join("blobs").join(digest.replace(':', "/")))
}
