//! The agent's part of a start: folders, FIFOs, limits, `config.json`; then the shim does the rest and answers.
//!
//! Every step can fail, and the agent can be killed between any two: what is left then is found by `recover`, because the
//! run folder is made first, and a shim without a request ends by itself.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use tokio::sync::watch as signal;

use super::cgroup::ContainerCgroup;
use super::embedded::{Container, Inner, make_private_folder};
use super::error::{RuntimeError, StartFailure};
use super::request::{FailureKind, LogTarget, Message, MonitorConfig, Network, PROTOCOL, ProcessId, Request, Users};
use super::spec::HostFacts;
use super::state::{ContainerState, Phase, boot_id, read_limited};
use super::{
    Backend, ContainerSpec, LogDriver, MountSource, NetworkMode, Parent, Running, Stdio, conversation, external, host, seccomp,
    spec, systemd, watch,
};

/// A start takes some 10 ms. On a host that is swamped it takes longer; beyond this, something hangs.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// One that copies files of its image into a volume, or is looked at, takes as long as the disk does.
const FILL_TIMEOUT: Duration = Duration::from_secs(1800);

/// How long the answer of a shim that has ended may still be on its way.
const LAST_WORD: Duration = Duration::from_millis(500);
/// Of what the shim leaves on standard error, this much is passed on.
const STDERR_MAX_BYTES: u64 = 2048;

/// Starts a container; see [`super::Runtime::start`].
pub(super) async fn start(inner: Arc<Inner>, spec: ContainerSpec) -> Result<Running, RuntimeError> {
    spec::check(&spec).map_err(|what| RuntimeError::Specification { id: spec.id.clone(), what })?;
    let internal = |what: String| RuntimeError::Internal { id: spec.id.clone(), what };
    let _permit = inner.starts.acquire().await.map_err(|error| internal(error.to_string()))?;
    let attempt = Arc::new(Attempt {
        bundle: inner.folders.bundle(&spec.id),
        run: inner.folders.run(&spec.id),
        inner: inner.clone(),
        spec: spec.clone(),
    });
    // Before anything else is made: one that exists already must not be cleaned up as if it were this one.
    attempt.claim()?;
    let mut shim = None;
    match attempt.clone().run(&mut shim).await {
        Ok(running) => Ok(running),
        Err(error) => {
            let error = in_view_of_parent(&spec, error).await;
            let cleaned = tokio::task::spawn_blocking(move || attempt.give_up(shim)).await;
            if let Ok(Err(left)) | Err(left) = cleaned.map_err(|error| internal(error.to_string())) {
                tracing::warn!(instance = spec.id, error = %left, "something is left of a container that did not start");
            }
            Err(error)
        }
    }
}

/// One start on its way.
struct Attempt {
    inner: Arc<Inner>,
    spec: ContainerSpec,
    bundle: PathBuf,
    run: PathBuf,
}

/// A started shim: its pidfd, number and our end of its socket.
struct Shim {
    fd: OwnedFd,
    id: ProcessId,
    socket: Option<StdUnixStream>,
}

impl Attempt {
    /// Makes both folders, or finds that the ID is taken.
    fn claim(&self) -> Result<(), RuntimeError> {
        for path in [&self.run, &self.bundle] {
            // Somebody may have tidied up around us: the folder of all containers is made again.
            if let Some(parent) = path.parent() {
                make_private_folder(parent).map_err(|source| RuntimeError::File {
                    operation: "make",
                    path: parent.to_owned(),
                    source,
                })?;
            }
            match fs::DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if path == &self.bundle {
                        let _ = fs::remove_dir(&self.run);
                    }
                    return Err(RuntimeError::Exists { id: self.spec.id.clone() });
                }
                Err(source) => return Err(RuntimeError::File { operation: "make", path: path.clone(), source }),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn run(self: Arc<Self>, shim: &mut Option<Shim>) -> Result<Running, RuntimeError> {
        let this = self.clone();
        let made = self.blocking(move || this.make_files().and_then(|()| this.spawn_shim())).await?;
        let (id, socket) = (made.id, made.socket.as_ref().and_then(|socket| socket.try_clone().ok()));
        *shim = Some(made);
        let scope = match self.inner.systemd && self.spec.parent.is_none() {
            true => Some(systemd::make_scope(&self.spec.id, id.pid.cast_unsigned()).await?),
            false => None,
        };
        let this = self.clone();
        let (mut state, request) = self.blocking(move || this.place(id, scope)).await?;
        let outcome = self.exchange(shim.as_ref(), socket, &request).await?;
        let failed =
            |failure| RuntimeError::Start { id: self.spec.id.clone(), failure: StartFailure::new(failure, &self.stderr()) };
        match outcome {
            Message::Failed(failure) if failure.kind == FailureKind::Inspection => {
                Err(RuntimeError::Inspection { id: self.spec.id.clone(), what: failure.detail })
            }
            Message::Failed(failure) => Err(failed(failure)),
            Message::Running { init, started_at_ms, weakened } => {
                state.weakened = weakened;
                self.watch(state, init, started_at_ms, shim)
            }
            Message::Network { .. } | Message::Ready { .. } => {
                Err(RuntimeError::Internal { id: self.spec.id.clone(), what: "no last word".to_owned() })
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let internal = |what: String| RuntimeError::Internal { id: self.spec.id.clone(), what };
        tokio::task::spawn_blocking(work).await.map_err(|error| internal(error.to_string()))?
    }

    /// Everything in the two folders that does not depend on the cgroup.
    fn make_files(&self) -> Result<(), RuntimeError> {
        let file = |operation, path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| RuntimeError::File { operation, path, source }
        };
        for name in ["work", "rootfs", "etc"] {
            let path = self.bundle.join(name);
            fs::create_dir(&path).map_err(file("make", &path))?;
        }
        self.make_upper(&self.bundle.join("upper"))?;
        for (name, text) in spec::etc_files(&self.spec, |name| fs::read_to_string(Path::new("/etc").join(name)).ok()) {
            let path = self.bundle.join("etc").join(name);
            fs::write(&path, text).map_err(file("write", &path))?;
            // Whatever the agent's umask: every user of the container may read it.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).map_err(file("write", &path))?;
        }
        for name in ["out.fifo", "err.fifo"] {
            let path = self.run.join(name);
            let made = mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
            made.map_err(|error| file("make", &path)(error.into()))?;
        }
        let logs = self.spec.log.path.parent().unwrap_or(Path::new("/"));
        make_private_folder(logs).map_err(file("make", logs))
    }

    /// The root folder of an overlay looks like its upper layer: it must look like the image's.
    fn make_upper(&self, upper: &Path) -> Result<(), RuntimeError> {
        let make = |path: &Path, metadata: &fs::Metadata| -> io::Result<()> {
            fs::create_dir(path)?;
            std::os::unix::fs::chown(path, Some(metadata.uid()), Some(metadata.gid()))?;
            fs::set_permissions(path, metadata.permissions())
        };
        let Some(image) = self.spec.lowers.first() else { return Ok(()) };
        let metadata =
            fs::metadata(image).map_err(|source| RuntimeError::File { operation: "read", path: image.clone(), source })?;
        make(upper, &metadata).map_err(|source| RuntimeError::File { operation: "make", path: upper.to_owned(), source })
    }

    fn spawn_shim(&self) -> Result<Shim, RuntimeError> {
        let spawn = || -> io::Result<Shim> {
            let (ours, theirs) = StdUnixStream::pair()?;
            let stderr = File::create(self.run.join("shim.err"))?;
            let child = self.inner.helpers.spawn_shim(theirs, stderr)?;
            // Not reaped yet, so the number is still its own.
            let pid = Pid::from_child(&child);
            let fd = pidfd_open(pid, PidfdFlags::empty())?;
            let id = ProcessId::of(pid.as_raw_nonzero().get()).ok_or(io::ErrorKind::NotFound)?;
            Ok(Shim { fd, id, socket: Some(ours) })
        };
        spawn().map_err(|source| RuntimeError::Helper { path: "coord-shim".into(), source })
    }

    /// Makes the cgroup with its limits, `config.json` and `state.json`.
    fn place(&self, shim: ProcessId, scope: Option<(String, PathBuf)>) -> Result<(ContainerState, Request), RuntimeError> {
        let Attempt { inner, spec, bundle, run } = self;
        let refused = |what| RuntimeError::Specification { id: spec.id.clone(), what };
        let users = inner.users.assign(spec).map_err(refused)?;
        let cgroup = inner.cgroups.create(spec, shim.pid.cast_unsigned(), scope)?;
        let monitor = self.monitor_config(&cgroup);
        let placement = inner.cgroups.placement(&cgroup);
        let mut state = ContainerState {
            protocol: PROTOCOL,
            generation: 0,
            boot_id: boot_id()?,
            phase: Phase::Creating,
            shim: Some(shim),
            monitor: None,
            init: None,
            started_at_ms: None,
            cgroup,
            monitor_config: monitor.clone(),
            users: match &users {
                Users::Own { range, .. } => Some(*range),
                // Its parent's are not its own to keep.
                Users::Host | Users::HostBecause(_) | Users::Parents { .. } => None,
            },
            weakened: Vec::new(),
            runtime: match &spec.backend {
                Backend::Embedded => None,
                Backend::External(program) => Some(program.clone()),
            },
            meta: spec.meta.clone(),
        };
        state.save(run).inspect_err(|_| state.cgroup.remove_now())?;
        let host = HostFacts {
            cgroup: placement.unified.clone(),
            mount_cgroup: inner.cgroups.may_be_mounted(),
            ..host::facts(spec, shim.pid).map_err(refused)?
        };
        let path = bundle.join("config.json");
        if spec.config_in_memory {
            // Whoever writes or reads it from now on does so there.
            let made = symlink(run.join("config.json"), &path);
            made.map_err(|source| RuntimeError::File { operation: "make", path: path.clone(), source })?;
        }
        let mut oci = spec::oci(spec, &host);
        external::complete(&mut oci, spec)?;
        fs::write(&path, oci.to_string()).map_err(|source| RuntimeError::File { operation: "write", path, source })?;
        let (seccomp, filtered) = self.link_seccomp()?;
        let request = Request {
            protocol: PROTOCOL,
            id: spec.id.clone(),
            bundle: bundle.clone(),
            run: run.clone(),
            lowers: spec.lowers.clone(),
            user: spec.user.clone(),
            groups: spec.groups.clone(),
            network: match spec.network {
                _ if spec::has_hosts_network(spec) => Network::Host,
                NetworkMode::Parent => Network::Parents,
                NetworkMode::Connected(_) => Network::Connected,
                NetworkMode::Host | NetworkMode::None => Network::Own,
            },
            users,
            mounts: spec::mount_requests(spec, bundle),
            devices: spec::device_nodes(spec).map_err(refused)?,
            parent: spec.parent.as_ref().map(Parent::request),
            is_inspected: spec.inspection.is_some(),
            given_stdio: matches!(spec.stdio, Stdio::Given(_)),
            init: self.init()?,
            cgroup: placement,
            seccomp,
            filters_first: filtered && spec::gains_privileges(spec),
            external: match &spec.backend {
                Backend::Embedded => None,
                Backend::External(program) => Some(program.clone()),
            },
            monitor,
        };
        Ok((state, request))
    }

    /// The container's own name of its system call filter, and whether it has one: a profile that is compiled anew for later
    /// containers does not change what this one and its programs go by.
    fn link_seccomp(&self) -> Result<(PathBuf, bool), RuntimeError> {
        let path = self.run.join(seccomp::CONTAINERS_OWN);
        let profile = self.inner.seccomp.of(&self.spec)?;
        let made = match &profile {
            Some(profile) => fs::hard_link(profile, &path),
            None => File::create(&path).map(drop),
        };
        made.map_err(|source| RuntimeError::File { operation: "make", path: path.clone(), source })?;
        Ok((path, profile.is_some()))
    }

    fn init(&self) -> Result<Option<PathBuf>, RuntimeError> {
        let sealed = self.spec.init.then(|| self.inner.helpers.init()).transpose();
        sealed.map_err(|source| RuntimeError::Helper { path: self.inner.helpers.monitor().to_owned(), source })
    }

    fn monitor_config(&self, cgroup: &ContainerCgroup) -> MonitorConfig {
        MonitorConfig {
            program: self.inner.helpers.monitor().to_owned(),
            log: self.spec.log.path.clone(),
            log_max_bytes: self.spec.log.max_bytes,
            log_max_files: self.spec.log.max_files.max(1),
            oom_events: cgroup.oom_events.clone(),
            target: match self.spec.log.driver {
                LogDriver::JsonFile => LogTarget::File,
                LogDriver::Journald => LogTarget::Journald,
                LogDriver::None => LogTarget::Nobody,
            },
            rate_bytes_per_s: self.spec.log.rate_bytes_per_s,
            id: self.spec.id.clone(),
            // A log is named by what people call the container.
            name: self.spec.log.path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    /// Sends the request, waits for the outcome.
    async fn exchange(
        &self,
        shim: Option<&Shim>,
        socket: Option<StdUnixStream>,
        request: &Request,
    ) -> Result<Message, RuntimeError> {
        let id = || self.spec.id.clone();
        let talk = async {
            let socket = socket.ok_or(io::ErrorKind::NotConnected)?;
            conversation::hold(socket, &self.spec, request).await
        };
        // A shim that was killed leaves children that hold its socket open: its end is seen by its pidfd. What it said before it
        // ended is still read.
        let died_in_silence = async {
            match shim {
                Some(shim) => watch::ended(&shim.fd).await,
                None => std::future::pending().await,
            }
            tokio::time::sleep(LAST_WORD).await;
        };
        let talk = async {
            tokio::select! {
                said = talk => said,
                () = died_in_silence => Ok(None),
            }
        };
        let is_long = fills_volumes(&self.spec) || self.spec.inspection.is_some();
        let timeout = if is_long { FILL_TIMEOUT } else { START_TIMEOUT };
        match tokio::time::timeout(timeout, talk).await {
            Err(_) => Err(RuntimeError::Timeout { id: id(), seconds: timeout.as_secs(), detail: self.stderr() }),
            Ok(answer) => {
                let died = |said: String| {
                    let detail = if said.trim().is_empty() { "it said nothing".to_owned() } else { said };
                    RuntimeError::ShimDied { id: id(), detail }
                };
                let said = answer.map_err(|error| died(format!("{error} {}", self.stderr())))?;
                said.ok_or_else(|| died(self.stderr()))
            }
        }
    }

    /// The first lines are the closest to the cause.
    fn stderr(&self) -> String {
        let text = read_limited(&self.run.join("shim.err"), STDERR_MAX_BYTES).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&text).trim().replace('\n', "; ")
    }

    /// Enters the container into the books and looks after it from now on. The shim is its monitor now.
    fn watch(
        &self,
        state: ContainerState,
        init: ProcessId,
        started_at_ms: i64,
        shim: &mut Option<Shim>,
    ) -> Result<Running, RuntimeError> {
        let id = self.spec.id.clone();
        let gone = |what: &str| RuntimeError::Internal { id: id.clone(), what: what.to_owned() };
        // Its parent reaps it only when it has written exit.json, so that it can still be opened, or else read about.
        let init_fd = open_process(init);
        let Some(Shim { fd: monitor, .. }) = shim.take() else { return Err(gone("the shim is missing")) };
        let init_fd = match init_fd {
            Some(init_fd) => init_fd,
            // It has ended already and is reaped. Nobody will signal it: the monitor stands in for it.
            None => monitor.try_clone().map_err(|error| gone(&error.to_string()))?,
        };
        let container = Arc::new(Container {
            id: id.clone(),
            run: self.run.clone(),
            init,
            init_fd,
            cgroup: state.cgroup,
            monitor: state.monitor_config,
            runtime: state.runtime,
            ended: signal::Sender::new(false),
        });
        let weakened = [container.cgroup.weakened.clone(), state.weakened].concat();
        self.inner.containers().insert(id.clone(), container.clone());
        tokio::spawn(watch::watch(self.inner.clone(), container, Some(monitor)));
        let started_at = Timestamp::from_millisecond(started_at_ms).unwrap_or_default();
        Ok(Running { id, pid: init.pid, started_at, weakened })
    }

    /// Leaves nothing behind.
    fn give_up(&self, shim: Option<Shim>) -> Result<(), RuntimeError> {
        if let Some(shim) = shim {
            // Gone already is fine for both.
            let _ = pidfd_send_signal(shim.fd.as_fd(), Signal::KILL);
            let _ = waitid(WaitId::PidFd(shim.fd.as_fd()), WaitIdOptions::EXITED);
        }
        self.inner.clean(&self.spec.id)
    }
}

fn fills_volumes(spec: &ContainerSpec) -> bool {
    spec.mounts.iter().any(|mount| matches!(mount.source, MountSource::Volume { copy_up: true, .. }))
}

/// Within a container that comes to its end anything may fail, and its end shows only a moment later.
async fn in_view_of_parent(spec: &ContainerSpec, error: RuntimeError) -> RuntimeError {
    match &spec.parent {
        Some(parent) if error.may_be_the_hosts() && parent.is_ending().await => {
            RuntimeError::ParentEnded { id: spec.id.clone(), parent: parent.id().to_owned() }
        }
        _ => error,
    }
}

/// A pidfd of exactly this process, or `None` when it is gone.
pub(super) fn open_process(process: ProcessId) -> Option<OwnedFd> {
    let fd = pidfd_open(Pid::from_raw(process.pid)?, PidfdFlags::empty()).ok()?;
    // Looked at after it was opened: the number has belonged to this process at that moment.
    (ProcessId::of(process.pid)? == process).then_some(fd)
}
