//! What a run does, from its order to its archive.

use super::rig::Rig;
use coord_shared::wire::{BuildPhase, RunLogsRequest};
use futures_util::StreamExt as _;
use std::fs;

#[tokio::test]
async fn a_commit_becomes_an_archive() {
    let mut rig = Rig::new().await;
    fs::create_dir(rig.folder.path().join("source/deploy")).expect("made");
    fs::write(rig.folder.path().join("source/deploy/web.toml"), "image = \"x\"\n").expect("written");
    let steps = ["echo $COORD_RUN $CI $SOURCE_DATE_EPOCH $PWD; id -u", "echo more >> hello.txt; echo gone > deploy/web.toml"];
    let more = "[test]\nsteps = [\"cat hello.txt >&2\"]\nnetwork = \"none\"\n[deploy]\ndocument = \"deploy/web.toml\"\n";
    let report = rig.build("shop.1", rig.pipeline(&steps, "", more)).await;
    assert_eq!((report.phase, &report.problem), (BuildPhase::Done, &None), "{report:#?}");
    let names: Vec<_> = report.steps.iter().map(|step| step.name()).collect();
    assert_eq!(names, ["fetch.0", "build.0", "build.1", "test.0", "package.0", "upload.0"]);
    assert!(report.steps.iter().all(|step| step.ended_at >= step.started_at && step.ended_at.is_some() && !step.has_failed()));
    // As it was fetched, not as a step left it.
    assert_eq!(report.deploy.as_deref(), Some("image = \"x\"\n"));
    assert_eq!(report.commit.expect("a commit").subject, "change");
    let archive = report.archive.expect("an archive");
    let (digest, bytes) = {
        let state = rig.coordinator.state();
        (state.digest.clone(), state.archive.len() as u64)
    };
    assert_eq!((digest.as_deref(), bytes), (Some(archive.digest.as_ref()), archive.bytes));
    let log = rig.coordinator.log();
    let steps: Vec<_> = log.iter().filter(|line| !line.contains(" coord ")).map(String::as_str).collect();
    let expect =
        ["build.0 stdout shop.1 true 1700000000 /workspace", "build.0 stdout 0", "test.0 stderr hello", "test.0 stderr more"];
    assert_eq!(steps, expect);
    rig.drop_order("shop.1");
    rig.until("nothing to be left", |rig| rig.leftovers().is_empty().then_some(())).await;
    assert!(rig.report("shop.1").is_none() && rig.builder().containers().is_empty());
}

#[tokio::test]
async fn a_step_that_fails_ends_the_run() {
    let mut rig = Rig::new().await;
    let steps = ["echo one", "echo two; false; echo three", "echo four"];
    let report = rig.fails("shop.1", rig.pipeline(&steps, "", ""), "step build.1").await;
    let failed = &report.steps[2];
    assert_eq!(
        (failed.exit.as_ref().and_then(|exit| exit.code), failed.last_lines.as_slice()),
        (Some(1), &["two".to_owned()][..])
    );
    assert!(report.steps[3].started_at.is_none() && report.archive.is_none());
    assert!(rig.coordinator.state().archive.is_empty());
    assert!(rig.coordinator.log().contains(&"build.1 stdout two".to_owned()), "the log of a failed run is kept");
}

#[tokio::test]
async fn the_next_run_begins_with_a_fresh_checkout_and_the_caches() {
    let mut rig = Rig::new().await;
    let steps = [
        "ls; cat target/n/count /var/keep/count 2>/dev/null || true",
        "mkdir -p target/n; echo x >> target/n/count; echo y >> /var/keep/count; echo made > made.txt",
    ];
    let text = rig.pipeline(&steps, "cache = [\"target\", \"/var/keep\"]", "");
    let text = text.replace("[\"hello.txt\"]", "[\"target/n/count\"]");
    rig.build("shop.1", text.clone()).await;
    let log = rig.coordinator.log();
    assert_eq!(log.iter().filter(|line| line.starts_with("build.0 stdout")).collect::<Vec<_>>(), ["build.0 stdout hello.txt"]);
    rig.drop_order("shop.1");
    rig.coordinator.state().archive.clear();
    rig.coordinator.state().log.clear();
    let report = rig.build("shop.2", text).await;
    assert_eq!(report.phase, BuildPhase::Done, "{report:#?}");
    let expect = ["hello.txt", "target", "x", "y"].map(|line| format!("build.0 stdout {line}"));
    let log = rig.coordinator.log();
    let lines: Vec<_> = log.iter().filter(|line| line.starts_with("build.0 stdout")).collect();
    assert_eq!(lines, expect.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn secrets_are_variables_and_are_not_seen() {
    let mut rig = Rig::new().await;
    rig.coordinator.state().secrets.insert("npm".to_owned(), "hunter2-secret".to_owned());
    let steps = ["echo token $TOKEN; test ${#TOKEN} = 14", "sleep 3600"];
    rig.order("shop.1", rig.pipeline(&steps, "secrets = { TOKEN = \"npm\" }", ""));
    rig.until("the second step", |rig| {
        rig.report("shop.1").filter(|report| report.steps.get(2).is_some_and(|s| s.started_at.is_some()))
    })
    .await;
    rig.until("its container", |rig| {
        rig.folder.path().join("state/builds/c/build_shop.1-build.1-1/config.json").exists().then_some(())
    })
    .await;
    assert!(rig.has_printed("shop.1", "token ***"));
    // While it runs: nowhere on the disk.
    let found =
        std::process::Command::new("grep").args(["-rl", "hunter2-secret"]).arg(rig.folder.path().join("state/builds")).output();
    let found = String::from_utf8_lossy(&found.expect("grep").stdout).into_owned();
    // (It follows no links, one of which leads into memory.)
    assert_eq!(found, "");
    rig.change("shop.1", |order| order.cancelled = true);
    let report = rig.until_over("shop.1").await;
    assert_eq!(report.phase, BuildPhase::Cancelled, "{report:#?}");
}

#[tokio::test]
async fn what_changes_nothing_of_interest_is_skipped() {
    let mut rig = Rig::new().await;
    let text = rig.pipeline(&["true"], "", "").replace("shop.git\"\n", "shop.git\"\npaths = [\"src\"]\n");
    rig.order("shop.1", text);
    rig.change("shop.1", |order| order.since = Some("r0".parse().expect("a commit")));
    let report = rig.until_over("shop.1").await;
    assert_eq!(report.phase, BuildPhase::Skipped, "{report:#?}");
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let mut rig = Rig::new().await;
    let text = rig.pipeline(&["true"], "", "");
    rig.fails("shop.1", text.replace("hello.txt", "missing"), "\"missing\" matches nothing in the workspace").await;
    rig.fails("shop.2", format!("{text}[deploy]\ndocument = \"web.toml\"\n"), "web.toml is not in the repository").await;
    rig.fails("shop.3", text.replace("tools/sh:1", "tools/none:1"), "tools/none").await;
    rig.fails("shop.4", rig.pipeline(&["true"], "secrets = { A = \"none\" }", ""), "cannot have secret none").await;
    rig.fails("shop.5", text.replace("\"none\"", "\"host\""), "host_network").await;
    let image = format!("image = \"{}\"\n", rig.image());
    rig.fails("shop.6", text.replace(&image, ""), "host_steps").await;
    rig.fails("shop.7", "[source]\nnone = 1\n".to_owned(), "none").await;
    rig.coordinator.state().refusal = Some("the disk of the coordinator is full".to_owned());
    rig.fails("shop.8", text, "the disk of the coordinator is full").await;
}

#[tokio::test]
async fn a_step_runs_as_the_user_that_it_names() {
    let mut rig = Rig::new().await;
    let steps = ["id -u; echo mine > hello.txt; mkdir sub; touch sub/x"];
    let report = rig.build("shop.1", rig.pipeline(&steps, "user = \"app\"", "")).await;
    assert_eq!(report.phase, BuildPhase::Done, "{report:#?}");
    assert!(rig.coordinator.log().contains(&"build.0 stdout 1000".to_owned()));
}

#[tokio::test]
async fn steps_without_an_image_have_the_hosts_programs_and_no_rights() {
    let mut rig = Rig::new().await;
    rig.builder_config().host_steps = true;
    rig.restart();
    let image = format!("image = \"{}\"\n", rig.image());
    let steps = ["id -un; ls -a /home; touch /usr/x 2>/dev/null || echo refused; echo built > hello.txt"];
    let text = rig.pipeline(&steps, "", "").replace(&image, "");
    let report = rig.build("shop.1", text).await;
    assert_eq!(report.phase, BuildPhase::Done, "{report:#?}\n{:#?}", rig.coordinator.log());
    let log = rig.coordinator.log();
    assert!(log.contains(&"build.0 stdout nobody".to_owned()) && log.contains(&"build.0 stdout refused".to_owned()), "{log:#?}");
}

#[tokio::test]
async fn sources_are_looked_at_again_and_again() {
    let mut rig = Rig::new().await;
    let text = rig.pipeline(&["true"], "", "[trigger]\npoll = \"never\"\n");
    rig.watch(0, text.clone());
    let head = rig.until_head(|head| head.head.is_some()).await;
    assert_eq!((head.asked, head.head.expect("a head").commit.as_ref()), (0, "r1"));
    fs::write(rig.folder.path().join("source.commit"), "r2").expect("written");
    rig.watch(1, text.clone());
    rig.until_head(|head| head.asked == 1 && head.head.as_ref().is_some_and(|head| head.commit.as_ref() == "r2")).await;
    fs::remove_file(rig.folder.path().join("source.commit")).expect("removed");
    rig.watch(2, text);
    let head = rig.until_head(|head| head.problem.is_some()).await;
    assert!(head.head.is_some_and(|head| head.commit.as_ref() == "r2"), "what was seen is still told");
}

#[tokio::test]
async fn runs_of_one_pipeline_wait_for_each_other() {
    let mut rig = Rig::new().await;
    rig.builder_config().runs = 2;
    rig.restart();
    let text = rig.pipeline(&["sleep 3600"], "", "");
    rig.order("shop.1", text.clone());
    rig.order("shop.2", text.clone());
    rig.order("other.1", text);
    let runs = |rig: &Rig, run: &str| rig.report(run).is_some_and(|report| report.phase == BuildPhase::Building);
    rig.until("two to run", |rig| (runs(rig, "shop.1") && runs(rig, "other.1")).then_some(())).await;
    let waits = rig.report("shop.2").expect("a report");
    assert_eq!((waits.phase, waits.problem.as_deref()), (BuildPhase::Waiting, Some("shop.1 comes first")));
    // One that is dropped gives its place away; one that never began can be cancelled.
    rig.drop_order("shop.1");
    rig.until("the next one", |rig| runs(rig, "shop.2").then_some(())).await;
    for run in ["shop.2", "other.1"] {
        rig.drop_order(run);
    }
    rig.until("nothing to be left", |rig| rig.leftovers().is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_log_is_seen_while_it_grows() {
    let mut rig = Rig::new().await;
    rig.order("shop.1", rig.pipeline(&["echo begun; while ! test -e go; do sleep 0.05; done; echo over"], "", ""));
    rig.until("the step", |rig| rig.has_printed("shop.1", "begun").then_some(())).await;
    let asked = RunLogsRequest { run: "shop.1".parse().expect("a run"), follow: true };
    let mut lines = Box::pin(rig.builder().log(&asked).expect("a log"));
    let (mut text, mut is_let_go) = (String::new(), false);
    rig.beside(async {
        while let Some(piece) = lines.next().await {
            text.push_str(std::str::from_utf8(&piece.expect("a piece")).expect("text"));
            if !std::mem::replace(&mut is_let_go, true) {
                fs::write(rig.folder.path().join("state/builds/work/shop/workspace/go"), "").expect("written");
            }
        }
    })
    .await;
    assert!(text.contains("\"over\"") && text.ends_with('\n'), "{text}");
    let none = RunLogsRequest { run: "shop.9".parse().expect("a run"), follow: false };
    assert!(rig.builder().log(&none).err().is_some_and(|problem| problem.contains("shop.9")));
}
