//! Our own programs: the helpers that start containers, and the agent that runs, all of one release.

use super::{Check, Verdict};
use crate::config::Config;
use std::path::Path;
use std::process::{Command, Stdio};

/// The program in the door of a container that may start others.
const DOOR: &str = "coord";
const NO_START: &str = "no container starts";
const NO_DOOR: &str = "containers with `nested` find no program in /run/coord, only the socket";
const HELPERS: [&str; 2] = ["coord-shim", "coord-monitor"];
/// Of all programs of a release.
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let mut checks: Vec<Check> = HELPERS.iter().map(|name| helper(&config.helpers_dir, name, NO_START)).collect();
    let door = helper(&config.helpers_dir, DOOR, NO_DOOR);
    // The socket is there all the same.
    checks.push(Check { verdict: door.verdict.min(Verdict::Note), ..door });
    checks
}

fn helper(folder: &Path, name: &str, cost: &str) -> Check {
    let path = folder.join(name);
    let what = format!("helper {name}");
    if !path.is_file() {
        return Check::problem(what, format!("not found in {}", folder.display()), cost)
            .cure("install it beside coord-agent, or set helpers in agent.toml");
    }
    match version_of(&path) {
        Ok(version) if version == format!("{name} {VERSION}") => Check::ok(what, format!("{} in {}", VERSION, folder.display())),
        Ok(other) => Check::problem(what, format!("{} says {other:?} instead of \"{name} {VERSION}\"", path.display()), cost)
            .cure("install all programs of one release"),
        Err(error) => Check::problem(what, format!("{} cannot be run: {error}", path.display()), cost)
            .cure("install the one for this machine, with its executable bit"),
    }
}

/// What it answers to `--version`. One of an older release answers nothing, and ends.
fn version_of(path: &Path) -> std::io::Result<String> {
    let output = Command::new(path).arg("--version").env_clear().stdin(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().chars().take(60).collect())
}
