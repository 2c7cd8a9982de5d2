//! Containers with addresses of their own on a real agent: published ports from outside, through a rollout, an agent's death and a
//! flushed packet filter; a port that is taken; and that nothing is left.

use std::path::PathBuf;

use anyhow::{Context, Result};
use coord_tests::cell::{INSIDE, ok};
use coord_tests::image::web;
use coord_tests::lone::{LONE_LIMIT, LoneHost};
use coord_tests::process::{Place, Process};
use coord_tests::wait::wait_until;

/// A document of the web server; `extra` is more of its first table.
fn document(image: &str, greeting: &str, extra: &str) -> String {
    format!(
        "image = {image:?}\nenvironment = {{ GREETING = {greeting:?} }}\n{extra}\nstop_grace_period = \"2s\"\n\
         [healthcheck]\nhttp = \"http://:8080/healthz\"\ninterval = \"1s\"\nstart_period = \"30s\"\nstart_interval = \"100ms\"\n\
         [rollout]\norder = \"start-first\"\n"
    )
}

/// What is answered at a port of the host; empty where nothing is.
fn ask(from: &Place, port: u16) -> String {
    let line = ["curl", "-s", "--max-time", "5", &format!("http://{INSIDE}:{port}/")];
    from.run(&line).map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

fn says(host: &LoneHost, from: &Place, port: u16, part: &str) -> Result<()> {
    wait_until(LONE_LIMIT, &format!("port {port} answers {part}"), || ask(from, port).contains(part))
        .with_context(|| host.agent_log())
}

fn start() -> Result<(LoneHost, Place)> {
    let mut host = LoneHost::in_cell()?;
    let outside = host.cell().context("it has a cell")?.plug_in()?;
    host.start_agent()?;
    Ok((host, outside))
}

#[test]
fn a_published_port_answers_through_a_rollout_and_an_agents_death() -> Result<()> {
    let (mut host, outside) = start()?;
    let image = host.push(&web::image("1")?, "web")?;
    host.write("web", &document(&image, "one", "ports = [\"80:8080\"]"))?;
    says(&host, &outside, 80, "one from web 1")?;
    let first = host.wait_running("web.0")?;

    // No request fails from here on.
    host.write("web", &document(&image, "two", "ports = [\"80:8080\"]"))?;
    let mut answers = Vec::new();
    wait_until(LONE_LIMIT, "the new one answers", || {
        answers.push(ask(&outside, 80));
        answers.last().is_some_and(|answer| answer.contains("two from web"))
    })?;
    assert!(answers.iter().all(|answer| answer.contains("from web 1")), "{answers:?}\n{}", host.agent_log());
    wait_until(LONE_LIMIT, "the old one is gone", || host.running().get("web.0").is_some_and(|seen| seen.id != first.id))?;

    host.kill_agent()?;
    assert!(ask(&outside, 80).contains("two from web"), "nobody is needed for a port");
    let place = host.cell_place().context("a cell")?;
    ok(&place, &["nft", "flush", "ruleset"])?;
    assert_eq!(ask(&outside, 80), "");
    let before = host.wait_running("web.0")?;
    host.start_agent()?;
    says(&host, &outside, 80, "two from web")?;
    assert_eq!(host.wait_running("web.0")?, before, "it was not restarted");

    host.delete("web")?;
    host.wait_empty()?;
    wait_until(LONE_LIMIT, "its link is gone", || ok(&place, &["ip", "-o", "link"]).is_ok_and(|links| !links.contains(": cv")))?;
    assert_eq!(ask(&outside, 80), "");
    // Its addresses are free a moment after its link is gone, never before.
    let leases = || std::fs::read_to_string(host.path("run/net/leases.json")).unwrap_or_default();
    wait_until(LONE_LIMIT, "its addresses are free", || leases().contains("\"leases\":{}")).with_context(leases)?;
    host.stop_agent()?;
    host.ok(&["purge"])?;
    assert!(!ok(&place, &["nft", "list", "ruleset"])?.contains("coord"));
    assert!(!ok(&place, &["ip", "-o", "link"])?.contains("coord0"));
    Ok(())
}

#[test]
fn a_port_that_is_taken_is_a_reason_and_stops_nothing() -> Result<()> {
    let (host, outside) = start()?;
    let image = host.push(&web::image("1")?, "web")?;
    host.write("web", &document(&image, "one", "ports = [\"80:8080\"]"))?;
    says(&host, &outside, 80, "one from web 1")?;
    let before = host.wait_running("web.0")?;

    let place = host.cell_place().context("a cell")?;
    let log: PathBuf = host.path("httpd.log");
    let program = Process::start("httpd", &["busybox", "httpd", "-f", "-p", "81", "-h", "/etc"], &place, &log)?;
    wait_until(LONE_LIMIT, "it listens", || ok(&place, &["ss", "-ltn"]).is_ok_and(|list| list.contains(":81")))?;
    host.write("web", &document(&image, "two", "ports = [\"81:8080\"]"))?;
    let reason = || host.ok(&["ps", "--output", "json"]).unwrap_or_default();
    wait_until(LONE_LIMIT, "the reason is told", || reason().contains("port_taken") && reason().contains("busybox (pid"))
        .with_context(|| format!("{}\n{}", reason(), host.agent_log()))?;
    assert_eq!(host.wait_running("web.0")?, before);
    assert!(ask(&outside, 80).contains("one from web"));

    // Another instance that has a port is in the way like a program.
    host.write("other", &document(&image, "other", "ports = [\"80:8080\"]"))?;
    wait_until(LONE_LIMIT, "the reason names the instance", || reason().contains("instance web.0"))?;

    program.kill()?;
    says(&host, &outside, 81, "two from web")?;
    says(&host, &outside, 80, "other from web")?;
    Ok(())
}

#[test]
fn a_container_knows_names_and_servers() -> Result<()> {
    let (host, _outside) = start()?;
    let image = host.push(&web::image("1")?, "web")?;
    let script = "cat /etc/hosts /etc/resolv.conf; ip -o addr; echo end";
    let extra = "extra_hosts = { db = \"192.0.2.7\", gate = \"host-gateway\" }\ndns = [\"192.0.2.53\"]\ndns_search = [\"lan\"]";
    let text = format!(
        "image = {image:?}\nrestart = \"no\"\nnetwork = \"bridge\"\nentrypoint = [\"/bin/sh\", \"-c\"]\ncommand = [{script:?}]\n{extra}\n"
    );
    host.write("job", &text)?;
    let messages = || host.messages("job.0");
    wait_until(LONE_LIMIT, "it has said all", || messages().iter().any(|line| line == "end"))
        .with_context(|| format!("{:?}\n{}", messages(), host.agent_log()))?;
    let said = messages();
    for expect in ["192.0.2.7\tdb", "10.207.0.1\tgate", "10.207.0.2\tjob-0", "nameserver 192.0.2.53", "search lan"] {
        assert!(said.iter().any(|line| line == expect), "{expect}: {said:?}");
    }
    assert!(said.iter().any(|line| line.contains("inet 10.207.0.2/16")), "{said:?}");
    Ok(())
}
