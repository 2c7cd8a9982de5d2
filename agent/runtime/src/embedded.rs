//! The runtime that is built in: what it holds, and all of [`Runtime`] except for start and recovery.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};

use super::cgroup::{Cgroups, ContainerCgroup, Usage};
use super::error::RuntimeError;
use super::helpers::Helpers;
use super::request::{MonitorConfig, ProcessId};
use super::seccomp::Profiles;
use super::state::ContainerState;
use super::users::UserPool;
use super::{
    ContainerSpec, Exec, ExecSpec, Isolation, Recovered, Running, Runtime, RuntimeEvent, exec, recover, start, sys, systemd,
};

/// Starts at the same time. Each is a process of a few MiB for some milliseconds.
const STARTS_MAX: usize = 16;

/// Programs brought on their way in containers at the same time. How many run is not limited here.
const EXECS_MAX: usize = 16;

/// Events not yet taken. There is one per container that ends; their senders wait.
const EVENTS_MAX: usize = 256;

/// How long the monitor of a killed container may take to write the rest of the log.
const MONITOR_END_TIMEOUT: Duration = Duration::from_secs(10);

/// Containers by libcontainer, in a helper process per start. Cheap to clone.
#[derive(Clone)]
pub struct EmbeddedRuntime(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) folders: Folders,
    pub(super) helpers: Helpers,
    pub(super) cgroups: Cgroups,
    /// systemd is asked for a scope per container.
    pub(super) systemd: bool,
    pub(super) seccomp: Profiles,
    pub(super) users: UserPool,
    pub(super) starts: Semaphore,
    pub(super) execs: Semaphore,
    pub(super) events: mpsc::Sender<RuntimeEvent>,
    receiver: Mutex<Option<mpsc::Receiver<RuntimeEvent>>>,
    containers: Mutex<BTreeMap<String, Arc<Container>>>,
}

/// Where containers are kept.
pub(super) struct Folders {
    state: PathBuf,
    run: PathBuf,
}

/// A container that runs, or ran and was not removed yet.
pub(super) struct Container {
    pub(super) id: String,
    pub(super) run: PathBuf,
    pub(super) init: ProcessId,
    /// Stays the same process, whatever becomes of its number.
    pub(super) init_fd: OwnedFd,
    pub(super) cgroup: ContainerCgroup,
    pub(super) monitor: MonitorConfig,
    /// The OCI runtime that made it, if that was not the shim.
    pub(super) runtime: Option<PathBuf>,
    /// Becomes true when it has ended and its log is complete.
    pub(super) ended: watch::Sender<bool>,
}

impl EmbeddedRuntime {
    /// Opens the runtime: makes its folders, seals the shim, compiles the seccomp profile.
    ///
    /// `state_dir` is on disk, `run_dir` in memory (it need not survive a boot), `helpers_dir` holds `coord-shim` and
    /// `coord-monitor`. Must not be used by two agents at once; the caller sees to that.
    pub fn open(
        state_dir: &Path,
        run_dir: &Path,
        helpers_dir: &Path,
        isolation: Isolation,
    ) -> Result<EmbeddedRuntime, RuntimeError> {
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|source| RuntimeError::File { operation: "find", path: path.to_owned(), source })
        };
        // Helpers work from another folder than we do.
        let (state_dir, run_dir) = (absolute(state_dir)?, absolute(run_dir)?);
        let folders = Folders { state: state_dir.join("c"), run: run_dir.join("c") };
        for folder in [&folders.state, &folders.run] {
            make_private_folder(folder).map_err(|source| RuntimeError::File {
                operation: "make",
                path: folder.clone(),
                source,
            })?;
        }
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        Ok(EmbeddedRuntime(Arc::new(Inner {
            helpers: Helpers::open(&absolute(helpers_dir)?)?,
            cgroups: Cgroups::detect(&folders.state)?,
            systemd: systemd::is_running(),
            seccomp: Profiles::open(&run_dir)?,
            users: UserPool::new(isolation),
            starts: Semaphore::new(STARTS_MAX),
            execs: Semaphore::new(EXECS_MAX),
            events,
            receiver: Mutex::new(Some(receiver)),
            containers: Mutex::default(),
            folders,
        })))
    }

    /// What a container uses now. A dozen small files are read: some ten microseconds.
    ///
    /// # Errors
    /// When there is no such container, or its groups are gone already.
    pub fn usage(&self, id: &str) -> Result<Usage, RuntimeError> {
        let container = self.0.container(id)?;
        self.0.cgroups.usage(&container.cgroup).map_err(|source| RuntimeError::File {
            operation: "read",
            path: container.cgroup.unified.clone().or_else(|| container.cgroup.v1.first().cloned()).unwrap_or_default(),
            source,
        })
    }

    /// Removes what containers shared, for the day the agent is uninstalled: when the last of them is removed.
    pub fn remove_shared(&self) {
        self.0.cgroups.remove_own_folders();
        self.0.cgroups.remove_shared_folders();
    }
}

impl Runtime for EmbeddedRuntime {
    async fn start(&self, spec: ContainerSpec) -> Result<Running, RuntimeError> {
        let id = spec.id.clone();
        // A task of its own: when the caller gives up waiting, the start is still brought to an end and cleaned up.
        match tokio::spawn(start::start(self.0.clone(), spec)).await {
            Ok(result) => result,
            Err(error) => Err(RuntimeError::Internal { id, what: error.to_string() }),
        }
    }

    fn recover(&self) -> Result<Vec<Recovered>, RuntimeError> {
        recover::recover(&self.0)
    }

    fn signal(&self, id: &str, signal: i32) -> Result<(), RuntimeError> {
        let container = self.0.container(id)?;
        match sys::send_signal(container.init_fd.as_fd(), signal) {
            // It ended meanwhile: the event is on its way.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            Err(source) => Err(RuntimeError::Signal { id: id.to_owned(), signal, source }),
            Ok(()) => Ok(()),
        }
    }

    fn kill(&self, id: &str) -> Result<(), RuntimeError> {
        let container = self.0.container(id)?;
        container.cgroup.kill();
        // The end of a first process is the end of all in its pid namespace, should the cgroup have failed.
        self.signal(id, libc::SIGKILL)
    }

    async fn exec(&self, id: &str, spec: ExecSpec) -> Result<Exec, RuntimeError> {
        let container = self.0.container(id)?;
        // A task of its own: when the caller gives up waiting, nothing is left half done.
        match tokio::spawn(exec::exec(self.0.clone(), container, spec)).await {
            Ok(result) => result,
            Err(error) => Err(RuntimeError::Internal { id: id.to_owned(), what: error.to_string() }),
        }
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        if let Ok(container) = self.0.container(id) {
            if !*container.ended.borrow() {
                self.kill(id)?;
            }
            let mut ended = container.ended.subscribe();
            // When the monitor does not end by itself, it ends with its cgroup.
            let _ = tokio::time::timeout(MONITOR_END_TIMEOUT, ended.wait_for(|ended| *ended)).await;
        }
        let (inner, owned) = (self.0.clone(), id.to_owned());
        let result = tokio::task::spawn_blocking(move || inner.clean(&owned)).await;
        self.0.containers().remove(id);
        result.map_err(|error| RuntimeError::Internal { id: id.to_owned(), what: error.to_string() })?
    }

    fn events(&self) -> Option<mpsc::Receiver<RuntimeEvent>> {
        self.0.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Inner {
    pub(super) fn containers(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Container>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn container(&self, id: &str) -> Result<Arc<Container>, RuntimeError> {
        self.containers().get(id).cloned().ok_or_else(|| RuntimeError::NotFound { id: id.to_owned() })
    }

    /// Removes groups and folders of a container, and whatever still runs in it. What is gone already is fine.
    pub(super) fn clean(&self, id: &str) -> Result<(), RuntimeError> {
        let (run, bundle) = (self.folders.run(id), self.folders.bundle(id));
        // From memory where it is known: somebody may have removed the file.
        let known = self.containers().get(id).cloned();
        match (known, ContainerState::load(&run)) {
            (Some(container), _) => container.cgroup.remove_now(),
            (None, Ok(Some(state))) => state.cgroup.remove_now(),
            (None, Ok(None)) => {}
            (None, Err(error)) => return Err(error),
        }
        // The run folder last: it is what recovery goes by.
        for path in [bundle, run] {
            match fs::remove_dir_all(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(RuntimeError::File { operation: "remove", path, source });
                }
                _ => {}
            }
        }
        self.users.release(id);
        Ok(())
    }
}

impl Folders {
    /// On disk.
    pub(super) fn bundle(&self, id: &str) -> PathBuf {
        self.state.join(id)
    }

    /// In memory.
    pub(super) fn run(&self, id: &str) -> PathBuf {
        self.run.join(id)
    }

    /// The IDs that have a folder in memory, and those that have only one on disk.
    pub(super) fn list(&self) -> Result<(Vec<String>, Vec<String>), RuntimeError> {
        let in_memory = list(&self.run)?;
        let on_disk = list(&self.state)?.into_iter().filter(|id| !in_memory.contains(id)).collect();
        Ok((in_memory, on_disk))
    }
}

/// The names in a folder.
pub(super) fn list(folder: &Path) -> Result<Vec<String>, RuntimeError> {
    let failed = |source| RuntimeError::File { operation: "read", path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Makes a folder and its parents; what is ours is closed to other users: images hold setuid programs.
pub(super) fn make_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
