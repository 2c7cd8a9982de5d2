//! Containers that somebody runs in his foreground: `coord-agent run`. Each has folders of its own below the agent's, so that it needs no
//! agent, and no agent takes it for one of its own.
//!
//! ```text
//!   RUN/one-off/NAME/{lock, image, c/ID}     lock: held by the `run` that made it, for as long as it lives
//!   STATE/one-off/NAME/c/ID                  image: the digest that it uses
//! ```
//! A folder whose lock nobody holds was left by a `run` that was killed: the next `run`, and an agent that starts, remove it with all
//! that is still in it. Deliberately absent: restarting, and any word to the coordinator.

mod error;
mod sweep;
#[cfg(test)]
mod tests;

pub use error::OneOffError;
pub use sweep::sweep;

use crate::config::IsolationConfig;
use coord_runtime::{EmbeddedRuntime, Runtime as _};
use coord_shared::names::{ContainerId, Digest, InstanceId, Revision, WorkloadName};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The workload that they are said to be of.
const WORKLOAD: &str = "run";
/// A digest, or what was meant to be one.
const IMAGE_FILE_MAX_BYTES: u64 = 4096;

/// The folders of one container, for as long as this lives.
#[derive(Debug)]
pub struct Place {
    state_dir: PathBuf,
    run_dir: PathBuf,
    container: ContainerId,
    /// Given back by the kernel, however this process ends.
    _lock: File,
}

impl Place {
    /// Makes folders below these, for a container of this process.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn make(state_dir: &Path, run_dir: &Path) -> Result<Place, OneOffError> {
        let all = lock_all(run_dir)?;
        let pid = std::process::id();
        let (state_dir, run_dir) = (below(state_dir, &pid.to_string()), below(run_dir, &pid.to_string()));
        for path in [&state_dir, &run_dir] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(OneOffError::file("make", path))?;
        }
        let path = run_dir.join("lock");
        let lock = File::create(&path).map_err(OneOffError::file("make", &path))?;
        lock.try_lock().map_err(|error| OneOffError::file("lock", &path)(error.into()))?;
        drop(all);
        let workload = WORKLOAD.parse().map_err(OneOffError::Name)?;
        Ok(Place { state_dir, run_dir, container: container(workload, pid), _lock: lock })
    }

    /// The container that these are for.
    pub fn container(&self) -> &ContainerId {
        &self.container
    }

    /// Notes which image it uses, before it is asked for: from then on nobody removes it.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn note_image(&self, image: &Digest) -> Result<(), OneOffError> {
        let path = self.run_dir.join("image");
        fs::write(&path, image.as_str()).map_err(OneOffError::file("write", &path))
    }

    /// What runs the container.
    ///
    /// # Errors
    /// When the helpers cannot be used, or the folders.
    pub fn runtime(&self, helpers_dir: &Path, isolation: &IsolationConfig) -> Result<EmbeddedRuntime, OneOffError> {
        let isolation = isolation.of_one_off(std::process::id());
        EmbeddedRuntime::open(&self.state_dir, &self.run_dir, helpers_dir, isolation).map_err(OneOffError::Runtime)
    }

    /// Removes the folders of a container that was never made. What cannot be removed is left to the next one.
    pub fn give_up(self) {
        let _ = remove_folders(&self.state_dir, &self.run_dir);
    }

    /// Removes the container, and kills it before if it runs, and everything else of it.
    ///
    /// # Errors
    /// When something cannot be removed. The next one tries again.
    pub async fn remove(self, runtime: &EmbeddedRuntime) -> Result<(), OneOffError> {
        runtime.remove(&self.container.to_string()).await.map_err(OneOffError::Runtime)?;
        runtime.remove_shared();
        remove_folders(&self.state_dir, &self.run_dir)
    }
}

/// The images that one-off containers use, or are about to.
pub fn images(run_dir: &Path) -> BTreeSet<Digest> {
    let noted = |name: String| read(&below(run_dir, &name).join("image")).ok()?.trim().parse().ok();
    names(&run_dir.join("one-off")).into_iter().filter_map(noted).collect()
}

/// The one-off containers that have a place, held or left.
pub fn containers(run_dir: &Path) -> Vec<ContainerId> {
    let named = |name: String| Some(container(WORKLOAD.parse().ok()?, name.parse().ok()?));
    names(&run_dir.join("one-off")).into_iter().filter_map(named).collect()
}

/// Whether a container is one of these, by its name.
pub fn is_one_off(id: &ContainerId) -> bool {
    id.instance.workload.as_ref() == WORKLOAD
}

/// The only one of its process.
fn container(workload: WorkloadName, pid: u32) -> ContainerId {
    ContainerId { instance: InstanceId { workload, index: pid }, revision: Revision(1), start: 1 }
}

/// State and run folder of each of them.
pub fn folders(state_dir: &Path, run_dir: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut all: BTreeSet<String> = names(&run_dir.join("one-off")).into_iter().collect();
    // After a reboot only these are left.
    all.extend(names(&state_dir.join("one-off")));
    all.into_iter().map(|name| (below(state_dir, &name), below(run_dir, &name))).collect()
}

fn below(dir: &Path, name: &str) -> PathBuf {
    dir.join("one-off").join(name)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn read(path: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    File::open(path)?.take(IMAGE_FILE_MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Held while folders are made and while those that nobody holds are looked for: none is seen between the two.
fn lock_all(run_dir: &Path) -> Result<File, OneOffError> {
    fs::create_dir_all(run_dir).map_err(OneOffError::file("make", run_dir))?;
    let path = run_dir.join("one-off.lock");
    let file = File::create(&path).map_err(OneOffError::file("make", &path))?;
    file.lock().map_err(OneOffError::file("lock", &path))?;
    Ok(file)
}

/// The run folder last: it is what is looked for.
fn remove_folders(state_dir: &Path, run_dir: &Path) -> Result<(), OneOffError> {
    for path in [state_dir, run_dir] {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(OneOffError::file("remove", path)(error)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
