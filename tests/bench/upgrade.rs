//! An upgrade with containers running: the agent of an older build starts them, that of this build takes them over.
//!
//! The older programs are built by whoever calls (`tests/bench/run.sh upgrade` does it from the repository's own history).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use coord_tests::image::web;
use coord_tests::lone::{LONE_LIMIT, LoneHost, Seen};
use coord_tests::process::{Pid, runs};
use coord_tests::wait::{stays, wait_until};
use coord_tests::{binaries, say};

use crate::table::{self, Table};

pub(crate) const USAGE: &str =
    "       coord-bench upgrade --from DIR [COUNT]    DIR holds coord-agent, coord-shim and coord-monitor of the older build";

const COUNT: usize = 50;
/// Long enough for an agent that wants to restart something to do it.
const QUIET: Duration = Duration::from_secs(5);

pub(crate) fn run(words: &[&str]) -> Result<()> {
    let (from, count) = match words {
        ["--from", dir] => (PathBuf::from(dir), COUNT),
        ["--from", dir, count] => (PathBuf::from(dir), count.parse()?),
        _ => bail!("unknown: {}\n{USAGE}", words.join(" ")),
    };
    let mut host = LoneHost::new()?;
    host.use_programs(&from.join("coord-agent"), &from);
    let image = host.push(&web::image("1")?, "upgrade")?;
    host.start_agent()?;
    let count_up = "trap 'exit 0' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 1; done";
    let document =
        |extra: &str| format!("image = {image:?}\nnetwork = \"none\"\ncommand = [\"/bin/sh\", \"-c\", {count_up:?}]\n{extra}");
    let names: Vec<String> = (0..count).map(|number| format!("up-{number}")).collect();
    // Some with limits, some without, as hosts have them.
    for (number, name) in names.iter().enumerate() {
        host.write(name, &document(if number % 2 == 0 { "[resources]\nmemory = \"64MiB\"\npids = 64\n" } else { "" }))?;
    }
    let before: BTreeMap<String, Seen> =
        names.iter().map(|name| Ok((format!("{name}.0"), host.wait_running(&format!("{name}.0"))?))).collect::<Result<_>>()?;
    say("the old agent ends, the new one begins");
    host.stop_agent()?;
    host.use_programs(&PathBuf::from(binaries::path("coord-agent")?), &binaries::helpers());
    host.start_agent()?;
    let same = || before.iter().all(|(instance, seen)| host.running().get(instance).is_some_and(|now| now.init == seen.init));
    stays(QUIET, "every container is the same process", same).with_context(|| host.agent_log())?;
    let instance = format!("{}.0", names[0]);
    let lines = host.messages(&instance).len();
    wait_until(LONE_LIMIT, "its log goes on", || host.messages(&instance).len() > lines)?;
    let mut table = Table::new(&["what", "result"]);
    table.row(&["containers that the older agent started".to_owned(), count.to_string()]);
    table.row(&["restarts by the upgrade", "0"]);
    let listed = host.command(&["ps"])?;
    let shown = String::from_utf8_lossy(&listed.stdout).lines().filter(|line| line.contains("up-")).count();
    table.row(&["shown by `coord-agent ps`".to_owned(), shown.to_string()]);
    let mut ran = 0;
    for name in &names {
        let output = host.command(&["exec", &format!("{name}.0"), "--", "/bin/echo", "hello"])?;
        ran += usize::from(String::from_utf8_lossy(&output.stdout).contains("hello"));
    }
    table.row(&["of them ran a command by `coord-agent exec`".to_owned(), ran.to_string()]);
    // An edit replaces; a removal stops. Both are the new agent's work on the old one's containers.
    host.write(&names[0], &document("environment = { EDITED = \"1\" }\n"))?;
    let first = &before[&instance];
    wait_until(LONE_LIMIT, "the edited one is replaced", || {
        host.running().get(&instance).is_some_and(|now| now.init != first.init)
    })?;
    names.iter().try_for_each(|name| host.delete(name))?;
    host.wait_empty()?;
    let alive = before
        .values()
        .filter_map(|seen| seen.init)
        .filter(|pid| host.group().pids().contains(&Pid::from_raw(*pid)) && runs(Pid::from_raw(*pid)));
    table.row(&["of them still there after their documents were deleted".to_owned(), alive.count().to_string()]);
    table::print(&[("Upgrade", &table)])?;
    if shown != count || ran != count {
        bail!("{shown} of {count} are shown, {ran} of {count} ran a command");
    }
    Ok(())
}
