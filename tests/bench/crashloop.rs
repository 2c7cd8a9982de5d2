//! Hundreds of containers that end as soon as they start: what the agent's processor time is over a minute.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use coord_tests::image::web;
use coord_tests::lone::LoneHost;
use coord_tests::process::proportional_memory;
use coord_tests::say;
use coord_tests::wait::wait_until;

use crate::table::{self, Table, mib};

pub(crate) const USAGE: &str = "       coord-bench crashloop [COUNT [SECONDS]]";

const COUNT: usize = 500;
const SECONDS: u64 = 60;
/// Until each has crashed a few times, and the pauses between two starts have grown.
const SETTLE_LIMIT: Duration = Duration::from_secs(600);
/// Restarts back off to a minute: a tenth of the way there.
const CRASHES_EACH: usize = 6;
/// sysconf(_SC_CLK_TCK) is 100 wherever Linux runs today.
const TICKS_PER_S: f64 = 100.0;

pub(crate) fn run(words: &[&str]) -> Result<()> {
    let (count, seconds) = match words {
        [] => (COUNT, SECONDS),
        [count] => (count.parse()?, SECONDS),
        [count, seconds] => (count.parse()?, seconds.parse()?),
        _ => bail!("unknown: {}\n{USAGE}", words.join(" ")),
    };
    let mut host = LoneHost::new()?;
    let image = host.push(&web::image("1")?, "crash")?;
    host.start_agent()?;
    for number in 0..count {
        host.write(
            &format!("crash-{number}"),
            &format!("image = {image:?}\nrestart = \"always\"\ncommand = [\"/bin/sh\", \"-c\", \"echo up; exit 3\"]\n"),
        )?;
    }
    say(&format!("waiting until each of {count} has crashed {CRASHES_EACH} times"));
    wait_until(SETTLE_LIMIT, "all crash", || {
        (0..count).all(|number| host.messages(&format!("crash-{number}.0")).len() >= CRASHES_EACH)
    })
    .with_context(|| host.agent_log())?;
    let agent = host.agent()?.pid();
    let (before, starts_before) = (cpu_seconds(agent)?, starts(&host, count));
    std::thread::sleep(Duration::from_secs(seconds));
    let (after, starts_after) = (cpu_seconds(agent)?, starts(&host, count));
    let mut table = Table::new(&[
        "containers that crash",
        "starts in that time",
        "the agent's processor time",
        "per start",
        "the agent's PSS",
    ]);
    let (used, starts) = (after - before, starts_after - starts_before);
    table.row(&[
        count.to_string(),
        format!("{starts} in {seconds} s"),
        format!("{:.1} % of one processor", used * 100.0 / seconds as f64),
        format!("{:.2} ms", used * 1000.0 / starts.max(1) as f64),
        mib(proportional_memory(agent)?),
    ]);
    table::print(&[("Crash loops", &table)])
}

fn starts(host: &LoneHost, count: usize) -> usize {
    (0..count).map(|number| host.messages(&format!("crash-{number}.0")).len()).sum()
}

/// User and system time of a process and of its children that it has waited for (proc_pid_stat(5), fields 14 and 15).
fn cpu_seconds(pid: coord_tests::process::Pid) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("a process's name")?;
    let ticks: u64 = rest.split(' ').skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / TICKS_PER_S)
}
