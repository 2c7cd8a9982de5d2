//! `coord` where there is no door: the same commands with a real Docker and a real Podman, each in a network and with folders of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use coord_tests::cell::{Cell, Cgroups};
use coord_tests::image::runner;
use coord_tests::process::{Process, describe};
use coord_tests::wait::wait_until;
use coord_tests::{binaries, images};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Engines look at their kernel first, and a loaded machine takes its time.
const LIMIT: Duration = Duration::from_secs(60);
const IMAGE: &str = "localhost/laptop:1";
const FAILED: i32 = 125;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Docker,
    Podman,
}

/// An engine, and a laptop's user.
struct Laptop {
    // In the order of their end.
    daemon: Option<Process>,
    cell: Cell,
    kind: Kind,
    traces: Vec<PathBuf>,
}

impl Laptop {
    fn start(kind: Kind) -> Result<Laptop> {
        // crun of Debian 12 refuses a host of both cgroup versions.
        let cgroups = if kind == Kind::Podman { Cgroups::FirstVersionAlone } else { Cgroups::AsTheyAre };
        let cell = Cell::start(cgroups)?;
        let mut laptop = Laptop { daemon: None, cell, kind, traces: traces() };
        let at = |name: &str| laptop.cell.path(name).to_string_lossy().into_owned();
        let socket = format!("unix://{}", at("engine.sock"));
        fs::write(laptop.cell.path("daemon.json"), "{}")?;
        // Podman asks for higher limits than a machine may allow, and for a journal that may not be there.
        let conf = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\nlog_driver = \"k8s-file\"\n\
                    [engine]\nevents_logger = \"file\"\ncgroup_manager = \"cgroupfs\"\n";
        fs::write(laptop.cell.path("containers.conf"), conf)?;
        let group = format!("/coord-laptop-{}", std::process::id());
        let (data, exec, pid, config) = (at("data"), at("exec"), at("pid"), at("daemon.json"));
        let (networks, conf) = (at("networks"), format!("CONTAINERS_CONF={}", at("containers.conf")));
        let line = match kind {
            Kind::Docker => format!(
                "dockerd --config-file {config} --data-root {data} --exec-root {exec} --pidfile {pid} -H {socket} --bridge none \
                 --iptables=false --ip6tables=false --storage-driver overlay2 --cgroup-parent {group}"
            ),
            Kind::Podman => format!(
                "env {conf} podman --root {data} --runroot {exec} --tmpdir {pid} --network-config-dir {networks} \
                 --storage-driver overlay system service --time 0 {socket}"
            ),
        };
        let line: Vec<&str> = line.split_whitespace().collect();
        let mut daemon = Process::start("engine", &line, &laptop.cell.place(), &laptop.cell.path("engine.log"))?;
        let answers = wait_until(LIMIT, "the engine answers", || {
            daemon.ended().is_some() || laptop.docker(&["version"]).is_ok_and(|output| output.status.success())
        });
        answers.with_context(|| daemon.log())?;
        if daemon.ended().is_some() {
            bail!("{kind:?} ended: {}", daemon.log());
        }
        laptop.daemon = Some(daemon);
        let (layout, archive) = (laptop.cell.path("layout"), at("image.tar"));
        runner::image()?.save(&layout)?;
        let (from, to) = (format!("oci:{}", layout.display()), format!("docker-archive:{archive}:{IMAGE}"));
        images::other(&["skopeo", "copy", "-q", &from, &to])?;
        laptop.docker_ok(&["load", "-q", "-i", &archive])?;
        Ok(laptop)
    }

    /// Docker's own client, which both answer.
    fn docker(&self, args: &[&str]) -> Result<Output> {
        let socket = format!("unix://{}", self.cell.path("engine.sock").display());
        let config = format!("DOCKER_CONFIG={}", self.cell.path("client").display());
        self.cell.place().run(&[&["env", &config, "docker", "-H", &socket], args].concat())
    }

    fn docker_ok(&self, args: &[&str]) -> Result<String> {
        let output = self.docker(args)?;
        if !output.status.success() {
            bail!("docker {}: {}", args.join(" "), describe(&output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self, args: &[&str]) -> Result<Command> {
        let host = format!("DOCKER_HOST=unix://{}", self.cell.path("engine.sock").display());
        let coord = binaries::path("coord")?;
        Ok(self.cell.place().command(&[&["env", "-u", "COORD_SOCKET", &host, &coord], args].concat()))
    }

    /// `coord`, however it ends: its exit code, what it said, and what it said about it but for where it is.
    fn coord(&self, args: &[&str]) -> Result<(i32, String, String)> {
        let output = self.command(args)?.output()?;
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        let (first, rest) = err.split_once('\n').unwrap_or_default();
        let wanted =
            format!("coord: not under coord-agent; using {:?} at {}", self.kind, self.cell.path("engine.sock").display());
        assert_eq!(first, wanted, "{args:?}: {}", describe(&output));
        let code = output.status.code().context("it was killed")?;
        Ok((code, String::from_utf8_lossy(&output.stdout).into_owned(), rest.to_owned()))
    }

    /// The same where it must succeed and has nothing to say about it.
    fn ok(&self, args: &[&str]) -> Result<String> {
        let (code, out, err) = self.coord(args)?;
        assert_eq!((code, err.as_str()), (0, ""), "{args:?}: {out}");
        Ok(out)
    }

    /// A second container that runs a script.
    fn run(&self, flags: &[&str], script: &str) -> Result<(i32, String, String)> {
        self.coord(&[&["run", "--image", IMAGE, "--network", "none"], flags, &["--", "sh", "-c", script]].concat())
    }
}

impl Drop for Laptop {
    fn drop(&mut self) {
        let all = self.docker_ok(&["ps", "-aq"]).unwrap_or_default();
        let ids: Vec<&str> = all.lines().collect();
        if !ids.is_empty() {
            let _ = self.docker(&[&["rm", "-f"], ids.as_slice()].concat());
        }
        if let Some(daemon) = self.daemon.take() {
            let _ = daemon.stop();
        }
        let _ = self.cell.group().kill();
        // Groups of engines outlive them.
        remove_empty(traces().into_iter().filter(|path| !self.traces.contains(path)).collect());
    }
}

/// The groups that engines make beside the ones that they are given.
fn traces() -> Vec<PathBuf> {
    let own = format!("coord-laptop-{}", std::process::id());
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let groups = hierarchies.flat_map(|entry| [own.as_str(), "libpod_parent"].map(|name| entry.path().join(name)));
    groups.filter(|path| path.is_dir()).collect()
}

/// Folders, with empty folders in them. What holds anything else stays.
fn remove_empty(folders: Vec<PathBuf>) {
    for folder in folders {
        let below = fs::read_dir(&folder).into_iter().flatten().flatten();
        remove_empty(below.map(|entry| entry.path()).filter(|path| path.is_dir()).collect());
        let _ = fs::remove_dir(&folder);
    }
}

#[test]
fn the_same_commands_with_docker() -> Result<()> {
    all(&Laptop::start(Kind::Docker)?)
}

#[test]
fn the_same_commands_with_podman() -> Result<()> {
    all(&Laptop::start(Kind::Podman)?)
}

fn all(laptop: &Laptop) -> Result<()> {
    files_travel(laptop)?;
    a_change_behind_its_back_is_found(laptop)?;
    containers_go_on(laptop)?;
    ends_are_told(laptop)?;
    a_folder_is_copied(laptop)?;
    what_is_over_is_deleted(laptop)?;
    assert_eq!(laptop.docker_ok(&["ps", "-aq"])?, "", "a container is left");
    assert_eq!(laptop.docker_ok(&["volume", "ls", "-q"])?, "", "a volume is left");
    Ok(())
}

/// Eight at once read what was put; one writes; all of it is compared.
fn files_travel(laptop: &Laptop) -> Result<()> {
    let folder = laptop.cell.path("files");
    fs::create_dir_all(folder.join("sub"))?;
    for number in 0..100 {
        fs::write(folder.join(format!("sub/file {number}")), format!("content {number}\n"))?;
    }
    std::os::unix::fs::symlink("sub", folder.join("link"))?;
    let folder = folder.to_string_lossy().into_owned();
    assert_eq!(
        laptop.ok(&["cache", "create", "work", "--path", "/in", "--ttl", "30m"])?,
        "work: store, open at /in, lives 30m\n"
    );
    assert_eq!(laptop.coord(&["cache", "create", "work", "--path", "/in"])?.0, FAILED);
    let put = laptop.ok(&["cache", "put", "work", &folder])?;
    assert!(put.starts_with("work: 100 files put, ") && put.contains("it holds 100 files"), "{put}");
    let one = format!("{folder}/sub/file 7");
    laptop.ok(&["cache", "put", "work", &one, "--to", "deep/er/seven"])?;
    let script =
        "cat '/in/link/file 42' /in/deep/er/seven; ls /in/sub | wc -l; touch /in/new 2>/dev/null || echo refused; exit 7";
    let eight: Vec<_> = (0..8)
        .map(|_| laptop.command(&["run", "--image", IMAGE, "--network", "none", "--cache", "work:ro", "--", "sh", "-c", script]))
        .map(|command| anyhow::Ok(command?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?))
        .collect::<Result<_>>()?;
    for child in eight {
        let output = child.wait_with_output()?;
        let out = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            (output.status.code(), out.as_ref()),
            (Some(7), "content 42\ncontent 7\n100\nrefused\n"),
            "{}",
            describe(&output)
        );
    }
    let (code, out, err) = laptop.run(&["--cache", "work:ro:/other", "--verify-by-log"], "cat '/other/sub/file 1'; ls /in")?;
    assert_eq!((code, out.as_str()), (1, "content 1\n"), "{err}");
    let (code, _, err) = laptop.run(&["--cache", "work"], "echo new >/in/new; rm -r /in/sub; echo said >&2")?;
    assert_eq!((code, err.as_str()), (0, "said\n"));
    assert!(laptop.ok(&["cache", "verify", "work"])?.starts_with("work: verified, 2 files, "));
    let shown: Value = serde_json::from_str(&laptop.ok(&["cache", "show", "work", "--json"])?)?;
    let paths: Vec<&str> = shown["entries"].as_array().into_iter().flatten().filter_map(|entry| entry["path"].as_str()).collect();
    assert_eq!(paths, ["deep", "deep/er", "deep/er/seven", "link", "new"]);
    assert!(shown["cache"]["expires_at"].is_string(), "{shown}");
    Ok(())
}

fn a_change_behind_its_back_is_found(laptop: &Laptop) -> Result<()> {
    let other = laptop.cell.path("other");
    fs::write(&other, "old\n")?;
    laptop.docker_ok(&["cp", &other.to_string_lossy(), "coord-cache-work:/in/new"])?;
    let (code, out, err) = laptop.coord(&["cache", "verify", "work"])?;
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("cache work: new: its content differs"), "{err}");
    let (code, out, err) = laptop.run(&["--cache", "work:ro"], "echo ran")?;
    assert_eq!((code, out.as_str()), (FAILED, ""), "{err}");
    assert!(err.contains("cache work: new: its content differs"), "{err}");
    laptop.ok(&["cache", "put", "work", &other.to_string_lossy(), "--to", "new"])?;
    assert_eq!(laptop.run(&["--cache", "work:ro"], "cat /in/new")?.1, "old\n");
    Ok(())
}

fn containers_go_on(laptop: &Laptop) -> Result<()> {
    let sleeper = ["run", "-d", "--name", "sleeper", "--image", IMAGE, "--network", "none", "--cache", "work:ro", "--"];
    let script = "echo out; echo err >&2; trap 'exit 9' TERM; while :; do sleep 0.1; done";
    assert_eq!(laptop.ok(&[&sleeper[..], &["sh", "-c", script]].concat())?, "sleeper\n");
    assert_eq!(laptop.coord(&[&sleeper[..], &["true"]].concat())?.0, FAILED);
    let children: Value = serde_json::from_str(&laptop.ok(&["ps", "--json"])?)?;
    assert_eq!((children[0]["name"].as_str(), children[0]["state"].as_str()), (Some("sleeper"), Some("running")), "{children}");
    let (code, _, err) = laptop.coord(&["cache", "rm", "work"])?;
    assert!(code == FAILED && err.contains("cache work is mounted by sleeper"), "{err}");
    wait_until(LIMIT, "it has logged", || {
        laptop.coord(&["logs", "sleeper"]).is_ok_and(|(_, out, err)| out == "out\n" && err == "err\n")
    })?;
    let (code, out, err) =
        laptop.coord(&["exec", "-e", "A=3", "sleeper", "--", "sh", "-c", "cat /in/new; echo err >&2; exit $A"])?;
    assert_eq!((code, out.as_str(), err.as_str()), (3, "old\n", "err\n"));
    // The image's own is SIGKILL.
    laptop.ok(&["stop", "--signal", "TERM", "--time", "20", "sleeper"])?;
    assert_eq!(laptop.ok(&["wait", "sleeper"])?, "9\n");
    let all: Value = serde_json::from_str(&laptop.ok(&["ps", "-a", "--json"])?)?;
    assert_eq!(all[0]["exit"]["code"].as_i64(), Some(9), "{all}");
    laptop.ok(&["cache", "rm", "work"])?;
    let (code, _, err) = laptop.coord(&["cache", "verify", "work"])?;
    assert!(code == FAILED && err.contains("there is no cache work"), "{err}");
    Ok(())
}

fn ends_are_told(laptop: &Laptop) -> Result<()> {
    let code = |command: &[&str]| laptop.coord(&[&["run", "--image", IMAGE, "--network", "none", "--"], command].concat());
    assert_eq!(code(&["no-such-command"])?.0, 127);
    assert_eq!(code(&["/etc"])?.0, 126);
    assert_eq!(code(&["sh", "-c", "exit 0"])?.0, 0);
    let mut fed = laptop.command(&["run", "-i", "--image", IMAGE, "--network", "none", "--", "wc", "-c"])?;
    let mut fed = fed.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    std::io::Write::write_all(&mut fed.stdin.take().context("an input")?, &vec![b'x'; 300_000])?;
    let output = fed.wait_with_output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "300000", "{}", describe(&output));
    // A signal for `coord` is one for the container.
    let ready = "echo ready; trap 'exit 42' TERM; while :; do sleep 0.1; done";
    let mut command =
        laptop.command(&["run", "--name", "signalled", "--image", IMAGE, "--network", "none", "--", "sh", "-c", ready])?;
    let mut signalled = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut first = [0; 6];
    std::io::Read::read_exact(signalled.stdout.as_mut().context("an output")?, &mut first)?;
    // The shell that enters the cell has become `coord`.
    kill(Pid::from_raw(i32::try_from(signalled.id())?), Signal::SIGTERM)?;
    assert_eq!(signalled.wait()?.code(), Some(42));
    let children: Value = serde_json::from_str(&laptop.ok(&["ps", "-a", "--json"])?)?;
    assert_eq!(children.as_array().map(Vec::len), Some(0), "{children}");
    Ok(())
}

fn a_folder_is_copied(laptop: &Laptop) -> Result<()> {
    let folder = laptop.cell.path("files").to_string_lossy().into_owned();
    let (code, out, err) = laptop.coord(&["cache", "create", "copy", "--path", "/in", "--from", &folder])?;
    assert_eq!((code, out.as_str()), (0, "copy: store, open at /in\n"), "{err}");
    assert!(err.contains(&format!("cache copy is a copy of {folder}: an engine's containers cannot see")), "{err}");
    assert_eq!(laptop.run(&["--cache", "copy:ro"], "ls /in/sub | wc -l")?.1, "100\n");
    laptop.ok(&["cache", "rm", "copy"])?;
    Ok(())
}

/// By the next command, with the container that mounts it.
fn what_is_over_is_deleted(laptop: &Laptop) -> Result<()> {
    laptop.ok(&["cache", "create", "brief", "--path", "/in", "--ttl", "3s"])?;
    let (code, out, err) = laptop.coord(&[
        "run",
        "-d",
        "--name",
        "late",
        "--image",
        IMAGE,
        "--network",
        "none",
        "--cache",
        "brief",
        "--",
        "sleep",
        "100000",
    ])?;
    // On a machine that is very busy, it is over already.
    assert!(code == 0 && out == "late\n" || err.contains("brief"), "{err}");
    wait_until(LIMIT, "it is deleted", || laptop.coord(&["cache", "ls", "--json"]).is_ok_and(|(_, out, _)| out == "[]\n"))?;
    assert_eq!(laptop.ok(&["ps", "-a", "--json"])?, "[]\n");
    Ok(())
}

#[test]
fn without_any_engine_it_says_what_to_do() -> Result<()> {
    let cell = Cell::start(Cgroups::AsTheyAre)?;
    let coord = binaries::path("coord")?;
    let bare = ["env", "-u", "COORD_SOCKET", "-u", "DOCKER_HOST", "-u", "XDG_RUNTIME_DIR"];
    let output = cell.place().run(&[&bare[..], &[&coord, "ps"]].concat())?;
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(FAILED), "{err}");
    assert!(
        err.starts_with("error: this is not under coord-agent, and there is neither a door nor an engine: none of "),
        "{err}"
    );
    assert!(err.contains("/var/run/docker.sock") && err.contains("\nhint: "), "{err}");
    let output = cell.place().run(&["env", "-u", "COORD_SOCKET", "DOCKER_HOST=tcp://127.0.0.1:2375", &coord, "ps"])?;
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.starts_with("error: DOCKER_HOST is tcp://127.0.0.1:2375, and only unix:// is spoken here\nhint: "), "{err}");
    Ok(())
}
