//! A store whose process is killed at every place at which it changes the disk, one after the other.
//!
//! A test runs itself once more as a child, which kills itself at the Nth place. The parent opens what is left, looks at everything that
//! has a name, and goes on as an agent would; then N grows by one, until the child gets done.

mod power;

use super::disks::{LoopDisk, unmount_below};
use super::pulls::{names, options, until};
use super::root::Overlay;
use super::tarball::Tarball;
use super::{chain, listing};
use crate::{FormatChoice, ImageStore, Options, Policy};
use coord_registry::fake::{FakeLayer, FakeRegistry};
use coord_registry::{Registry, RegistryConfig};
use coord_shared::names::Digest;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Tells a child what to do: `WORK FORMAT FOLDER HOST DIGEST...`.
const JOB: &str = "COORD_TEST_JOB";
/// No work has as many places.
const PLACES_MAX: u64 = 2000;
const DISK_MEBIBYTES: u32 = 256;

/// What a child is killed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// The first image is pulled and mounted.
    Pull,
    /// Both are mounted, then all but the second are pruned.
    Prune,
    /// The same by a collection.
    Collect,
    /// What is damaged is removed.
    Repair,
}

const WORKS: [(&str, Work); 4] =
    [("pull", Work::Pull), ("prune", Work::Prune), ("collect", Work::Collect), ("repair", Work::Repair)];
const FORMATS: [(&str, FormatChoice); 2] = [("archives", FormatChoice::Auto), ("directories", FormatChoice::Directories)];

fn named<T: Copy + PartialEq>(table: &[(&'static str, T)], name: &str) -> T {
    table.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("unknown: {name}")).1
}

fn name_of<T: Copy + PartialEq>(table: &[(&'static str, T)], value: T) -> &'static str {
    table.iter().find(|(_, known)| *known == value).unwrap().0
}

fn options_of(format: FormatChoice) -> Options {
    Options { format, ..options() }
}

fn registry_at(host: &str) -> Registry {
    let config = RegistryConfig { prefix: host.to_owned(), insecure: true, ..RegistryConfig::default() };
    Registry::new(vec![config], None).unwrap()
}

/// In a child: does what it was started for. Whether this is one.
async fn is_child() -> bool {
    let Ok(job) = std::env::var(JOB) else { return false };
    let words: Vec<&str> = job.split(' ').collect();
    let [work, format, folder, host, digests @ ..] = &words[..] else { panic!("{job}") };
    let digests: Vec<Digest> = digests.iter().map(|digest| digest.parse().unwrap()).collect();
    let store = ImageStore::open_with(Path::new(folder), options_of(named(&FORMATS, format))).unwrap();
    let keep: BTreeSet<Digest> = digests.iter().skip(1).cloned().collect();
    match named(&WORKS, work) {
        Work::Pull => {
            let image = format!("{host}/shop/web:1").parse().unwrap();
            store
                .pull(&registry_at(host), &image, &digests[0], Arc::default())
                .await
                .unwrap_or_else(|error| panic!("{}", chain(&error)));
            store.mount(&digests[0]).unwrap();
        }
        Work::Prune | Work::Collect => {
            for digest in &digests {
                store.mount(digest).unwrap();
            }
            if named(&WORKS, work) == Work::Prune {
                store.prune(&keep).unwrap();
            } else {
                let policy = Policy { keep: Duration::ZERO, ..Policy::default() };
                store.collect(&keep, &policy).unwrap();
            }
        }
        Work::Repair => drop(store.verify(None, true).unwrap()),
    }
    true
}

/// A store's folder; when it is dropped, nothing stays mounted in it.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new(disk: &LoopDisk) -> Place {
        Place { folder: TempDir::new_in(disk.path()).unwrap() }
    }

    /// With what is in another.
    fn copy_of(other: &Place, disk: &LoopDisk) -> Place {
        let place = Place::new(disk);
        let copied = Command::new("cp").arg("-a").arg(other.path().join(".")).arg(place.path()).status().unwrap();
        assert!(copied.success());
        place
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        unmount_below(self.path());
    }
}

/// Two images that share a layer, and a registry that serves them.
struct Fixture {
    fake: FakeRegistry,
    first: Digest,
    second: Digest,
}

impl Fixture {
    async fn new() -> Fixture {
        let fake = FakeRegistry::start().await.unwrap();
        let [base, middle, top] = three_layers();
        let other = Tarball::new().dir("etc", 0o755).file("etc/other", "other").layer();
        let first = fake.put_image("shop/web", "1", "amd64", &[base.clone(), middle, top]);
        let second = fake.put_image("shop/web", "2", "amd64", &[base, other]);
        Fixture { fake, first, second }
    }

    async fn pull(&self, store: &ImageStore, digest: &Digest) {
        let image = format!("{}/shop/web:1", self.fake.host()).parse().unwrap();
        let pulled = store.pull(&registry_at(&self.fake.host()), &image, digest, Arc::default()).await;
        pulled.unwrap_or_else(|error| panic!("{}", chain(&error)));
    }

    /// A child at work that is killed at a place. The place, or None if it got done.
    async fn run(&self, test: &str, work: Work, format: FormatChoice, folder: &Path, at: u64) -> Option<String> {
        let (work, format) = (name_of(&WORKS, work), name_of(&FORMATS, format));
        let job = format!("{work} {format} {} {} {} {}", folder.display(), self.fake.host(), self.first, self.second);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).env(JOB, job).env("COORD_CRASH_AT", at.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.signal() {
            Some(9) => Some(said.lines().find(|line| line.starts_with("killed at place")).unwrap_or_default().to_owned()),
            Some(_) | None => {
                let passed = output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed");
                assert!(passed, "the child failed: {said}");
                None
            }
        }
    }

    /// What an agent finds and does after a crash: nothing that has a name is broken, the rest goes, and the image comes.
    async fn recover(&self, folder: &Path, format: FormatChoice, at: &str) {
        let store = ImageStore::open_with(folder, options_of(format)).unwrap_or_else(|error| panic!("{at}: {}", chain(&error)));
        until(|| names(folder).iter().all(|name| !name.starts_with("tmp/"))).await;
        assert_eq!(store.verify(None, false).unwrap(), [], "{at}");
        self.pull(&store, &self.first).await;
        assert_eq!(shown(&store, &self.first), first_image(), "{at}");
        assert_eq!(store.verify(None, false).unwrap(), [], "{at}, after the next pull");
        store.prune(&BTreeSet::new()).unwrap();
        until(|| names(folder).is_empty()).await;
    }
}

/// With a whiteout, an opaque folder, hard links within the layer and into one below, and a sparse file.
fn three_layers() -> [FakeLayer; 3] {
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(300_000).collect();
    let base = Tarball::new()
        .dir("./", 0o755)
        .dir("etc", 0o750)
        .file("etc/a", "a")
        .hard_link("etc/b", "etc/a")
        .dir("var", 0o755)
        .file("var/old", "old")
        .file("gone", "gone")
        .entry(b"noise", b'0', 0o644, b"", &noise)
        .layer();
    let middle = Tarball::new().file(".wh.gone", "").file("var/.wh..wh..opq", "").file("var/new", "new").layer();
    let records: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"holes"),
        ("GNU.sparse.realsize", b"100003"),
    ];
    let mut holes = b"2\n0\n3\n100000\n3\n".to_vec();
    holes.resize(512, 0);
    holes.extend_from_slice(b"onetwo");
    let top = Tarball::new().dir("tmp", 0o1777).file("tmp/x", "x").symlink("link", "etc/a").hard_link("low", "etc/a");
    let top = top.pax(records).entry(b"GNUSparseFile.0/holes", b'0', 0o644, b"", &holes);
    [base, middle, top.layer()]
}

fn first_image() -> Vec<String> {
    let lines = [
        "d 750 etc",
        "f 644 etc/a \"a\"",
        "f 644 etc/b \"a\"",
        "f 644 holes 100003 bytes",
        "l link -> etc/a",
        "f 644 low \"a\"",
        "f 644 noise 300000 bytes",
        "d 1777 tmp",
        "f 644 tmp/x \"x\"",
        "d 755 var",
        "f 644 var/new \"new\"",
    ];
    lines.map(str::to_owned).to_vec()
}

/// An image as a container sees it.
fn shown(store: &ImageStore, digest: &Digest) -> Vec<String> {
    let mounted = store.mount(digest).unwrap_or_else(|error| panic!("{}", chain(&error)));
    listing(&Overlay::of(&mounted.lowers).root())
}

/// Kills a child at every place of a work that begins with what `prepare` leaves, and recovers each time.
async fn killed_everywhere(test: &str, work: Work, format: FormatChoice, prepare: impl AsyncFn(&Fixture, &ImageStore)) {
    if is_child().await {
        return;
    }
    let fixture = Fixture::new().await;
    let disk = LoopDisk::new(DISK_MEBIBYTES);
    let template = Place::new(&disk);
    let store = ImageStore::open_with(template.path(), options_of(format)).unwrap();
    prepare(&fixture, &store).await;
    unmount_below(template.path());
    drop(store);
    let test = format!("tests::crash::{test}");
    for at in 1..PLACES_MAX {
        let place = Place::copy_of(&template, &disk);
        let killed = fixture.run(&test, work, format, place.path(), at).await;
        if work == Work::Repair {
            let store = ImageStore::open_with(place.path(), options_of(format)).unwrap();
            store.verify(None, true).unwrap();
        }
        fixture.recover(place.path(), format, killed.as_deref().unwrap_or("done")).await;
        if killed.is_none() {
            assert!(at > 5, "there are more places than {at}");
            println!("{at} places");
            return;
        }
    }
    panic!("the work has no end");
}

async fn with_both(fixture: &Fixture, store: &ImageStore) {
    fixture.pull(store, &fixture.first).await;
    fixture.pull(store, &fixture.second).await;
}

/// The layer that only the first image has on top gets another byte.
async fn with_damage(fixture: &Fixture, store: &ImageStore) {
    with_both(fixture, store).await;
    let [_, _, top] = three_layers();
    let layer = store.inner.layer_path(&top.diff_id);
    let file = [layer.join("tar"), layer.join("diff/tmp/x")].into_iter().find(|path| path.is_file()).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes.push(b'!');
    fs::write(&file, bytes).unwrap();
}

async fn with_nothing(_: &Fixture, _: &ImageStore) {}

#[tokio::test]
async fn root_a_pull_into_archives() {
    killed_everywhere("root_a_pull_into_archives", Work::Pull, FormatChoice::Auto, with_nothing).await;
}

#[tokio::test]
async fn root_a_pull_into_directories() {
    killed_everywhere("root_a_pull_into_directories", Work::Pull, FormatChoice::Directories, with_nothing).await;
}

#[tokio::test]
async fn root_a_prune_of_archives() {
    killed_everywhere("root_a_prune_of_archives", Work::Prune, FormatChoice::Auto, with_both).await;
}

#[tokio::test]
async fn root_a_prune_of_directories() {
    killed_everywhere("root_a_prune_of_directories", Work::Prune, FormatChoice::Directories, with_both).await;
}

#[tokio::test]
async fn root_a_collection_of_archives() {
    killed_everywhere("root_a_collection_of_archives", Work::Collect, FormatChoice::Auto, with_both).await;
}

#[tokio::test]
async fn root_a_repair_of_archives() {
    killed_everywhere("root_a_repair_of_archives", Work::Repair, FormatChoice::Auto, with_damage).await;
}

#[tokio::test]
async fn root_a_repair_of_directories() {
    killed_everywhere("root_a_repair_of_directories", Work::Repair, FormatChoice::Directories, with_damage).await;
}
