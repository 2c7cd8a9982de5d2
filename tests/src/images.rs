//! Images on one host without its service: `coord-agent image ...` on a store of its own, and what another tool makes of
//! the same image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::config::{Agent, Images};
use crate::fleet::unmount_below;
use crate::process::describe;
use crate::{binaries, need_root};

/// A store and the agent's configuration for it. Dropping it unmounts and removes everything.
pub struct Host {
    dir: TempDir,
}

impl Host {
    /// Nothing is pulled yet.
    pub fn new(registry: &str, images: Images) -> Result<Host> {
        need_root();
        let host = Host { dir: tempfile::Builder::new().prefix("coord-images-").tempdir()? };
        let text = Agent {
            host: "images",
            labels: &[],
            coordinator: None,
            token: "",
            ca: None,
            state_dir: &host.path("state"),
            run_dir: &host.path("run"),
            helpers: &binaries::helpers(),
            registries: &[registry.to_owned()],
            images,
            tables: "",
        };
        fs::create_dir(host.path("state"))?;
        fs::create_dir(host.path("run"))?;
        fs::write(host.path("agent.toml"), text.to_toml())?;
        Ok(host)
    }

    /// In the host's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `coord-agent image ARGS`, however it ends.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        let program = binaries::path("coord-agent")?;
        let mut command = Command::new(program);
        command.arg("image").args(args).arg("--config").arg(self.path("agent.toml"));
        command.output().with_context(|| format!("run coord-agent image {args:?}"))
    }

    /// The same where it must succeed; its standard output.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args)?;
        if !output.status.success() {
            bail!("coord-agent image {args:?}: {}", describe(&output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Pulls an image and mounts it; the folder at which it is seen.
    pub fn mounted(&self, reference: &str) -> Result<PathBuf> {
        self.ok(&["pull", reference])?;
        let at = tempfile::Builder::new().prefix("view-").tempdir_in(self.dir.path())?.keep();
        self.ok(&["mount", reference, &at.to_string_lossy()])?;
        Ok(at)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        unmount_below(self.dir.path());
    }
}

/// The same image by skopeo and umoci, which know nothing of us: the folder with its files, in `dir`, which must exist.
pub fn unpack_by_umoci(reference: &str, dir: &Path) -> Result<PathBuf> {
    let (layout, root) = (dir.join("layout"), dir.join("root"));
    let image = format!("{}:image", layout.display());
    let from = format!("docker://{reference}");
    other(&["skopeo", "copy", "-q", "--src-tls-verify=false", &from, &format!("oci:{image}")])?;
    other(&["umoci", "raw", "unpack", "--image", &image, &root.to_string_lossy()])?;
    Ok(root)
}

/// Another program to its end.
///
/// # Errors
/// When it fails, with all that it said.
pub fn other(line: &[&str]) -> Result<Output> {
    let output = Command::new(line[0]).args(&line[1..]).output();
    let output = output.with_context(|| format!("run {}; tests/setup.sh installs it", line[0]))?;
    if !output.status.success() {
        bail!("{line:?}: {}", describe(&output));
    }
    Ok(output)
}
