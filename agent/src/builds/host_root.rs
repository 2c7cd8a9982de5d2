//! The root of steps that have no image: the host's own programs, read-only, and nothing of its data.
//!
//! Such a step is a container like any other, so that limits, log, end and clean-up are the same; only its files are the host's. It runs as
//! a user without rights, and sees neither home folders nor `/var`.

use super::error::BuildError;
use super::places::{Places, make_folder};
use coord_runtime::{Mount, MountSource, Propagation};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Where hosts have programs, their libraries and settings.
const PROGRAMS: [&str; 9] = ["bin", "sbin", "lib", "lib32", "lib64", "usr", "etc", "opt", "nix"];
/// Anybody may write there.
const SCRATCH: [&str; 2] = ["tmp", "var/tmp"];
/// What every root has.
const EMPTY: [&str; 7] = ["dev", "proc", "sys", "run", "root", "home", "var"];
/// Users are looked up before anything is mounted.
const ACCOUNTS: [&str; 2] = ["passwd", "group"];

/// Makes the root's folder, and says what is mounted into it. Blocks.
pub(super) fn make(places: &Places) -> Result<Vec<Mount>, BuildError> {
    let root = places.host_root();
    make_folder(&root)?;
    fill(&root, Path::new("/")).map_err(BuildError::file("make", &root))
}

fn fill(root: &Path, host: &Path) -> io::Result<Vec<Mount>> {
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    mode(root, 0o755)?;
    for name in EMPTY.iter().chain(&SCRATCH) {
        fs::create_dir_all(root.join(name))?;
    }
    for name in SCRATCH {
        mode(&root.join(name), 0o1777)?;
    }
    let mut mounts = Vec::new();
    for name in PROGRAMS {
        let (source, place) = (host.join(name), root.join(name));
        let Ok(found) = source.symlink_metadata() else { continue };
        if found.is_symlink() {
            if place.symlink_metadata().is_err() {
                std::os::unix::fs::symlink(fs::read_link(&source)?, &place)?;
            }
        } else if found.is_dir() {
            fs::create_dir_all(&place)?;
            let source = MountSource::Bind { path: source, propagation: Propagation::Private };
            mounts.push(Mount { target: format!("/{name}"), source, read_only: true });
        }
    }
    for name in ACCOUNTS {
        let (from, to) = (host.join("etc").join(name), root.join("etc").join(name));
        if from.exists() {
            fs::copy(&from, &to)?;
        }
    }
    Ok(mounts)
}
