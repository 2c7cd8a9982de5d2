//! Publishing: what makes a revision, what does not, and what a failing store or registry leaves behind.
use super::*;
use crate::documents::resolve::fake::FakeImages;
use crate::documents::waiting::Resolver;
use coord_shared::decide::reason::Reason;
use coord_store::{Fault, FaultyStore, MemoryStore, Store as _};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// A publisher with its resolver, over a registry of one table and a store that fails on demand.
struct Bench {
    store: Arc<FaultyStore>,
    publisher: Arc<Publisher>,
    images: Arc<FakeImages>,
    _resolver: AbortOnDropHandle<()>,
}

fn bench() -> Bench {
    let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::default())));
    let shared: SharedStore = Arc::clone(&store) as SharedStore;
    let publisher = Arc::new(Publisher::new(Arc::clone(&shared)));
    let images = Arc::<FakeImages>::default();
    images.serve("r.lan/web:1", "one");
    images.serve("r.lan/web:2", "two");
    let resolver = Resolver { store: shared, publisher: Arc::clone(&publisher), images: Arc::clone(&images) as _ };
    Bench { store, publisher, images, _resolver: AbortOnDropHandle::new(tokio::spawn(resolver.run())) }
}

fn web() -> WorkloadName {
    "web".parse().expect("a workload name")
}

fn document(image: &str, extra: &str) -> String {
    format!("image = \"{image}\"\nhosts = [\"*\"]\n{extra}\n")
}

fn folder() -> Source {
    Source::Folder("web.toml".to_owned())
}

fn api() -> Source {
    Source::Api("admin".to_owned())
}

impl Bench {
    async fn submit(&self, text: &str, source: Source) -> Result<Submitted, PublishError> {
        self.take(text, source, false).await
    }

    async fn take(&self, text: &str, source: Source, take_over: bool) -> Result<Submitted, PublishError> {
        self.publisher.submit(Submission { name: web(), text: text.to_owned(), source, take_over }).await
    }

    /// Submits, and waits until it is published or known to wait.
    async fn settle(&self, text: &str) -> Option<Reason> {
        match self.submit(text, folder()).await.expect("is taken") {
            Submitted::Waiting(at) => self.publisher.waiting.outcome(&web(), at, Duration::from_secs(60)).await,
            Submitted::Unchanged(_) | Submitted::Published(_) => None,
        }
    }

    async fn revision(&self) -> Option<(u64, String)> {
        let standing = self.publisher.standing(&web()).await.expect("reads");
        let active = standing.active()?;
        Some((active.newest.0, standing.published().expect("has a text").digest.short().to_owned()))
    }

    async fn history(&self) -> Vec<HistoryEntry> {
        let stored = self.store.range(&records::history_prefix(&web())).await.expect("reads");
        stored.iter().map(|e| records::decode(&e.key, &e.value).expect("ours")).collect()
    }
}

fn at(revision: u64, content: &str) -> Option<(u64, String)> {
    Some((revision, Digest::of(content.as_bytes()).short().to_owned()))
}

#[tokio::test(start_paused = true)]
async fn a_text_becomes_a_revision_and_the_same_text_no_other() {
    let bench = bench();
    assert_eq!(bench.settle(&document("r.lan/web:1", "")).await, None);
    assert_eq!(bench.revision().await, at(1, "one"));
    assert_eq!(bench.settle(&document("r.lan/web:1", "")).await, None);
    assert_eq!(bench.revision().await, at(1, "one"));
    assert_eq!(bench.settle(&document("r.lan/web:2", "")).await, None);
    assert_eq!(bench.revision().await, at(2, "two"));
    let history = bench.history().await;
    let actions: Vec<_> = history.iter().map(|e| (e.revision.0, e.action, e.who.as_str(), e.source.as_str())).collect();
    let folder = ("folder", "folder:web.toml");
    assert_eq!(actions, [(1, HistoryAction::Create, folder.0, folder.1), (2, HistoryAction::Update, folder.0, folder.1)]);
    assert_eq!(history[1].changes.iter().map(|c| c.key.as_str()).collect::<Vec<_>>(), ["image"]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_text_changes_nothing() {
    let bench = bench();
    bench.settle(&document("r.lan/web:1", "")).await;
    for broken in ["", "image = ", "image = \"r.lan/web:2\"\n", &document("r.lan/web:2", "nonsense = 1")] {
        let outcome = bench.submit(broken, folder()).await;
        assert!(matches!(outcome, Err(PublishError::Invalid { .. })), "{broken:?}: {outcome:?}");
    }
    assert_eq!(bench.revision().await, at(1, "one"));
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_registry_lets_the_text_wait_and_the_old_revision_stays() {
    let bench = bench();
    bench.settle(&document("r.lan/web:1", "")).await;
    bench.images.cut();
    let reason = bench.settle(&document("r.lan/web:2", "")).await;
    assert!(matches!(&reason, Some(Reason::ImageUnresolved { error, .. }) if error.contains("r.lan")), "{reason:?}");
    assert_eq!(bench.revision().await, at(1, "one"));
    // A change of another key resolves the unchanged image too, and waits like any other.
    assert!(bench.settle(&document("r.lan/web:1", "restart = \"no\"")).await.is_some());
    assert_eq!(bench.revision().await, at(1, "one"));
    // Back again: the newest text is published, without anybody's help, and the replaced one never.
    bench.images.serve("r.lan/web:1", "one again");
    bench.images.serve("r.lan/web:2", "two");
    let mut newest = bench.store.watch();
    let published = async {
        while bench.revision().await != at(2, "one again") {
            newest.changed().await.expect("the store lives");
        }
    };
    tokio::time::timeout(Duration::from_secs(120), published).await.expect("is published");
    assert!(bench.publisher.waiting.list().is_empty());
    assert_eq!(bench.history().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_moved_tag_is_seen_with_the_next_change_and_named_in_the_history() {
    let bench = bench();
    bench.settle(&document("r.lan/web:1", "")).await;
    bench.images.serve("r.lan/web:1", "moved");
    bench.settle(&document("r.lan/web:1", "")).await;
    assert_eq!(bench.revision().await, at(1, "one"), "the same text is no change");
    bench.settle(&document("r.lan/web:1", "restart = \"no\"")).await;
    assert_eq!(bench.revision().await, at(2, "moved"));
    let changes = &bench.history().await[1].changes;
    assert!(changes.iter().any(|c| c.key == "image" && c.replaces), "{changes:?}");
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_pinned_image_needs_no_registry() {
    let bench = bench();
    let digest = Digest::of(b"one");
    let image = format!("r.lan/web@{digest}");
    bench.images.serve(&image, "one");
    bench.settle(&document(&image, "")).await;
    bench.images.cut();
    assert_eq!(bench.settle(&document(&image, "restart = \"no\"")).await, None);
    assert_eq!(bench.revision().await, at(2, "one"));
    assert_eq!(bench.images.asked.lock().expect("no panic").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn going_back_to_the_published_text_withdraws_what_waited() {
    let bench = bench();
    bench.settle(&document("r.lan/web:1", "")).await;
    assert!(bench.settle(&document("r.lan/nowhere:1", "")).await.is_some());
    assert_eq!(bench.settle(&document("r.lan/web:1", "")).await, None);
    assert!(bench.publisher.waiting.list().is_empty());
    assert_eq!(bench.store.range(records::WAITING).await.expect("reads"), []);
}

#[tokio::test(start_paused = true)]
async fn a_name_belongs_to_one_source() {
    let bench = bench();
    bench.settle(&document("r.lan/web:1", "")).await;
    let other = document("r.lan/web:2", "");
    let conflict = bench.submit(&other, api()).await;
    assert!(matches!(&conflict, Err(PublishError::Conflict { owner, .. }) if *owner == folder()), "{conflict:?}");
    let conflict = bench.publisher.remove(&web(), &api(), false).await;
    assert!(matches!(conflict, Err(PublishError::Conflict { .. })));
    // The same text changes hands without a new revision.
    assert_eq!(bench.take(&document("r.lan/web:1", ""), api(), true).await.expect("is taken"), Submitted::Unchanged(Revision(1)));
    let refused = bench.submit(&other, folder()).await;
    assert!(matches!(&refused, Err(PublishError::Conflict { owner, .. }) if *owner == api()), "{refused:?}");
    // A second admin's token is not another source.
    assert!(bench.submit(&other, Source::Api("second".to_owned())).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_name_that_only_waits_belongs_to_its_source_too() {
    let bench = bench();
    assert!(bench.settle(&document("r.lan/nowhere:1", "")).await.is_some());
    assert!(matches!(bench.submit(&document("r.lan/web:1", ""), api()).await, Err(PublishError::Conflict { .. })));
    bench.publisher.remove(&web(), &folder(), false).await.expect("removes what waits");
    assert!(matches!(bench.publisher.remove(&web(), &folder(), false).await, Err(PublishError::NotFound(_))));
    assert_eq!(bench.history().await, []);
}

#[tokio::test(start_paused = true)]
async fn revisions_of_a_name_never_repeat() {
    let bench = bench();
    bench.settle(&document("r.lan/web:1", "")).await;
    let deleted = bench.publisher.remove(&web(), &folder(), false).await.expect("deletes");
    assert_eq!(deleted.revision, Revision(2));
    assert_eq!(bench.revision().await, None);
    bench.settle(&document("r.lan/web:1", "")).await;
    assert_eq!(bench.revision().await, at(3, "one"));
    let actions: Vec<_> = bench.history().await.iter().map(|e| e.action).collect();
    assert_eq!(actions, [HistoryAction::Create, HistoryAction::Delete, HistoryAction::Create]);
}

#[tokio::test(start_paused = true)]
async fn a_file_does_not_bring_back_what_an_admin_deleted() {
    let bench = bench();
    let text = document("r.lan/web:1", "");
    bench.settle(&text).await;
    bench.publisher.remove(&web(), &api(), true).await.expect("deletes");
    let outcome = bench.submit(&text, folder()).await;
    assert!(matches!(&outcome, Err(PublishError::Deleted { by, .. }) if *by == api()), "{outcome:?}");
    assert_eq!(bench.settle(&document("r.lan/web:2", "")).await, None, "a changed file does");
    assert_eq!(bench.revision().await, at(3, "two"));
}

#[tokio::test(start_paused = true)]
async fn a_failing_store_publishes_nothing_and_a_faster_writer_is_no_failure() {
    let bench = bench();
    bench.settle(&document("r.lan/web:1", "")).await;
    bench.store.plan([Fault::Fail]);
    assert!(matches!(bench.submit(&document("r.lan/web:2", ""), folder()).await, Err(PublishError::Store(_))));
    assert_eq!(bench.revision().await, at(1, "one"));
    bench.store.plan([Fault::Conflict, Fault::Conflict]);
    assert_eq!(bench.settle(&document("r.lan/web:2", "")).await, None);
    assert_eq!(bench.revision().await, at(2, "two"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_of_the_store_makes_no_second_revision() {
    let bench = bench();
    let text = document("r.lan/web:1", "");
    // The text is kept, then its publishing is written but not acknowledged: the next try finds it done.
    bench.store.plan([Fault::None, Fault::LoseAnswer]);
    bench.submit(&text, folder()).await.expect("is kept");
    let mut newest = bench.store.watch();
    let done = async {
        while bench.revision().await.is_none() || !bench.publisher.waiting.list().is_empty() {
            let _ = tokio::time::timeout(Duration::from_secs(1), newest.changed()).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), done).await.expect("settles");
    assert_eq!(bench.revision().await, at(1, "one"));
    assert_eq!(bench.history().await.len(), 1);
}
