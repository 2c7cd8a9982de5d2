//! How long a container takes: from the request to the end of `true`, from the request to a process that runs, from the kill to nothing
//! left. Ours beside crun, runc, podman, docker and `ctr`; without a network and on a bridge.
//!
//! Ours is timed at the runtime's own door, in a process that lives on as the agent does; the others at their command
//! line, which is the door they have. Everybody's isolation is at its default; crun and runc get the configuration that podman
//! makes, with podman's filter of system calls. All take turns, run by run, so that a busy moment meets them all.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use coord_tests::cell::{Cell, Cgroups, has};
use coord_tests::image::{ImageBuilder, busybox};
use coord_tests::{binaries, say};
use serde_json::{Value, json};

use crate::ours::{Network, Ours};
use crate::rivals::{Kind, Rival, timed};
use crate::table::{self, Table};

pub(crate) const USAGE: &str = "       coord-bench start [--quick]";

const RUNS: usize = 50;
const QUICK_RUNS: usize = 5;
/// The first run of each fills caches, and is not counted.
const WARM_UP_RUNS: usize = 1;

/// The three times of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) to_exit: Duration,
    pub(crate) to_running: Option<Duration>,
    pub(crate) to_gone: Option<Duration>,
}

/// Somebody who starts containers, and what came of it.
struct Runner<'a> {
    name: String,
    network: &'static str,
    run: Box<dyn FnMut(usize) -> Result<Times> + 'a>,
    times: Vec<Times>,
    failed: Option<String>,
}

pub(crate) fn run(words: &[&str]) -> Result<()> {
    let runs = match words {
        [] => RUNS,
        ["--quick"] => QUICK_RUNS,
        ["inside", network, folder] => return Ours::serve(Network::named(network)?, Path::new(folder)),
        _ => bail!("unknown: {}\n{USAGE}", words.join(" ")),
    };
    let image = ImageBuilder::default().layer(busybox()?)?.env("PATH", "/bin").command(&["/bin/true"]).build()?;
    let rivals: Vec<(Rival, String)> = [Kind::Podman, Kind::Docker, Kind::Containerd]
        .into_iter()
        .filter_map(|kind| {
            let started = kind.missing().map_or_else(|| kind.start(), |why| Err(anyhow::anyhow!(why)));
            let ready = started.and_then(|rival| rival.load(&image, "busybox").map(|reference| (rival, reference)));
            ready.inspect_err(|error| say(&format!("{}: {error:#}", kind.name()))).ok()
        })
        .collect();
    let cell = Cell::start(Cgroups::FirstVersionAlone)?;
    let rootfs = cell.path("rootfs");
    unpack_busybox(&rootfs)?;
    let podman = rivals.iter().find(|(rival, _)| rival.kind == Kind::Podman);
    let config = podman
        .and_then(|(rival, reference)| podman_config(rival, reference).inspect_err(|error| say(&format!("{error:#}"))).ok());
    let mut runners: Vec<Runner> = Vec::new();
    for network in [Network::None, Network::Bridge] {
        match Inside::start(network) {
            Ok(mut inside) => runners.push(Runner::new("**coord**", network.name(), move |number| inside.ask(number))),
            Err(error) => say(&format!("coord, network {}: {error:#}", network.name())),
        }
    }
    for program in ["crun", "runc"].into_iter().filter(|program| has(program)) {
        if let Some(config) = &config {
            let bundle = make_bundle(&cell.path(program), config, &rootfs)?;
            let cell = &cell;
            runners
                .push(Runner::new(&format!("`{program} run`"), "none", move |number| low_level(cell, program, &bundle, number)));
        }
    }
    for (rival, reference) in &rivals {
        let networks: &[&'static str] = if rival.kind == Kind::Containerd { &["none"] } else { &["none", "bridge"] };
        for network in networks {
            runners.push(Runner::new(&format!("`{} run`", rival.kind.name()), network, move |number| {
                engine(rival, reference, network, number)
            }));
        }
    }
    for number in 0..runs + WARM_UP_RUNS {
        for runner in &mut runners {
            runner.turn(number);
        }
    }
    show(&runners)
}

impl<'a> Runner<'a> {
    fn new(name: &str, network: &'static str, run: impl FnMut(usize) -> Result<Times> + 'a) -> Runner<'a> {
        Runner { name: name.to_owned(), network, run: Box::new(run), times: Vec::new(), failed: None }
    }

    fn turn(&mut self, number: usize) {
        if self.failed.is_some() {
            return;
        }
        match (self.run)(number) {
            Ok(times) if number >= WARM_UP_RUNS => self.times.push(times),
            Ok(_) => {}
            Err(error) => {
                say(&format!("{}, network {}: {error:#}", self.name, self.network));
                self.failed = Some(error.root_cause().to_string().lines().next().unwrap_or_default().to_owned());
            }
        }
    }
}

fn show(runners: &[Runner]) -> Result<()> {
    let mut table =
        Table::new(&["who", "network", "runs", "start to exit of `true`", "ratio to ours", "request to running", "stop to gone"]);
    for runner in runners {
        let ours = runners.iter().find(|other| other.network == runner.network && other.name.contains("coord"));
        let exits = median(runner.times.iter().map(|times| times.to_exit));
        let ratio = ours
            .and_then(|ours| Some(exits?.as_secs_f64() / median(ours.times.iter().map(|times| times.to_exit))?.as_secs_f64()));
        table.row(&[
            runner.name.clone(),
            runner.network.to_owned(),
            runner.failed.clone().unwrap_or_else(|| runner.times.len().to_string()),
            table::show(exits),
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}")),
            table::show(median(runner.times.iter().filter_map(|times| times.to_running))),
            table::show(median(runner.times.iter().filter_map(|times| times.to_gone))),
        ]);
    }
    table::print(&[("Starting and stopping, medians", &table)])
}

fn median(times: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    table::percentile(&times, 50)
}

fn engine(rival: &Rival, image: &str, network: &str, number: usize) -> Result<Times> {
    let (short, long) = (format!("short-{network}-{number}"), format!("long-{network}-{number}"));
    if rival.kind == Kind::Containerd {
        let to_exit = rival.timed(&["run", "--rm", image, &short, "/bin/true"])?;
        let to_running = rival.timed(&["run", "-d", image, &long, "/bin/sleep", "1000"])?;
        let start = Instant::now();
        rival.ok(&["tasks", "kill", "-s", "KILL", &long])?;
        // Its process is reaped a moment later.
        while rival.ok(&["tasks", "rm", &long]).is_err() {}
        rival.ok(&["containers", "rm", &long])?;
        return Ok(Times { to_exit, to_running: Some(to_running), to_gone: Some(start.elapsed()) });
    }
    let mut words = vec!["run", "--network", network];
    words.extend(crate::rivals::limits(rival.kind));
    let to_exit = rival.timed(&[words.as_slice(), &["--rm", "--name", &short, image, "/bin/true"]].concat())?;
    let to_running = rival.timed(&[words.as_slice(), &["-d", "--name", &long, image, "/bin/sleep", "1000"]].concat())?;
    // Podman gives ten seconds of grace even to those that it removes by force.
    let grace: &[&str] = if rival.kind == Kind::Podman { &["-t", "0"] } else { &[] };
    let to_gone = rival.timed(&[&["rm", "-f"], grace, &[&long]].concat())?;
    Ok(Times { to_exit, to_running: Some(to_running), to_gone: Some(to_gone) })
}

/// `run` of a bundle: its start and end are one command.
fn low_level(cell: &Cell, program: &str, bundle: &Path, number: usize) -> Result<Times> {
    let state = cell.path("state").to_string_lossy().into_owned();
    let (id, bundle) = (format!("{program}-{number}"), bundle.to_string_lossy().into_owned());
    let to_exit = timed(&cell.place(), &[program, "--root", &state, "run", "--bundle", &bundle, &id])?;
    Ok(Times { to_exit, to_running: None, to_gone: None })
}

/// The configuration that podman hands to its runtime for this image, made without running it.
fn podman_config(rival: &Rival, image: &str) -> Result<Value> {
    let words =
        [&["create", "--network", "none", "--name", "template"], crate::rivals::limits(rival.kind), &[image, "/bin/true"]]
            .concat();
    rival.ok(&words)?;
    rival.ok(&["init", "template"])?;
    let file = rival.ok(&["inspect", "--format", "{{.OCIConfigPath}}", "template"])?;
    let text = fs::read_to_string(file.trim()).with_context(|| format!("read {}", file.trim()))?;
    rival.ok(&["rm", "-f", "template"])?;
    Ok(serde_json::from_str(&text)?)
}

/// A bundle that needs nothing of podman's own files.
fn make_bundle(dir: &Path, config: &Value, rootfs: &Path) -> Result<PathBuf> {
    let mut config = config.clone();
    config["root"] = json!({ "path": rootfs, "readonly": false });
    config["linux"]["cgroupsPath"] = json!(format!("/coord-bench-{}", std::process::id()));
    if let Some(top) = config.as_object_mut() {
        top.remove("hooks");
        top.remove("annotations");
    }
    // Those that bind podman's files: hosts, resolv.conf, its own /dev/shm.
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["type"] != "bind");
    }
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        for namespace in namespaces.iter_mut().filter_map(Value::as_object_mut) {
            namespace.remove("path");
        }
    }
    fs::create_dir_all(dir)?;
    fs::write(dir.join("config.json"), serde_json::to_vec(&config)?)?;
    Ok(dir.to_owned())
}

/// A root with busybox, as its image has it.
pub(crate) fn unpack_busybox(root: &Path) -> Result<()> {
    for dir in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).context("/bin/busybox: install busybox-static")?;
    for applet in ["sh", "true", "sleep"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n")?;
    Ok(fs::write(root.join("etc/group"), "root:x:0:\n")?)
}

/// This program once more, in a cell, as the agent would be: it starts containers whenever it is asked.
struct Inside {
    // In the order of their end.
    child: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
    _cell: Cell,
}

impl Inside {
    fn start(network: Network) -> Result<Inside> {
        let cell = Cell::start(Cgroups::AsTheyAre)?;
        // On a disk, as hosts have it.
        let folder = tempfile::Builder::new().prefix("coord-start-").tempdir_in("/var/tmp")?.keep();
        unpack_busybox(&folder.join("image"))?;
        let program = std::env::current_exe()?.to_string_lossy().into_owned();
        let mut command = cell.place().command(&[&program, "start", "inside", network.name(), &folder.to_string_lossy()]);
        command.env("COORD_TEST_HELPERS", binaries::helpers());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (asked, answers) = (child.stdin.take().context("its input")?, child.stdout.take().context("its output")?);
        Ok(Inside { child, asked, answers: BufReader::new(answers), _cell: cell })
    }

    /// One run; the answer is three numbers of nanoseconds, or words.
    fn ask(&mut self, number: usize) -> Result<Times> {
        writeln!(self.asked, "{number}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let nanos: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let &[to_exit, to_running, to_gone] = nanos.as_slice() else { bail!("{}", line.trim()) };
        let [to_exit, to_running, to_gone] = [to_exit, to_running, to_gone].map(Duration::from_nanos);
        Ok(Times { to_exit, to_running: Some(to_running), to_gone: Some(to_gone) })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = writeln!(self.asked, "end");
        let _ = self.child.wait();
    }
}
