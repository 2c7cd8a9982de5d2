//! Chaos: agent, monitors, shims and containers of one host are killed at random moments, under load, in every order.
//!
//! Promises that are held to, after every blow and at the end: no container is restarted because an agent or a monitor died; whoever was
//! killed is there again; the log has no hole; and when all documents are gone, nothing of the host is left (see
//! [`crate::leaks`]). Seeded: a failing seed makes the same blows again, though not the same moments.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::image::web;
use crate::leaks::{Scope, leaked};
use crate::lone::{LONE_LIMIT, LoneHost, Seen};
use crate::process::runs;
use crate::say;
use crate::wait::{wait_for, wait_until};

/// Containers that count; enough that blows rarely meet the same one twice in a row.
const COUNTERS: usize = 6;
/// Counts as fast as a busy service logs; every line is the next number.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i; usleep 10000; done";
/// Keeps the processors busy meanwhile, within its limit.
const LOAD: &str = "while :; do :; done";
const LIMITS: &str = "[resources]\ncpus = 0.5\nmemory = \"64MiB\"\npids = 64\n";
/// The longest pause between two blows of one round.
const PAUSE_MAX_MS: u64 = 120;
/// A shim lives for some milliseconds at a start.
const SHIM_LIMIT: Duration = Duration::from_secs(2);
/// After a start that a killed shim spoilt, the next try waits this long at the most.
const BACK_LIMIT: Duration = Duration::from_secs(90);

/// Whom a blow meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    Agent,
    Monitor,
    Container,
    /// Of a container that is killed so that there is one.
    Shim,
}

/// How it went.
#[derive(Debug, Default)]
pub struct Report {
    pub kills: BTreeMap<&'static str, usize>,
    /// Containers that were started anew, all of them because they, their monitor and init together, or their shim were killed.
    pub restarts: usize,
    pub lines: usize,
}

/// A sequence that looks like chance (splitmix64, Steele et al. 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap_or_default()
    }
}

/// Makes `kills` blows on a host of its own.
///
/// # Errors
/// The first promise that is not kept, with the seed.
pub fn run(kills: usize, seed: u64, network: &str) -> Result<Report> {
    let mut host = LoneHost::in_cell()?;
    let report = blows(&mut host, kills, seed, network);
    report.with_context(|| format!("seed {seed}\n{}", host.agent_log()))
}

fn blows(host: &mut LoneHost, kills: usize, seed: u64, network: &str) -> Result<Report> {
    let image = host.push(&web::image("1")?, "chaos")?;
    host.start_agent()?;
    // What the first container brings for good (the image's mount, the bridge, the agent's own cgroups) is no leak: it is there before
    // the count begins.
    host.write("first", &(document(&image, network, "echo up", "no") + LIMITS))?;
    wait_until(LONE_LIMIT, "the first container has ended", || !host.messages("first.0").is_empty())?;
    host.delete("first")?;
    host.wait_empty()?;
    let before = traces(host)?;
    let names: Vec<String> = (0..COUNTERS).map(|number| format!("count-{number}")).collect();
    for name in &names {
        host.write(name, &document(&image, network, COUNT, "always"))?;
    }
    host.write("load", &(document(&image, network, LOAD, "always") + LIMITS))?;
    let mut expected: BTreeMap<String, Seen> = BTreeMap::new();
    for name in &names {
        expected.insert(format!("{name}.0"), host.wait_running(&format!("{name}.0"))?);
    }
    let (mut dice, mut report) = (Dice(seed), Report::default());
    while report.kills.values().sum::<usize>() < kills {
        round(host, &mut dice, &mut expected, &mut report).with_context(|| format!("after {:?}", report.kills))?;
    }
    for name in &names {
        report.lines += check_log(host, &format!("{name}.0"))?;
    }
    names.iter().map(String::as_str).chain(["load"]).try_for_each(|name| host.delete(name))?;
    host.wait_empty()?;
    let what = "nothing is left";
    let left = |host: &LoneHost| traces(host).map(|after| leaked(&before, &after)).unwrap_or_default();
    if wait_until(LONE_LIMIT, what, || left(host).is_empty()).is_err() {
        bail!("leaked:\n{}", left(host).join("\n"));
    }
    Ok(report)
}

fn document(image: &str, network: &str, script: &str, restart: &str) -> String {
    // The log is large enough that nothing is rotated away before it is checked.
    format!(
        "image = {image:?}\nnetwork = {network:?}\nrestart = {restart:?}\nstop_grace_period = \"1s\"\ncommand = [\"/bin/sh\", \"-c\", {script:?}]\n"
    )
}

fn traces(host: &LoneHost) -> Result<std::collections::BTreeSet<String>> {
    let folder = host.path("");
    let network = host.cell_place();
    let scope = Scope { folder: &folder, group: host.group(), network, listed: &["run/c", "state/c"] };
    let agent = host.agent()?.pid();
    let without_agent = |trace: &String| !trace.ends_with(&format!(" {agent}")) && !trace.starts_with("namespace ");
    let mut traces: std::collections::BTreeSet<String> = scope.traces().into_iter().filter(without_agent).collect();
    // Open files of the agent: a handful more or less is its own business, one for each blow is a leak.
    const FILES_ROUNDED_TO: usize = 32;
    let files = std::fs::read_dir(format!("/proc/{agent}/fd")).map(Iterator::count).unwrap_or_default();
    traces.insert(format!("files of the agent: at most {}", files.div_ceil(FILES_ROUNDED_TO) * FILES_ROUNDED_TO));
    Ok(traces)
}

/// One to three blows in a row, then everything must be well again.
fn round(host: &mut LoneHost, dice: &mut Dice, expected: &mut BTreeMap<String, Seen>, report: &mut Report) -> Result<()> {
    let mut may_restart = Vec::new();
    for _ in 0..=dice.below(3) {
        let victim =
            [Victim::Agent, Victim::Agent, Victim::Monitor, Victim::Monitor, Victim::Container, Victim::Shim][dice.index(6)];
        let names: Vec<String> = expected.keys().cloned().collect();
        let instance = names[dice.index(names.len())].clone();
        let hit = blow(host, victim, &instance, expected)?;
        if matches!(victim, Victim::Container | Victim::Shim) {
            may_restart.push(instance);
        }
        *report.kills.entry(hit).or_default() += 1;
        std::thread::sleep(Duration::from_millis(dice.below(PAUSE_MAX_MS)));
    }
    if !host.agent_runs() {
        host.start_agent()?;
    }
    for (instance, seen) in expected.iter_mut() {
        let again = may_restart.contains(instance);
        let wanted = |now: &Seen| now.monitor.is_some_and(|pid| runs(Pid::from_raw(pid))) && (now.init == seen.init) != again;
        let what = format!("{instance} runs and is watched{}", if again { ", started anew" } else { ", the same as before" });
        let now = wait_for(BACK_LIMIT, &what, || host.running().remove(instance).filter(wanted));
        let now = now.with_context(|| format!("it was {seen:?} and is {:?}", host.running().get(instance)))?;
        report.restarts += usize::from(now.init != seen.init);
        *seen = now;
    }
    Ok(())
}

/// Kills one, and says whom it met.
fn blow(host: &mut LoneHost, victim: Victim, instance: &str, expected: &BTreeMap<String, Seen>) -> Result<&'static str> {
    let current = host.running().remove(instance).or_else(|| expected.get(instance).cloned()).context("an instance")?;
    match victim {
        Victim::Agent => {
            if !host.agent_runs() {
                host.start_agent()?;
            }
            host.kill_agent()?;
            Ok("agent")
        }
        Victim::Monitor => {
            end(host, current.monitor);
            Ok("monitor")
        }
        Victim::Container => {
            end(host, current.init);
            Ok("container")
        }
        Victim::Shim => {
            if !host.agent_runs() {
                host.start_agent()?;
            }
            end(host, current.init);
            let deadline = Instant::now() + SHIM_LIMIT;
            while Instant::now() < deadline {
                if let Some(shim) = host.group().pids().into_iter().find(|pid| is_shim(*pid)) {
                    let _ = kill(shim, Signal::SIGKILL);
                    return Ok("shim");
                }
            }
            Ok("container (its shim was faster)")
        }
    }
}

/// By its file, which lies in memory; its name is a number.
fn is_shim(pid: Pid) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program.to_string_lossy().contains("coord-shim"))
}

/// Only if it is still the host's: a number may by now be somebody else's.
fn end(host: &LoneHost, pid: Option<i32>) {
    let pid = pid.map(Pid::from_raw);
    if let Some(pid) = pid.filter(|pid| host.group().pids().contains(pid)) {
        let _ = kill(pid, Signal::SIGKILL);
    }
}

/// Every line is the number after the one before, or 1 after a restart. The number of lines.
fn check_log(host: &LoneHost, instance: &str) -> Result<usize> {
    let messages = host.messages(instance);
    let mut last = 0_u64;
    for message in &messages {
        let number: u64 = message.parse().with_context(|| format!("{instance} wrote {message:?}"))?;
        if number != last + 1 && number != 1 {
            bail!("a hole in the log of {instance}: {number} after {last}");
        }
        last = number;
    }
    if messages.is_empty() {
        say(&format!("{instance} has an empty log"));
    }
    Ok(messages.len())
}
