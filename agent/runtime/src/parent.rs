//! A container within which others run: what they share with it, and what keeps them from being more than it is.
//!
//! Looked up once for each container that is to run within it, from what the kernel says of its first process; a pidfd vouches for
//! that being the same process all the time. Deliberately absent: anything that the parent itself could have said.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use serde::Deserialize;

use super::cgroup::Nested;
use super::embedded::{Container, EmbeddedRuntime};
use super::error::RuntimeError;
use super::request::{ParentRequest, ProcessId, UserRange};
use super::spec::{Capabilities, capability_set};
use super::watch::has_ended;
use super::{Backend, ContainerSpec, MountSource, NetworkMode, Resources, live};

/// A larger `config.json` is not ours.
const CONFIG_MAX_BYTES: u64 = 8 << 20;

/// The kernel's limit for a path.
const PATH_MAX_BYTES: usize = 4096;

/// How long a first process may be on its way out while nothing can be started within it any more.
const END_DELAY: Duration = Duration::from_millis(500);
const END_PAUSE: Duration = Duration::from_millis(5);

/// A running container, for others that run within it; see [`EmbeddedRuntime::parent`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Parent {
    id: String,
    facts: Arc<Facts>,
}

#[derive(Debug)]
struct Facts {
    init: ProcessId,
    init_fd: OwnedFd,
    nested: Nested,
    /// The host's users that are its own, if it has any.
    users: Option<UserRange>,
    has_hosts_network: bool,
    has_hosts_processes: bool,
    process: Process,
    /// Its own `/etc/hosts`, `/etc/resolv.conf`.
    etc: PathBuf,
}

/// `process` of `config.json`, as far as it limits others (github.com/opencontainers/runtime-spec, config.md).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    #[serde(default)]
    capabilities: Sets,
    #[serde(default)]
    rlimits: Vec<Rlimit>,
    #[serde(default)]
    oom_score_adj: i32,
}

#[derive(Debug, Default, Deserialize)]
struct Sets {
    #[serde(default)]
    bounding: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Rlimit {
    #[serde(rename = "type")]
    name: String,
    soft: u64,
    hard: u64,
}

#[derive(Deserialize)]
struct Config {
    process: Process,
}

impl EmbeddedRuntime {
    /// The running container `id`, started with [`ContainerSpec::nests`](super::ContainerSpec::nests), for others that are to run
    /// within it: all of them together get no more than `within`, whatever each of them asks for. A few hundred microseconds.
    ///
    /// # Errors
    /// When there is no such container, or it has ended; when it cannot have others within it.
    pub fn parent(&self, id: &str, within: &Resources) -> Result<Parent, RuntimeError> {
        let container = self.0.container(id)?;
        let refused = |what: &str| RuntimeError::Specification { id: id.to_owned(), what: what.to_owned() };
        if container.runtime.is_some() {
            return Err(refused("an OCI runtime has made it, and containers run only within those of the embedded one"));
        }
        if !container.cgroup.divided {
            return Err(refused("it was not started as one within which others run"));
        }
        let bundle = self.0.folders.bundle(id);
        let init_fd = container.init_fd.try_clone();
        let init_fd = init_fd.map_err(|error| RuntimeError::Internal { id: id.to_owned(), what: error.to_string() })?;
        let facts = gather(&container, &bundle, init_fd).and_then(|facts| {
            let nested = self.0.cgroups.nest(id, &container.cgroup, within)?;
            Ok(Facts { nested, ..facts })
        });
        // As long as it has not ended, its number is its own, and so was all that was read.
        if is_over(container.init.pid, &container.init_fd) {
            return Err(RuntimeError::NotRunning { id: id.to_owned() });
        }
        Ok(Parent { id: id.to_owned(), facts: Arc::new(facts?) })
    }

    /// The root folder of a running container, as its first process sees it: an `O_PATH` descriptor.
    ///
    /// # Errors
    /// When there is no such container, or it has ended.
    pub fn root(&self, id: &str) -> io::Result<OwnedFd> {
        let container = self.0.container(id).map_err(io::Error::other)?;
        open_root(container.init.pid, &container.init_fd)
    }

    /// Why the folder `path` of a running container cannot be seen live by another one ([`MountSource::Parents`]), in a few words;
    /// `None` where it can.
    ///
    /// # Errors
    /// When there is no such container or no such folder; when it is no folder (`ENOTDIR`).
    pub fn live_obstacle(&self, id: &str, path: &Path) -> io::Result<Option<String>> {
        let (container, root) = (self.0.container(id).map_err(io::Error::other)?, self.root(id)?);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?;
        let real = fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd()))?;
        let mut text = Vec::new();
        let mountinfo = File::open(format!("/proc/{}/mountinfo", container.init.pid))?;
        mountinfo.take(live::MOUNTINFO_MAX_BYTES).read_to_end(&mut text)?;
        match has_ended(&container.init_fd) {
            true => Err(io::Error::from_raw_os_error(libc::ESRCH)),
            false => Ok(live::obstacle(&String::from_utf8_lossy(&text), &real)),
        }
    }
}

/// The root folder of the process behind `process`, whose number is `pid`.
pub(super) fn open_root(pid: i32, process: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, format!("/proc/{pid}/root"), flags, Mode::empty());
    // The number was its own while the folder was opened.
    if has_ended(process) { Err(io::Error::from_raw_os_error(libc::ESRCH)) } else { Ok(root?) }
}

fn gather(container: &Container, bundle: &Path, init_fd: OwnedFd) -> Result<Facts, RuntimeError> {
    let process = Path::new("/proc").join(container.init.pid.to_string());
    let is_hosts = |kind: &str| {
        let identity = |process: &Path| fs::metadata(process.join("ns").join(kind)).map(|file| (file.dev(), file.ino()));
        let read = || Ok(identity(&process)? == identity(Path::new("/proc/self"))?);
        read().map_err(|source| RuntimeError::File { operation: "read", path: process.join("ns").join(kind), source })
    };
    Ok(Facts {
        init: container.init,
        init_fd,
        nested: Nested::default(),
        users: if is_hosts("user")? { None } else { Some(users(&container.id, &process)?) },
        has_hosts_network: is_hosts("net")?,
        has_hosts_processes: is_hosts("pid")?,
        process: read_process(&bundle.join("config.json"))?,
        etc: bundle.join("etc"),
    })
}

/// Whether a process has ended, or is about to. A first process that ends stays until all others have been taken note of; its mounts are
/// gone by then.
fn is_over(pid: i32, process: &OwnedFd) -> bool {
    has_ended(process) || fs::read_link(format!("/proc/{pid}/ns/mnt")).is_err()
}

/// The users of a process, which must be a container's: one range from 0 on, the same for groups.
fn users(id: &str, process: &Path) -> Result<UserRange, RuntimeError> {
    let range = |file: &str| -> Result<Option<UserRange>, RuntimeError> {
        let path = process.join(file);
        let text = fs::read_to_string(&path).map_err(|source| RuntimeError::File { operation: "read", path, source })?;
        let numbers = text.split_ascii_whitespace().map(|word| word.parse().ok()).collect::<Option<Vec<u32>>>();
        Ok(numbers.and_then(|numbers| match numbers[..] {
            [0, first, count] => Some(UserRange { first, count }),
            _ => None,
        }))
    };
    match (range("uid_map")?, range("gid_map")?) {
        (Some(users), Some(groups)) if users == groups => Ok(users),
        _ => Err(RuntimeError::Specification {
            id: id.to_owned(),
            what: "its first process has left the users that it was given".to_owned(),
        }),
    }
}

fn read_process(path: &Path) -> Result<Process, RuntimeError> {
    let read = || -> io::Result<Process> {
        let mut text = Vec::new();
        File::open(path)?.take(CONFIG_MAX_BYTES).read_to_end(&mut text)?;
        Ok(serde_json::from_slice::<Config>(&text)?.process)
    };
    read().map_err(|source| RuntimeError::File { operation: "read", path: path.to_owned(), source })
}

impl Parent {
    /// Its ID.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether its network is the host's, and so is that of those that share it.
    pub fn has_hosts_network(&self) -> bool {
        self.facts.has_hosts_network
    }

    pub(super) fn nested(&self) -> &Nested {
        &self.facts.nested
    }

    pub(super) fn users(&self) -> Option<UserRange> {
        self.facts.users
    }

    /// All that a process of it may ever have.
    pub(super) fn capabilities(&self) -> Capabilities {
        capability_set(self.facts.process.capabilities.bounding.iter().map(String::as_str))
    }

    /// The limits of each of its processes.
    pub(super) fn rlimits(&self) -> Vec<(String, u64, u64)> {
        self.facts.process.rlimits.iter().map(|Rlimit { name, soft, hard }| (name.clone(), *soft, *hard)).collect()
    }

    /// How soon the kernel ends it for want of memory.
    pub(super) fn oom_score_adj(&self) -> i32 {
        self.facts.process.oom_score_adj
    }

    /// A file of its `/etc` that was made for it.
    pub(super) fn etc_file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.facts.etc.join(name)).ok()
    }

    /// What the shim is told.
    pub(super) fn request(&self) -> ParentRequest {
        ParentRequest { init: self.facts.init, own_processes: !self.facts.has_hosts_processes }
    }

    /// Whether it has ended, or does so in a moment: then nothing could be started within it, and that is why.
    pub(super) async fn is_ending(&self) -> bool {
        let ends = async {
            while !is_over(self.facts.init.pid, &self.facts.init_fd) {
                tokio::time::sleep(END_PAUSE).await;
            }
        };
        tokio::time::timeout(END_DELAY, ends).await.is_ok()
    }
}

/// What a specification asks for that is more than a container within another one may have. In words for whoever asked.
pub(super) fn check(spec: &ContainerSpec) -> Result<(), String> {
    let paths = spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Parents { path } => Some(path),
        MountSource::Volume { .. } | MountSource::Bind { .. } | MountSource::Tmpfs { .. } => None,
    });
    if let Some(path) = paths.clone().find(|path| !path.is_absolute() || path.as_os_str().len() >= PATH_MAX_BYTES) {
        return Err(format!("{path:?} is no absolute path"));
    }
    if spec.nests && spec.backend != Backend::Embedded {
        return Err("an OCI runtime is to run it, and others run only within containers of the embedded one".to_owned());
    }
    if spec.parent.is_none() {
        return match (&spec.network, paths.count()) {
            (NetworkMode::Parent, _) => Err("it runs within no other container whose network it could share".to_owned()),
            (_, 1..) => Err("it runs within no other container whose folders it could mount".to_owned()),
            _ => Ok(()),
        };
    }
    let security = &spec.security;
    let wider = [
        (security.privileged, "be privileged"),
        (!security.cap_add.is_empty(), "be given capabilities"),
        (security.seccomp_unconfined, "do without the system call filter"),
        (security.unmasked, "see the kernel's interfaces unmasked"),
        (security.new_privileges, "gain privileges"),
        (security.host_users, "have the host's users"),
        (security.host_pid, "see the host's processes"),
        (security.host_ipc, "share the host's IPC"),
        (!spec.devices.is_empty(), "be given devices"),
        (!spec.rlimits.is_empty(), "have limits of processes other than that one's"),
        (spec.resources.cpuset.is_some(), "choose its processors"),
        (spec.resources.memory_reservation_bytes.is_some(), "reserve memory"),
        (spec.resources.io_weight.is_some(), "have a share of disk time"),
        (spec.nests, "have others within it"),
        (spec.backend != Backend::Embedded, "be run by an OCI runtime"),
        (matches!(spec.network, NetworkMode::Host), "ask for the host's network"),
        (matches!(spec.network, NetworkMode::Connected(_)), "be connected to a network of its own"),
        (spec.mounts.iter().any(|mount| matches!(mount.source, MountSource::Bind { .. })), "mount files or folders of the host"),
    ];
    match wider.iter().find(|(is_wider, _)| *is_wider) {
        Some((_, what)) => Err(format!("a container within another one cannot {what}")),
        None => Ok(()),
    }
}
