//! Agents that are killed, hosts that go down, coordinators that are away.

use super::rig::Rig;
use coord_shared::wire::BuildPhase;
use std::fs;

#[tokio::test]
async fn a_step_outlives_its_agent() {
    let mut rig = Rig::new().await;
    let steps = ["echo before; while ! test -e go; do sleep 0.05; done; echo after", "echo next"];
    rig.order("shop.1", rig.pipeline(&steps, "cache = [\"target\"]", ""));
    rig.until("the step", |rig| rig.has_printed("shop.1", "before").then_some(())).await;
    rig.restart();
    fs::write(rig.folder.path().join("state/builds/work/shop/workspace/go"), "").expect("written");
    let report = rig.until_over("shop.1").await;
    assert_eq!(report.phase, BuildPhase::Done, "{report:#?}");
    let log = rig.coordinator.log();
    let lines: Vec<_> = log.iter().filter(|line| line.contains("stdout")).map(String::as_str).collect();
    assert_eq!(lines, ["build.0 stdout before", "build.0 stdout after", "build.1 stdout next"], "each once");
}

#[tokio::test]
async fn a_step_that_ends_while_there_is_no_agent_is_not_run_again() {
    let mut rig = Rig::new().await;
    let steps = ["echo x >> hello.txt; echo ran; while ! test -e go; do sleep 0.05; done; exit 3"];
    rig.order("shop.1", rig.pipeline(&steps, "", ""));
    rig.until("the step", |rig| rig.has_printed("shop.1", "ran").then_some(())).await;
    let exit = rig.folder.path().join("run/builds/c/build_shop.1-build.0-1/exit.json");
    rig.pause();
    fs::write(rig.folder.path().join("state/builds/work/shop/workspace/go"), "").expect("written");
    rig.wait_for(&exit).await;
    rig.restart();
    let report = rig.until_over("shop.1").await;
    assert_eq!(report.steps[1].exit.as_ref().and_then(|exit| exit.code), Some(3), "{report:#?}");
    assert_eq!(rig.coordinator.log().iter().filter(|line| line.ends_with("stdout ran")).count(), 1);
}

#[tokio::test]
async fn a_host_that_went_down_begins_again_once() {
    let mut rig = Rig::new().await;
    rig.order("shop.1", rig.pipeline(&["echo at work; sleep 3600"], "cache = [\"target\"]", ""));
    for attempt in 1..=2 {
        rig.until("the step", |rig| {
            rig.folder.path().join(format!("run/builds/c/build_shop.1-build.0-{attempt}/state.json")).exists().then_some(())
        })
        .await;
        rig.until("the note", |rig| rig.report("shop.1").filter(|report| report.phase == BuildPhase::Building)).await;
        rig.power_cut();
    }
    let report = rig.until_over("shop.1").await;
    assert!(
        report.phase == BuildPhase::Failed && report.problem.as_ref().is_some_and(|p| p.contains("went down twice")),
        "{report:#?}"
    );
}

#[tokio::test]
async fn a_coordinator_that_is_away_is_waited_for() {
    let mut rig = Rig::new().await;
    rig.order("shop.1", rig.pipeline(&["while ! test -e go; do sleep 0.05; done"], "", ""));
    rig.until("the step", |rig| rig.report("shop.1").filter(|report| report.phase == BuildPhase::Building)).await;
    rig.coordinator.state().is_away = true;
    rig.until("the workspace", |rig| fs::write(rig.folder.path().join("state/builds/work/shop/workspace/go"), "").ok()).await;
    let report = rig
        .until("the upload", |rig| rig.report("shop.1").filter(|r| r.phase == BuildPhase::Uploading && r.problem.is_some()))
        .await;
    assert!(report.archive.is_none());
    // Killed in the midst of it, with a part of the archive there.
    rig.restart();
    let archive = fs::read(rig.folder.path().join("state/builds/runs/shop.1/archive")).expect("an archive");
    rig.coordinator.state().archive = archive[..archive.len() / 2].to_vec();
    rig.coordinator.state().is_away = false;
    let report = rig.until_over("shop.1").await;
    assert_eq!(report.phase, BuildPhase::Done, "{report:#?}");
    assert_eq!(rig.coordinator.state().archive, archive);
}

#[tokio::test]
async fn what_was_dropped_while_there_was_no_agent_is_cleaned_away() {
    let mut rig = Rig::new().await;
    rig.order("shop.1", rig.pipeline(&["echo at work; sleep 3600"], "", ""));
    rig.until("the step", |rig| rig.has_printed("shop.1", "at work").then_some(())).await;
    rig.pause();
    rig.forget("shop.1");
    rig.restart();
    rig.until("nothing to be left", |rig| rig.leftovers().is_empty().then_some(())).await;
}
