//! Health checks and hooks with real containers: who is restarted, who is kept, and in what words it is told.

use anyhow::{Context as _, Result};
use coord_shared::names::Revision;
use coord_shared::wire::{HealthStatus, InstanceReport, StatusView};
use coord_tests::fleet::view::{on, pid_on, restarts_on, view};
use coord_tests::fleet::{FLEET_LIMIT, Fleet, Plan, free_port};
use coord_tests::http;
use coord_tests::process::describe;
use coord_tests::wait::{stays, wait_until};
use std::time::Duration;

/// Asked often, so that a test need not wait long.
const OFTEN: &str = "interval = \"300ms\"\nretries = 2\n";

fn fleet() -> Result<Fleet> {
    let fleet = Plan::processes(1).start()?;
    fleet.push_web(&["1", "2"])?;
    Ok(fleet)
}

fn document(fleet: &Fleet, version: &str, rest: &str) -> String {
    format!("image = {:?}\nhosts = [\"h*\"]\nstop_grace_period = \"5s\"\n{rest}", fleet.web(version))
}

fn report(status: &StatusView) -> Option<InstanceReport> {
    on(&view(status, "web").ok()?, "h0").ok()?.report.clone()
}

fn reason(status: &StatusView) -> String {
    report(status).and_then(|report| report.reason).map(|reason| reason.to_string()).unwrap_or_default()
}

fn is(status: &StatusView, health: HealthStatus) -> bool {
    report(status).and_then(|report| report.health).is_some_and(|seen| seen.status == health)
}

fn inside(fleet: &Fleet, line: &str) -> Result<()> {
    let done = fleet.coordctl(&["exec", "web", "--", "sh", "-c", line])?;
    anyhow::ensure!(done.status.success(), "{line}: {}", describe(&done));
    Ok(())
}

#[test]
fn an_ill_container_is_replaced_and_an_agents_death_disturbs_no_well_one() -> Result<()> {
    let mut fleet = fleet()?;
    let check = format!("[healthcheck]\ntest = [\"CMD-SHELL\", \"cat /www/healthz\"]\n{OFTEN}");
    fleet.write_document("web", &document(&fleet, "1", &check))?;
    let status = fleet.wait_status("web is healthy", |status| is(status, HealthStatus::Healthy))?;
    assert!(report(&status).is_some_and(|report| report.ready), "{status:?}");
    let pid = pid_on(&view(&status, "web")?, "h0")?;

    fleet.restart_agent(0)?;
    stays(Duration::from_secs(2), "the same container is ready", || {
        let Ok(status) = fleet.status() else { return true };
        let same = view(&status, "web").and_then(|web| pid_on(&web, "h0")).is_ok_and(|now| now == pid);
        same && report(&status).is_some_and(|report| report.ready)
    })?;

    inside(&fleet, "rm /www/healthz")?;
    let status = fleet.wait_status("a new container is healthy", |status| {
        let web = view(status, "web").ok();
        is(status, HealthStatus::Healthy) && web.is_some_and(|web| restarts_on(&web, "h0").is_ok_and(|restarts| restarts == 1))
    })?;
    assert_ne!(pid_on(&view(&status, "web")?, "h0")?, pid);
    Ok(())
}

#[test]
fn what_would_not_be_restarted_is_left_and_shown() -> Result<()> {
    let fleet = fleet()?;
    let port = free_port()?;
    let check = format!("network = \"host\"\nrestart = \"no\"\n[healthcheck]\ntcp = \":{port}\"\n{OFTEN}");
    fleet.write_document("web", &document(&fleet, "1", &check))?;
    let status = fleet.wait_status("web is ill", |status| is(status, HealthStatus::Unhealthy))?;
    let why = reason(&status);
    assert!(why.contains("left running (restart = \"no\")") && why.ends_with("connection refused"), "{why}");
    let shown = fleet.coordctl(&["status", "web"])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("running (unhealthy)") && shown.contains(&format!("cannot connect to 127.0.0.1:{port}")), "{shown}");
    assert!(shown.contains("loosened: host's network"), "{shown}");
    Ok(())
}

#[test]
fn with_start_first_the_old_serves_until_the_new_is_healthy() -> Result<()> {
    let fleet = fleet()?;
    let rollout = "network = \"host\"\n[rollout]\norder = \"start-first\"\nmonitor = \"0s\"\n";
    let revision = |version: &str, port: u16, asked: u16| {
        let check = format!("[healthcheck]\nhttp = \"http://:{asked}/healthz\"\n{OFTEN}");
        document(&fleet, version, &format!("environment = {{ LISTEN = \"127.0.0.1:{port}\" }}\n{rollout}{check}"))
    };
    let (old, new, nobody) = (free_port()?, free_port()?, free_port()?);
    let page = |port: u16| http::get(&format!("http://127.0.0.1:{port}/"));
    fleet.write_document("web", &revision("1", old, old))?;
    fleet.wait_ready("web", &["h0"])?;

    // It runs, and never says that it is well.
    fleet.write_document("web", &revision("2", new, nobody))?;
    wait_until(FLEET_LIMIT, "the new one is restarted for illness", || {
        fleet.status().is_ok_and(|status| reason(&status).contains("unhealthy (2 failed checks in a row)"))
    })?;
    stays(Duration::from_secs(2), "the old one serves", || page(old).is_ok())?;
    let status = fleet.status()?;
    assert!(report(&status).is_some_and(|report| report.ready && report.revision == Some(Revision(1))), "{status:?}");

    fleet.write_document("web", &revision("2", new, new))?;
    fleet.wait_ready("web", &["h0"])?;
    wait_until(FLEET_LIMIT, "the old one gives way", || page(old).is_err())?;
    assert!(page(new)?.text().contains("web 2"));
    Ok(())
}

#[test]
fn hooks_run_at_both_ends_of_a_life() -> Result<()> {
    let fleet = fleet()?;
    let hooks = "[[post_start]]\ncommand = [\"sh\", \"-c\", \"echo warm $HEAT > /www/warm\"]\nenvironment = { HEAT = \"now\" }\n\
                 [[pre_stop]]\ncommand = [\"sh\", \"-c\", \"echo draining > /proc/1/fd/1\"]\n";
    fleet.write_document("web", &document(&fleet, "1", hooks))?;
    fleet.wait_ready("web", &["h0"])?;
    inside(&fleet, "grep -q 'warm now' /www/warm")?;
    fleet.delete_document("web")?;
    let said = || -> Vec<String> { fleet.log_lines(0, "web.0").unwrap_or_default().into_iter().map(|line| line.m).collect() };
    wait_until(FLEET_LIMIT, "it stopped", || said().iter().any(|line| line == "web stops"))?;
    let said = said();
    let drained = said.iter().position(|line| line == "draining").context("it was drained")?;
    assert!(said.iter().position(|line| line == "web stops").is_some_and(|stopped| drained < stopped), "{said:?}");
    Ok(())
}

#[test]
fn a_hook_that_fails_is_a_start_that_fails() -> Result<()> {
    let fleet = fleet()?;
    let hooks =
        "[restart_policy]\nmax_attempts = 1\n[[post_start]]\ncommand = [\"sh\", \"-c\", \"echo no database >&2; exit 3\"]\n";
    fleet.write_document("web", &document(&fleet, "1", hooks))?;
    let status = fleet.wait_status("it is given up", |status| reason(status).contains("not tried again"))?;
    let why = reason(&status);
    assert!(why.contains("post_start hook `sh -c echo no database >&2; exit 3` failed: exit code 3: no database"), "{why}");
    assert!(why.contains("(2 times), not tried again (restart_policy.max_attempts = 1)"), "{why}");
    wait_until(FLEET_LIMIT, "nothing is left of it", || {
        fleet.status().is_ok_and(|status| report(&status).is_some_and(|r| r.pid.is_none()))
    })
}
