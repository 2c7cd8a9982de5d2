//! Pipelines over the API: every state of a run, who may do what, and what a restart or a failing store changes (nothing).

use super::line::{Line, SHOP, commit};
use crate::pipeline::AssembleFailure;
use coord_shared::names::Digest;
use coord_shared::wire::{BuildPhase, HistoryView, PipelinesView, RunState, RunView, RunsView, StatusView};
use coord_store::Fault;

#[tokio::test(start_paused = true)]
async fn a_commit_becomes_a_revision_that_is_served() {
    let mut line = Line::new().await;
    line.put().await;
    let watches = line.state().await.watches;
    assert_eq!((watches.len(), watches[0].document.as_str()), (1, SHOP));
    line.push(1).await;
    let order = line.until_orders(1).await.remove(0);
    assert_eq!((order.run.to_string(), order.commit.as_str(), order.cancelled), ("shop.1".to_owned(), &*commit(1), false));
    assert_eq!(line.run(1).await.state, RunState::Building);
    line.phase("shop.1", BuildPhase::Testing, |_| {}).await;
    line.done("shop.1", b"the archive").await;
    let run = line.until(1, RunState::Deploying).await;
    line.until_is(1, |run| run.deployed.is_some()).await;
    line.until_orders(0).await;
    let digest = Digest::of(b"the archive");
    assert_eq!(run.image.expect("an image").digest, digest);
    let text = line.bench.admin("GET", "/v1/documents/web", "").await.is(200).text();
    let image = format!("coord.internal/shop:{}@{digest}", &commit(1)[..12]);
    assert_eq!(text, format!("# the shop\nimage = \"{image}\"\nhosts = [\"web\"]\n"));
    line.web(&["web.0-r1-1"]).await;
    let run = line.until(1, RunState::Succeeded).await;
    assert_eq!(run.problem, None);
    let stages: Vec<_> = run.stages.iter().map(|stage| stage.stage.as_str()).collect();
    assert_eq!(stages, ["queue", "image", "deploy"]);
    let status: StatusView = line.bench.admin("GET", "/v1/status", "").await.is(200).json();
    let origin = status.workloads[0].origin.clone().expect("an origin");
    assert_eq!((origin.run, origin.subject.as_str()), (Some("shop.1".parse().expect("a run")), "Sell more"));
    assert_eq!(status.workloads[0].source, "pipeline:shop");
    let shown: PipelinesView = line.bench.admin("GET", "/v1/pipelines", "").await.is(200).json();
    assert_eq!(
        (shown.pipelines[0].last_success, shown.pipelines[0].repository.as_str()),
        (Some(1), "https://git.lan/shop.git (main)")
    );
    assert_eq!(line.bench.line.assembled.lock().expect("no panic").len(), 1);
    assert!(line.bench.line.told.lock().expect("no panic").is_empty(), "nobody asked to be told of success");
}

/// Plays the whole line as patiently as real agents do.
async fn play(line: &mut Line) {
    line.put().await;
    line.push(1).await;
    line.until(1, RunState::Building).await;
    line.done("shop.1", b"the archive").await;
    line.until_is(1, |run| run.deployed.is_some()).await;
    line.web(&["web.0-r1-1"]).await;
    line.until(1, RunState::Succeeded).await;
}

async fn revisions(line: &Line) -> usize {
    let history: HistoryView = line.bench.admin("GET", "/v1/workloads/web/history", "").await.is(200).json();
    history.entries.len()
}

#[tokio::test(start_paused = true)]
async fn a_restart_at_any_point_changes_nothing() {
    let mut line = Line::new().await;
    line.put().await;
    let (told, generation) = (line.state().await.watches, line.state().await.generation);
    line = line.restarted().await;
    assert_eq!((line.state().await.watches, line.state().await.generation), (told, generation), "nobody is told anything new");
    line.push(1).await;
    line.until(1, RunState::Building).await;
    line.piece("shop.1", "bytes 0-3/11", None, b"the ").await.is(200);
    let order = line.until_orders(1).await;
    line = line.restarted().await;
    assert_eq!(line.state().await.builds, order);
    let refused = line.piece("shop.1", "bytes 0-3/11", None, b"the ").await;
    refused.is_error(409, "wrong_offset");
    assert!(refused.text().contains("\"offset\":4"), "{}", refused.text());
    let digest = Digest::of(b"the archive");
    line.piece("shop.1", "bytes 4-10/11", Some(&digest), b"archive").await.is(200);
    *line.bench.line.hangs.lock().expect("no panic") = true;
    line = line.restarted().await;
    line.done("shop.1", b"the archive").await;
    line.until(1, RunState::Assembling).await;
    line = line.restarted().await;
    *line.bench.line.hangs.lock().expect("no panic") = false;
    assert_eq!(line.run(1).await.state, RunState::Assembling);
    line = line.restarted().await;
    line.until_is(1, |run| run.deployed.is_some()).await;
    line = line.restarted().await;
    assert_eq!(line.run(1).await.state, RunState::Deploying);
    line.web(&["web.0-r1-1"]).await;
    line.until(1, RunState::Succeeded).await;
    line.until_gone("shop/1/archive").await;
    assert_eq!(revisions(&line).await, 1);
    line = line.restarted().await;
    assert_eq!(line.run(1).await.state, RunState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_anywhere_only_delays() {
    for (first, fault) in [Fault::Fail, Fault::LoseAnswer, Fault::Conflict].into_iter().enumerate() {
        for healthy in (first..9).step_by(3) {
            let mut line = Line::new().await;
            line.put().await;
            line.push(1).await;
            line.until(1, RunState::Building).await;
            line.piece_of("shop.1", b"the archive").await.is(200);
            line.bench.store.plan((0..healthy).map(|_| Fault::None).chain([fault; 2]));
            line.report_done("shop.1", b"the archive").await;
            line.until_is(1, |run| run.deployed.is_some()).await;
            line.web(&["web.0-r1-1"]).await;
            line.until(1, RunState::Succeeded).await;
            assert_eq!(revisions(&line).await, 1, "{fault:?} after {healthy}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_pushes_while_one_is_built_make_one_more_run() {
    let mut line = Line::new().await;
    line.put().await;
    line.push(1).await;
    line.until(1, RunState::Building).await;
    line.push(2).await;
    let waiting = line.until_is(2, |run| run.problem.is_some()).await;
    assert_eq!(waiting.problem.as_deref(), Some("shop.1 comes first"));
    line.push(3).await;
    line.until(2, RunState::Superseded).await;
    line.done("shop.1", b"one").await;
    line.until_is(1, |run| run.deployed.is_some()).await;
    let run = line.until_is(3, |run| run.state == RunState::Building || run.problem.is_some()).await;
    assert_eq!(run.commit.as_str(), commit(3));
    line.forget_builds().await;
    line.until(3, RunState::Building).await;
    line.done("shop.3", b"three").await;
    line.until_is(3, |run| run.deployed.is_some()).await;
    let first = line.until(1, RunState::Succeeded).await;
    assert_eq!(first.problem.as_deref(), Some("revision 2 came before every host was ready in revision 1"));
    let runs: RunsView = line.bench.admin("GET", "/v1/pipelines/shop/runs", "").await.is(200).json();
    let states: Vec<_> = runs.runs.iter().map(|run| (run.run.number, run.state)).collect();
    assert_eq!(states, [(3, RunState::Deploying), (2, RunState::Superseded), (1, RunState::Succeeded)]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_changes_nothing_and_is_told_once() {
    let mut line = Line::new().await;
    line.put().await;
    line.push(1).await;
    line.until(1, RunState::Building).await;
    line.phase("shop.1", BuildPhase::Failed, |build| build.problem = Some("step test.0 failed: exit code 1".to_owned())).await;
    line.until(1, RunState::Failed).await;
    assert_eq!(line.until_told(1).await, ["shop.1 failed: step test.0 failed: exit code 1"]);
    line.bench.admin("GET", "/v1/documents/web", "").await.is_error(404, "not_found");
    line.push(1).await;
    line.bench.admin("GET", "/v1/pipelines/shop/runs/2", "").await.is_error(404, "not_found");
    line = line.restarted().await;
    line.bench.settled().await;
    assert_eq!(line.told().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_person_may_run_a_commit_again() {
    let mut line = Line::new().await;
    line.put().await;
    line.push(1).await;
    line.until(1, RunState::Building).await;
    line.phase("shop.1", BuildPhase::Failed, |_| {}).await;
    line.until(1, RunState::Failed).await;
    line.forget_builds().await;
    let asked = line.start("", 1).await;
    let run: RunView = asked.is(201).json();
    assert_eq!(
        (run.run.to_string(), run.cause.as_str(), run.commit.as_str()),
        ("shop.2".to_owned(), "manual by admin", &*commit(1))
    );
    let named = line.start(&*format!("{{\"commit\":\"{}\"}}", commit(9)).leak(), 1).await;
    let run: RunView = named.is(201).json();
    assert_eq!((run.run.number, run.commit.as_str(), run.state), (3, &*commit(9), RunState::Queued));
    let unseen = line.bench.admin("POST", "/v1/pipelines/shop/runs", "").await.is(202);
    assert_eq!(unseen.text(), "{\"run\":\"shop.4\"}");
    line.bench.admin("POST", "/v1/pipelines/shop/runs", "{\"commit\":1}").await.is_error(400, "bad_request");
}

#[tokio::test(start_paused = true)]
async fn a_run_is_cancelled_wherever_it_is() {
    let mut line = Line::new().await;
    line.put().await;
    let cancel = |number: u64| format!("/v1/pipelines/shop/runs/{number}/cancel");
    line.push(1).await;
    line.until(1, RunState::Building).await;
    line.push(2).await;
    line.until(2, RunState::Queued).await;
    line.bench.admin("POST", &cancel(2), "").await.is(200);
    line.until(2, RunState::Cancelled).await;
    line.bench.admin("POST", &cancel(1), "").await.is(200);
    line.until_cancelled().await;
    line.phase("shop.1", BuildPhase::Cancelled, |_| {}).await;
    line.until(1, RunState::Cancelled).await;
    line.forget_builds().await;
    line.push(3).await;
    line.until(3, RunState::Building).await;
    *line.bench.line.hangs.lock().expect("no panic") = true;
    line.done("shop.3", b"three").await;
    line.until(3, RunState::Assembling).await;
    line.bench.admin("POST", &cancel(3), "").await.is(200);
    line.until(3, RunState::Cancelled).await;
    line.bench.admin("POST", &cancel(3), "").await.is_error(409, "too_late");
    line.bench.admin("GET", "/v1/documents/web", "").await.is_error(404, "not_found");
    assert!(line.told().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_image_is_tried_again_while_that_may_help() {
    let mut line = Line::new().await;
    let failure = |is_passing| AssembleFailure { message: "the base is away".to_owned(), is_passing };
    line.bench.line.failures.lock().expect("no panic").extend([failure(true), failure(true)]);
    play(&mut line).await;
    line.bench.line.failures.lock().expect("no panic").push_back(failure(false));
    line.forget_builds().await;
    line.push(2).await;
    line.until(2, RunState::Building).await;
    line.done("shop.2", b"two").await;
    let run = line.until(2, RunState::Failed).await;
    assert_eq!(run.problem.as_deref(), Some("the base is away"));
    assert_eq!(line.until_told(1).await.len(), 1);
    line.until_gone("shop/2/archive").await;
    assert_eq!(revisions(&line).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_workload_of_others_is_taken_over_on_purpose_only() {
    let mut line = Line::new().await;
    line.bench.publish_from_folder("web", "image = \"r.lan/web:1\"\nhosts = [\"web\"]\n").await;
    line.put().await;
    line.push(1).await;
    line.until(1, RunState::Building).await;
    line.done("shop.1", b"one").await;
    let run = line.until(1, RunState::Failed).await;
    let problem =
        "workload web belongs to folder:web.toml; give it to this pipeline once: coordctl pipeline run shop --take-over";
    assert_eq!(run.problem.as_deref(), Some(problem));
    line.forget_builds().await;
    let asked = line.start("{\"take_over\":true}", 1).await;
    asked.is(201);
    line.until(2, RunState::Building).await;
    line.done("shop.2", b"two").await;
    line.until_is(2, |run| run.deployed.is_some()).await;
    let status: StatusView = line.bench.admin("GET", "/v1/status", "").await.is(200).json();
    assert_eq!(status.workloads[0].source, "pipeline:shop");
}

#[tokio::test(start_paused = true)]
async fn a_deploy_requirement_that_is_none_fails_the_run() {
    let mut line = Line::new().await;
    line.put().await;
    line.push(1).await;
    line.until(1, RunState::Building).await;
    line.piece_of("shop.1", b"one").await.is(200);
    let archive = line.archive_report(b"one");
    line.phase("shop.1", BuildPhase::Done, |build| {
        build.archive = Some(archive);
        build.deploy = Some("hosts = [\"web\"]\nimages = 1\n".to_owned());
    })
    .await;
    let problem = line.until(1, RunState::Failed).await.problem.expect("a problem");
    assert!(problem.starts_with("deploy/web.toml is no valid document") && problem.contains("images"), "{problem}");
    line.bench.admin("GET", "/v1/documents/web", "").await.is_error(404, "not_found");
}

#[tokio::test(start_paused = true)]
async fn pipelines_are_kept_by_name_and_source() {
    let line = Line::new().await;
    let broken = line.bench.admin("PUT", "/v1/pipelines/shop", "source = 1\n").await;
    let detail = broken.is_error(422, "invalid_pipeline").detail.expect("rendered diagnostics");
    assert!(detail.contains("shop.toml:1:10"), "{detail}");
    line.bench.admin("PUT", "/v1/pipelines/shop", "").await.is_error(400, "bad_request");
    line.bench.admin("PUT", "/v1/pipelines/Shop", SHOP).await.is_error(400, "bad_request");
    for path in ["/v1/pipelines/shop", "/v1/pipelines/shop/runs", "/v1/pipelines/shop/runs/1", "/v1/pipelines/shop/runs/1/logs"] {
        line.bench.admin("GET", path, "").await.is_error(404, "not_found");
    }
    line.put().await;
    assert_eq!(line.bench.admin("GET", "/v1/pipelines/shop", "").await.is(200).text(), SHOP);
    line.bench.admin("DELETE", "/v1/pipelines/shop", "").await.is(204);
    line.bench.admin("DELETE", "/v1/pipelines/shop", "").await.is_error(404, "not_found");
    line.bench.admin("POST", "/v1/pipelines/shop/runs", "").await.is_error(404, "not_found");
    assert!(line.state().await.watches.is_empty());
    let all: PipelinesView = line.bench.admin("GET", "/v1/pipelines", "").await.is(200).json();
    assert!(all.pipelines.is_empty());
}

#[tokio::test(start_paused = true)]
async fn why_nothing_is_built_is_shown_where_people_look() {
    let bench = super::bench::Bench::new().await;
    bench.admin("PUT", "/v1/pipelines/shop", SHOP).await.is(200);
    bench.settled().await;
    let status: StatusView = bench.admin("GET", "/v1/status", "").await.is(200).json();
    assert_eq!(status.problems[0].source, "pipeline:shop");
    assert!(status.problems[0].summary.starts_with("no host matches builder=true"), "{:?}", status.problems);
    let metrics = bench.admin("GET", "/metrics", "").await.is(200).text();
    assert!(metrics.contains("coord_pipelines 1\n"), "{metrics}");
}
