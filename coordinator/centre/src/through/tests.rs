//! Copies of an upstream registry: made once, served while they come, never of wrong bytes.

use super::*;
use crate::centre::Centre;
use crate::collect::{Root, Snapshot, Wanted};
use crate::config::CentreConfig;
use crate::names::Reference;
use bytes::Bytes;
use coord_registry::RegistryConfig;
use coord_registry::fake::{FakeRegistry, Fault, OCI_MANIFEST};
use coord_store::MemoryStore;
use futures_util::TryStreamExt as _;
use futures_util::future::join_all;

struct Lab {
    _dir: tempfile::TempDir,
    upstream: FakeRegistry,
    centre: Centre,
    through: Through,
}

const LAYER_BYTES: usize = 3 * 1024 * 1024 + 17;

impl Lab {
    async fn new(ttl: Duration) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let upstream = FakeRegistry::start().await.expect("starts");
        let centre = Centre::open(&CentreConfig::new(dir.path()), Arc::new(MemoryStore::default())).expect("opens");
        let how = RegistryConfig { prefix: upstream.host(), insecure: true, ..RegistryConfig::default() };
        let client = Registry::new(vec![how], None).expect("a client");
        let rule = ThroughRule { prefix: "hub".parse().expect("a repository"), upstream: Some(upstream.host()), ttl: Span(ttl) };
        assert_eq!(rule.problem(), None);
        let through = Through::new(vec![rule], Arc::new(move || client.clone()));
        Self { _dir: dir, upstream, centre, through }
    }

    /// An image of one layer, which upstream has under a tag.
    fn publish(&self, tag: &str, fill: u8) -> (Bytes, Digest) {
        let layer = Bytes::from(vec![fill; LAYER_BYTES]);
        let digest = self.upstream.put_blob(layer.clone());
        let config = self.upstream.put_blob("{}");
        let text = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{OCI_MANIFEST}\",\"config\":{{\"mediaType\":\
             \"application/vnd.oci.image.config.v1+json\",\"digest\":\"{config}\",\"size\":2}},\"layers\":[{{\"mediaType\":\
             \"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"{digest}\",\"size\":{LAYER_BYTES}}}]}}"
        );
        self.upstream.put_manifest("a/b", tag, OCI_MANIFEST, text);
        (layer, digest)
    }

    async fn bring(&self, tag: &str) -> Result<Option<Digest>, CentreError> {
        let reference = Reference::Tag(tag.parse().expect("a tag"));
        self.through.bring(&self.centre, &copy(), &reference).await?;
        Ok(self.centre.resolve(&copy(), &reference).await?.map(|found| found.digest))
    }

    /// As the HTTP side does it.
    async fn read(&self, digest: &Digest) -> Result<Bytes, CentreError> {
        let size = u64::try_from(LAYER_BYTES).expect("fits");
        let stream = if self.centre.has_blob(&copy(), digest).await?.is_some() {
            self.centre.read_blob(&copy(), digest, 0, None).await?
        } else {
            let blob = self.through.find(&self.centre, &copy(), digest).await?.expect("the manifest names it");
            assert_eq!(blob.bytes, size);
            self.through.read(&self.centre, &copy(), digest, blob, (0, size)).await?
        };
        let pieces: Vec<Bytes> = stream.try_collect().await?;
        Ok(Bytes::from(pieces.concat()))
    }
}

fn copy() -> Repository {
    "hub/a/b".parse().expect("a repository")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_pull_at_once_are_one_request_upstream() {
    let lab = Lab::new(Duration::from_secs(600)).await;
    let (layer, digest) = lab.publish("1", 7);
    for found in join_all((0..8).map(|_| lab.bring("1"))).await {
        assert!(found.expect("brings").is_some());
    }
    for read in join_all((0..8).map(|_| lab.read(&digest))).await {
        assert_eq!(read.expect("reads"), layer);
    }
    assert_eq!(lab.upstream.count("/manifests/"), 2, "one for the tag, one for the manifest");
    assert_eq!(lab.upstream.count(&format!("/blobs/{digest}")), 1);
    assert_eq!(lab.read(&digest).await.expect("reads"), layer);
    assert_eq!(lab.upstream.count(&format!("/blobs/{digest}")), 1, "it is kept");
    assert_eq!(lab.centre.uploads_weight().await.expect("looks"), (0, 0));
}

#[tokio::test]
async fn a_tag_is_asked_for_again_when_its_time_is_over_and_kept_while_upstream_is_away() {
    let lab = Lab::new(Duration::ZERO).await;
    lab.publish("1", 1);
    let old = lab.bring("1").await.expect("brings").expect("is there");
    lab.publish("1", 2);
    let new = lab.bring("1").await.expect("brings").expect("is there");
    assert_ne!(old, new);
    lab.upstream.fault("/manifests/", Fault::Status(503, Vec::new()), 100);
    assert_eq!(lab.bring("1").await.expect("is kept"), Some(new));
    assert!(matches!(lab.bring("2").await, Err(CentreError::Upstream(_))));
    let asked = lab.upstream.count("/manifests/1");
    lab.bring("1").await.expect("is kept");
    assert_eq!(lab.upstream.count("/manifests/1"), asked, "an upstream that failed rests");
}

#[tokio::test]
async fn what_upstream_does_not_have_is_not_there() {
    let lab = Lab::new(Duration::from_secs(600)).await;
    lab.publish("1", 1);
    assert!(matches!(lab.bring("2").await, Err(CentreError::NoManifest { .. })));
    let other = Digest::of(b"another");
    lab.bring("1").await.expect("brings");
    assert!(lab.through.find(&lab.centre, &copy(), &other).await.expect("looks").is_none());
    let own: Repository = "shop/web".parse().expect("a repository");
    assert!(lab.through.rule(&own).is_none());
    lab.through.bring(&lab.centre, &own, &Reference::Digest(other)).await.expect("is nothing to bring");
}

#[tokio::test]
async fn a_blob_of_wrong_bytes_or_half_a_blob_leaves_nothing() {
    for fault in [Fault::Replace(Bytes::from(vec![9; LAYER_BYTES])), Fault::Cut(1000)] {
        let lab = Lab::new(Duration::from_secs(600)).await;
        let (layer, digest) = lab.publish("1", 7);
        lab.bring("1").await.expect("brings");
        lab.upstream.fault(&format!("/blobs/{digest}"), fault, 1);
        assert!(lab.read(&digest).await.is_err());
        assert_eq!(lab.centre.has_blob(&copy(), &digest).await.expect("looks"), None);
        assert_eq!(lab.centre.uploads_weight().await.expect("looks"), (0, 0));
        assert_eq!(lab.read(&digest).await.expect("the next one has better luck"), layer);
    }
}

#[tokio::test]
async fn a_blob_without_room_is_handed_through() {
    let mut lab = Lab::new(Duration::from_secs(600)).await;
    let quota = crate::quota::QuotaSettings { bytes: Some(10_000), disk_reserve_bytes: 0 };
    let config = CentreConfig { quota, ..CentreConfig::new(lab._dir.path()) };
    lab.centre = Centre::open(&config, Arc::clone(lab.centre.store())).expect("opens");
    let (layer, digest) = lab.publish("1", 7);
    lab.bring("1").await.expect("brings");
    assert_eq!(lab.read(&digest).await.expect("reads"), layer);
    assert_eq!(lab.centre.has_blob(&copy(), &digest).await.expect("looks"), None);
}

#[tokio::test]
async fn the_copies_that_were_not_asked_for_the_longest_make_room() {
    let lab = Lab::new(Duration::from_secs(600)).await;
    let mut images = Vec::new();
    for (tag, fill) in [("old", 1), ("used", 2), ("new", 3)] {
        let (_, layer) = lab.publish(tag, fill);
        images.push(lab.bring(tag).await.expect("brings").expect("is there"));
        lab.read(&layer).await.expect("reads");
    }
    let snapshot = Snapshot::read(&**lab.centre.store()).await.expect("reads");
    let of = |count: u64| count * u64::try_from(LAYER_BYTES).expect("fits");
    let root = Root { repository: copy(), wanted: Wanted::Manifest(images[0].clone()), why: "revision 1 of web".to_owned() };
    let gone = |quota: Option<u64>, roots: &[Root]| {
        let gone = evicted(&snapshot, &lab.through, roots, quota);
        gone.into_iter().map(|(_, digest)| images.iter().position(|image| *image == digest).expect("one of ours")).collect()
    };
    let check = |quota: Option<u64>, roots: &[Root], expect: &[usize]| {
        let found: Vec<usize> = gone(quota, roots);
        assert_eq!(found, expect, "{quota:?}");
    };
    check(None, &[], &[]);
    check(Some(of(10)), &[], &[]);
    check(Some(of(3)), &[], &[0]);
    check(Some(of(2)), &[], &[0, 1]);
    check(Some(of(3)), std::slice::from_ref(&root), &[1]);
    check(Some(of(1)), &[root], &[1, 2]);
}
