//! Tests of a pipeline that run side by side: the example's own test step, which publishes the checkout as a file cache and starts a second
//! container for each part of the tests, on a real line from a repository to an image.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use coord_shared::wire::{RunState, RunView};
use coord_tests::fleet::line::{RUN_LIMIT, times};
use coord_tests::fleet::{Fleet, Plan, free_port};
use coord_tests::process::Place;
use coord_tests::source::{Git, Repository};
use coord_tests::wait::{wait_for, wait_until};
use coord_tests::{say, shop};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/pipelines/parallel.toml");
/// The parts of its tests.
const PARTS: [&str; 3] = ["cart", "price", "stock"];
/// One part: sees the checkout, cannot change it, and knows what it is. With a file `gate` in the repository, it waits for a file `go`.
const RUN: &str = r#"#!/bin/sh
set -eu
echo "$1 begins in $(cat /proc/sys/kernel/hostname)"
if touch /workspace/touched 2>/dev/null; then echo "the checkout can be changed"; exit 9; fi
if [ -e gate ]; then until [ -e go ]; do usleep 20000; done; fi
[ "$1" != price ] || sh test.sh
echo "$1 ends"
"#;

/// A host that builds, a repository, and the pipeline of the example but for the names in it.
fn start() -> Result<(Fleet, Git)> {
    let fleet = Plan::processes(1).builder(0).start()?;
    shop::push_compiler(&fleet)?;
    let git = Git::start(&Place::default(), ("127.0.0.1", free_port()?))?;
    let example = fs::read_to_string(EXAMPLE).context("read the example")?;
    let from = example.find("[test]").context("its tests")?;
    let to = example.find("[package]").context("what follows its tests")?;
    let tests = example[from..to].replace("registry.example.com/rust:1.95", &format!("coord.internal/{}", shop::COMPILER));
    let text = format!(
        "[source]\n{}\n[trigger]\npoll = \"5s\"\n[build]\nimage = \"coord.internal/{}\"\nnetwork = \"none\"\n\
         steps = [\"cc -o shop shop.c\"]\n{}[package]\ninclude = [\"shop\"]\n[image]\nrepository = \"shop\"\nentrypoint = [\"/app/shop\"]\n",
        git.source(),
        shop::COMPILER,
        tests.replace("[test]\n", "[test]\nnetwork = \"none\"\n"),
    );
    fleet.write_pipeline("shop", &text)?;
    Ok((fleet, git))
}

fn with_tests(mut files: Vec<(&'static str, String)>, more: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    files.push(("tests/run.sh", RUN.to_owned()));
    files.extend_from_slice(more);
    files
}

fn says(log: &str, words: &str) -> bool {
    log.lines().any(|line| line.contains(&format!("\"{words}\"")))
}

/// Nothing of what ran within steps is left on the builder: no record, no cache, no door, no container, no mount.
fn nothing_is_left(fleet: &Fleet) -> Result<()> {
    let agent = fleet.agent(0);
    let folders: Vec<PathBuf> = ["p", "c", "d", "images"]
        .iter()
        .flat_map(|folder| [agent.state_dir.join("nested").join(folder), agent.run_dir.join("nested").join(folder)])
        .collect();
    // A step may have handed a secret to what it started.
    let folders = [folders, vec![agent.state_dir.join("log/nested")]].concat();
    let left = || -> Vec<PathBuf> {
        let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        entries.map(|entry| entry.path()).collect()
    };
    wait_until(RUN_LIMIT, "nothing is left of what ran within steps", || left().is_empty())
        .with_context(|| format!("{:?}", left()))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
    let below = |folder: &Path| mounts.lines().any(|line| line.contains(&format!(" {}", folder.display())));
    ensure!(!below(&agent.state_dir.join("nested")) && !below(&agent.run_dir.join("nested")), "a mount is left:\n{mounts}");
    Ok(())
}

fn all_parts_ran(fleet: &Fleet, run: &RunView) -> Result<String> {
    let log = fleet.run_log(run)?;
    for part in PARTS {
        ensure!(says(&log, &format!("{part} begins in {part}")), "{part} did not begin in a container of its own:\n{log}");
    }
    Ok(log)
}

#[test]
fn tests_run_side_by_side_with_the_checkout_in_a_file_cache() -> Result<()> {
    let (fleet, git) = start()?;
    let good = git.commit("Begin to sell", &with_tests(shop::version("1"), &[]))?;
    let run = fleet.wait_success("shop", &good)?;
    say(&times(&run));
    let log = all_parts_ran(&fleet, &run)?;
    ensure!(PARTS.iter().all(|part| says(&log, &format!("{part} ends"))) && says(&log, "all is well"), "{log}");
    nothing_is_left(&fleet)?;

    let broken = git.commit("Sell for more", &with_tests(shop::broken("2"), &[]))?;
    let run = fleet.wait_over("shop", &broken)?;
    assert_eq!(run.state, RunState::Failed, "{run:#?}");
    let log = all_parts_ran(&fleet, &run)?;
    ensure!(says(&log, "price: exit code 1") && says(&log, "stock ends") && !says(&log, "price ends"), "{log}");
    nothing_is_left(&fleet)
}

/// Waits until all parts run, and gives the workspace, which they see live.
fn wait_gate(fleet: &Fleet) -> Result<PathBuf> {
    let agent = fleet.agent(0);
    let logs = agent.state_dir.join("log/nested");
    wait_for(RUN_LIMIT, "all parts to begin", || {
        let parent = fs::read_dir(&logs).ok()?.flatten().next()?.path();
        let has_begun = |part: &&str| {
            let log = fs::read_to_string(parent.join(format!("{part}.jsonl"))).unwrap_or_default();
            log.contains("begins in")
        };
        PARTS.iter().all(has_begun).then(|| agent.state_dir.join("builds/work/shop/workspace"))
    })
}

#[test]
fn an_agent_that_is_killed_meanwhile_finds_them_again() -> Result<()> {
    let (mut fleet, git) = start()?;
    let commit = git.commit("Begin to sell", &with_tests(shop::version("1"), &[("gate", "wait\n".to_owned())]))?;
    let workspace = wait_gate(&fleet)?;
    fleet.kill_agent(0)?;
    fleet.start_agent(0)?;
    fs::write(workspace.join("go"), "").context("open the gate")?;
    let run = fleet.wait_success("shop", &commit)?;
    let log = all_parts_ran(&fleet, &run)?;
    let begins = log.lines().filter(|line| line.contains("begins in")).count();
    assert_eq!(begins, PARTS.len(), "each went on, and none ran twice:\n{log}");
    nothing_is_left(&fleet)
}

#[test]
fn a_run_that_is_cancelled_takes_them_along() -> Result<()> {
    let (fleet, git) = start()?;
    let commit = git.commit("Begin to sell", &with_tests(shop::version("1"), &[("gate", "wait\n".to_owned())]))?;
    wait_gate(&fleet)?;
    let cancelled = fleet.coordctl(&["pipeline", "cancel", "shop"])?;
    ensure!(cancelled.status.success(), "{}", String::from_utf8_lossy(&cancelled.stderr));
    let run = fleet.wait_over("shop", &commit)?;
    assert_eq!(run.state, RunState::Cancelled, "{run:#?}");
    nothing_is_left(&fleet)
}
