//! `coord-probe` in an image, and what it finds: for the isolation table, and for the tests that hold it.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::binaries;
use crate::image::{Image, ImageBuilder, Layer, busybox};

/// Asked of every container that runs the probe: the host's namespaces.
pub const HOST_VARIABLE: &str = "PROBE_HOST_NAMESPACES";
/// The line that a run of all ends with.
pub const LAST: &str = "rlimit-raise";

/// What came of one line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Finding {
    pub name: String,
    pub chapter: String,
    pub what: String,
    /// 0 is closed, more is more open; `None` could not be told.
    pub exposure: Option<u64>,
    pub detail: String,
}

/// Busybox and the probe, at `/probe`.
pub fn image() -> Result<Image> {
    with_tricks(Layer::default())
}

/// The same with one more layer on top.
pub fn with_tricks(layer: Layer) -> Result<Image> {
    let program = fs::read(binaries::path("coord-probe")?).context("read coord-probe")?;
    let own = Layer::default().file("probe", 0o755, &program)?;
    ImageBuilder::default().layer(busybox()?)?.layer(own)?.layer(layer)?.env("PATH", "/bin").command(&["/probe"]).build()
}

/// The findings in what a container wrote, by name. Other lines are skipped.
pub fn findings(text: &str) -> BTreeMap<String, Finding> {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Finding>(line).ok());
    lines.map(|finding| (finding.name.clone(), finding)).collect()
}
