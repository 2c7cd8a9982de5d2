//! What goes on when somebody is away: the coordinator, the agent, a container's process.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use coord_tests::fleet::view::{on, pid_on, restarts_on, view};
use coord_tests::fleet::{FLEET_LIMIT, Fleet, Plan, free_port};
use coord_tests::http;
use coord_tests::process::{Pid, runs};
use coord_tests::wait::{stays, wait_for, wait_until};
use nix::sys::signal::{Signal, kill};

/// "Within seconds": the agents' longest wait between two calls, and some for a busy machine.
const RETURN_LIMIT: Duration = Duration::from_secs(25);

fn wait_served(url: &str) -> Result<()> {
    wait_until(FLEET_LIMIT, &format!("{url} is served"), || http::get(url).is_ok_and(|answer| answer.status == 200))
}

/// Waits until the host has one container, other than `before`.
fn wait_next_container(fleet: &Fleet, before: &[String]) -> Result<Vec<String>> {
    wait_for(FLEET_LIMIT, &format!("another container than {before:?}"), || {
        let now = fleet.containers(0);
        (now.len() == 1 && now != before).then_some(now)
    })
}

#[test]
fn hosts_go_on_without_the_coordinator() -> Result<()> {
    let mut fleet = Plan::processes(1).start()?;
    fleet.push_web(&["1"])?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let url = format!("http://{address}/");
    fleet.write_document(
        "web",
        &format!(
            "image = {:?}\nhosts = [\"h0\"]\nnetwork = \"host\"\nenvironment = {{ LISTEN = {address:?} }}\n",
            fleet.web("1")
        ),
    )?;
    let pid = pid_on(&fleet.wait_ready("web", &["h0"])?, "h0")?;
    wait_served(&url)?;
    let first = fleet.containers(0);

    fleet.kill_coordinator()?;
    stays(Duration::from_secs(2), "the container runs on", || runs(pid))?;
    kill(pid, Signal::SIGKILL)?;
    let second = wait_next_container(&fleet, &first)?;
    wait_served(&url)?;

    // An agent that comes back finds the container, and disturbs it as little as its absence did.
    fleet.kill_agent(0)?;
    assert!(http::get(&url).is_ok());
    fleet.start_agent(0)?;
    stays(Duration::from_secs(3), "the same container runs on", || fleet.containers(0) == second && http::get(&url).is_ok())?;

    // One that comes back to nothing starts it again, by its ledger alone.
    let inside = pids_of(&fleet, &second)?;
    fleet.kill_agent(0)?;
    inside.iter().try_for_each(|pid| kill(*pid, Signal::SIGKILL))?;
    wait_until(FLEET_LIMIT, "the page is gone", || http::get(&url).is_err())?;
    fleet.start_agent(0)?;
    wait_next_container(&fleet, &second)?;
    wait_served(&url)?;

    fleet.start_coordinator()?;
    let status = fleet.wait_status_for(RETURN_LIMIT, "the status is right again", |status| {
        view(status, "web").is_ok_and(|web| {
            web.ready == 1 && restarts_on(&web, "h0").is_ok_and(|n| n >= 2) && pid_on(&web, "h0").is_ok_and(runs)
        })
    })?;
    assert_eq!(view(&status, "web")?.revision.map(|revision| revision.0), Some(1));
    Ok(())
}

/// The first process of a container, by the agent's own record of it.
fn pids_of(fleet: &Fleet, containers: &[String]) -> Result<Vec<Pid>> {
    let group = fleet.agent(0).group().context("the host is a plain process")?;
    let agent = fleet.agent(0).process()?.pid();
    let is_inside = |pid: &Pid| {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        *pid != agent && containers.iter().any(|container| groups.contains(&format!("/{container}")))
    };
    let inside: Vec<Pid> = group.pids().into_iter().filter(is_inside).collect();
    assert!(!inside.is_empty(), "a container has processes");
    Ok(inside)
}

/// Counts in its log, ten times a second, and ends when it is asked to.
const COUNT: &str = "trap 'exit 0' TERM; i=0; while :; do echo $i; i=$((i+1)); usleep 100000; done";
const MANY: usize = 20;

fn count_of(fleet: &Fleet, workload: &str) -> Result<usize> {
    Ok(fleet.log_lines(0, &format!("{workload}.0"))?.len())
}

#[test]
fn a_killed_agent_finds_everything_as_it_was() -> Result<()> {
    let mut fleet = Plan::processes(1).start()?;
    fleet.push_web(&["1"])?;
    let names: Vec<String> = (0..MANY).map(|number| format!("count-{number}")).collect();
    for name in &names {
        let document = format!(
            "image = {:?}\nhosts = [\"h0\"]\nnetwork = \"none\"\ncommand = [\"sh\", \"-c\", {COUNT:?}]\n",
            fleet.web("1")
        );
        fleet.write_document(name, &document)?;
    }
    let mut before = BTreeMap::new();
    for name in &names {
        let workload = fleet.wait_ready(name, &["h0"])?;
        before.insert(name.clone(), pid_on(&workload, "h0")?);
    }
    let containers = fleet.containers(0);
    assert_eq!(containers.len(), MANY);

    fleet.kill_agent(0)?;
    let seen: BTreeMap<&String, usize> = names.iter().map(|name| Ok((name, count_of(&fleet, name)?))).collect::<Result<_>>()?;
    // Nobody reads the logs for them but their monitors.
    wait_until(FLEET_LIMIT, "all logs grow without the agent", || {
        seen.iter().all(|(name, count)| count_of(&fleet, name).is_ok_and(|now| now > count + 10))
    })?;
    fleet.start_agent(0)?;
    fleet.wait_status("the new agent has reported all of them", |status| {
        let run = fleet.agent(0).process().map(|process| process.log()).unwrap_or_default();
        run.matches(": running").count() >= 2 && status.workloads.iter().all(|workload| workload.ready == 1)
    })?;
    let back: BTreeMap<&String, usize> = names.iter().map(|name| Ok((name, count_of(&fleet, name)?))).collect::<Result<_>>()?;
    wait_until(FLEET_LIMIT, "all logs go on", || {
        back.iter().all(|(name, count)| count_of(&fleet, name).is_ok_and(|now| now > count + 10))
    })?;

    let status = fleet.status()?;
    for name in &names {
        let workload = view(&status, name)?;
        assert_eq!(pid_on(&workload, "h0")?, before[name], "{name} has the same process");
        assert_eq!(restarts_on(&workload, "h0")?, 0, "{name}");
        assert!(on(&workload, "h0")?.report.as_ref().is_some_and(|report| report.ready), "{name}");
        for (expect, line) in fleet.log_lines(0, &format!("{name}.0"))?.iter().enumerate() {
            assert_eq!(line.m, expect.to_string(), "the log of {name} has a hole");
        }
    }
    assert_eq!(fleet.containers(0), containers);
    Ok(())
}

#[test]
fn a_ledger_cut_in_half_is_named_and_costs_no_container() -> Result<()> {
    let mut fleet = Plan::processes(1).start()?;
    fleet.push_web(&["1"])?;
    fleet.write_document("web", &format!("image = {:?}\nhosts = [\"h0\"]\nnetwork = \"none\"\n", fleet.web("1")))?;
    let pid = pid_on(&fleet.wait_ready("web", &["h0"])?, "h0")?;

    fleet.kill_agent(0)?;
    let ledger = fleet.agent(0).state_dir.join("ledger.json");
    let whole = std::fs::read(&ledger)?;
    std::fs::write(&ledger, &whole[..whole.len() / 2])?;
    fleet.start_agent(0)?;
    let log = wait_for(FLEET_LIMIT, "the agent gives up", || {
        let process = fleet.agent_mut(0).process_mut()?;
        process.ended().map(|status| (status.success(), process.log()))
    })?;
    assert!(!log.0, "it fails");
    assert!(log.1.contains("ledger.json is damaged") && log.1.contains("containers are left alone"), "{}", log.1);
    assert!(runs(pid));

    // The cure that it names.
    std::fs::rename(&ledger, ledger.with_extension("damaged"))?;
    fleet.restart_agent(0)?;
    wait_until(FLEET_LIMIT, "the coordinator's word is accepted anew", || ledger.exists())?;
    let web = fleet.wait_ready("web", &["h0"])?;
    assert_eq!((pid_on(&web, "h0")?, restarts_on(&web, "h0")?), (pid, 0));
    Ok(())
}
