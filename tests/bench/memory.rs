//! Memory of the daemons: the proportional set size, which counts a shared page once for all that share it.

use anyhow::{Context, Result};
use coord_tests::fleet::Plan;
use coord_tests::process::{Pid, proportional_memory};
use coord_tests::say;

use crate::table::{Table, mib};

const CONTAINERS: usize = 10;

/// The agent before and with containers, and what stays beside each container.
pub(crate) fn one_host(table: &mut Table) -> Result<()> {
    say("memory");
    let fleet = Plan::processes(1).start()?;
    fleet.push_web(&["1"])?;
    let agent = fleet.agent(0).process()?.pid();
    fleet.wait_status("the coordinator answers", |_| true)?;
    table.row(&["agent, idle".to_owned(), mib(proportional_memory(agent)?)]);
    let names: Vec<String> = (0..CONTAINERS).map(|number| format!("sleep-{number}")).collect();
    for name in &names {
        let text =
            format!("image = {:?}\nhosts = [\"h0\"]\nnetwork = \"none\"\ncommand = [\"sleep\", \"1000\"]\n", fleet.web("1"));
        fleet.write_document(name, &text)?;
    }
    for name in &names {
        fleet.wait_ready(name, &["h0"])?;
    }
    table.row(&[format!("agent, after pulling and with {CONTAINERS} containers"), mib(proportional_memory(agent)?)]);
    let group = fleet.agent(0).group().context("the host is a plain process")?;
    let monitors: Vec<Pid> = group.pids().into_iter().filter(is_monitor).collect();
    let all = monitors.iter().map(|pid| proportional_memory(*pid)).sum::<Result<u64>>()?;
    table.row(&[format!("monitor, mean of {}", monitors.len()), mib(all / u64::try_from(monitors.len().max(1))?)]);
    Ok(())
}

fn is_monitor(pid: &Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "coord-monitor")
}
