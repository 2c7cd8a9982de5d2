//! The folder source on a real folder: what editors, scripts and accidents do to it.
use super::*;
use crate::documents::publish::{Publisher, Submission};
use crate::documents::resolve::fake::FakeImages;
use crate::documents::waiting::Resolver;
use crate::records::Source;
use coord_store::{MemoryStore, SharedStore};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use tokio_util::task::AbortOnDropHandle;

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(20);

const PACE: Pace = Pace {
    quiet: Duration::from_millis(12),
    quiet_max: Duration::from_millis(200),
    gone: Duration::from_millis(100),
    rescan: Duration::from_millis(300),
    rest: Duration::from_millis(150),
    tick: Duration::from_millis(50),
    settle: Duration::from_millis(600),
};

/// A folder with a source over it.
struct Bench {
    dir: tempfile::TempDir,
    store: SharedStore,
    publisher: Arc<Publisher>,
    problems: Arc<Problems>,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Bench {
    /// Lays out the folder by `prepare`, then starts the source.
    fn start(prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        prepare(&dir.path().join("desired"));
        Self::over(dir, Arc::new(MemoryStore::default()), PACE)
    }

    fn over(dir: tempfile::TempDir, store: SharedStore, pace: Pace) -> Self {
        let publisher = Arc::new(Publisher::new(Arc::clone(&store)));
        let problems = Arc::<Problems>::default();
        let images = Arc::<FakeImages>::default();
        images.serve("r.lan/web:1", "one");
        let resolver = Resolver { store: Arc::clone(&store), publisher: Arc::clone(&publisher), images };
        let path = dir.path().join("desired");
        let sink = Documents { store: Arc::clone(&store), publisher: Arc::clone(&publisher) };
        let folder = Folder::new(path, Arc::new(sink), Arc::clone(&problems), pace);
        let tasks = vec![spawn(resolver.run()), spawn(folder.run())];
        Self { dir, store, publisher, problems, tasks }
    }

    /// Ends the source and starts another over the same store, as a restart would. In between, `change` happens to the folder.
    async fn restart(mut self, change: impl FnOnce(&Path)) -> Self {
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
        change(&self.path());
        Self::over(self.dir, self.store, PACE)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("desired")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).expect("writes");
    }

    /// The published text of a workload, and its revision.
    async fn published(&self, name: &str) -> Option<(String, u64)> {
        let standing = self.publisher.standing(&name.parse().expect("a workload name")).await.expect("reads");
        let revision = standing.active()?.newest.0;
        Some((standing.published().expect("has a text").text.clone(), revision))
    }

    async fn wait_published(&self, name: &str, text: &str) -> u64 {
        let mut revision = 0;
        self.wait(&format!("{name} is published"), async || match self.published(name).await {
            Some((found, number)) if found == text => {
                revision = number;
                true
            }
            _ => false,
        })
        .await;
        revision
    }

    async fn wait_gone(&self, name: &str) {
        self.wait(&format!("{name} is deleted"), async || self.published(name).await.is_none()).await;
    }

    async fn wait_problem(&self, source: &str, words: &str) {
        let is_shown = async || self.problems.list().iter().any(|p| p.source == source && p.summary.contains(words));
        self.wait(&format!("a problem of {source} with {words:?}, not {:?}", self.problems.list()), is_shown).await;
    }

    async fn wait_in_order(&self) {
        self.wait("no problems", async || self.problems.list().is_empty()).await;
    }

    /// Polls until `is_so`; panics with `what` after a while.
    async fn wait(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let end = crate::clock::moment() + PATIENCE;
        while !is_so().await {
            assert!(crate::clock::moment() < end, "waited in vain: {what}; problems: {:?}", self.problems.list());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Long enough for whatever must not happen to have happened: two rescans and everything else.
    async fn let_it_look_around(&self) {
        tokio::time::sleep(PACE.rescan * 2 + PACE.gone + PACE.quiet_max).await;
    }
}

fn spawn(part: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(part))
}

fn document(n: u32) -> String {
    format!("image = \"r.lan/web:1\"\nhosts = [\"*\"]\n[environment]\nN = \"{n}\"\n")
}

fn mkdir(path: &Path) {
    fs::create_dir(path).expect("makes the folder");
}

#[tokio::test]
async fn files_are_published_changed_and_deleted() {
    let bench = Bench::start(|path| {
        mkdir(path);
        fs::write(path.join("early.toml"), document(1)).expect("writes");
    });
    bench.wait_published("early", &document(1)).await;
    bench.write("web.toml", &document(1));
    assert_eq!(bench.wait_published("web", &document(1)).await, 1);
    bench.write("web.toml", &document(2));
    assert_eq!(bench.wait_published("web", &document(2)).await, 2);
    fs::remove_file(bench.file("web.toml")).expect("removes");
    bench.wait_gone("web").await;
    assert!(bench.published("early").await.is_some());
    bench.wait_in_order().await;
}

#[tokio::test]
async fn a_folder_that_is_missing_at_first_is_made() {
    let bench = Bench::start(|_| {});
    bench.wait("the folder is made", async || bench.path().is_dir()).await;
    bench.write("web.toml", &document(1));
    bench.wait_published("web", &document(1)).await;
}

#[tokio::test]
async fn editors_save_in_their_ways() {
    let bench = Bench::start(mkdir);
    // Beside and rename (vim, sed -i, kubectl-like tools).
    bench.write("web.toml~", "junk");
    bench.write(".web.toml.swp", "junk");
    bench.write("4913", "junk");
    bench.write("web.toml.new", &document(1));
    fs::rename(bench.file("web.toml.new"), bench.file("web.toml")).expect("renames");
    bench.wait_published("web", &document(1)).await;
    // Backup by rename, then create.
    fs::rename(bench.file("web.toml"), bench.file("web.toml~")).expect("renames");
    bench.write("web.toml", &document(2));
    assert_eq!(bench.wait_published("web", &document(2)).await, 2, "never deleted in between");
    // Delete and create.
    fs::remove_file(bench.file("web.toml")).expect("removes");
    bench.write("web.toml", &document(3));
    assert_eq!(bench.wait_published("web", &document(3)).await, 3, "never deleted in between");
    // A second name, a link.
    fs::write(bench.dir.path().join("elsewhere"), document(4)).expect("writes");
    fs::hard_link(bench.dir.path().join("elsewhere"), bench.file("hard.toml")).expect("links");
    std::os::unix::fs::symlink("../elsewhere", bench.file("soft.toml")).expect("links");
    bench.wait_published("hard", &document(4)).await;
    bench.wait_published("soft", &document(4)).await;
    bench.wait_in_order().await;
}

#[tokio::test]
async fn a_file_with_a_writer_is_left_alone_until_it_is_closed() {
    let pace = Pace { rest: Duration::from_secs(3600), ..PACE };
    let dir = tempfile::tempdir().expect("a folder");
    mkdir(&dir.path().join("desired"));
    let bench = Bench::over(dir, Arc::new(MemoryStore::default()), pace);
    bench.write("web.toml", &document(1));
    bench.wait_published("web", &document(1)).await;
    // A valid document, halfway; events of another file and rescans come by.
    let mut writer = fs::File::create(bench.file("web.toml")).expect("opens");
    writer.write_all(b"image = \"r.lan/web:1\"\nhosts = [\"*\"]\n").expect("writes");
    bench.write("other.toml", &document(1));
    bench.wait_published("other", &document(1)).await;
    bench.let_it_look_around().await;
    assert_eq!(bench.published("web").await, Some((document(1), 1)));
    writer.write_all(b"[environment]\nN = \"2\"\n").expect("writes");
    drop(writer);
    assert_eq!(bench.wait_published("web", &document(2)).await, 2);
    bench.wait_in_order().await;
}

#[tokio::test]
async fn writes_in_quick_succession_end_with_the_last() {
    let bench = Bench::start(mkdir);
    for n in 0..20 {
        bench.write("web.toml", &document(n));
    }
    let revision = bench.wait_published("web", &document(19)).await;
    assert!(revision <= 3, "{revision} revisions of one burst");
    // The same length within the same second.
    bench.write("web.toml", &document(20));
    bench.write("web.toml", &document(21));
    bench.wait_published("web", &document(21)).await;
}

#[tokio::test]
async fn a_broken_file_is_a_problem_and_what_was_published_stays() {
    let bench = Bench::start(mkdir);
    bench.write("web.toml", &document(1));
    bench.wait_published("web", &document(1)).await;
    let source = "folder:web.toml";
    let breakages: [(&[u8], &str); 4] = [
        (b"image = 1\nhosts = [\"*\"]\n", "1:9"),
        (b"", "is empty"),
        (b"image = \"\xff\xfe\"", "not UTF-8 at byte 9"),
        (&[b'#'; coord_shared::document::DOCUMENT_MAX_BYTES + 1], "larger than"),
    ];
    for (bytes, words) in breakages {
        fs::write(bench.file("web.toml"), bytes).expect("writes");
        bench.wait_problem(source, words).await;
    }
    fs::remove_file(bench.file("web.toml")).expect("removes");
    mkdir(&bench.file("web.toml"));
    bench.wait_problem(source, "is a folder").await;
    fs::remove_dir(bench.file("web.toml")).expect("removes");
    std::os::unix::fs::symlink("nowhere", bench.file("web.toml")).expect("links");
    bench.wait_problem(source, "leads nowhere").await;
    bench.let_it_look_around().await;
    assert_eq!(bench.published("web").await, Some((document(1), 1)));
    fs::remove_file(bench.file("web.toml")).expect("removes");
    bench.write("web.toml", &document(2));
    bench.wait_published("web", &document(2)).await;
    bench.wait_in_order().await;
}

#[tokio::test]
async fn a_bad_name_is_a_problem_until_the_file_is_gone() {
    let bench = Bench::start(mkdir);
    bench.write("Web_1.toml", &document(1));
    bench.wait_problem("folder:Web_1.toml", "not a workload's name").await;
    fs::rename(bench.file("Web_1.toml"), bench.file("web-1.toml")).expect("renames");
    bench.wait_published("web-1", &document(1)).await;
    bench.wait_in_order().await;
}

#[tokio::test]
async fn a_vanished_folder_deletes_nothing_and_goes_on_when_it_is_back() {
    let bench = Bench::start(mkdir);
    for name in ["web.toml", "db.toml"] {
        bench.write(name, &document(1));
    }
    bench.wait_published("web", &document(1)).await;
    bench.wait_published("db", &document(1)).await;
    fs::rename(bench.path(), bench.dir.path().join("away")).expect("renames");
    bench.wait_problem("folder", "nothing is unpublished").await;
    mkdir(&bench.path());
    bench.wait_problem("folder", "holds no documents").await;
    bench.let_it_look_around().await;
    assert!(bench.published("web").await.is_some() && bench.published("db").await.is_some());
    // One comes back; the other counts as deleted only once that has settled.
    bench.write("web.toml", &document(2));
    bench.wait_published("web", &document(2)).await;
    assert!(bench.published("db").await.is_some());
    bench.wait_gone("db").await;
    bench.wait_in_order().await;
    assert_eq!(bench.published("web").await, Some((document(2), 2)));
}

#[tokio::test]
async fn a_deleted_folder_deletes_nothing() {
    let bench = Bench::start(mkdir);
    bench.write("web.toml", &document(1));
    bench.wait_published("web", &document(1)).await;
    fs::remove_dir_all(bench.path()).expect("removes");
    bench.wait_problem("folder", "nothing is unpublished").await;
    bench.let_it_look_around().await;
    assert!(bench.published("web").await.is_some());
}

#[tokio::test]
async fn what_happened_while_nobody_watched_is_found_at_the_start() {
    let bench = Bench::start(mkdir);
    for name in ["a.toml", "b.toml"] {
        bench.write(name, &document(1));
    }
    bench.wait_published("a", &document(1)).await;
    bench.wait_published("b", &document(1)).await;
    let bench = bench
        .restart(|path| {
            fs::remove_file(path.join("a.toml")).expect("removes");
            fs::write(path.join("c.toml"), document(1)).expect("writes");
        })
        .await;
    bench.wait_published("c", &document(1)).await;
    bench.wait_gone("a").await;
    assert_eq!(bench.published("b").await, Some((document(1), 1)), "the same text is no new revision");
    // An empty folder at a start is an unmounted disk rather than an order to stop everything.
    let bench = bench
        .restart(|path| {
            for file in ["b.toml", "c.toml"] {
                fs::remove_file(path.join(file)).expect("removes");
            }
        })
        .await;
    bench.wait_problem("folder", "holds no documents").await;
    bench.let_it_look_around().await;
    assert!(bench.published("b").await.is_some() && bench.published("c").await.is_some());
}

#[tokio::test]
async fn the_last_file_may_be_deleted() {
    let bench = Bench::start(mkdir);
    bench.write("web.toml", &document(1));
    bench.wait_published("web", &document(1)).await;
    fs::remove_file(bench.file("web.toml")).expect("removes");
    bench.wait_gone("web").await;
    bench.wait_in_order().await;
}

#[tokio::test]
async fn a_name_of_the_api_is_not_overwritten_by_a_file() {
    let bench = Bench::start(mkdir);
    let submission = Submission {
        name: "web".parse().expect("a workload name"),
        text: document(1),
        source: Source::Api("admin".to_owned()),
        take_over: false,
    };
    bench.publisher.submit(submission).await.expect("is taken");
    bench.wait_published("web", &document(1)).await;
    bench.write("web.toml", &document(2));
    bench.wait_problem("folder:web.toml", "belongs to api:admin").await;
    assert_eq!(bench.published("web").await, Some((document(1), 1)));
    // Its removal deletes nothing either.
    fs::remove_file(bench.file("web.toml")).expect("removes");
    bench.wait_in_order().await;
    assert_eq!(bench.published("web").await, Some((document(1), 1)));
}

#[test]
fn only_what_a_writer_has_finished_counts_at_once() {
    use notify::event::{CreateKind, DataChange, MetadataKind, RemoveKind, RenameMode};
    let folder = Path::new("/desired");
    let check = |kind: notify::EventKind, closed: bool, touched: bool| {
        let mut dirty = Dirty::default();
        dirty.note(folder, &notify::Event::new(kind).add_path(folder.join("web.toml")));
        assert_eq!((!dirty.closed.is_empty(), !dirty.touched.is_empty()), (closed, touched), "{kind:?}");
    };
    use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
    check(EventKind::Access(AccessKind::Close(AccessMode::Write)), true, false);
    check(EventKind::Modify(ModifyKind::Name(RenameMode::To)), true, false);
    check(EventKind::Modify(ModifyKind::Name(RenameMode::From)), true, false);
    check(EventKind::Remove(RemoveKind::File), true, false);
    check(EventKind::Create(CreateKind::File), false, true);
    check(EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), false, true);
    check(EventKind::Modify(ModifyKind::Data(DataChange::Any)), false, false);
    check(EventKind::Access(AccessKind::Open(AccessMode::Any)), false, false);
}
