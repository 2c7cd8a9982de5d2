//! Who is turned away by the coordinator, and what he is told: strangers, neighbours, and bodies without measure.

use anyhow::{Context, Result};
use coord_shared::wire::{ErrorBody, REPORT_MAX_BYTES, Report, WIRE_VERSION};
use coord_tests::config;
use coord_tests::fleet::{FLEET_LIMIT, Fleet, Plan};
use coord_tests::http::{self, Answer};
use coord_tests::process::{Place, Process};
use coord_tests::wait::wait_for;

fn report_of(host: &str) -> Result<Report> {
    Ok(Report {
        version: WIRE_VERSION,
        host: host.parse()?,
        agent_version: "0".to_owned(),
        sequence: 1,
        agent_run: "test".to_owned(),
        generation: None,
        full: None,
    })
}

/// The answer has this status and code, and says these words, in message or hint.
fn assert_refused(answer: &Answer, status: u16, code: &str, words: &[&str]) -> Result<()> {
    assert_eq!(answer.status, status, "{}", answer.text());
    let body: ErrorBody = serde_json::from_slice(&answer.body).context("an error that is not of the one shape")?;
    let said = format!("{} {}", body.message, body.hint.unwrap_or_default());
    assert_eq!(body.code, code, "{said}");
    for word in words {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
    Ok(())
}

fn known_hosts(fleet: &Fleet) -> Result<usize> {
    let output = fleet.coordctl(&["hosts", "-o", "json"])?;
    let hosts: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    hosts["hosts"].as_array().map(Vec::len).context("a list of hosts")
}

#[test]
fn a_host_speaks_for_itself_only() -> Result<()> {
    let fleet = Plan::processes(2).start()?;
    let (own, other) = (fleet.agent(0).token(), fleet.agent(1).token());

    let stranger = format!("coord-agent-{}", "A".repeat(43));
    assert_refused(&fleet.post_report("h0", &stranger, &report_of("h0")?)?, 401, "unauthorized", &["token"])?;
    assert_refused(&fleet.post_report("h0", "", &report_of("h0")?)?, 401, "unauthorized", &[])?;
    assert_refused(&fleet.post_report("h0", other, &report_of("h0")?)?, 403, "forbidden", &["h0", "h1"])?;
    assert_refused(&fleet.post_report("h0", own, &report_of("h1")?)?, 403, "forbidden", &["h1", "agent.toml"])?;
    // A name that nobody made known, with a good token or a bad one: there is nothing to be learnt.
    let unknown = fleet.post_report("ghost", own, &report_of("ghost")?)?;
    assert!([401, 403, 404].contains(&unknown.status), "{}", unknown.text());
    assert_refused(&fleet.post_report("ghost", &stranger, &report_of("ghost")?)?, 401, "unauthorized", &[])?;
    // And an agent is no admin.
    assert_refused(&fleet.post("/v1/hosts", own, br#"{"host":"h9"}"#)?, 403, "forbidden", &[])?;
    assert_eq!(known_hosts(&fleet)?, 2);
    Ok(())
}

#[test]
fn a_forgotten_host_is_told_what_to_do() -> Result<()> {
    let fleet = Plan::processes(1).start()?;
    fleet.wait_status("the coordinator is up", |_| true)?;
    assert!(fleet.coordctl(&["hosts", "remove", "h0"])?.status.success());
    let agent = fleet.agent(0).process()?;
    let said = wait_for(FLEET_LIMIT, "the agent says that it is turned away", || {
        let log = agent.log();
        log.lines().find(|line| line.contains("401")).map(str::to_owned)
    });
    let said = said.with_context(|| agent.log())?;
    assert!(said.contains("token") && said.contains("hosts add"), "{said}");
    Ok(())
}

#[test]
fn a_body_over_its_limit_is_refused_by_name() -> Result<()> {
    let fleet = Plan::processes(1).start()?;
    let token = fleet.agent(0).token();
    let mut large = report_of("h0")?;
    large.agent_version = "x".repeat(REPORT_MAX_BYTES);
    // The coordinator may hang up before it has read it all; then the answer is what it is for a client in a hurry.
    match fleet.post_report("h0", token, &large) {
        Ok(answer) => assert_refused(&answer, 413, "too_large", &[])?,
        Err(error) => assert!(format!("{error:#}").contains("pipe") || format!("{error:#}").contains("reset"), "{error:#}"),
    }
    assert_refused(&fleet.post("/v1/hosts/h0/report", token, b"{\"version\":")?, 400, "bad_request", &[])?;

    let document = tempfile::tempdir()?;
    let file = document.path().join("big.toml");
    std::fs::write(&file, format!("# {}\n", "x".repeat(2 * 1024 * 1024)))?;
    let output = fleet.coordctl(&["apply", &file.to_string_lossy()])?;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("big.toml") && said.contains("large"), "{said}");
    let health = http::get(&format!("{}/healthz", fleet.url()))?;
    assert_eq!(health.status, 200, "nothing of that has hurt");
    Ok(())
}

#[test]
fn tokens_do_not_travel_in_the_clear() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("coordinator.toml");
    let documents = dir.path().join("desired");
    std::fs::create_dir(&documents)?;
    let text = config::Coordinator {
        listen: "0.0.0.0:0",
        data_dir: &dir.path().join("data"),
        documents: &documents,
        registries: &[],
        shared: None,
        tls: None,
        secrets: None,
        tables: "",
    };
    std::fs::write(&file, text.to_toml())?;
    let program = coord_tests::binaries::path("coordinator")?;
    let log = dir.path().join("log");
    let mut process = Process::start("coordinator", &[&program, "--config", &file.to_string_lossy()], &Place::default(), &log)?;
    let status = wait_for(FLEET_LIMIT, "the coordinator refuses", || process.ended())?;
    assert!(!status.success());
    let said = process.log();
    assert!(said.contains("refusing to listen on 0.0.0.0:0 without TLS") && said.contains("[tls]"), "{said}");

    let file = dir.path().join("agent.toml");
    std::fs::write(&file, "host = \"h0\"\ncoordinator = [\"http://10.0.0.1:7700\"]\ntoken = \"x\"\n")?;
    let program = coord_tests::binaries::path("coord-agent")?;
    let output = Place::default().run(&[&program, "daemon", "--config", &file.to_string_lossy()])?;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("in the clear; use https"), "{said}");
    Ok(())
}
