//! How long a second container takes: from the call inside the first one to the first line that the second one writes, its image present.
//!
//! Ours is asked by `coord run`. Beside it, docker's client with the engine's socket mounted into the first container (which is root on
//! the host), and docker in docker (an engine of its own in a container that may nearly everything). The clock is that of the shell which calls, in
//! the first container; the files are a thousand small ones in a cache, or in a volume that another container lends. All take turns.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use coord_tests::image::runner;
use coord_tests::nested::Nest;
use coord_tests::process::describe;
use coord_tests::say;
use coord_tests::wait::wait_until;

use crate::rivals::{Kind, Rival};
use crate::table::{self, Table};

pub(crate) const USAGE: &str = "       coord-bench nested [--quick]";

const RUNS: usize = 50;
const QUICK_RUNS: usize = 5;
/// The first run of each fills caches, and is not counted.
const WARM_UP_RUNS: usize = 1;
/// An engine within an engine looks at everything first.
const START_LIMIT: Duration = Duration::from_secs(60);
/// What the docker commands are that a first container needs, and what these need: they are not static.
const HOST_PROGRAMS: [&str; 8] =
    ["-e", "PATH=/bin:/usr/bin:/usr/sbin", "-v", "/usr:/usr:ro", "-v", "/usr/lib:/lib:ro", "-v", "/usr/lib64:/lib64:ro"];
/// As much as `--privileged` gives, where the root of this machine has all that that asks for and where not.
const NEARLY_EVERYTHING: [&str; 14] = [
    "--security-opt=seccomp=unconfined",
    "--security-opt=systempaths=unconfined",
    "--cap-add=SYS_ADMIN",
    "--cap-add=SYS_PTRACE",
    "--cap-add=SYS_CHROOT",
    "--cap-add=NET_ADMIN",
    "--cap-add=NET_RAW",
    "--cap-add=MKNOD",
    "--cap-add=SYSLOG",
    "--cap-add=SYS_NICE",
    "--cgroupns=host",
    "-v",
    "/sys/fs/cgroup:/sys/fs/cgroup:rw",
    "--network=none",
];

/// Runs a script in the first container; what it wrote.
type Script<'a> = Box<dyn Fn(&str) -> Result<String> + 'a>;

/// Somebody who starts second containers, and how long that took.
struct Runner<'a> {
    name: &'static str,
    files: &'static str,
    run: Script<'a>,
    /// The command that starts a second container, up to its own command.
    command: String,
    times: Vec<Duration>,
    failed: Option<String>,
}

pub(crate) fn run(words: &[&str]) -> Result<()> {
    let runs = match words {
        [] => RUNS,
        ["--quick"] => QUICK_RUNS,
        _ => bail!("unknown: {}\n{USAGE}", words.join(" ")),
    };
    let rival = Kind::Docker.missing().map_or_else(|| Kind::Docker.start(), |why| Err(anyhow::anyhow!(why)));
    let rival = rival.inspect_err(|error| say(&format!("docker: {error:#}"))).ok();
    let nest = Nest::in_cell("", |_, _| Ok(()))?;
    let parent = nest.idle("runner", "containers = 8, caches = \"64MiB\"")?;
    parent.ok("coord cache create work --path /work && coord cache put work /source")?;
    let ours = |script: &str| parent.ok(script);
    let image = &nest.image;
    let mut runners = vec![
        Runner::new("**`coord run`**", "none", ours, format!("coord run --image {image} --")),
        Runner::new("**`coord run`**", "1,000, verified", ours, format!("coord run --image {image} --cache work:ro --")),
    ];
    if let Some(rival) = &rival {
        let reference = rival.load(&runner::image()?, "runner")?;
        match mounted_socket(rival, &reference) {
            Ok(outer) => runners.extend(docker_runners("`docker run`, socket mounted", rival, outer, &reference)),
            Err(error) => say(&format!("docker, socket mounted: {error:#}")),
        }
        match docker_in_docker(rival, &reference) {
            Ok(outer) => runners.extend(docker_runners("`docker run`, docker in docker", rival, outer, "localhost/runner:1")),
            Err(error) => say(&format!("docker in docker: {error:#}")),
        }
    }
    for number in 0..runs + WARM_UP_RUNS {
        runners.iter_mut().for_each(|runner| runner.turn(number));
    }
    show(runners)
}

fn docker_runners<'a>(name: &'static str, rival: &'a Rival, outer: &'static str, image: &str) -> [Runner<'a>; 2] {
    let inside = move |script: &str| rival.ok(&["exec", outer, "sh", "-c", script]);
    let base = "docker run --rm --network none";
    [
        Runner::new(name, "none", inside, format!("{base} {image}")),
        Runner::new(name, "1,000, not compared", inside, format!("{base} --volumes-from cache:ro {image}")),
    ]
}

impl<'a> Runner<'a> {
    fn new(name: &'static str, files: &'static str, run: impl Fn(&str) -> Result<String> + 'a, command: String) -> Runner<'a> {
        Runner { name, files, run: Box::new(run), command, times: Vec::new(), failed: None }
    }

    fn turn(&mut self, number: usize) {
        if self.failed.is_some() {
            return;
        }
        match self.timed() {
            Ok(time) if number >= WARM_UP_RUNS => self.times.push(time),
            Ok(_) => {}
            Err(error) => {
                say(&format!("{}: {error:#}", self.name));
                self.failed = Some(error.root_cause().to_string().lines().next().unwrap_or_default().to_owned());
            }
        }
    }

    /// From the call to the first line.
    fn timed(&self) -> Result<Duration> {
        let script = format!(
            "s=$EPOCHREALTIME; {} echo first | {{ read line; e=$EPOCHREALTIME; [ \"$line\" = first ] && \
             echo $((${{e%.*}}${{e#*.}} - ${{s%.*}}${{s#*.}})); }}",
            self.command
        );
        let said = (self.run)(&script)?;
        Ok(Duration::from_micros(said.trim().parse().with_context(|| said.clone())?))
    }
}

fn show(runners: Vec<Runner>) -> Result<()> {
    let mut table = Table::new(&["who", "files", "runs", "median", "p99", "least", "most"]);
    for runner in runners {
        match &runner.failed {
            Some(why) => table.row(&[runner.name, runner.files, why, "-", "-", "-", "-"]),
            None => table.times(runner.name, runner.files, runner.times),
        }
    }
    table::print(&[("From the call to the first output of a second container", &table)])
}

/// A first container that has the engine's socket, and the files of a cache in a volume; its name.
fn mounted_socket(rival: &Rival, image: &str) -> Result<&'static str> {
    let socket = format!("{}:/var/run/docker.sock", rival.socket().context("docker's socket")?);
    let words = [&["run", "-d", "--name", "outer", "--network", "none", "-v", &socket][..], &HOST_PROGRAMS, &[image]].concat();
    rival.ok(&[&words[..], &["sleep", "100000"]].concat())?;
    make_volume(rival, "outer", image)?;
    Ok("outer")
}

/// As the seed of this product did it: a container that never runs lends its volume.
fn make_volume(rival: &Rival, outer: &str, image: &str) -> Result<()> {
    let script = format!("docker create --name cache -v work:/work {image} && docker cp /source/. cache:/work");
    rival.ok(&["exec", outer, "sh", "-c", &script]).map(drop)
}

/// A first container in which an engine of its own runs; its name.
fn docker_in_docker(rival: &Rival, image: &str) -> Result<&'static str> {
    let archive = rival.save(image, "inner")?;
    let archive = format!("{archive}:/inner.tar:ro");
    let words = ["run", "-d", "--name", "engine", "-v", "/var/lib/docker", "-v", &archive];
    let words = [&words[..], &NEARLY_EVERYTHING, &HOST_PROGRAMS, &[image]].concat();
    let daemon = "mkdir -p /run /var/run; exec dockerd --bridge=none --iptables=false --ip6tables=false --storage-driver=overlay2 >/dockerd.log 2>&1";
    rival.ok(&[&words[..], &["sh", "-c", daemon]].concat())?;
    let inside = |script: &str| rival.run(&["exec", "engine", "sh", "-c", script]);
    let answers = wait_until(START_LIMIT, "the inner engine answers", || {
        inside("docker version").is_ok_and(|output| output.status.success())
    });
    if let Err(error) = answers {
        let log = inside("tail -n 3 /dockerd.log").map(|output| describe(&output)).unwrap_or_default();
        let outer = rival.run(&["logs", "engine"]).map(|output| describe(&output)).unwrap_or_default();
        return Err(error.context(format!("{log}{outer}")));
    }
    rival.ok(&["exec", "engine", "sh", "-c", "docker load -q -i /inner.tar"])?;
    make_volume(rival, "engine", image)?;
    Ok("engine")
}
