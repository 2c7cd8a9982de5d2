//! Pipelines: what is asked of the coordinator, and how a run is followed to its end.

use crate::bodies;
use crate::fake::{Answer, End, Fake};
use crate::program::{Outcome, finish, run, run_alone, start};
use serde_json::{Value, json};

const PIPELINE: &str = "[source]\ngit = \"https://git.lan/shop.git\"\n[image]\nrepository = \"shop\"\n";

fn run_view(number: u64, state: &str) -> Value {
    let over = !matches!(state, "queued" | "building" | "assembling" | "deploying");
    json!({
        "run": format!("shop.{number}"), "state": state, "commit": "a1".repeat(20), "cause": "push",
        "made_at": "2026-11-22T13:00:00Z", "since": "2026-11-22T13:01:00Z",
        "ended_at": if over { json!("2026-11-22T13:01:00Z") } else { Value::Null },
        "problem": if state == "failed" { json!("test.0 failed: exit 1") } else { Value::Null },
    })
}

fn runs(views: &[Value]) -> Answer {
    Answer::json(&json!({ "now": "2026-11-22T14:00:00Z", "runs": views }))
}

fn line(step: &str, second: u32, text: &str) -> String {
    let line = json!({ "time": format!("2026-11-22T13:00:{second:02}Z"), "step": step, "stream": "stdout", "line": text });
    format!("{line}\n")
}

fn lines(of: &[(&str, u32, &str)], end: End) -> Answer {
    Answer::Stream { chunks: of.iter().map(|(step, second, text)| line(step, *second, text)).collect(), end }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(file: &str, text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("create");
        std::fs::write(path, text).expect("write");
        Self(folder)
    }

    fn path(&self, file: &str) -> String {
        self.0.path().join(file).to_str().expect("UTF-8").to_owned()
    }
}

#[test]
fn check_knows_what_a_file_is() {
    let pipeline = Folder::new("shop.toml", PIPELINE);
    run_alone(&["check", &pipeline.path("shop.toml")], &[]).code(0).says(&["the pipeline is good"]);
    let recipe = Folder::new("image.toml", "base = \"debian:12\"\n");
    run_alone(&["check", &recipe.path("image.toml"), &pipeline.path("shop.toml")], &[]).code(0).says(&["all 2 files are good"]);
    let bad = Folder::new("pipelines/shop.toml", "steps = [\"make\"]\n");
    let outcome = run_alone(&["check", &bad.path("pipelines/shop.toml")], &[]).code(1).says(&["1 of 1 pipeline is bad"]);
    assert!(outcome.stdout.contains("[source] is missing"), "{}", outcome.stdout);
    let views: Value =
        serde_json::from_str(&run_alone(&["check", &bad.path("pipelines"), "-o", "json"], &[]).code(1).stdout).expect("JSON");
    assert_eq!(
        (&views[0]["kind"], &views[0]["pipeline"], &views[0]["valid"]),
        (&"pipeline".into(), &"shop".into(), &false.into())
    );
}

#[test]
fn the_examples_are_good() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    for (folder, words) in
        [("pipelines", "pipelines are good"), ("recipes", "the recipe is good"), ("desired", "documents are good")]
    {
        run_alone(&["check", &format!("{examples}/{folder}")], &[]).code(0).says(&[words]);
    }
}

#[test]
fn a_pipeline_is_not_published_as_a_document() {
    let pipeline = Folder::new("shop.toml", PIPELINE);
    let fake = Fake::always(runs(&[]));
    run(&fake, &["apply", &pipeline.path("shop.toml")])
        .code(1)
        .says(&["is a pipeline, not a document", "coordctl pipeline apply"]);
    assert_eq!(fake.lines(), Vec::<String>::new());
}

#[test]
fn apply_and_delete() {
    let pipeline = Folder::new("shop.toml", PIPELINE);
    let fake = Fake::always(Answer::text(200, "{}"));
    let outcome = run(&fake, &["pipeline", "apply", &pipeline.path("shop.toml"), "--take-over"]).code(0);
    assert_eq!(outcome.stdout, "shop: applied\n");
    let request = &fake.requests()[0];
    assert_eq!((request.line.as_str(), request.body.as_str()), ("PUT /v1/pipelines/shop?take_over=true", PIPELINE));
    run(&fake, &["pipeline", "delete", "shop"]).code(0).says(&["pipeline shop is deleted"]);
    assert_eq!(fake.lines()[1], "DELETE /v1/pipelines/shop");
    let bad = Folder::new("shop.toml", "[source]\n");
    run(&fake, &["pipeline", "apply", &bad.path("shop.toml")]).code(1).says(&["has no `git`", "nothing was sent"]);
    assert_eq!(fake.lines().len(), 2);
    let conflict = bodies::error("conflict", "pipeline shop comes from folder:shop.toml", Some("--take-over"));
    let fake = Fake::always(Answer::error(409, &conflict));
    let outcome = run(&fake, &["pipeline", "apply", &pipeline.path("shop.toml")]).code(1);
    outcome.says(&["pipeline shop comes from folder:shop.toml", "hint: --take-over"]);
}

#[test]
fn a_run_is_asked_for_and_cancelled() {
    let fake = Fake::start(|request, _| match request.line.as_str() {
        "GET /v1/pipelines/shop/runs" => runs(&[run_view(13, "building"), run_view(12, "failed")]),
        "POST /v1/pipelines/shop/runs" => Answer::json(&json!({ "run": "shop.13" })),
        _ => Answer::text(200, "{}"),
    });
    let commit = "a1".repeat(20);
    run(&fake, &["pipeline", "run", "shop", "--commit", &commit]).code(0).says(&["run shop.13 is asked for"]);
    assert_eq!(fake.requests()[0].body, json!({ "commit": commit }).to_string());
    run(&fake, &["pipeline", "cancel", "shop"]).code(0).says(&["run shop.13 is cancelled"]);
    run(&fake, &["pipeline", "cancel", "shop", "12"]).code(0);
    assert_eq!(fake.lines()[2..], ["POST /v1/pipelines/shop/runs/13/cancel", "POST /v1/pipelines/shop/runs/12/cancel"]);
}

#[test]
fn what_is_not_there_is_said_with_its_cure() {
    let fake = Fake::always(Answer::error(404, &bodies::error("not_found", "no such thing", None)));
    run(&fake, &["pipeline", "runs", "shop"]).code(1).says(&["there is no pipeline shop", "coordctl pipeline ls"]);
    run(&fake, &["pipeline", "logs", "shop", "7"]).code(1).says(&["there is no run shop.7", "coordctl pipeline runs shop"]);
    run(&fake, &["pipeline", "cancel", "shop", "7"]).code(1).says(&["there is no run shop.7"]);
    let fake = Fake::always(Answer::json(&json!({ "now": "2026-11-22T14:00:00Z", "pipelines": [] })));
    run(&fake, &["pipeline"]).code(0).says(&["there is no pipeline; write one"]);
    run(&fake, &["pipeline", "show", "shop"]).code(1).says(&["there is no pipeline shop"]);
}

#[test]
fn the_log_of_a_run_is_told_by_its_steps() {
    let fake = Fake::start(|request, _| match request.line.as_str() {
        "GET /v1/pipelines/shop/runs" => runs(&[run_view(12, "failed")]),
        _ => lines(&[("fetch.0", 1, "fetched"), ("test.0", 2, "FAILED")], End::Proper),
    });
    let outcome = run(&fake, &["pipeline", "logs", "shop"]).code(0);
    assert_eq!(outcome.stdout, "fetch.0 | fetched\ntest.0  | FAILED\n");
    assert_eq!(fake.lines()[1], "GET /v1/pipelines/shop/runs/12/logs");
    let json = run(&fake, &["pipeline", "logs", "shop", "-o", "json"]).code(0).stdout;
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((lines.len(), &lines[1]["step"], &lines[1]["line"]), (2, &"test.0".into(), &"FAILED".into()));
}

/// Follows a run that has this state once its stream was cut or ended, and ends so.
fn follow(end: &'static str) -> (Outcome, Vec<String>) {
    let fake = Fake::start(move |request, before| match request.line.as_str() {
        "GET /v1/pipelines/shop/runs" if before == 0 => runs(&[]),
        "GET /v1/pipelines/shop/runs" => runs(&[run_view(1, "building")]),
        "GET /v1/pipelines/shop/runs/1" if before < 4 => Answer::json(&run_view(1, "deploying")),
        "GET /v1/pipelines/shop/runs/1" => Answer::json(&run_view(1, end)),
        _ if before < 3 => lines(&[("build.0", 1, "one"), ("build.0", 2, "two")], End::Cut),
        _ => lines(&[("build.0", 1, "one"), ("build.0", 2, "two"), ("test.0", 3, "three")], End::Proper),
    });
    let outcome = finish(start(&fake, &["pipeline", "logs", "shop", "--follow"]));
    (outcome, fake.lines())
}

#[test]
fn following_waits_for_a_run_resumes_and_exits_with_its_result() {
    let (outcome, lines) = follow("succeeded");
    let outcome = outcome.code(0).says(&[
        "waiting for a run of shop to begin",
        "deploying",
        "trying again",
        "run shop.1 succeeded in 1m00s",
    ]);
    assert_eq!(outcome.stdout, "build.0 | one\nbuild.0 | two\ntest.0  | three\n");
    assert_eq!(lines[2], "GET /v1/pipelines/shop/runs/1/logs?follow=true");
    let (outcome, _) = follow("failed");
    outcome.code(1).says(&["test.0 failed: exit 1", "error: run shop.1 failed after 1m00s", "coordctl pipeline show shop 1"]);
    follow("skipped").0.code(0).says(&["had nothing to do"]);
    follow("superseded").0.code(1).says(&["gave way to a newer commit"]);
}

#[test]
fn next_is_a_run_that_is_not_there_yet() {
    let fake = Fake::start(|request, before| match request.line.as_str() {
        "GET /v1/pipelines/shop/runs" if before == 0 => runs(&[run_view(4, "succeeded")]),
        "GET /v1/pipelines/shop/runs" => runs(&[run_view(6, "queued"), run_view(5, "succeeded"), run_view(4, "succeeded")]),
        _ => lines(&[("build.0", 1, "five")], End::Proper),
    });
    let outcome = finish(start(&fake, &["pipeline", "logs", "shop", "--follow", "--next"])).code(0);
    assert_eq!(outcome.says(&["run shop.5 succeeded"]).stdout, "build.0 | five\n");
}

#[test]
fn a_run_that_is_asked_for_and_not_made_yet_is_waited_for() {
    let fake = Fake::start(|request, before| match request.line.as_str() {
        "GET /v1/pipelines/shop/runs/5" if before == 0 => Answer::error(404, &bodies::error("not_found", "no run", None)),
        "GET /v1/pipelines/shop/runs/3" => Answer::error(404, &bodies::error("not_found", "no run", None)),
        "GET /v1/pipelines/shop/runs" if before < 3 => runs(&[run_view(4, "succeeded")]),
        "GET /v1/pipelines/shop/runs" => runs(&[run_view(5, "succeeded"), run_view(4, "succeeded")]),
        _ => lines(&[("build.0", 1, "five")], End::Proper),
    });
    let outcome = finish(start(&fake, &["pipeline", "logs", "shop", "5", "--follow"])).code(0);
    assert_eq!(outcome.says(&["waiting for a run of shop to begin"]).stdout, "build.0 | five\n");
    // One that was there once will not come again.
    run(&fake, &["pipeline", "logs", "shop", "3", "--follow"]).code(1).says(&["there is no run shop.3"]);
}

#[test]
fn a_run_can_be_asked_for_and_followed_in_one_go() {
    let fake = Fake::start(|request, before| match request.line.as_str() {
        "POST /v1/pipelines/shop/runs" => Answer::json(&json!({ "run": "shop.5" })),
        "GET /v1/pipelines/shop/runs" if before == 1 => runs(&[run_view(4, "succeeded")]),
        "GET /v1/pipelines/shop/runs" => runs(&[run_view(5, "cancelled")]),
        _ => lines(&[], End::Proper),
    });
    run(&fake, &["pipeline", "run", "shop", "--follow"]).code(1).says(&["run shop.5 was cancelled"]);
}

#[test]
fn show_is_the_newest_run_in_full() {
    let fake = Fake::start(|request, _| match request.line.as_str() {
        "GET /v1/pipelines" => Answer::json(&json!({
            "now": "2026-11-22T14:00:00Z",
            "pipelines": [{ "name": "shop", "source": "api:ann", "repository": "https://git.lan/shop.git main", "last_run": run_view(12, "failed") }],
        })),
        _ => Answer::json(&run_view(12, "failed")),
    });
    let outcome = run(&fake, &["pipeline", "show", "shop"]).code(0);
    assert!(outcome.stdout.contains("shop.12  failed 59m ago, took 1m00s"), "{}", outcome.stdout);
    assert_eq!(fake.lines()[1], "GET /v1/pipelines/shop/runs/12");
    let json = run(&fake, &["pipeline", "show", "shop", "7", "-o", "json"]).code(0).stdout;
    let view: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&view["pipeline"]["name"], &view["run"]["run"]), (&"shop".into(), &"shop.12".into()));
    assert_eq!(fake.lines()[3], "GET /v1/pipelines/shop/runs/7");
}
