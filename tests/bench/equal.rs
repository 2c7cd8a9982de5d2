//! Whether an image that is mounted is what other tools unpack of it, entry by entry: real images, both formats, against
//! umoci and podman. The suite does the same with small images (`tests/root/images.rs`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use coord_tests::config::Images;
use coord_tests::fleet::unmount_below;
use coord_tests::images::{Host, other, unpack_by_umoci};
use coord_tests::registry::TestRegistry;
use coord_tests::say;
use coord_tests::tree::{self, Difference, Tree};

use crate::pull::images::{Served, serve};
use crate::table::{self, Table};

pub(crate) const USAGE: &str = "usage: coord-bench equal --images DIR NAME...";

const FORMATS: [&str; 2] = ["auto", "directories"];
/// Differences that are told one by one, of each kind.
const TOLD_MAX: usize = 5;

/// A Markdown table on standard output, the differences on standard error.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let ["--images", dir, names @ ..] = words else { bail!("{USAGE}") };
    let registry = TestRegistry::start()?;
    let mut table = Table::new(&["image", "kept as", "entries", "unpacked by", "differences"]);
    for name in names {
        for zstd in [false, true] {
            let image = serve(Path::new(dir), name, zstd, &registry)?;
            one(&image, &mut table).with_context(|| image.title())?;
        }
    }
    table::print(&[("Equality", &table)])
}

fn one(image: &Served, table: &mut Table) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("coord-equal-").tempdir()?;
    let mut others: Vec<(&str, Result<Tree>)> = Vec::new();
    say(&format!("{}: unpacking", image.title()));
    let umoci = if image.zstd { Err(anyhow::anyhow!("not asked: it knows no zstd")) } else { by_umoci(image, dir.path()) };
    others.push(("umoci", umoci));
    others.push(("podman", by_podman(image, dir.path())));
    for format in FORMATS {
        say(&format!("{}: {format}", image.title()));
        let host = Host::new(&image.authority, Images { format: Some(format), ..Images::default() })?;
        let own = tree::read(&host.mounted(&image.reference)?)?;
        for (tool, theirs) in &others {
            let told = match theirs {
                Ok(theirs) => tell(&tree::differences(&own, theirs)),
                Err(why) => format!("{why:#}").lines().next().unwrap_or_default().to_owned(),
            };
            table.row(&[&image.title(), format, &own.len().to_string(), tool, &told]);
        }
    }
    unmount_below(dir.path());
    Ok(())
}

fn by_umoci(image: &Served, dir: &Path) -> Result<Tree> {
    tree::read(&unpack_by_umoci(&image.reference, dir)?)
}

fn by_podman(image: &Served, dir: &Path) -> Result<Tree> {
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (root, run, temp) = (at("podman"), at("podman-run"), at("podman-tmp"));
    let folders = ["podman", "--root", &root, "--runroot", &run, "--tmpdir", &temp, "--cgroup-manager", "cgroupfs"];
    other(&[&folders[..], &["pull", "-q", "--tls-verify=false", &image.reference]].concat())?;
    let mounted = other(&[&folders[..], &["image", "mount", &image.reference]].concat())?;
    tree::read(&PathBuf::from(String::from_utf8_lossy(&mounted.stdout).trim()))
}

/// How many of each kind; the first of them for the reader.
fn tell(found: &[Difference]) -> String {
    let mut kinds: BTreeMap<&str, Vec<&Difference>> = BTreeMap::new();
    for difference in found {
        kinds.entry(difference.what).or_default().push(difference);
    }
    for difference in kinds.values().flat_map(|found| found.iter().take(TOLD_MAX)) {
        say(&difference.to_string());
    }
    let counts: Vec<String> = kinds.iter().map(|(what, found)| format!("{} of {what}", found.len())).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}
