//! A registry whose password only the coordinator knows: hosts get it with their state, a new one too, and nobody else sees it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use coord_tests::config::SharedRegistry;
use coord_tests::faulty::FaultyRegistry;
use coord_tests::fleet::view::pid_on;
use coord_tests::fleet::{Fleet, Plan};
use coord_tests::image::web;
use coord_tests::process::runs;
use coord_tests::registry::TestRegistry;

/// Passwords that appear nowhere by chance, and what HTTP makes of them (RFC 7617, with the user `puller`).
const FIRST: (&str, &str) = ("first-sesame", "Basic cHVsbGVyOmZpcnN0LXNlc2FtZQ==");
const SECOND: (&str, &str) = ("second-sesame", "Basic cHVsbGVyOnNlY29uZC1zZXNhbWU=");

fn publish(fleet: &Fleet, workload: &str, image: &str) -> Result<()> {
    fleet.write_document(workload, &format!("image = {image:?}\nhosts = [\"h0\"]\nnetwork = \"none\"\n"))
}

/// Files below `dir` that hold `secret` and are open to others than their owner, or are logs.
fn leaks(dir: &Path, secret: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?.flatten() {
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() && !["images", "c"].contains(&name.as_str()) {
            found.extend(leaks(&path, secret)?);
        } else if kind.is_file() {
            let holds = fs::read(&path)?.windows(secret.len()).any(|window| window == secret.as_bytes());
            let is_open = entry.metadata()?.permissions().mode() & 0o077 != 0;
            if holds && (is_open || name != "ledger.json") {
                found.push(path.display().to_string());
            }
        }
    }
    Ok(found)
}

#[test]
fn a_new_password_reaches_the_hosts_and_replaces_nothing() -> Result<()> {
    let registry = TestRegistry::start()?;
    for version in ["1", "2"] {
        registry.push(&web::image(version)?, "demo/web", version)?;
    }
    let guarded = FaultyRegistry::start(registry.authority())?;
    guarded.require(FIRST.1);
    let (authority, username, password) = (guarded.authority().to_owned(), "puller".to_owned(), FIRST.0.to_owned());
    let mut fleet = Plan::processes(1).shared_registry(SharedRegistry { authority, username, password }).start()?;
    publish(&fleet, "web", &guarded.reference("demo/web", "1"))?;
    let pid = pid_on(&fleet.wait_ready("web", &["h0"])?, "h0")?;

    guarded.require(SECOND.1);
    fleet.change_password(SECOND.0)?;
    publish(&fleet, "next", &guarded.reference("demo/web", "2"))?;
    fleet.wait_ready("next", &["h0"])?;
    let web = fleet.wait_ready("web", &["h0"])?;
    assert!(runs(pid) && pid_on(&web, "h0")? == pid, "a new login replaces no container");

    // An agent that starts while no coordinator answers still knows it.
    let ledger = fs::read_to_string(fleet.agent(0).state_dir.join("ledger.json"))?;
    assert!(ledger.contains(SECOND.0) && !ledger.contains(FIRST.0), "the ledger has the newest login and no other");
    let home = fleet.agent(0).state_dir.parent().context("a folder")?.to_owned();
    for secret in [FIRST.0, SECOND.0] {
        assert_eq!(leaks(&home, secret)?, [] as [String; 0], "only the ledger holds it, for its owner alone");
        for shown in [fleet.coordctl(&["status", "-o", "json"])?, fleet.coordctl(&["hosts", "-o", "json"])?] {
            assert!(!String::from_utf8_lossy(&shown.stdout).contains(secret));
        }
        assert!(!fleet.coordinator()?.log().contains(secret), "the coordinator's log");
    }
    Ok(())
}
