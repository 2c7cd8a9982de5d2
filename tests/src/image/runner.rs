//! The image of containers that start others within themselves: busybox with a few more of its programs, `coord-probe` at `/probe`,
//! and at `/source` a thousand files with their sums.

use std::fs;

use anyhow::{Context as _, Result};

use super::{Image, ImageBuilder, Layer, busybox, sha256};
use crate::binaries;

/// Files below `/source`, the one with the sums of the others included.
pub const FILES: usize = 1000;
/// Folders that they lie in.
const FOLDERS: usize = 20;
const MORE_APPLETS: &[&str] = &[
    "awk",
    "chmod",
    "chown",
    "cmp",
    "cp",
    "cut",
    "dd",
    "find",
    "fuser",
    "ln",
    "mkfifo",
    "mknod",
    "mv",
    "nsenter",
    "readlink",
    "sha256sum",
    "sort",
    "tar",
    "timeout",
    "umount",
    "unshare",
    "wait",
    "xargs",
];

/// Compares what lies in a folder with the sums in it, and ends as asked: `check FOLDER CODE`.
const CHECK: &str = r#"#!/bin/sh
cd "$1" && sha256sum -c SUMS >/tmp/sums || exit 99
echo "checked $(grep -c ': OK$' /tmp/sums)"
exit "$2"
"#;

/// The image; the same bytes each time.
pub fn image() -> Result<Image> {
    builder()?.build()
}

/// What becomes [`image`], for images that are to be a little more than that.
pub fn builder() -> Result<ImageBuilder> {
    let mut tools = Layer::default();
    for applet in MORE_APPLETS {
        tools = tools.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    let probe = fs::read(binaries::path("coord-probe")?).context("read coord-probe")?;
    let tools = tools.file("probe", 0o755, &probe)?.file("bin/check", 0o755, CHECK.as_bytes())?;
    let builder = ImageBuilder::default().layer(busybox()?)?.layer(tools)?.layer(source()?)?;
    Ok(builder.env("PATH", "/bin:/run/coord").command(&["sh", "-c", "exec sleep 100000"]).with("StopSignal", "SIGKILL".into()))
}

fn source() -> Result<Layer> {
    let mut layer = Layer::default().dir("source", 0o755)?;
    let mut sums = String::new();
    for folder in 0..FOLDERS {
        layer = layer.dir(&format!("source/d{folder:02}"), 0o755)?;
    }
    for number in 0..FILES - 1 {
        let name = format!("d{:02}/file-{number:04}", number % FOLDERS);
        let content = format!("the content of file {number}\n").repeat(1 + number % 7);
        layer = layer.file(&format!("source/{name}"), 0o644, content.as_bytes())?;
        sums.push_str(sha256(content.as_bytes()).trim_start_matches("sha256:"));
        sums.push_str(&format!("  {name}\n"));
    }
    layer.file("source/SUMS", 0o644, sums.as_bytes())
}
