//! Pipelines over the API, with a builder that is played by the test: every state of a run, and who may do what.

use super::bench::{Answer, Bench, report};
use coord_shared::names::Digest;
use coord_shared::wire::{
    ArchiveReport, BuildPhase, BuildReport, BuilderReport, CommitView, Head, HeadReport, HostState, PipelinesView, Report,
    RunState, RunView, StatusView,
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

const DEPLOY: &str = "# the shop\nimage = \"set by the pipeline\"\nhosts = [\"web\"]\n";

fn commit(n: u8) -> String {
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
    builds: Vec<BuildReport>,
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

    /// The builder reports.
    async fn say(&mut self) {
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

    async fn web(&mut self, containers: &[&str]) {
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

    async fn piece(&self, run: &str, range: &str, digest: Option<&Digest>, bytes: &[u8]) -> Answer {
        let path = format!("/v1/hosts/b-1/builds/{run}/archive");
        let mut asked = self.bench.request("PUT", &path).token(&self.builder).header("content-range", range);
        if let Some(digest) = digest {
            asked = asked.header("x-coord-digest", digest.as_str());
        }
        asked.body_bytes(bytes.to_vec()).await
    }

    /// Sends all of an archive and says that it is done.
    async fn done(&mut self, run: &str, archive: &[u8]) {
        let digest = Digest::of(archive);
        let range = format!("bytes 0-{}/{}", archive.len() - 1, archive.len());
        self.piece(run, &range, Some(&digest), archive).await.is(200);
        let archive = ArchiveReport { digest, bytes: archive.len() as u64 };
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

    async fn run(&self, number: u64) -> RunView {
        self.bench.admin("GET", &format!("/v1/pipelines/shop/runs/{number}"), "").await.is(200).json()
    }

    /// Waits until the run is in `state`; effects take turns of their own.
    pub(super) async fn until(&self, number: u64, state: RunState) -> RunView {
        for _ in 0..200 {
            let run = self.run(number).await;
            if run.state == state {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{:?}", self.run(number).await);
    }

    async fn put(&self) {
        self.bench.admin("PUT", "/v1/pipelines/shop", SHOP).await.is(200);
        self.bench.settled().await;
    }
}

#[tokio::test]
async fn a_commit_becomes_a_revision_that_is_served() {
    let mut line = Line::new().await;
    line.put().await;
    let watches = line.state().await.watches;
    assert_eq!((watches.len(), watches[0].document.as_str()), (1, SHOP));
    line.push(1).await;
    let order = line.state().await.builds.remove(0);
    assert_eq!((order.run.to_string(), order.commit.as_str(), order.cancelled), ("shop.1".to_owned(), &*commit(1), false));
    assert_eq!(line.run(1).await.state, RunState::Building);
    line.phase("shop.1", BuildPhase::Testing, |_| {}).await;
    line.done("shop.1", b"the archive").await;
    let run = line.until(1, RunState::Deploying).await;
    for _ in 0..200 {
        if line.run(1).await.deployed.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(line.state().await.builds.is_empty(), "the order is dropped");
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
