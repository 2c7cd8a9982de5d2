//! Where pipelines come from: files of a folder and the API, and which of them wins.

use super::fake::FakeLine;
use super::*;
use crate::control::Board;
use crate::documents::folder::{Folder, Pace};
use crate::documents::problems::Problems;
use crate::documents::publish::Publisher;
use crate::hosts::Hosts;
use coord_shared::decide::liveness::LivenessLimits;
use coord_store::MemoryStore;
use std::path::Path;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

const SHOP: &str = "[source]\ngit = \"https://git.lan/shop.git\"\n[build]\nsteps = [\"make\"]\n[package]\ninclude = [\"shop\"]\n\
                    [image]\nrepository = \"shop\"\n";
/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    dir: tempfile::TempDir,
    pipelines: Arc<Pipelines>,
    problems: Arc<Problems>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let store: SharedStore = Arc::new(MemoryStore::default());
        let hosts = Arc::new(Hosts::new(LivenessLimits::default()));
        let files = RunFiles::new(dir.path());
        let loaded = PipelineController::load(Arc::clone(&store), hosts, files, 1).await;
        let (controller, pipelines) = loaded.expect("loads");
        let problems = Arc::<Problems>::default();
        let line = Arc::<FakeLine>::default();
        let board = watch::Sender::new(Arc::<Board>::default()).subscribe();
        let publisher = Arc::new(Publisher::new(Arc::clone(&store)));
        let (assembler, teller) = (Arc::clone(&line) as _, line as _);
        let parts = Parts { assembler, publisher, teller, board, problems: Arc::clone(&problems) };
        let sink = PipelineFolder { pipelines: Arc::clone(&pipelines), store };
        let pace =
            Pace { gone: Duration::from_millis(50), rest: Duration::ZERO, rescan: Duration::from_millis(50), ..Pace::default() };
        let folder = Folder::new(dir.path().join("pipelines"), Arc::new(sink), Arc::clone(&problems), pace);
        let spawn = |task| AbortOnDropHandle::new(task);
        let tasks = vec![spawn(tokio::spawn(controller.run(parts))), spawn(tokio::spawn(folder.run()))];
        Self { dir, pipelines, problems, _tasks: tasks }
    }

    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("pipelines/shop.toml")
    }

    async fn shop(&self) -> Option<PipelineRecord> {
        let name = "shop".parse().expect("a name");
        self.pipelines.record(&name).await.expect("reads").filter(|record| !record.deleted)
    }

    async fn until(&self, what: &str, is: impl AsyncFn() -> bool) {
        let deadline = clock::moment() + PATIENCE;
        while !is().await {
            assert!(clock::moment() < deadline, "{what}: {:?}, {:?}", self.shop().await, self.problems.list());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn write(&self, text: &str) {
        self.until("the folder is made", async || self.file().parent().is_some_and(Path::is_dir)).await;
        std::fs::write(self.file(), text).expect("writes");
    }

    fn problem(&self, source: &str) -> Option<String> {
        self.problems.list().into_iter().find(|problem| problem.source == source).map(|problem| problem.summary)
    }
}

#[tokio::test]
async fn a_file_is_a_pipeline_until_it_is_gone() {
    let bench = Bench::new().await;
    bench.write(SHOP).await;
    bench.until("taken", async || bench.shop().await.is_some()).await;
    bench.write("source = 1\n").await;
    bench.until("said", async || bench.problem("pipelines:shop.toml").is_some()).await;
    assert_eq!(bench.shop().await.expect("stays").text, SHOP);
    bench.write(&format!("# newer\n{SHOP}")).await;
    bench.until("newer", async || bench.shop().await.is_some_and(|shop| shop.text != SHOP)).await;
    bench.until("mended", async || bench.problem("pipelines:shop.toml").is_none()).await;
    std::fs::remove_file(bench.file()).expect("removes");
    bench.until("deleted", async || bench.shop().await.is_none()).await;
}

#[tokio::test]
async fn what_an_admin_took_or_deleted_no_file_takes_back() {
    let bench = Bench::new().await;
    bench.write(SHOP).await;
    bench.until("taken", async || bench.shop().await.is_some()).await;
    let (name, admin) = ("shop".parse().expect("a name"), Source::Api("eve".to_owned()));
    let refused = bench.pipelines.remove(&name, &admin, false).await;
    assert!(matches!(refused, Err(PipelineError::Conflict { .. })), "{refused:?}");
    bench.pipelines.remove(&name, &admin, true).await.expect("is deleted");
    bench.until("said", async || bench.problem("pipelines:shop.toml").is_some_and(|text| text.contains("was deleted"))).await;
    assert!(bench.shop().await.is_none());
    bench.pipelines.submit(&name, SHOP, admin, false).await.expect("is taken");
    bench.until("said", async || bench.problem("pipelines:shop.toml").is_some_and(|text| text.contains("belongs to"))).await;
}
