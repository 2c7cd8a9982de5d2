//! Places that fail, lie, or know nothing, and those that are asked instead.

use super::*;
use crate::ManifestOrIndex;
use crate::fake::{Fault, LoginRule, OCI_INDEX};
use bytes::Bytes;
use coord_shared::names::Digest;

const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

/// A registry and a mirror of it, and a client that knows both.
struct Pair {
    mirror: FakeRegistry,
    origin: FakeRegistry,
    registry: Registry,
}

impl Pair {
    async fn new() -> Pair {
        let (mirror, origin) = (FakeRegistry::start().await.unwrap(), FakeRegistry::start().await.unwrap());
        let registry = Registry::with_timeouts(Pair::entries(&mirror, &origin), None, QUICK).unwrap();
        Pair { mirror, origin, registry }
    }

    fn entries(mirror: &FakeRegistry, origin: &FakeRegistry) -> Vec<RegistryConfig> {
        vec![RegistryConfig { mirror: vec![mirror.host()], ..plain(origin) }, plain(mirror)]
    }

    fn image(&self, rest: &str) -> ImageReference {
        image(&self.origin, rest)
    }

    fn put_everywhere(&self, content: &Bytes) -> Digest {
        self.mirror.put_blob(content.clone());
        self.origin.put_blob(content.clone())
    }

    /// How often the mirror and the origin were asked for this since the last time.
    fn asked(&self, part: &str, before: &mut (usize, usize)) -> (usize, usize) {
        let now = (self.mirror.count(part), self.origin.count(part));
        let new = (now.0 - before.0, now.1 - before.1);
        *before = now;
        new
    }

    async fn blob(&self, rest: &str, digest: &Digest, size: u64) -> Result<Vec<u8>, RegistryError> {
        let mut blob = self.registry.blob(&self.image(rest), digest, size, 0..size).await?;
        let mut all = Vec::new();
        while let Some(chunk) = blob.chunk().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }
}

#[tokio::test]
async fn content_comes_from_the_mirror_and_tags_from_the_location() {
    let pair = Pair::new().await;
    let old = pair.mirror.put_manifest("a/b", "1", OCI_INDEX, format!("{INDEX} "));
    let new = pair.origin.put_manifest("a/b", "1", OCI_INDEX, INDEX);
    pair.mirror.put_manifest("a/b", "2", OCI_INDEX, INDEX);
    let (image, mut before) = (pair.image("a/b:1"), (0, 0));
    assert_eq!(pair.registry.resolve(&image).await.unwrap(), new);
    assert_eq!(pair.asked("/manifests/", &mut before), (0, 1));
    pair.registry.manifest(&image, &new).await.unwrap();
    assert_eq!(pair.asked("/manifests/", &mut before), (1, 0));
    pair.registry.resolve(&pair.image(&format!("a/b@{new}"))).await.unwrap();
    assert_eq!(pair.asked("/manifests/", &mut before), (1, 0));
    // A location that is down does not keep its tags to itself.
    pair.origin.fault("/manifests/1", Fault::Status(503, Vec::new()), 1);
    assert_eq!(pair.registry.resolve(&image).await.unwrap(), old);
    assert_eq!(pair.asked("/manifests/", &mut before), (1, 1));
    // Nor is it asked again at once.
    assert_eq!(pair.registry.resolve(&image).await.unwrap(), old);
    assert_eq!(pair.asked("/manifests/", &mut before), (1, 0));
}

#[tokio::test]
async fn a_tag_that_the_location_does_not_have_is_not_looked_for_elsewhere() {
    let pair = Pair::new().await;
    pair.mirror.put_manifest("a/b", "gone", OCI_INDEX, INDEX);
    let error = pair.registry.resolve(&pair.image("a/b:gone")).await.unwrap_err();
    assert_eq!(text(&pair.origin, &error), "image HOST/a/b:gone: the registry has no such thing; check the name, or push it");
    assert_eq!(pair.mirror.count("/manifests/"), 0);
}

#[tokio::test]
async fn what_a_mirror_does_not_have_comes_from_the_next_place_and_its_repository_is_passed_over() {
    let pair = Pair::new().await;
    let (one, two) = (pair.origin.put_blob("one"), pair.put_everywhere(&Bytes::from_static(b"two")));
    let mut before = (0, 0);
    assert_eq!(pair.blob("a/b:1", &one, 3).await.unwrap(), b"one");
    assert_eq!(pair.asked("/blobs/", &mut before), (1, 1));
    assert_eq!(pair.blob("a/b:1", &two, 3).await.unwrap(), b"two");
    assert_eq!(pair.asked("/blobs/", &mut before), (0, 1));
    assert_eq!(pair.blob("other:1", &two, 3).await.unwrap(), b"two");
    assert_eq!(pair.asked("/blobs/", &mut before), (1, 0));
}

/// Lets time pass, and only then: with a clock that stands still, waiting for a socket would look like waiting for a deadline.
async fn advance(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_mirror_is_asked_again_after_a_while() {
    let pair = Pair::new().await;
    let blob = pair.put_everywhere(&Bytes::from_static(b"one"));
    let mut before = (0, 0);
    pair.mirror.fault("/blobs/", Fault::Status(500, Vec::new()), 1);
    pair.blob("a/b:1", &blob, 3).await.unwrap();
    pair.blob("other:1", &blob, 3).await.unwrap();
    assert_eq!(pair.asked("/blobs/", &mut before), (1, 2));
    advance(61).await;
    pair.blob("a/b:1", &blob, 3).await.unwrap();
    assert_eq!(pair.asked("/blobs/", &mut before), (1, 0));
    pair.mirror.fault("/blobs/", Fault::Status(429, vec!["Retry-After: 300".to_owned()]), 1);
    pair.blob("a/b:1", &blob, 3).await.unwrap();
    advance(290).await;
    pair.blob("a/b:1", &blob, 3).await.unwrap();
    assert_eq!(pair.asked("/blobs/", &mut before), (1, 2));
}

#[tokio::test]
async fn a_mirror_that_breaks_in_the_middle_is_continued_elsewhere_in_the_same_request() {
    let pair = Pair::new().await;
    let content: Bytes = (0..300_000_u32).map(|n| n.to_le_bytes()[1]).collect::<Vec<u8>>().into();
    let blob = pair.put_everywhere(&content);
    let mut before = (0, 0);
    pair.mirror.fault("/blobs/", Fault::Cut(100_000), 1);
    assert_eq!(pair.blob("a/b:1", &blob, 300_000).await.unwrap(), content);
    assert_eq!(pair.asked("/blobs/", &mut before), (1, 1));
    assert_eq!(pair.origin.requests().last().unwrap().headers["range"], "bytes=100000-");
    pair.blob("a/b:1", &blob, 300_000).await.unwrap();
    assert_eq!(pair.asked("/blobs/", &mut before), (0, 1));
    // Now the location breaks: the mirror, though passed over, is better than nothing.
    pair.origin.fault("/blobs/", Fault::Cut(200_000), 1);
    assert_eq!(pair.blob("a/b:1", &blob, 300_000).await.unwrap(), content);
    assert_eq!(pair.asked("/blobs/", &mut before), (1, 1));
    // Both at once: the caller hears of the location, and may try again.
    pair.mirror.fault("/blobs/", Fault::Cut(0), 1);
    pair.origin.fault("/blobs/", Fault::Cut(0), 1);
    let error = pair.blob("a/b:1", &blob, 300_000).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains(&pair.origin.host()), "{error}");
}

#[tokio::test]
async fn a_mirror_that_serves_something_else_is_passed_over() {
    let pair = Pair::new().await;
    pair.mirror.put_manifest("a/b", "1", OCI_INDEX, INDEX);
    let digest = pair.origin.put_manifest("a/b", "1", OCI_INDEX, INDEX);
    let blob = pair.put_everywhere(&Bytes::from_static(b"content"));
    pair.mirror.fault("/manifests/", Fault::Replace(Bytes::from_static(b"{}")), 1);
    let got = pair.registry.manifest(&pair.image("a/b:1"), &digest).await.unwrap();
    assert!(matches!(got, ManifestOrIndex::Index(_)));
    let pair_again = Registry::with_timeouts(Pair::entries(&pair.mirror, &pair.origin), None, QUICK).unwrap();
    let pair = Pair { registry: pair_again, ..pair };
    pair.mirror.fault("/blobs/", Fault::Replace(Bytes::from_static(b"a login page")), 1);
    assert_eq!(pair.blob("a/b:1", &blob, 7).await.unwrap(), b"content");
}

#[tokio::test]
async fn wrong_bytes_are_blamed_on_the_mirrors_that_took_part() {
    let pair = Pair::new().await;
    let blob = pair.put_everywhere(&Bytes::from_static(b"content"));
    let mut stream = pair.registry.blob(&pair.image("a/b:1"), &blob, 7, 0..7).await.unwrap();
    stream.chunk().await.unwrap();
    assert_eq!(stream.mirrors().len(), 1);
    pair.registry.distrust(stream.mirrors(), &blob);
    let mut before = (0, 0);
    pair.asked("/blobs/", &mut before);
    pair.blob("other:1", &blob, 7).await.unwrap();
    assert_eq!(pair.asked("/blobs/", &mut before), (0, 1));
}

#[tokio::test]
async fn a_mirror_has_a_login_and_a_path_of_its_own() {
    let (mirror, origin) = (FakeRegistry::start().await.unwrap(), FakeRegistry::start().await.unwrap());
    mirror.require_login(LoginRule::Basic("cache".to_owned(), "c4che".to_owned()));
    let digest = mirror.put_manifest("proxy/hub/a/b", "1", OCI_INDEX, INDEX);
    let harbor = format!("{}/proxy/hub", mirror.host());
    let login = (Some("cache".to_owned()), Some("c4che".to_owned()));
    let entries = vec![
        RegistryConfig {
            mirror: vec![harbor.clone()],
            username: Some("ann".into()),
            password: Some("s3cret".into()),
            ..plain(&origin)
        },
        RegistryConfig { prefix: harbor, username: login.0, password: login.1, ..plain(&mirror) },
    ];
    let registry = Registry::with_timeouts(entries, None, QUICK).unwrap();
    registry.manifest(&image(&origin, "a/b:1"), &digest).await.unwrap();
    assert_eq!(origin.requests(), []);
}

#[tokio::test]
async fn a_location_takes_the_prefixs_place() {
    let fake = FakeRegistry::start().await.unwrap();
    let digest = fake.put_manifest("moved/a/b", "1", OCI_INDEX, INDEX);
    let location = Some(format!("{}/moved", fake.host()));
    let entry =
        RegistryConfig { prefix: "registry.invalid/team".to_owned(), location, insecure: true, ..RegistryConfig::default() };
    let registry = Registry::with_timeouts(vec![entry], None, QUICK).unwrap();
    let image: ImageReference = "registry.invalid/team/a/b:1".parse().unwrap();
    assert_eq!(registry.resolve(&image).await.unwrap(), digest);
    let missing = registry.resolve(&"registry.invalid/team/a/b:2".parse().unwrap()).await.unwrap_err();
    let expect =
        "image registry.invalid/team/a/b:2 at HOST/moved/a/b: the registry has no such thing; check the name, or push it";
    assert_eq!(text(&fake, &missing), expect);
}

#[tokio::test]
async fn what_is_delivered_counts_where_nothing_local_does() {
    let fake = FakeRegistry::start().await.unwrap();
    fake.put_manifest("a/b", "1", OCI_INDEX, INDEX);
    fake.require_login(LoginRule::Basic("ann".to_owned(), "s3cret".to_owned()));
    let login = |password: &str| RegistryConfig { username: Some("ann".into()), password: Some(password.into()), ..plain(&fake) };
    let image = image(&fake, "a/b:1");
    // Nothing local at all: the delivered entry says how to reach it, too.
    let bare = Registry::with_timeouts(Vec::new(), None, QUICK).unwrap();
    bare.set_delivered(vec![login("s3cret")]);
    bare.resolve(&image).await.unwrap();
    // It can be replaced, and taken away.
    bare.set_delivered(vec![login("old")]);
    assert!(matches!(bare.resolve(&image).await, Err(RegistryError::Unauthorized { .. })));
    bare.set_delivered(Vec::new());
    assert!(matches!(bare.resolve(&image).await, Err(RegistryError::Unreachable { .. })));
    // A local entry without a login takes the delivered one; one with a login does not.
    let local = Registry::with_timeouts(vec![plain(&fake)], None, QUICK).unwrap();
    local.set_delivered(vec![login("s3cret")]);
    local.resolve(&image).await.unwrap();
    let own = Registry::with_timeouts(vec![login("own")], None, QUICK).unwrap();
    own.set_delivered(vec![login("s3cret")]);
    assert!(matches!(own.resolve(&image).await, Err(RegistryError::Unauthorized { .. })));
    // Nobody hands out what is run or read here.
    let program = RegistryConfig { credential_helper: Some("pass".into()), ..plain(&fake) };
    bare.set_delivered(vec![program, RegistryConfig { insecure: false, ca: Some("/etc/shadow".into()), ..plain(&fake) }]);
    assert!(matches!(bare.resolve(&image).await, Err(RegistryError::Unreachable { .. })));
}
