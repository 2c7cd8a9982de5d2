//! Where the programs under test are: built beforehand, never by a test.
//!
//! The daemons and `coordctl` come from the debug build (quick to build, with all assertions); the shim, the
//! monitor, `coord` and the probe always from the static release build, because they run inside a container's root.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// How to build what is missing.
pub const BUILD_HINT: &str = "cargo build --workspace && \
     cargo build --release --target x86_64-unknown-linux-musl -p coord-cli -p coord-shim -p coord-monitor -p coord-probe";

/// The programs that run inside a container's root.
const HELPERS: [&str; 4] = ["coord", "coord-shim", "coord-monitor", "coord-probe"];

/// The folder of coordinator, coord-agent and coordctl; `COORD_TEST_BIN` names another one.
pub fn dir() -> PathBuf {
    std::env::var_os("COORD_TEST_BIN").map_or_else(|| target().join("debug"), PathBuf::from)
}

/// The folder of the programs that run inside a container's root; `COORD_TEST_HELPERS` names another one.
pub fn helpers() -> PathBuf {
    let built = || target().join("x86_64-unknown-linux-musl/release");
    std::env::var_os("COORD_TEST_HELPERS").map_or_else(built, PathBuf::from)
}

/// The path of one program.
///
/// # Errors
/// When it is not built, with the command that builds it.
pub fn path(name: &str) -> Result<String> {
    let dir = if HELPERS.contains(&name) { helpers() } else { dir() };
    let path = dir.join(name);
    if !path.is_file() {
        bail!("{} is not built\nhint: {BUILD_HINT}", path.display());
    }
    Ok(path.to_string_lossy().into_owned())
}

fn target() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let workspace = here.parent().unwrap_or(&here).to_owned();
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from)
}
