//! Steps that may start containers within themselves: they have a door, and nothing is left of it, however they end.

use super::rig::Rig;
use coord_shared::wire::BuildPhase;
use std::fs;

const DOOR: &str = "if test -S /run/coord/nested.sock; then echo a door; else echo no door; fi";
/// Until a file lies in the workspace.
const WAIT: &str = "echo at work; while ! test -e go; do sleep 0.05; done; echo over";

#[tokio::test]
async fn a_step_that_may_start_containers_has_a_door() {
    let mut rig = Rig::new().await;
    let more = format!("[test]\nsteps = [\"{DOOR}\"]\nnetwork = \"none\"\n");
    let report = rig.build("shop.1", rig.pipeline(&[DOOR], "nested = {}", &more)).await;
    assert_eq!(report.phase, BuildPhase::Done, "{report:#?}");
    let log = rig.coordinator.log();
    let said: Vec<_> = log.iter().filter(|line| line.contains("stdout")).map(String::as_str).collect();
    assert_eq!(said, ["build.0 stdout a door", "test.0 stdout no door"]);
    rig.drop_order("shop.1");
    rig.until("nothing to be left", |rig| rig.leftovers().is_empty().then_some(())).await;
}

#[tokio::test]
async fn without_the_key_nothing_is_made() {
    let mut rig = Rig::new().await;
    rig.build("shop.1", rig.pipeline(&["true"], "", "")).await;
    let folder = rig.folder.path();
    assert!(!folder.join("state/nested").exists() && !folder.join("run/nested").exists());
}

#[tokio::test]
async fn a_door_is_found_again_by_the_next_agent() {
    let mut rig = Rig::new().await;
    rig.order("shop.1", rig.pipeline(&[WAIT], "nested = {}", ""));
    rig.until("the step", |rig| rig.has_printed("shop.1", "at work").then_some(())).await;
    let number = |rig: &Rig| rig.inode("state/nested/d/build_shop.1-build.0-1/nested.sock");
    let before = number(&rig);
    rig.restart();
    rig.until("its door", |rig| number(rig).filter(|found| Some(*found) != before)).await;
    fs::write(rig.folder.path().join("state/builds/work/shop/workspace/go"), "").expect("written");
    let report = rig.until_over("shop.1").await;
    assert_eq!(report.phase, BuildPhase::Done, "{report:#?}");
    rig.drop_order("shop.1");
    rig.until("nothing to be left", |rig| rig.leftovers().is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_door_that_nobody_needs_any_more_is_cleaned_away() {
    let mut rig = Rig::new().await;
    rig.order("shop.1", rig.pipeline(&[WAIT], "nested = {}", ""));
    rig.until("the step", |rig| rig.has_printed("shop.1", "at work").then_some(())).await;
    rig.drop_order("shop.1");
    rig.until("nothing to be left", |rig| rig.leftovers().is_empty().then_some(())).await;
    // The same where there was no agent to hear it.
    rig.order("shop.2", rig.pipeline(&[WAIT], "nested = {}", ""));
    rig.until("the step", |rig| rig.has_printed("shop.2", "at work").then_some(())).await;
    rig.pause();
    rig.forget("shop.2");
    rig.restart();
    rig.until("nothing to be left", |rig| rig.leftovers().is_empty().then_some(())).await;
}
