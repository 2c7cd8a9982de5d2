//! The image store against hostile layers, broken registries, crashes, and the kernel's own overlayfs.

/// Makes two tests of an async function that takes a `Bench`: one with layers as archives, one with layers as directories.
macro_rules! in_both_formats {
    ($name:ident) => {
        mod $name {
            use crate::FormatChoice;
            use crate::tests::pulls::Bench;

            #[tokio::test]
            async fn archives() {
                super::$name(Bench::new(FormatChoice::Auto).await).await
            }

            #[tokio::test]
            async fn directories() {
                super::$name(Bench::new(FormatChoice::Directories).await).await
            }
        }
    };
}

mod archives;
mod collect;
mod compression;
mod configs;
mod crash;
mod disks;
mod interrupted;
mod pulls;
mod root;
mod store;
pub(crate) mod tarball;
mod trouble;
mod verify;

use crate::Limits;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Far below the real ones, so that small layers can break them.
pub(crate) const SMALL: Limits = Limits {
    layer_max_bytes: 4 << 20,
    layer_max_entries: 50,
    ratio_max: 20,
    ratio_free_bytes: 256 << 10,
    depth_max: 12,
    names_max_bytes: 2000,
};

/// A folder's tree, one line per thing: `d 755 a`, `f 644 a/b "content"`, `l a/c -> b`, `w a/d` for a whiteout, `p` for a FIFO.
fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    walk(root, Path::new(""), &mut lines);
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

fn walk(root: &Path, folder: &Path, lines: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        let meta = entry.path().symlink_metadata().unwrap();
        let mode = meta.permissions().mode() & 0o7777;
        let name = path.as_os_str().as_encoded_bytes().escape_ascii().to_string();
        let line = if meta.is_dir() {
            format!("d {mode:o} {name}")
        } else if meta.is_symlink() {
            format!("l {name} -> {}", entry.path().read_link().unwrap().display())
        } else if meta.file_type().is_char_device() && meta.rdev() == 0 {
            format!("w {name}")
        } else if meta.file_type().is_fifo() {
            format!("p {mode:o} {name}")
        } else if meta.file_type().is_char_device() || meta.file_type().is_block_device() {
            let kind = if meta.file_type().is_char_device() { 'c' } else { 'b' };
            let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
            format!("{kind} {mode:o} {name} {major}:{minor}")
        } else {
            let content = std::fs::read(entry.path()).unwrap();
            let shown = if content.len() > 20 {
                format!("{} bytes", content.len())
            } else {
                format!("{:?}", content.escape_ascii().to_string())
            };
            format!("f {mode:o} {name} {shown}")
        };
        lines.push((name, line));
        if meta.is_dir() {
            walk(root, &path, lines);
        }
    }
}

/// An error and all its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
