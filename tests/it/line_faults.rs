//! The line under fire: whoever takes part in it is killed, and what is built is hostile.
//!
//! Hosts are plain processes here, and the shop's document has no network: what is looked at is the line, not the page.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coord_shared::wire::{RunState, RunView};
use coord_tests::fleet::line::{RUN_LIMIT, times};
use coord_tests::fleet::{FLEET_LIMIT, Fleet, Plan, free_port};
use coord_tests::process::Place;
use coord_tests::source::{Git, Repository};
use coord_tests::wait::{stays, wait_for, wait_until};
use coord_tests::{images, shop};

/// The secret of the webhook.
const SECRET: &str = "sesame";
/// Nobody looks by himself: the tests say when.
const WEBHOOK: &str = "[trigger]\npoll = \"never\"\nwebhook = { secret = \"shop-hook\" }\n";

/// A fleet with `builders` hosts that build, and a last one that serves; and a repository.
fn start(builders: usize) -> Result<(Fleet, Git)> {
    let mut plan = Plan::processes(builders + 1).label(builders, "role", "web").secret("shop-hook", SECRET);
    for number in 0..builders {
        plan = plan.builder(number);
    }
    let fleet = plan.start()?;
    shop::push_compiler(&fleet)?;
    let git = Git::start(&Place::default(), ("127.0.0.1", free_port()?))?;
    Ok((fleet, git))
}

/// The shop's files, with a document that needs no network, and some more files.
fn files(version: &str, more: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    let mut files = shop::version(version);
    let document = files.iter_mut().find(|(name, _)| *name == "deploy/web.toml");
    document.into_iter().for_each(|(_, text)| *text = text.replace("\"host\"", "\"none\""));
    files.extend_from_slice(more);
    files
}

/// Has the source looked at now.
fn look(fleet: &Fleet) -> Result<()> {
    let answer =
        fleet.request("POST", "/v1/pipelines/shop/webhook", &[&format!("Authorization: Bearer {SECRET}")], Some(b"{}"))?;
    ensure!(answer.status < 300, "{} {}", answer.status, answer.text());
    Ok(())
}

fn push(fleet: &Fleet, git: &Git, subject: &str, files: &[(&'static str, String)]) -> Result<String> {
    let commit = git.commit(subject, files)?;
    look(fleet)?;
    Ok(commit)
}

/// The shop's pipeline with other steps in `[build]`.
fn with_steps(git: &Git, steps: &[&str], tables: &str) -> String {
    let text = shop::pipeline(&git.source(), &format!("{WEBHOOK}{tables}"));
    text.replace("steps = [\"cc -o shop shop.c\"]", &format!("steps = {steps:?}"))
}

/// The part of a run that goes on.
fn part(run: &RunView) -> &str {
    run.stages.last().filter(|part| part.took_ms.is_none()).map_or("", |part| &part.stage)
}

#[test]
fn a_coordinator_that_is_killed_at_any_stage_goes_on() -> Result<()> {
    let (mut fleet, git) = start(1)?;
    // Enough that packing, uploading and making the image take a moment.
    let steps = ["cc -o shop shop.c", "dd if=/dev/urandom of=assets/noise bs=1M count=8", "sleep 0.3"];
    fleet.write_pipeline("shop", &with_steps(&git, &steps, ""))?;
    let mut killed = Vec::new();
    for (number, stage) in ["fetch", "build", "test", "package", "upload", "image", "deploy"].iter().enumerate() {
        let version = number.to_string();
        let commit = push(&fleet, &git, &format!("Version {version}"), &files(&version, &[]))?;
        let seen = wait_for(RUN_LIMIT, "the run comes to the stage, or past it", || {
            let runs = fleet.runs("shop").ok()?;
            let run = runs.iter().find(|run| run.commit.to_string() == commit)?;
            (run.stages.iter().any(|part| part.stage == *stage) || run.state.is_over()).then(|| part(run).to_owned())
        })?;
        killed.push(seen);
        fleet.kill_coordinator()?;
        fleet.start_coordinator()?;
        let run = fleet.wait_success("shop", &commit)?;
        coord_tests::say(&times(&run));
        let made = run.image.context("no image")?;
        let manifest = fleet.api("GET", &format!("/v2/shop/manifests/{}", made.digest), None)?;
        let manifest: serde_json::Value = serde_json::from_slice(&manifest.body)?;
        for layer in manifest["layers"].as_array().context("layers")? {
            let digest = layer["digest"].as_str().context("a digest")?;
            let blob = fleet.api("GET", &format!("/v2/shop/blobs/{digest}"), None)?;
            assert_eq!(coord_tests::image::sha256(&blob.body), digest);
        }
        fleet.wait_revision("web", u64::try_from(number)? + 1)?;
    }
    coord_tests::say(&format!("killed while in {killed:?}"));
    Ok(())
}

#[test]
fn an_agent_that_is_killed_in_a_step_finds_the_step_again() -> Result<()> {
    let (mut fleet, git) = start(1)?;
    let steps = ["echo it begins; sleep 3; echo it ends", "cc -o shop shop.c"];
    fleet.write_pipeline("shop", &with_steps(&git, &steps, ""))?;
    let commit = push(&fleet, &git, "Begin", &files("1", &[]))?;
    let run = fleet.wait_run("shop", "its first step runs", |run| {
        run.steps.iter().any(|step| step.stage == "build" && step.started_at.is_some())
    })?;
    fleet.kill_agent(0)?;
    fleet.start_agent(0)?;
    let run = fleet.wait_success("shop", run.commit.as_str())?;
    assert_eq!(run.commit.to_string(), commit);
    let log = fleet.run_log(&run)?;
    let said = |words: &str| log.lines().filter(|line| line.contains(&format!("\"{words}\""))).count();
    assert_eq!((said("it begins"), said("it ends")), (1, 1), "the step went on, and was not run twice:\n{log}");

    // During the upload, where it is caught: a large archive.
    let large = with_steps(&git, &["cc -o shop shop.c", "dd if=/dev/urandom of=assets/noise bs=1M count=30"], "");
    fleet.write_pipeline("shop", &large)?;
    let commit = push(&fleet, &git, "Grow", &files("2", &[]))?;
    fleet.wait_run("shop", "it uploads, or has done so", |run| {
        run.commit.to_string() == commit && run.stages.iter().any(|part| part.stage == "upload" || part.stage == "image")
    })?;
    fleet.kill_agent(0)?;
    fleet.start_agent(0)?;
    fleet.wait_success("shop", &commit)?;
    Ok(())
}

#[test]
fn another_builder_takes_over_from_one_that_is_gone_for_good() -> Result<()> {
    let (mut fleet, git) = start(2)?;
    fleet.write_pipeline("shop", &with_steps(&git, &["sleep 4", "cc -o shop shop.c"], ""))?;
    let commit = push(&fleet, &git, "Begin", &files("1", &[]))?;
    let run = fleet.wait_run("shop", "its first step runs", |run| {
        run.steps.iter().any(|step| step.stage == "build" && step.started_at.is_some())
    })?;
    let first = run.builder.context("no builder")?.to_string();
    let number: usize = first.trim_start_matches('h').parse()?;
    fleet.kill_agent(number)?;
    let removed = fleet.coordctl(&["hosts", "remove", &first])?;
    ensure!(removed.status.success(), "{}", coord_tests::process::describe(&removed));
    let run = fleet.wait_success("shop", &commit)?;
    let second = run.builder.context("no builder")?.to_string();
    ensure!(second != first, "it was built by {second}");
    Ok(())
}

#[test]
fn pushes_coalesce_and_runs_can_be_cancelled() -> Result<()> {
    let (fleet, git) = start(1)?;
    fleet.write_pipeline("shop", &with_steps(&git, &["sleep 4", "cc -o shop shop.c"], ""))?;
    let in_step = |commit: &str| {
        let commit = commit.to_owned();
        fleet.wait_run("shop", "it is in its step", move |run| {
            run.commit.to_string() == commit && run.steps.iter().any(|s| s.stage == "build" && s.started_at.is_some())
        })
    };
    let first = push(&fleet, &git, "One", &files("1", &[]))?;
    in_step(&first)?;
    let second = push(&fleet, &git, "Two", &files("2", &[]))?;
    fleet.wait_run("shop", "the second waits", |run| run.commit.to_string() == second && run.state == RunState::Queued)?;
    let third = push(&fleet, &git, "Three", &files("3", &[]))?;
    fleet.wait_success("shop", &first)?;
    fleet.wait_success("shop", &third)?;
    assert_eq!(fleet.wait_over("shop", &second)?.state, RunState::Superseded);

    let fourth = push(&fleet, &git, "Four", &files("4", &[]))?;
    let run = in_step(&fourth)?;
    let cancelled = fleet.api("POST", &format!("/v1/pipelines/shop/runs/{}/cancel", run.run.number), None)?;
    ensure!(cancelled.status < 300, "{} {}", cancelled.status, cancelled.text());
    assert_eq!(fleet.wait_over("shop", &fourth)?.state, RunState::Cancelled);
    fleet.wait_revision("web", 2)?;
    wait_until(FLEET_LIMIT, "nothing of it runs any more", || {
        fleet.runs("shop").is_ok_and(|runs| runs.iter().all(|r| r.state.is_over()))
    })
}

#[test]
fn only_who_knows_the_secret_causes_a_look() -> Result<()> {
    let (fleet, mut git) = start(1)?;
    fleet.write_pipeline("shop", &shop::pipeline(&git.source(), WEBHOOK))?;
    let first = git.commit("Begin", &files("1", &[]))?;
    wait_until(FLEET_LIMIT, "the pipeline is known", || {
        fleet.api("GET", "/v1/pipelines/shop", None).is_ok_and(|answer| answer.status == 200)
    })?;
    look(&fleet)?;
    fleet.wait_success("shop", &first)?;
    let second = git.commit("Go on", &files("2", &[]))?;
    let body = format!("{{\"ref\":\"refs/heads/main\",\"after\":{second:?}}}");
    let signature = |secret: &str| -> Result<String> {
        let script = "printf %s \"$1\" | openssl dgst -sha256 -hmac \"$2\" -r | cut -d' ' -f1";
        let output = images::other(&["sh", "-c", script, "sign", &body, secret])?;
        Ok(format!("X-Hub-Signature-256: sha256={}", String::from_utf8_lossy(&output.stdout).trim()))
    };
    let post = |headers: &[&str]| fleet.request("POST", "/v1/pipelines/shop/webhook", headers, Some(body.as_bytes()));
    let push = ["X-GitHub-Event: push", "Content-Type: application/json"];
    let (wrong, right) = (signature("not-sesame")?, signature(SECRET)?);
    let refused = [
        post(&[&push[..], &[&wrong]].concat())?,
        post(&push)?,
        post(&[&push[..], &["Authorization: Bearer not-sesame"]].concat())?,
        fleet.request("POST", "/v1/pipelines/nothing/webhook", &[push[0], push[1], &right], Some(body.as_bytes()))?,
    ];
    for answer in &refused {
        ensure!(answer.status == 401 || answer.status == 403, "{} {}", answer.status, answer.text());
        assert_eq!(answer.text(), refused[0].text(), "all who are refused hear the same");
    }
    stays(Duration::from_secs(1), "nothing is built", || fleet.runs("shop").is_ok_and(|runs| runs.len() == 1))?;
    let taken = post(&[&push[..], &[&right]].concat())?;
    ensure!(taken.status < 300, "{} {}", taken.status, taken.text());
    fleet.wait_success("shop", &second)?;

    // A repository that vanishes changes nothing, and is said.
    git.vanish();
    look(&fleet)?;
    let problems = || fleet.pipeline("shop").map(|shop| shop.problems.join(" ")).unwrap_or_default();
    wait_until(FLEET_LIMIT, "it is said that the source cannot be seen", || problems().contains("shop.git"))
        .with_context(problems)?;
    fleet.wait_revision("web", 2).map(drop)
}

#[test]
fn a_step_that_prints_without_end_is_in_nobodys_way() -> Result<()> {
    let (fleet, git) = start(1)?;
    let text = with_steps(&git, &["yes 'all work and no play'"], "").replace("[build]\n", "[build]\ntimeout = \"3s\"\n");
    fleet.write_pipeline("shop", &text)?;
    let commit = push(&fleet, &git, "Print", &files("1", &[]))?;
    let run = fleet.wait_over("shop", &commit)?;
    assert_eq!(run.state, RunState::Failed, "{run:#?}");
    ensure!(run.problem.as_ref().is_some_and(|problem| problem.contains("3s")), "{:?}", run.problem);
    let log = fleet.run_log(&run)?;
    ensure!(log.contains("all work and no play") && log.len() < 20 << 20, "{} bytes were kept", log.len());
    // Nobody else was held up: the builder goes on at once.
    fleet.write_pipeline("shop", &with_steps(&git, &["cc -o shop shop.c"], ""))?;
    let commit = push(&fleet, &git, "Go on", &files("2", &[]))?;
    fleet.wait_success("shop", &commit)?;
    Ok(())
}

#[test]
fn hostile_steps_end_with_a_sentence() -> Result<()> {
    let (fleet, git) = start(1)?;
    let endless = "timeout = \"3s\"";
    let many = "i=0; while [ $i -lt 300 ]; do sleep 100 & i=$((i+1)); done; wait";
    let cases: [(&str, &str, &str, &[&str]); 4] = [
        ("never ends", "sleep 1000", endless, &["3s"]),
        ("forks without end", many, "", &["process"]),
        ("fills the disk", "dd if=/dev/zero of=filler bs=1M count=500", "", &["64"]),
        ("takes all memory", "dd if=/dev/zero of=/dev/null bs=600M count=1", "", &["memory"]),
    ];
    for (what, step, keys, words) in cases {
        let text = with_steps(&git, &[step], "").replace("[build]\n", &format!("[build]\n{keys}\n"));
        fleet.write_pipeline("shop", &text)?;
        let commit = push(&fleet, &git, what, &files(what, &[]))?;
        let run = fleet.wait_over("shop", &commit)?;
        assert_eq!(run.state, RunState::Failed, "{what}: {run:#?}");
        let said =
            format!("{:?} {:?}", run.problem, run.steps.iter().filter_map(|step| step.problem.as_ref()).collect::<Vec<_>>());
        coord_tests::say(&format!("{what}: {said}"));
        ensure!(words.iter().all(|word| said.contains(word)), "{what}: {said}");
    }
    // What a step leaves behind ends with it, and the next commit is built as if nothing had been.
    fleet.write_pipeline("shop", &with_steps(&git, &["setsid sleep 54321 & cc -o shop shop.c"], ""))?;
    let commit = push(&fleet, &git, "Leave something behind", &files("9", &[]))?;
    fleet.wait_success("shop", &commit)?;
    let group = fleet.agent(0).group().context("a group")?;
    let left = || {
        let line = |pid: coord_tests::process::Pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        group.pids().into_iter().map(line).filter(|line| line.contains("sleep")).collect::<Vec<_>>()
    };
    wait_until(FLEET_LIMIT, "nothing is left of any step", || left().is_empty()).with_context(|| format!("{:?}", left()))
}
