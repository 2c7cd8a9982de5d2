//! The engines, each with an empty store in a folder of its own, and how each is told to pull.
//!
//! Every one ends in the same state: the image's files are there, in a directory or ready to be one. Ours is mounted, too,
//! within the time that is measured; the others mount when a container is made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use coord_tests::fleet::unmount_below;
use coord_tests::process::{Pid, Place, Process};
use coord_tests::wait::wait_until;
use coord_tests::{binaries, config};

/// A daemon looks at everything first.
const START_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// The store's own choice.
    Coord,
    /// A directory per layer, as on kernels that have nothing better.
    CoordDirectories,
    Docker,
    Podman,
    Containerd,
    SkopeoUmoci,
}

/// An engine that is ready to pull.
pub(crate) struct Session {
    engine: Engine,
    dir: PathBuf,
    daemon: Option<Process>,
}

impl Engine {
    pub(crate) const ALL: [Engine; 6] =
        [Engine::Coord, Engine::CoordDirectories, Engine::Docker, Engine::Podman, Engine::Containerd, Engine::SkopeoUmoci];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Engine::Coord => "coord",
            Engine::CoordDirectories => "coord, directories",
            Engine::Docker => "docker",
            Engine::Podman => "podman",
            Engine::Containerd => "containerd (ctr)",
            Engine::SkopeoUmoci => "skopeo + umoci",
        }
    }

    /// By the first word of its name, or `directories`.
    pub(crate) fn named(word: &str) -> Result<Engine> {
        let words = ["coord", "directories", "docker", "podman", "containerd", "skopeo"];
        let found = words.iter().position(|known| *known == word).and_then(|at| Engine::ALL.get(at));
        found.copied().with_context(|| format!("no engine {word:?}; there are {}", words.join(", ")))
    }

    /// Why it cannot do it at all.
    pub(crate) fn refuses(self, zstd: bool) -> Option<String> {
        let (program, without_zstd) = match self {
            Engine::Coord | Engine::CoordDirectories => return None,
            // Known since version 23.
            Engine::Docker => ("dockerd", first_number(&["dockerd", "--version"]).is_some_and(|major| major < 23)),
            Engine::Podman => ("podman", false),
            Engine::Containerd => ("containerd", false),
            // Known since version 0.5.
            Engine::SkopeoUmoci => ("umoci", version(&["umoci", "--version"]).contains(" 0.4.")),
        };
        if version(&[program, "--version"]).is_empty() {
            return Some(format!("{program} is not installed"));
        }
        (zstd && without_zstd).then(|| format!("this version knows no zstd: {}", version(&[program, "--version"])))
    }

    /// Whether a second image with the same layers costs it less than the first.
    pub(crate) fn shares_layers(self) -> bool {
        self != Engine::SkopeoUmoci
    }

    /// Starts its daemon, if it has one.
    pub(crate) fn start(self, dir: PathBuf, registry: &str) -> Result<Session> {
        let daemon = match self {
            Engine::Coord | Engine::CoordDirectories => {
                configure(self, &dir, registry)?;
                None
            }
            Engine::Docker => Some(dockerd(&dir, registry)?),
            Engine::Containerd => Some(containerd(&dir)?),
            Engine::Podman | Engine::SkopeoUmoci => None,
        };
        Ok(Session { engine: self, dir, daemon })
    }
}

impl Session {
    pub(crate) fn daemon(&self) -> Option<Pid> {
        self.daemon.as_ref().map(Process::pid)
    }

    /// What to run, one after the other, so that the image is there.
    pub(crate) fn lines(&self, reference: &str) -> Result<Vec<Vec<String>>> {
        let at = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        Ok(match self.engine {
            Engine::Coord | Engine::CoordDirectories => {
                let (program, config) = (binaries::path("coord-agent")?, at("agent.toml"));
                let root = at(&format!("root-{}", fs::read_dir(&self.dir)?.count()));
                fs::create_dir(&root)?;
                vec![
                    words(&[&program, "image", "pull", reference, "--config", &config]),
                    words(&[&program, "image", "mount", reference, &root, "--config", &config]),
                ]
            }
            Engine::Docker => {
                let socket = format!("unix://{}", at("docker.sock"));
                vec![words(&["docker", "-H", &socket, "pull", "-q", reference])]
            }
            Engine::Podman => {
                let (root, run, temp) = (at("root"), at("run"), at("tmp"));
                let folders = ["podman", "--root", &root, "--runroot", &run, "--tmpdir", &temp, "--cgroup-manager", "cgroupfs"];
                vec![words(&[&folders[..], &["pull", "-q", "--tls-verify=false", reference]].concat())]
            }
            Engine::Containerd => {
                let socket = at("containerd.sock");
                vec![words(&["ctr", "-a", &socket, "-n", "bench", "images", "pull", "--plain-http", reference])]
            }
            Engine::SkopeoUmoci => {
                let (from, image, root) = (format!("docker://{reference}"), format!("{}:bench", at("layout")), at("root"));
                vec![
                    words(&["skopeo", "copy", "-q", "--src-tls-verify=false", &from, &format!("oci:{image}")]),
                    // Without the list of digests that `umoci unpack` makes besides: nobody else makes one.
                    words(&["umoci", "raw", "unpack", "--image", &image, &root]),
                ]
            }
        })
    }

    /// Ends the daemon and unmounts what is mounted; the files stay for later.
    pub(crate) fn end(&mut self) -> Result<()> {
        let stopped = self.daemon.take().map(Process::stop).transpose();
        unmount_below(&self.dir);
        stopped.map(drop)
    }
}

/// The agent's configuration: a store of its own, and a registry without a certificate.
fn configure(engine: Engine, dir: &Path, registry: &str) -> Result<()> {
    let format = (engine == Engine::CoordDirectories).then_some("directories");
    let text = config::Agent {
        host: "bench",
        labels: &[],
        coordinator: None,
        token: "",
        ca: None,
        state_dir: &dir.join("state"),
        run_dir: &dir.join("run"),
        helpers: &binaries::helpers(),
        registries: &[registry.to_owned()],
        images: config::Images { format, ..config::Images::default() },
        tables: "",
    };
    fs::create_dir(dir.join("state"))?;
    fs::create_dir(dir.join("run"))?;
    Ok(fs::write(dir.join("agent.toml"), text.to_toml())?)
}

fn dockerd(dir: &Path, registry: &str) -> Result<Process> {
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (data, exec, pid, config) = (at("data"), at("exec"), at("pid"), at("daemon.json"));
    let socket = format!("unix://{}", at("docker.sock"));
    // An empty configuration, so that none of the machine's is read.
    fs::write(&config, "{}")?;
    let line =
        ["dockerd", "--config-file", &config, "--data-root", &data, "--exec-root", &exec, "--pidfile", &pid, "-H", &socket];
    let rest = ["--bridge", "none", "--iptables=false", "--ip6tables=false", "--insecure-registry", registry];
    daemon(&[&line[..], &rest].concat(), &["docker", "-H", &socket, "version"], dir)
}

fn containerd(dir: &Path) -> Result<Process> {
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (config, socket) = (at("containerd.toml"), at("containerd.sock"));
    let text = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {socket:?}\n",
        at("data"),
        at("exec")
    );
    fs::write(&config, text)?;
    daemon(&["containerd", "-c", &config], &["ctr", "-a", &socket, "version"], dir)
}

fn words(line: &[&str]) -> Vec<String> {
    line.iter().map(|&word| word.to_owned()).collect()
}

/// Starts a daemon, and waits until a command that asks it succeeds.
fn daemon(line: &[&str], ask: &[&str], dir: &Path) -> Result<Process> {
    let mut process = Process::start(line[0], line, &Place::default(), &dir.join("log"))?;
    let answers = wait_until(START_LIMIT, &format!("{} answers", line[0]), || {
        let answer = Command::new(ask[0]).args(&ask[1..]).output();
        process.ended().is_some() || answer.is_ok_and(|answer| answer.status.success())
    });
    if process.ended().is_some() {
        bail!("{} ended: {}", line[0], process.log().lines().last().unwrap_or_default());
    }
    answers?;
    Ok(process)
}

/// What a program says of itself; empty when it is not there.
fn version(line: &[&str]) -> String {
    let said = Command::new(line[0]).args(&line[1..]).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
}

fn first_number(line: &[&str]) -> Option<u32> {
    let said = version(line);
    let digits = said.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?;
    digits.parse().ok()
}
