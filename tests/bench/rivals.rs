//! Other engines, each with folders and a network of its own, told to run containers: what ours is compared with.
//!
//! Every engine is at its defaults, but for where it keeps its files. Docker has a daemon in a [`Cell`]; podman has none and runs
//! in one; so their bridges and packet filters touch nothing of the machine. Images come as archives: there is no registry.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use coord_tests::cell::{Cell, Cgroups, has};
use coord_tests::image::Image;
use coord_tests::process::{Pid, Place, Process, describe};
use coord_tests::wait::wait_until;

/// A daemon looks at everything first.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Docker,
    /// The same without its proxy in front of published ports.
    DockerWithoutProxy,
    Podman,
    /// By its client `ctr`.
    Containerd,
}

/// An engine that is ready.
pub(crate) struct Rival {
    pub(crate) kind: Kind,
    // In the order of their end.
    daemon: Option<Process>,
    cell: Cell,
    /// The words before every command.
    base: Vec<String>,
    traces: Vec<PathBuf>,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Docker => "docker",
            Kind::DockerWithoutProxy => "docker, no userland proxy",
            Kind::Podman => "podman",
            Kind::Containerd => "ctr",
        }
    }

    /// Why it cannot be compared with here.
    pub(crate) fn missing(self) -> Option<String> {
        let programs = match self {
            Kind::Docker | Kind::DockerWithoutProxy => ["dockerd", "docker"],
            Kind::Podman => ["podman", "crun"],
            Kind::Containerd => ["containerd", "ctr"],
        };
        let missing = programs.into_iter().find(|program| !has(program))?;
        Some(format!("{missing} is not installed"))
    }

    /// Starts its daemon, if it has one, and gives it an image.
    pub(crate) fn start(self) -> Result<Rival> {
        // crun of Debian 12 refuses a host of both cgroup versions.
        let cgroups = if self == Kind::Podman { Cgroups::FirstVersionAlone } else { Cgroups::AsTheyAre };
        let traces = traces();
        let cell = Cell::start(cgroups)?;
        let at = |name: &str| cell.path(name).to_string_lossy().into_owned();
        let (daemon, base) = match self {
            Kind::Docker | Kind::DockerWithoutProxy => {
                let socket = format!("unix://{}", at("docker.sock"));
                let proxy = format!("--userland-proxy={}", self == Kind::Docker);
                let folders = ["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid"), "-H", &socket]
                    .map(str::to_owned);
                let line = [&["dockerd".to_owned(), proxy][..], &folders].concat();
                (Some(line), ["docker", "-H", &socket].map(str::to_owned).to_vec())
            }
            Kind::Podman => {
                let words = [
                    "podman",
                    "--root",
                    &at("root"),
                    "--runroot",
                    &at("runroot"),
                    "--tmpdir",
                    &at("tmp"),
                    "--cgroup-manager",
                    "cgroupfs",
                    "--network-config-dir",
                    &at("networks"),
                    "--events-backend",
                    "none",
                ];
                (None, words.map(str::to_owned).to_vec())
            }
            Kind::Containerd => {
                let socket = at("containerd.sock");
                let line = ["containerd", "--root", &at("root"), "--state", &at("state"), "--address", &socket]
                    .map(str::to_owned)
                    .to_vec();
                (Some(line), ["ctr", "-a", &socket].map(str::to_owned).to_vec())
            }
        };
        let mut rival = Rival { kind: self, daemon: None, cell, base, traces };
        if let Some(line) = daemon {
            rival.start_daemon(&line)?;
        }
        Ok(rival)
    }
}

impl Rival {
    fn start_daemon(&mut self, line: &[String]) -> Result<()> {
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        let mut daemon = Process::start(words[0], &words, &self.cell.place(), &self.cell.path("daemon.log"))?;
        let answers = wait_until(START_LIMIT, &format!("{} answers", words[0]), || {
            daemon.ended().is_some() || self.run(&["version"]).is_ok_and(|output| output.status.success())
        });
        if daemon.ended().is_some() {
            bail!("{} ended: {}", words[0], daemon.log().lines().last().unwrap_or_default());
        }
        self.daemon = Some(daemon);
        answers
    }

    pub(crate) fn cell(&mut self) -> &mut Cell {
        &mut self.cell
    }

    /// Every process that it has started and that is still there, its containers' included: those in the cell's network or mounts, and
    /// in its group.
    pub(crate) fn processes(&self) -> Result<Vec<Pid>> {
        let mut pids = self.cell.group().pids();
        // conmon and shims move to groups of their own; they stay in the cell's mounts.
        let holder = self.cell.holder();
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let own = namespace(&holder.to_string()).context("the cell's mounts")?;
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let (Ok(pid), Some(found)) = (name.parse(), namespace(&name))
                && found == own
            {
                pids.push(Pid::from_raw(pid));
            }
        }
        pids.sort();
        pids.dedup();
        Ok(pids)
    }

    fn command(&self, words: &[&str]) -> Command {
        let base: Vec<&str> = self.base.iter().map(String::as_str).collect();
        self.client_place().command(&[&base, words].concat())
    }

    /// Docker's client speaks to a socket and needs nothing else; `ctr` and podman make files where the containers' programs see them.
    fn client_place(&self) -> Place {
        match self.kind {
            Kind::Docker | Kind::DockerWithoutProxy => Place::default(),
            Kind::Podman | Kind::Containerd => self.cell.place(),
        }
    }

    /// How long a command takes that must succeed.
    pub(crate) fn timed(&self, words: &[&str]) -> Result<Duration> {
        let base: Vec<&str> = self.base.iter().map(String::as_str).collect();
        timed(&self.client_place(), &[&base, words].concat())
    }

    pub(crate) fn run(&self, words: &[&str]) -> Result<Output> {
        self.command(words).output().with_context(|| format!("run {} {words:?}", self.kind.name()))
    }

    /// Where it must succeed; its standard output.
    pub(crate) fn ok(&self, words: &[&str]) -> Result<String> {
        let output = self.run(words)?;
        if !output.status.success() {
            bail!("{} {}: {}", self.kind.name(), words.join(" "), describe(&output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Docker's socket.
    pub(crate) fn socket(&self) -> Option<String> {
        self.base.iter().find_map(|word| word.strip_prefix("unix://")).map(str::to_owned)
    }

    /// Writes an image that it has into an archive; the file.
    pub(crate) fn save(&self, image: &str, name: &str) -> Result<String> {
        let archive = self.cell.path(&format!("{name}.tar")).to_string_lossy().into_owned();
        self.ok(&["save", "-o", &archive, image])?;
        Ok(archive)
    }

    /// Gives it an image under a name, `localhost/NAME:1`.
    pub(crate) fn load(&self, image: &Image, name: &str) -> Result<String> {
        let layout = self.cell.path(&format!("layout-{name}"));
        image.save(&layout)?;
        self.load_layout(&layout, name)
    }

    /// The same from an OCI layout with one image.
    pub(crate) fn load_layout(&self, layout: &Path, name: &str) -> Result<String> {
        let reference = format!("localhost/{name}:1");
        let archive = self.cell.path(&format!("{name}.tar")).to_string_lossy().into_owned();
        let (from, to) = (format!("oci:{}", layout.display()), format!("docker-archive:{archive}:{reference}"));
        coord_tests::images::other(&["skopeo", "copy", "-q", &from, &to])?;
        match self.kind {
            Kind::Docker | Kind::DockerWithoutProxy | Kind::Podman => self.ok(&["load", "-q", "-i", &archive])?,
            Kind::Containerd => self.ok(&["images", "import", &archive])?,
        };
        std::fs::remove_file(&archive)?;
        Ok(reference)
    }
}

/// How long a command takes in a place, without the time that it takes to get there: a shell that is there already looks at its clock
/// before and after.
pub(crate) fn timed(place: &Place, argv: &[&str]) -> Result<Duration> {
    const SCRIPT: &str = r#"s=$EPOCHREALTIME; "$@" >/dev/null || exit; e=$EPOCHREALTIME; echo $((${e/./} - ${s/./}))"#;
    let output = place.run(&[&["bash", "-c", SCRIPT, "timed"], argv].concat())?;
    let micros = String::from_utf8_lossy(&output.stdout).trim().parse::<u64>();
    let micros = micros.with_context(|| format!("{}: {}", argv.join(" "), describe(&output)))?;
    Ok(Duration::from_micros(micros))
}

impl Drop for Rival {
    fn drop(&mut self) {
        if self.kind == Kind::Containerd {
            let tasks = self.ok(&["tasks", "ls", "-q"]).unwrap_or_default();
            tasks.lines().for_each(|task| drop(self.run(&["tasks", "kill", "-s", "KILL", task])));
        } else {
            let all = self.ok(&["ps", "-aq"]).unwrap_or_default();
            let ids: Vec<&str> = all.lines().collect();
            if !ids.is_empty() {
                let _ = self.run(&[&["rm", "-f", "-t", "0"], ids.as_slice()].concat());
            }
        }
        if let Some(daemon) = self.daemon.take() {
            let _ = daemon.stop();
        }
        let _ = self.cell.group().kill();
        // The group of an engine's own outlives it.
        remove_empty(traces().into_iter().filter(|path| !self.traces.contains(path)));
    }
}

/// Podman asks for higher limits than a machine may allow.
pub(crate) fn limits(kind: Kind) -> &'static [&'static str] {
    let higher = rlimit_allows(1_048_576);
    if kind == Kind::Podman && !higher { &["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=20000:20000"] } else { &[] }
}

fn rlimit_allows(files: u64) -> bool {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    line.split_whitespace().nth(4).and_then(|hard| hard.parse::<u64>().ok()).is_none_or(|hard| hard >= files)
}

/// What engines leave outside of the folders that they are given: groups. Those that exist.
pub(crate) fn traces() -> Vec<PathBuf> {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let groups = hierarchies.flat_map(|entry| ["docker", "libpod_parent", "default"].map(|name| entry.path().join(name)));
    groups.filter(|path| path.is_dir()).collect()
}

/// Folders, with empty folders in them. What holds anything else stays.
pub(crate) fn remove_empty(folders: impl IntoIterator<Item = PathBuf>) {
    for folder in folders {
        let below = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        remove_empty(below.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>());
        let _ = std::fs::remove_dir(&folder);
    }
}
