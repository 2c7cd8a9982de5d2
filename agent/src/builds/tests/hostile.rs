//! Steps that mean harm.

use super::rig::Rig;
use coord_shared::wire::BuildPhase;
use std::time::Duration;

#[tokio::test]
async fn a_fork_bomb_ends_at_its_limit() {
    let mut rig = Rig::new().await;
    rig.builder_config().pids = 24;
    rig.restart();
    let steps = ["for i in $(seq 100); do sleep 30 & done; wait"];
    rig.fails("shop.1", rig.pipeline(&steps, "", ""), "limit of 24 processes").await;
    assert!(rig.leftovers().iter().all(|left| !left.contains("build_")), "{:?}", rig.leftovers());
}

#[tokio::test]
async fn a_step_that_takes_too_much_memory_is_told_so() {
    let mut rig = Rig::new().await;
    let steps = ["dd if=/dev/zero of=/dev/null bs=200M count=1"];
    rig.fails("shop.1", rig.pipeline(&steps, "", ""), "ran out of its 64").await;
}

#[tokio::test]
async fn a_full_disk_is_the_steps_alone() {
    let mut rig = Rig::new().await;
    rig.builder_config().disk_bytes = 16 << 20;
    rig.restart();
    let fill = ["dd if=/dev/zero of=big bs=1M count=64 2>/dev/null; sleep 60"];
    rig.fails("shop.1", rig.pipeline(&fill, "", ""), "filled its 16").await;
    // Outside of the workspace as well.
    let fill = ["dd if=/dev/zero of=/tmp/big bs=1M count=64 2>/dev/null; sleep 60"];
    rig.fails("shop.2", rig.pipeline(&fill, "", ""), "filled its 16").await;
}

#[tokio::test]
async fn a_step_that_never_ends_is_ended() {
    let mut rig = Rig::new().await;
    let deaf = ["trap '' TERM; echo deaf; while true; do sleep 0.1; done"];
    let report = rig.fails("shop.1", rig.pipeline(&deaf, "timeout = \"1s\"", ""), "took longer than 1s").await;
    assert!(report.steps[1].last_lines.iter().any(|line| line == "deaf"));
    let text = format!("timeout = \"1s\"\n{}", rig.pipeline(&["sleep 60"], "", ""));
    rig.fails("shop.2", text, "the run took longer than 1s").await;
}

#[tokio::test]
async fn what_a_step_leaves_running_ends_with_it() {
    let mut rig = Rig::new().await;
    let steps = [
        "(setsid sh -c 'trap \"\" TERM; while true; do echo alive >> alive; sleep 0.02; done' &) ; while ! test -e alive; do sleep 0.02; done",
        "rm alive; sleep 0.3; ls",
    ];
    let report = rig.build("shop.1", rig.pipeline(&steps, "", "")).await;
    assert_eq!(report.phase, BuildPhase::Done, "{report:#?}");
    assert!(!rig.coordinator.log().iter().any(|line| line.ends_with("stdout alive")), "{:#?}", rig.coordinator.log());
}

#[tokio::test]
async fn a_step_that_prints_without_end_is_not_in_the_way() {
    let mut rig = Rig::new().await;
    // Some 90 MB: more than is kept of a run.
    let steps =
        ["yes 'a line that is repeated again and again and again' | dd bs=1M count=90 iflag=fullblock 2>/dev/null; echo the end"];
    let report =
        tokio::time::timeout(Duration::from_secs(50), rig.build("shop.1", rig.pipeline(&steps, "", ""))).await.expect("in time");
    assert_eq!(report.phase, BuildPhase::Done, "{report:#?}");
    assert!(rig.coordinator.state().log.len() < 18 << 20);
}

#[tokio::test]
async fn links_and_special_files_lead_nowhere() {
    let mut rig = Rig::new().await;
    let cached = "cache = [\"target\"]";
    let text = rig.pipeline(
        &["ln -s /etc target; ln -s /etc/passwd hello2.txt; mkfifo pipe; rm hello.txt; ln -s /etc/shadow hello.txt"],
        cached,
        "",
    );
    let text = text.replace("[\"hello.txt\"]", "[\"**\"]");
    rig.fails("shop.1", text, "pipe").await;
    // The cache that was a link is none.
    let report = rig.build("shop.2", rig.pipeline(&["ls; mkdir target"], cached, "")).await;
    assert_eq!(report.phase, BuildPhase::Done, "{report:#?}");
    // Folders that are deeper than any path.
    let deep = ["i=0; while [ $i -lt 3000 ]; do mkdir dddddddddd; cd dddddddddd; i=$((i+1)); done"];
    rig.order("shop.3", rig.pipeline(&deep, "", ""));
    rig.until_over("shop.3").await;
    let report = rig.build("shop.4", rig.pipeline(&["true"], "", "")).await;
    assert_eq!(report.phase, BuildPhase::Done, "{report:#?}");
}
