//! The same image under docker and podman, where they are installed: from the command to the process that answers.
//!
//! Both run with folders of their own in a temporary place. Docker's daemon is started by hand for this and ended again,
//! without a bridge, so that it touches no network of the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use coord_tests::fleet::free_port;
use coord_tests::image::web;
use coord_tests::process::{Place, Process, describe};
use coord_tests::registry::TestRegistry;
use coord_tests::say;
use coord_tests::wait::wait_until;

use crate::Size;
use crate::publish::until_listening;
use crate::table::Table;

/// Docker's daemon looks at everything first.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A row for each engine, or the reason why there is none.
pub(crate) fn all(size: &Size, table: &mut Table) {
    for (name, measure) in [("docker", docker as fn(usize) -> Result<Vec<Duration>>), ("podman", podman)] {
        let from = format!("`{name} run -d --network host`");
        if Command::new(name).arg("--version").output().is_err() {
            table.row(&[from.as_str(), "not installed", "-", "-", "-", "-", "-"]);
            continue;
        }
        let before = traces();
        let measured = measure(size.runs);
        remove_empty(traces().into_iter().filter(|path| !before.contains(path)));
        match measured {
            Ok(times) => table.times(&from, "its process answers", times),
            Err(error) => {
                say(&format!("{name}: {error:#}"));
                let why = format!("does not run here: {}", format!("{error:#}").lines().next().unwrap_or_default());
                table.row(&[from.as_str(), &why, "-", "-", "-", "-", "-"]);
            }
        }
    }
}

fn docker(runs: usize) -> Result<Vec<Duration>> {
    let dir = tempfile::Builder::new().prefix("coord-docker-").tempdir()?;
    let registry = TestRegistry::start()?;
    let image = registry.push(&web::image("1")?, "demo/web", "1")?;
    let (socket, pid) = (format!("unix://{}/docker.sock", dir.path().display()), dir.path().join("pid"));
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (data, exec, pid) = (at("data"), at("exec"), pid.to_string_lossy().into_owned());
    let daemon = [
        "dockerd",
        "--data-root",
        &data,
        "--exec-root",
        &exec,
        "--pidfile",
        &pid,
        "-H",
        &socket,
        "--bridge",
        "none",
        "--iptables=false",
        "--ip6tables=false",
        "--insecure-registry",
        registry.authority(),
    ];
    let mut process = Process::start("dockerd", &daemon, &Place::default(), &dir.path().join("log"))?;
    let base = ["docker", "-H", &socket];
    let answers = wait_until(START_LIMIT, "dockerd answers", || {
        process.ended().is_some() || run(&[base.as_slice(), &["version"]].concat()).is_ok()
    });
    if process.ended().is_some() {
        bail!("dockerd ended: {}", process.log().lines().last().unwrap_or_default());
    }
    answers?;
    let times = time_engine(&base, &["--network", "host"], &image, runs);
    let stopped = process.stop();
    unmount_below(dir.path());
    stopped?;
    times
}

fn podman(runs: usize) -> Result<Vec<Duration>> {
    let dir = tempfile::Builder::new().prefix("coord-podman-").tempdir()?;
    let registry = TestRegistry::start()?;
    let image = registry.push(&web::image("1")?, "demo/web", "1")?;
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (root, run_root, temp) = (at("root"), at("run"), at("tmp"));
    let base = [
        "podman",
        "--root",
        &root,
        "--runroot",
        &run_root,
        "--tmpdir",
        &temp,
        "--cgroup-manager",
        "cgroupfs",
        "--runtime",
        "runc",
    ];
    // Its own limits are higher than a machine may allow: so they are given below.
    run(&[base.as_slice(), &["pull", "-q", "--tls-verify=false", &image]].concat())?;
    let times =
        time_engine(&base, &["--network", "host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"], &image, runs);
    let _ = run(&[base.as_slice(), &["system", "reset", "-f"]].concat());
    unmount_below(dir.path());
    times
}

fn time_engine(base: &[&str], options: &[&str], image: &str, runs: usize) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    // The first run pulls the image, and is not counted.
    for number in 0..=runs {
        let (port, name) = (free_port()?, format!("bench-{number}"));
        let listen = format!("127.0.0.1:{port}");
        let start = Instant::now();
        let command = ["httpd", "-f", "-p", &listen, "-h", "/www"];
        run(&[base, &["run", "-d", "--name", &name], options, &[image], &command].concat())?;
        let took = until_listening(port, start)?;
        if number > 0 {
            times.push(took);
        }
        run(&[base, &["rm", "-f", &name]].concat())?;
    }
    Ok(times)
}

fn run(argv: &[&str]) -> Result<()> {
    let output = Command::new(argv[0]).args(&argv[1..]).output().with_context(|| format!("run {argv:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        bail!("{last} ({})", describe(&output));
    }
    Ok(())
}

/// What engines leave outside of the folders that they are given: groups, and folders in /run. Those that exist.
fn traces() -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let groups = hierarchies.flat_map(|entry| ["docker", "libpod_parent"].map(|name| entry.path().join(name)));
    groups.chain(["/run/docker", "/run/runc"].map(PathBuf::from)).filter(|path| path.is_dir()).collect()
}

/// Folders, with empty folders in them. What holds anything else stays.
fn remove_empty(folders: impl IntoIterator<Item = PathBuf>) {
    for folder in folders {
        let below = fs::read_dir(&folder).into_iter().flatten().flatten();
        remove_empty(below.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>());
        let _ = fs::remove_dir(&folder);
    }
}

fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| Path::new(point).starts_with(dir));
    for point in below.collect::<Vec<_>>().into_iter().rev() {
        let _ = Command::new("umount").args(["-l", point]).status();
    }
}
