//! Removes what a `run` left that was killed: its container, which may still run, its cgroups, its folders.

use super::{OneOffError, folders, lock_all, remove_folders};
use coord_runtime::{EmbeddedRuntime, Isolation, Runtime as _};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A folder pair that nobody holds but us.
struct Left {
    state_dir: PathBuf,
    run_dir: PathBuf,
    /// Absent where the run folder is: then it is of an earlier boot, and nobody's.
    _lock: Option<File>,
}

/// Removes all that nobody holds; how many that were. What cannot be removed is said, and tried again by the next one.
///
/// # Errors
/// When it cannot be told what is left.
pub async fn sweep(state_dir: &Path, run_dir: &Path, helpers_dir: &Path) -> Result<usize, OneOffError> {
    let mut swept = 0;
    for left in find(state_dir, run_dir)? {
        match remove(&left, helpers_dir).await {
            Ok(()) => swept += 1,
            Err(error) => {
                tracing::warn!(folder = %left.run_dir.display(), error = %crate::chain(&error), "cannot remove a one-off container that was left");
            }
        }
    }
    Ok(swept)
}

fn find(state_dir: &Path, run_dir: &Path) -> Result<Vec<Left>, OneOffError> {
    let _all = lock_all(run_dir)?;
    let mut found = Vec::new();
    for (state_dir, run_dir) in folders(state_dir, run_dir) {
        let path = run_dir.join("lock");
        let lock = match File::open(&path) {
            Ok(file) => match file.try_lock() {
                Ok(()) => Some(file),
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(OneOffError::file("lock", &path)(error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(OneOffError::file("open", &path)(error)),
        };
        found.push(Left { state_dir, run_dir, _lock: lock });
    }
    Ok(found)
}

async fn remove(left: &Left, helpers_dir: &Path) -> Result<(), OneOffError> {
    // Nothing of a container was made yet, or nothing of it is left.
    if left.state_dir.join("c").exists() || left.run_dir.join("c").exists() {
        let runtime = EmbeddedRuntime::open(&left.state_dir, &left.run_dir, helpers_dir, Isolation::default());
        let runtime = runtime.map_err(OneOffError::Runtime)?;
        for container in runtime.recover().map_err(OneOffError::Runtime)? {
            runtime.remove(&container.id).await.map_err(OneOffError::Runtime)?;
        }
        runtime.remove_shared();
    }
    remove_folders(&left.state_dir, &left.run_dir)
}
