//! A centre's records as pushes leave them, written with the same expectations and touches, and nothing else of a centre.

use super::*;
use crate::storage::Stored;
use coord_store::StoreRevision;

/// One repository, `shop`.
pub(super) struct Shelf {
    pub(super) store: SharedStore,
    removed: Mutex<Vec<Digest>>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self { store: Arc::new(MemoryStore::default()), removed: Mutex::default() }
    }
}

pub(super) fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

pub(super) fn repository() -> Repository {
    "shop".parse().expect("a repository")
}

pub(super) fn now() -> Timestamp {
    "2026-11-22T20:00:00Z".parse().expect("a time")
}

fn ago(hours: i64) -> Timestamp {
    now() - SignedDuration::from_hours(hours)
}

/// The roots that a test names.
struct Fixed(Vec<Root>);

impl Roots for Fixed {
    fn roots(&self) -> BoxFuture<'_, Result<Vec<Root>, RootsError>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

impl Shelves for Shelf {
    fn drop_blob<'a>(
        &'a self,
        digest: &'a Digest,
        seen: Option<StoreRevision>,
        linked_in: Vec<Repository>,
    ) -> BoxFuture<'a, Result<bool, CentreError>> {
        Box::pin(async move {
            let txn = Txn::default().expect(blob_key(digest), seen).delete(blob_key(digest));
            let txn = linked_in.iter().fold(txn, |txn, repository| txn.delete(link_key(repository, digest)));
            if self.store.txn(txn).await? == Committed::Conflict {
                return Ok(false);
            }
            self.removed.lock().expect("no panic").push(digest.clone());
            Ok(true)
        })
    }

    fn stored(&self) -> BoxFuture<'_, Result<Vec<Stored>, CentreError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

impl Shelf {
    /// Names are remembered as a record of their own, so that a test can read what is left.
    async fn put(&self, mut txn: Txn, name: &str) {
        txn = txn.put(format!("name/{}", digest(name)), name.as_bytes().to_vec());
        let done = self.store.txn(txn).await.expect("commits");
        assert!(matches!(done, Committed::Yes(_)), "{name}");
    }

    /// Adds touching `name`'s blob, made where it is not there.
    async fn touch(&self, txn: Txn, name: &str, at: Timestamp) -> Txn {
        let key = blob_key(&digest(name));
        let seen = load::<BlobRecord>(&*self.store, &key).await.expect("reads");
        let revision = seen.as_ref().map(|seen| seen.revision);
        let record =
            seen.map_or(BlobRecord { bytes: 10, since: at, touched: at }, |seen| BlobRecord { touched: at, ..seen.record });
        txn.expect(&key, revision).put(key, encode(&record).expect("a record"))
    }

    pub(super) async fn blob(&self, name: &str, hours: i64) {
        let at = ago(hours);
        let link = encode(&LinkRecord { at }).expect("a record");
        let txn = self.touch(Txn::default(), name, at).await.put(link_key(&repository(), &digest(name)), link);
        self.put(txn, name).await;
    }

    pub(super) async fn image(&self, name: &str, blobs: &[&str], hours: i64) {
        let mut txn = Txn::default();
        for blob in blobs {
            if load::<LinkRecord>(&*self.store, &link_key(&repository(), &digest(blob))).await.expect("reads").is_none() {
                self.blob(blob, hours).await;
            }
            txn = self.touch(txn, blob, ago(hours)).await;
        }
        let blobs = blobs.iter().map(|blob| digest(blob)).collect();
        self.manifest(txn, name, ManifestRecord { blobs, ..empty(ago(hours)) }).await;
    }

    pub(super) async fn index(&self, name: &str, images: &[&str], subject: Option<&str>, hours: i64) {
        let mut txn = Txn::default();
        for image in images {
            let key = manifest_key(&repository(), &digest(image));
            let seen = load::<ManifestRecord>(&*self.store, &key).await.expect("reads").expect("an image");
            let touched = ManifestRecord { touched: ago(hours), ..seen.record };
            txn = txn.expect(&key, Some(seen.revision)).put(key, encode(&touched).expect("a record"));
        }
        let manifests = images.iter().map(|image| digest(image)).collect();
        self.manifest(txn, name, ManifestRecord { manifests, subject: subject.map(digest), ..empty(ago(hours)) }).await;
    }

    pub(super) async fn referrer(&self, name: &str, subject: &str, hours: i64) {
        self.manifest(Txn::default(), name, ManifestRecord { subject: Some(digest(subject)), ..empty(ago(hours)) }).await;
    }

    async fn manifest(&self, txn: Txn, name: &str, record: ManifestRecord) {
        let mut txn = self.touch(txn, name, record.at).await;
        if let Some(subject) = &record.subject {
            let referrer = encode(&ReferrerRecord { artifact_type: None }).expect("a record");
            txn = txn.put(referrer_key(&repository(), subject, &digest(name)), referrer);
        }
        let txn = txn.put(manifest_key(&repository(), &digest(name)), encode(&record).expect("a record"));
        self.put(txn, name).await;
    }

    pub(super) async fn tag(&self, tag: &str, image: &str, hours: i64) {
        let key = manifest_key(&repository(), &digest(image));
        let seen = load::<ManifestRecord>(&*self.store, &key).await.expect("reads").expect("an image");
        let touched = ManifestRecord { touched: ago(hours), ..seen.record };
        let named: Tag = tag.parse().expect("a tag");
        let record = TagRecord { digest: digest(image), at: ago(hours), by: "anna".to_owned() };
        let txn = Txn::default()
            .expect(&key, Some(seen.revision))
            .put(key, encode(&touched).expect("a record"))
            .put(tag_key(&repository(), &named), encode(&record).expect("a record"));
        self.put(txn, tag).await;
    }

    pub(super) async fn collect(&self, roots: &[(&str, &str)], rules: &str, dry_run: bool) -> Result<Collected, CentreError> {
        let root = |(image, why): &(&str, &str)| Root {
            repository: repository(),
            wanted: Wanted::Manifest(digest(image)),
            why: (*why).to_owned(),
        };
        self.collect_with(&Fixed(roots.iter().map(root).collect()), rules, dry_run).await
    }

    pub(super) async fn collect_with(&self, roots: &dyn Roots, rules: &str, dry_run: bool) -> Result<Collected, CentreError> {
        #[derive(serde::Deserialize)]
        struct Rules {
            #[serde(default)]
            rule: Vec<RetentionRule>,
        }
        let rules = toml::from_str::<Rules>(rules).expect("rules").rule;
        let settings = CollectSettings { grace: Duration::from_secs(3600), rules };
        let done = Collected::default();
        Sweep { store: &self.store, roots, shelves: self, settings: &settings, now: now(), dry_run, done }.run().await
    }

    pub(super) fn removed_bytes(&self) -> Vec<Digest> {
        self.removed.lock().expect("no panic").clone()
    }

    /// Everything there is, as `KIND:NAME`.
    pub(super) async fn names(&self) -> BTreeSet<String> {
        let snapshot = Snapshot::read(&*self.store).await.expect("reads");
        let mut names = BTreeSet::new();
        let digests = snapshot.blobs.keys().map(|digest| ("b", digest));
        let digests = digests.chain(snapshot.manifests.keys().map(|(_, digest)| ("m", digest)));
        let digests = digests.chain(snapshot.links.keys().map(|(_, digest)| ("l", digest)));
        let digests = digests.chain(snapshot.referrers.keys().map(|(_, _, digest)| ("r", digest)));
        for (kind, digest) in digests {
            let name = self.store.get(&format!("name/{digest}")).await.expect("reads").expect("a name");
            names.insert(format!("{kind}:{}", String::from_utf8_lossy(&name.value)));
        }
        names.extend(snapshot.tags.keys().map(|(_, tag)| format!("t:{tag}")));
        names
    }
}

fn empty(at: Timestamp) -> ManifestRecord {
    ManifestRecord {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        bytes: 10,
        at,
        touched: at,
        by: "anna".to_owned(),
        depth: 0,
        blobs: Vec::new(),
        manifests: Vec::new(),
        subject: None,
        content_bytes: 0,
    }
}
