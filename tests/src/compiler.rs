//! An image that compiles C: busybox, Debian's small compiler `tcc`, and musl to link against. Two megabytes, made in a moment.
//!
//! What builds in it is real, and what it builds runs anywhere: `cc` links statically. Deliberately absent: `make`; a step is a shell's line.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::image::{Image, ImageBuilder, Layer, busybox};
use crate::process::describe;

const COMPILER: &str = "/usr/bin/tcc";
/// Files of a folder of headers, at most: musl has some two hundred.
const HEADERS_MAX: usize = 2000;
/// What steps call besides the applets of every image of ours.
const APPLETS: &[&str] = &["chmod", "cp", "dd", "find", "mv", "setsid", "sha256sum", "sort", "tar", "timeout", "truncate"];

/// The image, ready to be pushed.
///
/// # Errors
/// When the packages `tcc` and `musl-tools` are not installed.
pub fn image() -> Result<Image> {
    let arch = std::env::consts::ARCH;
    let (headers, libraries) = (format!("/usr/include/{arch}-linux-musl"), format!("/usr/lib/{arch}-linux-musl"));
    let own = format!("/usr/lib/{arch}-linux-gnu/tcc");
    let cc = format!(
        "#!/bin/sh\nL={libraries}\nexec {COMPILER} -nostdlib -nostdinc -I{headers} -I{own}/include -static $L/crt1.o $L/crti.o \"$@\" \
         $L/libc.a {own}/libtcc1.a $L/crtn.o\n"
    );
    let mut layer = Layer::default().file("bin/cc", 0o755, cc.as_bytes())?;
    for applet in APPLETS {
        layer = layer.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    for file in needed(COMPILER)? {
        layer = copy(layer, Path::new(&file))?;
    }
    for name in ["libc.a", "crt1.o", "crti.o", "crtn.o"] {
        layer = copy(layer, &Path::new(&libraries).join(name))?;
    }
    layer = copy(layer, &Path::new(&own).join("libtcc1.a"))?;
    for folder in [headers, format!("{own}/include")] {
        let mut left = HEADERS_MAX;
        layer = copy_folder(layer, Path::new(&folder), &mut left)?;
    }
    ImageBuilder::default().layer(busybox()?)?.layer(layer)?.env("PATH", "/bin").command(&["/bin/sh"]).build()
}

/// A program and the shared libraries that it needs, the loader included.
fn needed(program: &str) -> Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).output().context("run ldd")?;
    ensure!(output.status.success(), "{program} (package tcc) cannot be looked at: {}", describe(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned);
    Ok([program.to_owned()].into_iter().chain(libraries).collect())
}

fn copy(layer: Layer, path: &Path) -> Result<Layer> {
    let bytes = fs::read(path).with_context(|| format!("read {} (packages tcc and musl-tools)", path.display()))?;
    layer.file(&path.to_string_lossy(), 0o755, &bytes)
}

fn copy_folder(mut layer: Layer, folder: &Path, left: &mut usize) -> Result<Layer> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {} (packages tcc and musl-tools)", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            layer = copy_folder(layer, &path, left)?;
        } else {
            *left = left.checked_sub(1).with_context(|| format!("{} has too many files", folder.display()))?;
            layer = copy(layer, &path)?;
        }
    }
    Ok(layer)
}
