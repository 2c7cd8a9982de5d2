//! The agent's commands on a host: the same with a running agent, through its socket, as without one.

use std::fs;

use anyhow::{Context, Result};
use coord_tests::fleet::{FLEET_LIMIT, free_port};
use coord_tests::image::web;
use coord_tests::process::{Process, describe};
use coord_tests::wait::wait_until;
use serde_json::Value;

use super::alone::{Alone, wait_page};

/// What a command says to programs; it must succeed.
fn json(host: &Alone, words: &[&str]) -> Result<Value> {
    let output = host.command(&[words, &["-o", "json"]].concat())?;
    assert!(output.status.success(), "{words:?}: {}", describe(&output));
    serde_json::from_slice(&output.stdout).with_context(|| describe(&output))
}

/// The words on stderr of a command that must fail.
fn refused(host: &Alone, words: &[&str]) -> Result<String> {
    let output = host.command(words)?;
    assert_eq!(output.status.code(), Some(1), "{words:?}: {}", describe(&output));
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The images, by what may not depend on whom is asked.
fn listed(host: &Alone) -> Result<Vec<(String, String, u64)>> {
    let rows = json(host, &["image", "ls"])?;
    let rows = rows.as_array().context("a list")?.iter().map(|row| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&row["references"][0]), text(&row["used_by"][0]), row["content_bytes"].as_u64().unwrap_or(0))
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    Ok(rows)
}

#[test]
fn images_are_looked_after_with_and_without_a_running_agent() -> Result<()> {
    let mut host = Alone::start()?;
    host.registry.push(&web::image("2")?, "demo/web", "2")?;
    let (used, other) = (host.registry.reference("demo/web", "1"), host.registry.reference("demo/web", "2"));
    let address = format!("127.0.0.1:{}", free_port()?);
    host.write(&address, "Hello")?;
    wait_page(&format!("http://{address}/"), "Hello")?;

    let pulled = json(&host, &["image", "pull", &other])?;
    assert_eq!(pulled["was_here"], false, "{pulled}");
    let digest = pulled["digest"].as_str().context("a digest")?.to_owned();
    assert_eq!(json(&host, &["image", "pull", &other])?["was_here"], true);
    let through_the_socket = listed(&host)?;
    let names: Vec<(&str, &str)> = through_the_socket.iter().map(|(name, user, _)| (name.as_str(), user.as_str())).collect();
    assert_eq!(names, [(used.as_str(), "web.0"), (other.as_str(), "")]);

    let view = host.path("view");
    fs::create_dir(&view)?;
    json(&host, &["image", "mount", &digest[..20], &view.to_string_lossy()])?;
    assert!(fs::read_dir(&view)?.next().is_some(), "the image's files are shown");
    assert!(fs::write(view.join("new"), "").is_err(), "and cannot be changed");
    json(&host, &["image", "unmount", &view.to_string_lossy()])?;
    assert!(fs::read_dir(&view)?.next().is_none());

    let gone = refused(&host, &["image", "inspect", "no/such:1"])?;
    assert!(gone.contains("error: there is no image no/such:1") && gone.contains("hint: "), "{gone}");
    let missing = refused(&host, &["image", "pull", &host.registry.reference("demo/web", "3")])?;
    assert!(missing.contains("demo/web:3"), "{missing}");

    drop(host.agent.take().map(Process::stop));
    assert_eq!(listed(&host)?, through_the_socket, "the store says what the socket said");
    assert_eq!(json(&host, &["image", "inspect", &used])?["used_by"][0], "web.0");
    assert_eq!(json(&host, &["image", "verify"])?["findings"], Value::Array(Vec::new()));
    assert_eq!(json(&host, &["image", "prune"])?["images"], Value::Array(Vec::new()), "it was used a moment ago");

    host.start_agent()?;
    let agent_answers = || host.path("run/agent.sock").exists() && listed(&host).is_ok();
    wait_until(FLEET_LIMIT, "the agent is back", agent_answers)?;
    assert_eq!(json(&host, &["image", "prune", "--all"])?["images"], serde_json::json!([digest]));
    assert_eq!(listed(&host)?.len(), 1, "what an instance needs stays");
    Ok(())
}

#[test]
fn the_doctor_examines_a_host() -> Result<()> {
    let host = Alone::start()?;
    let output = host.command(&["doctor", "-o", "json"])?;
    let checks: Vec<Value> = serde_json::from_slice(&output.stdout).with_context(|| describe(&output))?;
    let verdict = |what: &str| {
        let check = checks.iter().find(|check| check["what"].as_str().is_some_and(|text| text.starts_with(what)));
        check.and_then(|check| check["verdict"].as_str()).map(str::to_owned)
    };
    let has_problem = checks.iter().any(|check| check["verdict"] == "problem");
    assert_eq!(output.status.success(), !has_problem, "{}", describe(&output));
    for works in
        ["agent.toml", "kernel", "overlayfs", "namespaces", "seccomp", "images", "registry 127.0.0.1", "helper coord-shim"]
    {
        assert_eq!(verdict(works).as_deref(), Some("ok"), "{works}: {}", describe(&output));
    }

    fs::write(host.path("agent.toml"), "hots = 1\n")?;
    let output = host.command(&["doctor", "--quiet"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && text.contains("unknown field `hots`") && text.contains("cure: "), "{text}");
    Ok(())
}
