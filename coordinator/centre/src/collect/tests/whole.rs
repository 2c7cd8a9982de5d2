//! A whole centre: random pushes, tags, deletions and collections at once, with crashes between. Nothing that is reachable is ever missing,
//! and everything else is gone once it is quiet.

use super::*;
use crate::centre::Centre;
use crate::names::Reference;
use crate::storage::Stored;
use crate::{CentreConfig, NewManifest};
use bytes::Bytes;
use coord_store::{Fault, FaultyStore};
use futures_util::future::join_all;
use std::path::Path;

/// Blobs that images are made of: few, so that images share them.
const LAYERS: u64 = 6;
const TAGS: u64 = 4;

struct Lab {
    dir: tempfile::TempDir,
    store: SharedStore,
    centre: Centre,
}

fn open(dir: &Path, store: &SharedStore) -> Centre {
    Centre::open(&CentreConfig::new(dir), Arc::clone(store)).expect("opens")
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let store: SharedStore = Arc::new(MemoryStore::default());
        let centre = open(dir.path(), &store);
        Self { dir, store, centre }
    }
}

/// No document uses anything.
struct Nobody;

impl Roots for Nobody {
    fn roots(&self) -> BoxFuture<'_, Result<Vec<Root>, RootsError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

fn settings(grace: Duration) -> CollectSettings {
    CollectSettings { grace, rules: Vec::new() }
}

async fn push_blob(centre: &Centre, content: &str) -> Result<Digest, CentreError> {
    let digest = Digest::of(content.as_bytes());
    let upload = centre.upload(&repository(), "anna", None).await?;
    upload.write(Bytes::from(content.to_owned())).await?;
    centre.finish(&upload, &digest).await?;
    Ok(digest)
}

/// As clients push: what is there already is not sent again, the manifest comes last.
async fn push_image(centre: &Centre, layers: &[u64], reference: Option<Reference>) -> Result<Digest, CentreError> {
    let mut descriptors = Vec::new();
    for layer in layers {
        let content = format!("layer {layer}");
        let digest = Digest::of(content.as_bytes());
        if centre.has_blob(&repository(), &digest).await?.is_none() {
            push_blob(centre, &content).await?;
        }
        descriptors.push(descriptor("application/vnd.oci.image.layer.v1.tar", &digest, content.len()));
    }
    let config = push_blob(centre, "{}").await?;
    let config = descriptor("application/vnd.oci.image.config.v1+json", &config, 2);
    let text = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{}\",\"config\":{config},\"layers\":[{}]}}",
        crate::OCI_MANIFEST,
        descriptors.join(",")
    );
    put(centre, text, reference).await
}

async fn push_index(centre: &Centre, images: &[Digest], reference: Option<Reference>) -> Result<Digest, CentreError> {
    let images: Vec<String> = images.iter().map(|image| descriptor(crate::OCI_MANIFEST, image, 1)).collect();
    let text = format!("{{\"schemaVersion\":2,\"mediaType\":\"{}\",\"manifests\":[{}]}}", crate::OCI_INDEX, images.join(","));
    put(centre, text, reference).await
}

fn descriptor(media_type: &str, digest: &Digest, size: usize) -> String {
    format!("{{\"mediaType\":\"{media_type}\",\"digest\":\"{digest}\",\"size\":{size}}}")
}

async fn put(centre: &Centre, text: String, reference: Option<Reference>) -> Result<Digest, CentreError> {
    let bytes = Bytes::from(text);
    let new = NewManifest { repository: repository(), reference, media_type: None, bytes, by: "anna".to_owned() };
    Ok(centre.put_manifest(new).await?.digest)
}

fn tag(number: u64) -> Reference {
    Reference::Tag(format!("t{number}").parse().expect("a tag"))
}

/// Every tag can be pulled whole: manifest, config, layers, and the images of an index.
async fn check_whole(centre: &Centre) {
    let mut open: Vec<Digest> = Vec::new();
    for (_, record) in centre.tag_records(&repository()).await.expect("reads") {
        open.push(record.digest);
    }
    while let Some(digest) = open.pop() {
        let manifest = centre.manifest(&repository(), &digest).await.expect("reads");
        let manifest = manifest.unwrap_or_else(|| panic!("manifest {digest} is missing"));
        assert_eq!(Digest::of(&manifest.bytes), digest);
        let key = manifest_key(&repository(), &digest);
        let record = load::<ManifestRecord>(&**centre.store(), &key).await.expect("reads").expect("a manifest").record;
        open.extend(record.manifests);
        for blob in record.blobs {
            let bytes: Vec<Bytes> = read(centre, &blob).await;
            assert_eq!(Digest::of(&bytes.concat()), blob);
        }
    }
}

async fn read(centre: &Centre, blob: &Digest) -> Vec<Bytes> {
    use futures_util::TryStreamExt as _;
    let stream = centre.read_blob(&repository(), blob, 0, None).await.unwrap_or_else(|error| panic!("blob {blob}: {error}"));
    stream.try_collect().await.unwrap_or_else(|error| panic!("blob {blob}: {error}"))
}

/// After a day of quiet, what is left is exactly what tags need.
async fn check_tidy(centre: &Centre) {
    let later = crate::clock::wall() + SignedDuration::from_hours(24);
    centre.collect_at(later, &Nobody, &settings(Duration::from_secs(3600)), false).await.expect("collects");
    check_whole(centre).await;
    let snapshot = Snapshot::read(&**centre.store()).await.expect("reads");
    let kept = mark(&snapshot, &[], Duration::ZERO, later);
    let mut needed: BTreeSet<Digest> = BTreeSet::new();
    for (id, seen) in &snapshot.manifests {
        assert!(kept.contains_key(id), "{id:?} is kept by nothing");
        needed.insert(id.1.clone());
        needed.extend(seen.record.blobs.iter().cloned());
    }
    let recorded: BTreeSet<Digest> = snapshot.blobs.keys().cloned().collect();
    let stored: BTreeSet<Digest> =
        centre.stored().await.expect("lists").into_iter().map(|Stored { digest, .. }| digest).collect();
    assert_eq!(recorded, needed);
    assert_eq!(stored, needed);
    assert_eq!(snapshot.links.len(), needed.len() - snapshot.manifests.len());
    let bytes: u64 = snapshot.blobs.values().map(|seen| seen.record.bytes).sum();
    assert_eq!(centre.quota().stored(), bytes, "what is counted is what there is");
}

/// One thing that somebody does. Whatever comes of it, the centre stays whole.
async fn act(centre: &Centre, dice: &mut fastrand::Rng) -> Result<(), CentreError> {
    let layers: Vec<u64> = (0..LAYERS).filter(|_| dice.bool()).collect();
    match dice.u32(0..10) {
        0..4 => push_image(centre, &layers, Some(tag(dice.u64(0..TAGS)))).await.map(drop),
        4 => push_image(centre, &layers, None).await.map(drop),
        5 | 6 => {
            let image = push_image(centre, &layers, None).await?;
            push_index(centre, &[image], Some(tag(dice.u64(0..TAGS)))).await.map(drop)
        }
        7 => centre.delete_manifest(&repository(), &tag(dice.u64(0..TAGS))).await,
        _ => {
            // No grace at all: as if everything had been pushed long ago.
            let later = crate::clock::wall() + SignedDuration::from_secs(2);
            centre.collect_at(later, &Nobody, &settings(Duration::from_secs(1)), false).await.map(drop)
        }
    }
}

/// What a client may be told while somebody collects without any grace: try again.
fn is_fair(error: &CentreError) -> bool {
    matches!(error, CentreError::Missing { .. } | CentreError::NoManifest { .. } | CentreError::Contended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pushes_and_collections_at_the_same_time_never_break_an_image() {
    for seed in 0..6 {
        let lab = Lab::new();
        let people = (0..6).map(|person| {
            let centre = lab.centre.clone();
            let mut dice = fastrand::Rng::with_seed(seed * 100 + person);
            tokio::spawn(async move {
                for _ in 0..25 {
                    if let Err(error) = act(&centre, &mut dice).await {
                        assert!(is_fair(&error), "seed {seed}: {error:?}");
                    }
                }
            })
        });
        for person in join_all(people).await {
            person.expect("no panic");
        }
        check_whole(&lab.centre).await;
        check_tidy(&lab.centre).await;
    }
}

/// Runs something in a runtime of its own, for so long at most; what is not done then ends where it is, as with kill -9.
fn until_killed(patience: Duration, work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _ = runtime.block_on(async { tokio::time::timeout(patience, work).await });
}

#[test]
fn a_store_that_fails_or_a_crash_in_between_breaks_nothing() {
    for seed in 0..30 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let lab = Lab::new();
        for _ in 0..25 {
            let faulty = Arc::new(FaultyStore::new(Arc::clone(&lab.store)));
            let faults = [Fault::None, Fault::None, Fault::Fail, Fault::LoseAnswer, Fault::Conflict];
            faulty.plan((0..6).map(|_| faults[dice.usize(0..faults.len())]));
            let patience = Duration::from_micros(dice.u64(0..6000));
            until_killed(patience, async {
                let centre = open(lab.dir.path(), &(faulty as SharedStore));
                let _ = act(&centre, &mut dice).await;
            });
            if dice.u32(0..4) == 0 {
                until_killed(Duration::MAX, async { check_whole(&open(lab.dir.path(), &lab.store)).await });
            }
        }
        until_killed(Duration::MAX, async {
            let centre = open(lab.dir.path(), &lab.store);
            centre.count_stored().await.expect("counts");
            check_whole(&centre).await;
            check_tidy(&centre).await;
        });
    }
}

#[tokio::test]
async fn a_push_over_the_quota_is_refused_and_a_collection_makes_room() {
    let dir = tempfile::tempdir().expect("a folder");
    let store: SharedStore = Arc::new(MemoryStore::default());
    let quota = crate::quota::QuotaSettings { bytes: Some(600), disk_reserve_bytes: 0 };
    let centre = Centre::open(&CentreConfig { quota, ..CentreConfig::new(dir.path()) }, store).expect("opens");
    push_image(&centre, &[1, 2], Some(tag(1))).await.expect("fits");
    let big = "x".repeat(500);
    assert!(matches!(push_blob(&centre, &big).await, Err(CentreError::Full(_))));
    let announced = centre.upload(&repository(), "anna", Some(500)).await;
    assert!(matches!(announced, Err(CentreError::Full(_))));
    centre.delete_manifest(&repository(), &tag(1)).await.expect("deletes");
    let later = crate::clock::wall() + SignedDuration::from_hours(24);
    centre.collect_at(later, &Nobody, &settings(Duration::from_secs(3600)), false).await.expect("collects");
    assert_eq!(centre.quota().stored(), 0);
    push_blob(&centre, &"y".repeat(50)).await.expect("fits");
}

#[tokio::test]
async fn a_layer_that_a_pusher_was_told_of_stays_until_his_manifest_comes() {
    let lab = Lab::new();
    let layer = push_blob(&lab.centre, "layer 1").await.expect("pushes");
    let stray = push_blob(&lab.centre, "layer 2").await.expect("pushes");
    let long_ago = crate::clock::wall() - SignedDuration::from_hours(2);
    for digest in [&layer, &stray] {
        let record = BlobRecord { bytes: 7, since: long_ago, touched: long_ago };
        let link = LinkRecord { at: long_ago };
        let txn = Txn::default()
            .put(blob_key(digest), encode(&record).expect("a record"))
            .put(link_key(&repository(), digest), encode(&link).expect("a record"));
        lab.store.txn(txn).await.expect("writes");
    }
    lab.centre.promise(&layer).await.expect("promises");
    lab.centre.collect(&Nobody, &settings(Duration::from_secs(3600)), false).await.expect("collects");
    assert_eq!(lab.centre.has_blob(&repository(), &stray).await.expect("looks"), None);
    push_image(&lab.centre, &[1], Some(tag(1))).await.expect("his manifest is taken");
}
