//! Downloads that are cut, slow, limited, or begun by an agent that is no more.

use super::*;
use coord_registry::fake::{FakeRegistry, Fault};
use coord_registry::{RegistryConfig, Timeouts};
use std::path::Path;
use tempfile::TempDir;

const QUICK: Retry = Retry { attempts: 3, pause_min: Duration::from_millis(1), pause_max: Duration::from_millis(10) };

/// A registry, a blob in it, and a folder for what is kept of downloads.
struct Lab {
    fake: FakeRegistry,
    registry: Registry,
    image: ImageReference,
    folder: TempDir,
    content: Vec<u8>,
    digest: Digest,
}

impl Lab {
    async fn new(bytes: usize) -> Lab {
        let fake = FakeRegistry::start().await.unwrap();
        let config = RegistryConfig { prefix: fake.host(), insecure: true, ..RegistryConfig::default() };
        let registry = Registry::with_timeouts(vec![config], None, Timeouts::default()).unwrap();
        let image = format!("{}/shop/web:1", fake.host()).parse().unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let content: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(bytes).collect();
        let digest = fake.put_blob(content.clone());
        Lab { fake, registry, image, folder: TempDir::new().unwrap(), content, digest }
    }

    fn size(&self) -> u64 {
        self.content.len() as u64
    }

    /// Keeps whatever comes, or only what comes late.
    fn downloads(&self, spool_after: Duration) -> Downloads {
        Downloads::new(self.folder.path().to_owned(), 0, None, spool_after)
    }

    async fn fetch(&self, downloads: &Downloads) -> Result<Vec<u8>, RegistryError> {
        let source = Source::new(&self.registry, &self.image, QUICK, downloads);
        self.fetch_with(&source).await.0
    }

    async fn fetch_with(&self, source: &Source<'_>) -> (Result<Vec<u8>, RegistryError>, Progress) {
        let progress = Progress::default();
        let (sink, mut feed) = mpsc::channel(1);
        let stream = async { source.stream(&self.digest, self.size(), &{ sink }, &progress).await };
        let collect = async {
            let mut whole = Vec::new();
            while let Some(Feed::Bytes(bytes)) = feed.recv().await {
                whole.extend_from_slice(&bytes);
            }
            whole
        };
        let (streamed, whole) = tokio::join!(stream, collect);
        (streamed.map(|()| whole), progress)
    }

    /// What was kept: offsets and lengths.
    fn kept(&self) -> Vec<(u64, u64)> {
        kept(self.folder.path(), &self.digest)
    }

    /// Leaves a part as an earlier agent would have.
    fn leave(&self, start: usize, bytes: &[u8]) {
        std::fs::write(self.folder.path().join(format!("{}.{start}", self.digest.hex())), bytes).unwrap();
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.fake.requests().into_iter().map(|request| request.headers.get("range").cloned()).collect()
    }
}

fn kept(folder: &Path, digest: &Digest) -> Vec<(u64, u64)> {
    let mut parts: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let start = name.strip_prefix(digest.hex()).unwrap().strip_prefix('.').unwrap().parse().unwrap();
            (start, entry.metadata().unwrap().len())
        })
        .collect();
    parts.sort_unstable();
    parts
}

#[test]
fn pauses_grow_and_heed_what_is_asked() {
    let retry = Retry { attempts: 7, pause_min: Duration::from_millis(100), pause_max: Duration::from_millis(1000) };
    let check = |failed, asked: Option<u64>, chance, expect: u64| {
        let asked = asked.map(Duration::from_millis);
        assert_eq!(retry.pause(failed, asked, chance), Duration::from_millis(expect), "{failed} {asked:?} {chance}");
    };
    check(1, None, 1.0, 100);
    check(1, None, 0.0, 50);
    check(3, None, 1.0, 400);
    check(9, None, 1.0, 1000);
    check(99, None, 1.0, 1000);
    check(1, Some(0), 1.0, 100);
    check(1, Some(7000), 0.0, 7000);
    check(1, Some(7000), 1.0, 7700);
}

#[tokio::test]
async fn a_fast_download_leaves_nothing() {
    let lab = Lab::new(300_000).await;
    let downloads = lab.downloads(Duration::from_secs(60));
    lab.fake.fault("/blobs/", Fault::Cut(200_000), 1);
    assert_eq!(lab.fetch(&downloads).await.unwrap(), lab.content);
    assert_eq!(lab.kept(), []);
}

#[tokio::test]
async fn a_slow_download_is_continued_by_the_next() {
    let lab = Lab::new(1_000_000).await;
    let patient = lab.downloads(Duration::ZERO);
    lab.fake.fault("/blobs/", Fault::Cut(400_000), 1);
    lab.fake.fault("/blobs/", Fault::Cut(0), 3);
    let error = lab.fetch(&patient).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(lab.kept(), [(0, 400_000)]);
    // Another agent, for which nothing is slow: what is kept is still continued, so that a second cut loses nothing.
    let next = lab.downloads(Duration::from_secs(60));
    lab.fake.fault("/blobs/", Fault::Cut(300_000), 1);
    lab.fake.fault("/blobs/", Fault::Cut(0), 3);
    lab.fetch(&next).await.unwrap_err();
    assert_eq!(lab.kept(), [(0, 700_000)]);
    let before = lab.fake.served_bytes();
    assert_eq!(lab.fetch(&next).await.unwrap(), lab.content);
    assert_eq!(lab.fake.served_bytes() - before, 300_000);
    assert_eq!(lab.ranges().last().unwrap().as_deref(), Some("bytes=700000-"));
    Source::new(&lab.registry, &lab.image, QUICK, &next).settle(&lab.digest).await;
    assert_eq!(lab.kept(), []);
}

#[tokio::test]
async fn only_what_is_missing_before_between_and_after_parts_is_asked_for() {
    let lab = Lab::new(1_000_000).await;
    lab.leave(100_000, &lab.content[100_000..200_000]);
    lab.leave(500_000, &lab.content[500_000..900_000]);
    // Over another, beyond the end, of nothing, of another blob, of nobody.
    lab.leave(150_000, &lab.content[150_000..300_000]);
    lab.leave(950_000, &[0; 60_000]);
    lab.leave(400_000, b"");
    assert_eq!(lab.fetch(&lab.downloads(Duration::from_secs(60))).await.unwrap(), lab.content);
    let ranges = ["bytes=0-99999", "bytes=200000-499999", "bytes=900000-"].map(|range| Some(range.to_owned()));
    assert_eq!(lab.ranges(), ranges);
    assert_eq!(lab.fake.served_bytes(), 500_000);
    // What came behind a part was kept with it, in case.
    assert_eq!(lab.kept(), [(100_000, 400_000), (500_000, 500_000)]);
}

#[tokio::test]
async fn wrong_parts_are_thrown_away_once() {
    let lab = Lab::new(500_000).await;
    lab.leave(100_000, &[7; 300_000]);
    let downloads = lab.downloads(Duration::from_secs(60));
    let source = Source::new(&lab.registry, &lab.image, QUICK, &downloads);
    let (wrong, progress) = lab.fetch_with(&source).await;
    assert_ne!(wrong.unwrap(), lab.content);
    assert_eq!(progress.done_bytes.load(Ordering::Relaxed), 500_000);
    assert!(source.reject(&lab.digest, &progress).await);
    assert_eq!((progress.done_bytes.load(Ordering::Relaxed), lab.kept()), (0, vec![]));
    let (right, progress) = lab.fetch_with(&source).await;
    assert_eq!(right.unwrap(), lab.content);
    // Had it been wrong again, that would have been the registry's own doing.
    assert!(!source.reject(&lab.digest, &progress).await);
}

#[tokio::test]
async fn a_small_blob_heals_too() {
    let lab = Lab::new(50_000).await;
    lab.leave(0, &[7; 40_000]);
    let downloads = lab.downloads(Duration::from_secs(60));
    let source = Source::new(&lab.registry, &lab.image, QUICK, &downloads);
    assert_eq!(source.small(&lab.digest, lab.size(), 1 << 20).await.unwrap(), lab.content);
    assert_eq!(lab.kept(), []);
}

#[tokio::test]
async fn a_mirror_with_wrong_bytes_is_passed_over_in_the_same_pull() {
    let lab = Lab::new(50_000).await;
    let mirror = FakeRegistry::start().await.unwrap();
    mirror.put_blob(lab.content.clone());
    let mut wrong = lab.content.clone();
    wrong[20_000] ^= 1;
    mirror.fault("/blobs/", Fault::Replace(wrong.into()), 1);
    let plain = |prefix: String| RegistryConfig { prefix, insecure: true, ..RegistryConfig::default() };
    let own = RegistryConfig { mirror: vec![mirror.host()], ..plain(lab.fake.host()) };
    let registry = Registry::new(vec![own, plain(mirror.host())], None).unwrap();
    let downloads = lab.downloads(Duration::from_secs(60));
    let source = Source::new(&registry, &lab.image, QUICK, &downloads);
    assert_eq!(source.small(&lab.digest, lab.size(), 1 << 20).await.unwrap(), lab.content);
    assert_eq!((mirror.count("/blobs/"), lab.fake.count("/blobs/")), (1, 1));
}

#[tokio::test]
async fn two_downloads_of_one_blob_do_not_write_over_each_other() {
    let lab = Lab::new(600_000).await;
    let downloads = lab.downloads(Duration::ZERO);
    lab.fake.fault("/blobs/", Fault::Drip(100_000, Duration::from_millis(5)), 2);
    let (one, two) = tokio::join!(lab.fetch(&downloads), lab.fetch(&downloads));
    assert_eq!((one.unwrap(), two.unwrap()), (lab.content.clone(), lab.content.clone()));
    assert_eq!(lab.kept(), [(0, 600_000)]);
    assert_eq!(std::fs::read(lab.folder.path().join(format!("{}.0", lab.digest.hex()))).unwrap(), lab.content);
}

#[tokio::test]
async fn a_disk_in_need_of_its_reserve_keeps_nothing_and_the_download_goes_on() {
    let lab = Lab::new(300_000).await;
    let downloads = Downloads::new(lab.folder.path().to_owned(), u64::MAX, None, Duration::ZERO);
    assert_eq!(lab.fetch(&downloads).await.unwrap(), lab.content);
    assert_eq!(lab.kept(), []);
    let nowhere = Downloads::new(lab.folder.path().join("missing"), 0, None, Duration::ZERO);
    assert_eq!(lab.fetch(&nowhere).await.unwrap(), lab.content);
}

#[tokio::test(start_paused = true)]
async fn the_line_is_shared_evenly_and_never_exceeded() {
    const RATE: u64 = 1_000_000;
    let line = Bandwidth::new(Some(RATE));
    let started = clock::now();
    // One takes large pieces, one small ones, for as long as ten seconds of the line last.
    let take = async |piece: u64| {
        let mut taken = 0;
        while started.elapsed() < Duration::from_secs(10) {
            line.take(piece).await;
            taken += piece;
        }
        taken
    };
    let (large, small) = tokio::join!(take(400_000), take(50_000));
    let total = large + small;
    let expected = RATE * 10;
    assert!(total >= expected && total <= expected + expected / 10, "{large} + {small}");
    assert!(large < small * 3 / 2 && small < large * 3 / 2, "{large} and {small}");
    // Idle time is not saved up.
    tokio::time::advance(Duration::from_secs(100)).await;
    let again = clock::now();
    line.take(RATE).await;
    assert!(again.elapsed() >= Duration::from_millis(850), "{:?}", again.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_nobody_waits() {
    let started = clock::now();
    Bandwidth::new(None).take(u64::MAX).await;
    assert_eq!(started.elapsed(), Duration::ZERO);
}
