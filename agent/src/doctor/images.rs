//! How images are kept and mounted on this host: tried out in a store of its own, which is taken away again.

use super::{Check, folders};
use crate::config::Config;
use coord_image::{Backing, FormatChoice, Host, ImageStore};

const WHAT: &str = "images";

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let at = folders::existing(&config.state_dir);
    let cost = "no image can be kept";
    let cure = "choose another state_dir, on a disk of this host, and run the agent as root";
    let dir = match tempfile::Builder::new().prefix(".coord-doctor-").tempdir_in(&at) {
        Ok(dir) => dir,
        Err(error) => {
            return vec![Check::problem(WHAT, format!("nothing can be written to {}: {error}", at.display()), cost).cure(cure)];
        }
    };
    let store = match ImageStore::open_with(&dir.path().join("images"), config.images.options()) {
        Ok(store) => store,
        Err(error) => return vec![Check::problem(WHAT, crate::chain(&error), cost).cure(cure)],
    };
    judge(store.host(), config.images.format)
}

fn judge(host: &Host, choice: FormatChoice) -> Vec<Check> {
    let found = match host.backing {
        Some(Backing::File) => "one EROFS mount for each image, straight from its archives",
        Some(Backing::Loop) => "one EROFS mount for each image, through loop devices",
        None => "directories, stacked by overlayfs",
    };
    let mut checks = vec![Check::ok(WHAT, found)];
    for lack in &host.shortcomings {
        let check = Check::note(WHAT, &lack.problem, lack.cost);
        // What was asked for in so many words needs no cure.
        checks.push(if choice == FormatChoice::Auto { check.cure("see docs/operations.md, Images") } else { check });
    }
    checks
}
