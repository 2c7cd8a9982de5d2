//! Schedules: what is due is started once, also after a pause, and nothing else is.

use super::*;
use crate::hosts::Hosts;
use crate::pipeline::{PipelineController, RunFiles};
use crate::records::{Source, load};
use coord_store::MemoryStore;

struct Bench {
    store: SharedStore,
    pipelines: Arc<Pipelines>,
    name: PipelineName,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let store: SharedStore = Arc::new(MemoryStore::default());
        let hosts = Arc::new(Hosts::new(coord_shared::decide::liveness::LivenessLimits::default()));
        let loaded = PipelineController::load(Arc::clone(&store), hosts, RunFiles::new(dir.path()), 1 << 20).await;
        let (_, pipelines) = loaded.expect("loads");
        Self { store, pipelines, name: "shop".parse().expect("a name"), _dir: dir }
    }

    fn schedules(&self) -> Schedules {
        Schedules::new(Arc::clone(&self.store), Arc::clone(&self.pipelines))
    }

    async fn put(&self, trigger: &str) {
        let text = format!(
            "[source]\ngit = \"https://git.lan/shop.git\"\n[build]\nimage = \"r.lan/rust:1\"\nsteps = [\"make\"]\n[package]\n\
             include = [\"shop\"]\n[image]\nrepository = \"shop\"\nentrypoint = [\"/shop\"]\n{trigger}"
        );
        self.pipelines.submit(&self.name, &text, Source::Folder("shop.toml".to_owned()), false).await.expect("is taken");
    }

    /// How many looks were asked for: each start asks for one.
    async fn asked(&self) -> u64 {
        self.pipelines.record(&self.name).await.expect("reads").expect("is there").asked
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

#[tokio::test]
async fn what_is_due_is_started_once() {
    let bench = Bench::new().await;
    bench.put("[trigger]\nschedule = \"0 3 * * *\"\n").await;
    let mut schedules = bench.schedules();
    let asked = bench.asked().await;
    // New at five: three o'clock was before its time.
    let wait = schedules.pass(at("2026-11-22T05:00:00Z")).await.expect("passes");
    assert_eq!((bench.asked().await, wait), (asked, Duration::from_secs(22 * 3600)));
    schedules.pass(at("2026-11-23T02:59:59Z")).await.expect("passes");
    assert_eq!(bench.asked().await, asked);
    let wait = schedules.pass(at("2026-11-23T03:00:00Z")).await.expect("passes");
    assert_eq!((bench.asked().await, wait), (asked + 1, Duration::from_secs(24 * 3600)));
    let record = bench.pipelines.record(&bench.name).await.expect("reads").expect("is there");
    assert_eq!(record.wanted.expect("a wish").cause, Cause::Schedule);
    schedules.pass(at("2026-11-23T03:00:01Z")).await.expect("passes");
    assert_eq!(bench.asked().await, asked + 1);
    // Three nights without a coordinator: one run.
    let mut schedules = bench.schedules();
    schedules.pass(at("2026-11-26T12:00:00Z")).await.expect("passes");
    schedules.pass(at("2026-11-26T12:00:01Z")).await.expect("passes");
    assert_eq!(bench.asked().await, asked + 2);
}

#[tokio::test]
async fn a_changed_schedule_begins_anew_and_a_removed_one_is_forgotten() {
    let bench = Bench::new().await;
    bench.put("[trigger]\nschedule = \"0 3 * * *\"\n").await;
    let mut schedules = bench.schedules();
    schedules.pass(at("2026-11-22T05:00:00Z")).await.expect("passes");
    bench.put("[trigger]\nschedule = \"0 4 * * *\"\n").await;
    let asked = bench.asked().await;
    // Four o'clock has passed by when it is first seen.
    schedules.pass(at("2026-11-23T05:00:00Z")).await.expect("passes");
    assert_eq!(bench.asked().await, asked);
    let next: Next = load(&*bench.store, "schedule/shop").await.expect("reads").expect("is there").0;
    assert_eq!(next.at, at("2026-11-24T04:00:00Z"));
    bench.put("").await;
    let asked = bench.asked().await;
    schedules.pass(at("2026-11-25T05:00:00Z")).await.expect("passes");
    assert_eq!(bench.asked().await, asked);
    assert!(load::<Next>(&*bench.store, "schedule/shop").await.expect("reads").is_none());
    let source = Source::Folder("shop.toml".to_owned());
    bench.put("[trigger]\nschedule = \"@daily\"\n").await;
    bench.pipelines.remove(&bench.name, &source, false).await.expect("removes");
    schedules.pass(at("2026-11-28T05:00:00Z")).await.expect("passes");
    assert!(load::<Next>(&*bench.store, "schedule/shop").await.expect("reads").is_none());
}
