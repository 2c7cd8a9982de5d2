//! A line from source to running in which the test plays the builder and the web server.

use super::bench::{Answer, Bench, report};
use coord_shared::names::Digest;
use coord_shared::wire::{
    ArchiveReport, BuildOrder, BuildPhase, BuildReport, BuilderReport, CommitView, Head, HeadReport, HostState, Report, RunState,
    RunView,
};
use jiff::Timestamp;
use std::time::Duration;

pub(super) const SHOP: &str = r#"
[source]
git = "https://git.lan/shop.git"
branch = "main"
[build]
image = "r.lan/rust:1"
steps = ["cargo build"]
[test]
steps = ["cargo test"]
[package]
include = ["shop"]
[image]
repository = "shop"
[deploy]
document = "deploy/web.toml"
[notify]
on_failure = ["webhook:https://chat.lan/hook"]
"#;

pub(super) const DEPLOY: &str = "# the shop\nimage = \"set by the pipeline\"\nhosts = [\"web\"]\n";

/// How often a condition is looked at: effects take turns of their own, and some are tried again after seconds.
const TURNS_MAX: u32 = 2000;
const TURN: Duration = Duration::from_millis(50);

pub(super) fn commit(n: u8) -> String {
    format!("{n:02x}").repeat(20)
}

/// A builder and a web server, both played by hand.
pub(super) struct Line {
    pub(super) bench: Bench,
    pub(super) builder: String,
    pub(super) web: String,
    sequence: u64,
    /// What the builder says of sources and runs.
    heads: Vec<HeadReport>,
    pub(super) builds: Vec<BuildReport>,
}

impl Line {
    pub(super) async fn new() -> Self {
        let bench = Bench::new().await;
        let builder = bench.add_host("b-1").await;
        let web = bench.add_host("web").await;
        let mut line = Self { bench, builder, web, sequence: 0, heads: Vec::new(), builds: Vec::new() };
        line.say().await;
        line.web(&[]).await;
        line
    }

    /// The coordinator is killed and starts again; both hosts report to the new one.
    pub(super) async fn restarted(self) -> Self {
        let bench = self.bench.restarted().await;
        let mut line = Self { bench, ..self };
        line.say().await;
        line
    }

    /// The builder reports.
    pub(super) async fn say(&mut self) {
        self.sequence += 1;
        let mut said = report("b-1", self.sequence, &[("builder", "true")], &[]);
        self.fill(&mut said);
        let token = self.builder.clone();
        self.bench.report(&token, &said).await;
    }

    fn fill(&self, said: &mut Report) {
        let full = said.full.as_mut().expect("a full report");
        full.facts.disk_free_bytes = 1 << 40;
        full.builder = Some(BuilderReport { runs: 1 });
        full.heads.clone_from(&self.heads);
        full.builds.clone_from(&self.builds);
    }

    pub(super) async fn web(&mut self, containers: &[&str]) {
        self.sequence += 1;
        let said = report("web", self.sequence, &[], containers);
        let token = self.web.clone();
        self.bench.report(&token, &said).await;
    }

    pub(super) async fn state(&self) -> HostState {
        let text = self.bench.send("GET", "/v1/hosts/b-1/state", Some(&self.builder), "").await.is(200).text();
        HostState::from_toml(&text).expect("a host state")
    }

    /// The builder looks at the source and sees commit `n`.
    pub(super) async fn push(&mut self, n: u8) {
        let state = self.state().await;
        let look = |watch: &coord_shared::wire::SourceWatch| HeadReport {
            pipeline: watch.pipeline.clone(),
            asked: watch.asked,
            head: Some(Head { commit: commit(n).parse().expect("a commit"), reference: "main".to_owned() }),
            problem: None,
        };
        self.heads = state.watches.iter().map(look).collect();
        self.say().await;
    }

    /// What the builder does for a run.
    pub(super) async fn phase(&mut self, run: &str, phase: BuildPhase, change: impl FnOnce(&mut BuildReport)) {
        let mut build = BuildReport {
            run: run.parse().expect("a run"),
            phase,
            since: Timestamp::UNIX_EPOCH,
            commit: None,
            steps: Vec::new(),
            problem: None,
            archive: None,
            deploy: None,
        };
        change(&mut build);
        self.builds = vec![build];
        self.say().await;
    }

    pub(super) async fn piece(&self, run: &str, range: &str, digest: Option<&Digest>, bytes: &[u8]) -> Answer {
        let path = format!("/v1/hosts/b-1/builds/{run}/archive");
        let mut asked = self.bench.request("PUT", &path).token(&self.builder).header("content-range", range);
        if let Some(digest) = digest {
            asked = asked.header("x-coord-digest", digest.as_str());
        }
        asked.body_bytes(bytes.to_vec()).await
    }

    pub(super) async fn log(&self, run: &str, offset: &str, lines: &[u8]) -> Answer {
        let path = format!("/v1/hosts/b-1/builds/{run}/log");
        let asked = self.bench.request("POST", &path).token(&self.builder).header("x-coord-offset", offset);
        asked.body_bytes(lines.to_vec()).await
    }

    /// Sends all of an archive at once.
    pub(super) async fn piece_of(&self, run: &str, archive: &[u8]) -> Answer {
        let range = format!("bytes 0-{}/{}", archive.len() - 1, archive.len());
        self.piece(run, &range, Some(&Digest::of(archive)), archive).await
    }

    pub(super) fn archive_report(&self, archive: &[u8]) -> ArchiveReport {
        ArchiveReport { digest: Digest::of(archive), bytes: archive.len() as u64 }
    }

    /// Sends all of an archive and says that it is done.
    pub(super) async fn done(&mut self, run: &str, archive: &[u8]) {
        self.piece_of(run, archive).await.is(200);
        self.report_done(run, archive).await;
    }

    /// Says that it is done.
    pub(super) async fn report_done(&mut self, run: &str, archive: &[u8]) {
        let archive = self.archive_report(archive);
        self.phase(run, BuildPhase::Done, |build| {
            build.archive = Some(archive);
            build.deploy = Some(DEPLOY.to_owned());
            build.commit = Some(CommitView {
                commit: commit(1).parse().expect("a commit"),
                author: "A <a@x>".to_owned(),
                subject: "Sell more".to_owned(),
                at: Timestamp::UNIX_EPOCH,
            });
        })
        .await;
    }

    /// The orders are gone, and with them what was said of them.
    pub(super) async fn forget_builds(&mut self) {
        self.builds.clear();
        self.say().await;
    }

    /// Somebody wants a run, and the builder looks at the source, because it is asked to, and sees commit `n`.
    pub(super) async fn start(&mut self, wish: &'static str, n: u8) -> Answer {
        let request = self.bench.request("POST", "/v1/pipelines/shop/runs").token(&self.bench.admin);
        let asked = tokio::spawn(async move { request.body(wish).await });
        self.bench.settled().await;
        // As a builder does, which looks again and again: the first look may come before the wish is known.
        while !asked.is_finished() {
            self.push(n).await;
            tokio::time::sleep(TURN).await;
        }
        asked.await.expect("does not panic")
    }

    pub(super) async fn run(&self, number: u64) -> RunView {
        self.bench.admin("GET", &format!("/v1/pipelines/shop/runs/{number}"), "").await.is(200).json()
    }

    /// Waits until the run is in `state`; effects take turns of their own.
    pub(super) async fn until(&self, number: u64, state: RunState) -> RunView {
        self.until_is(number, |run| run.state == state).await
    }

    /// As [`Self::until`], for something else than the state. A run that is not there yet is waited for, too.
    pub(super) async fn until_is(&self, number: u64, is: impl Fn(&RunView) -> bool) -> RunView {
        let path = format!("/v1/pipelines/shop/runs/{number}");
        for _ in 0..TURNS_MAX {
            let answer = self.bench.admin("GET", &path, "").await;
            if answer.status.is_success() && is(&answer.json()) {
                return answer.json();
            }
            tokio::time::sleep(TURN).await;
        }
        panic!("{}", self.bench.admin("GET", &path, "").await.text());
    }

    /// Waits until the builder has so many orders.
    pub(super) async fn until_orders(&self, count: usize) -> Vec<BuildOrder> {
        for _ in 0..TURNS_MAX {
            let builds = self.state().await.builds;
            if builds.len() == count {
                return builds;
            }
            tokio::time::sleep(TURN).await;
        }
        panic!("{:?}", self.state().await.builds);
    }

    /// Waits until the builder is told to look at a source.
    pub(super) async fn until_watched(&self) {
        for _ in 0..TURNS_MAX {
            if !self.state().await.watches.is_empty() {
                return;
            }
            tokio::time::sleep(TURN).await;
        }
        panic!("nobody watches");
    }

    /// Waits until the builder is told to end what it builds.
    pub(super) async fn until_cancelled(&self) {
        for _ in 0..TURNS_MAX {
            if self.state().await.builds.iter().all(|order| order.cancelled) {
                return;
            }
            tokio::time::sleep(TURN).await;
        }
        panic!("{:?}", self.state().await.builds);
    }

    /// Waits until people were told so often.
    pub(super) async fn until_told(&self, count: usize) -> Vec<String> {
        for _ in 0..TURNS_MAX {
            if self.told().len() >= count {
                break;
            }
            tokio::time::sleep(TURN).await;
        }
        self.told()
    }

    /// Waits until a file of a run is gone.
    pub(super) async fn until_gone(&self, file: &str) {
        for _ in 0..TURNS_MAX {
            if !self.bench.dir.path().join("runs").join(file).exists() {
                return;
            }
            tokio::time::sleep(TURN).await;
        }
        panic!("{file} is still there");
    }

    /// What people were told.
    pub(super) fn told(&self) -> Vec<String> {
        let told = self.bench.line.told.lock().expect("no panic");
        told.iter()
            .map(|told| format!("{} {}: {}", told.run.run, told.run.state, told.run.problem.as_deref().unwrap_or("-")))
            .collect()
    }

    pub(super) async fn put(&self) {
        self.bench.admin("PUT", "/v1/pipelines/shop", SHOP).await.is(200);
        self.bench.settled().await;
    }
}
