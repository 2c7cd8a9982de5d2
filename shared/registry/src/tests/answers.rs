//! What the client makes of good and bad answers.

use super::*;
use crate::fake::{Fault, OCI_INDEX, OCI_MANIFEST};
use crate::{HostPlatform, ManifestOrIndex};
use bytes::Bytes;
use coord_shared::names::Digest;

const EMPTY_MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
    "config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;

/// From an offset to the end of a blob that has `size` bytes, or some other.
async fn read(
    registry: &Registry,
    image: &ImageReference,
    digest: &Digest,
    size: u64,
    offset: u64,
) -> Result<Vec<u8>, RegistryError> {
    let mut blob = registry.blob(image, digest, size, offset..size).await?;
    let mut all = Vec::new();
    while let Some(chunk) = blob.chunk().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

#[tokio::test]
async fn a_tag_is_resolved_with_and_without_the_digest_header() {
    let fake = FakeRegistry::start().await.unwrap();
    let digest = fake.put_manifest("shop/web", "1", OCI_MANIFEST, EMPTY_MANIFEST);
    let registry = client(&fake);
    assert_eq!(registry.resolve(&image(&fake, "shop/web:1")).await.unwrap(), digest);
    fake.fault("/manifests/1", Fault::NoDigestHeader, 2);
    assert_eq!(registry.resolve(&image(&fake, "shop/web:1")).await.unwrap(), digest);
    assert_eq!(registry.resolve(&image(&fake, &format!("shop/web@{digest}"))).await.unwrap(), digest);
    assert!(matches!(registry.manifest(&image(&fake, "shop/web:1"), &digest).await.unwrap(), ManifestOrIndex::Manifest(_)));
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let fake = FakeRegistry::start().await.unwrap();
    let registry = client(&fake);
    let error = registry.resolve(&image(&fake, "shop/web:2")).await.unwrap_err();
    assert_eq!(text(&fake, &error), "image HOST/shop/web:2: the registry has no such thing; check the name, or push it");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn statuses_become_errors_that_say_whether_to_try_again() {
    let fake = FakeRegistry::start().await.unwrap();
    let registry = client(&fake);
    let check = async |status: u16, headers: &[&str], retryable: bool, expect: &str| {
        fake.fault("/manifests/1", Fault::Status(status, headers.iter().map(|header| (*header).to_owned()).collect()), 1);
        let error = registry.resolve(&image(&fake, "a/b:1")).await.unwrap_err();
        assert_eq!((text(&fake, &error).as_str(), error.is_retryable()), (expect, retryable), "status {status}");
    };
    check(500, &[], true, "image HOST/a/b:1: the registry failed with status 500; see its log").await;
    check(503, &[], true, "image HOST/a/b:1: the registry failed with status 503; see its log").await;
    let limited = "image HOST/a/b:1: the registry limits the rate of requests and asks for a pause of 7 s; log in or use a mirror to raise the limit";
    check(429, &["Retry-After: 7"], true, limited).await;
    let denied = "image HOST/a/b:1: access denied by the registry; add username and password to a [[registry]] entry that covers it, or log in with docker login";
    check(403, &[], false, denied).await;
    check(401, &[], false, denied).await;
    check(418, &[], false, "image HOST/a/b:1: bad answer: status 418 I'm a teapot, which no registry should send here").await;
}

#[tokio::test]
async fn a_manifest_must_be_what_its_digest_says() {
    let fake = FakeRegistry::start().await.unwrap();
    let digest = fake.put_manifest("a/b", "1", OCI_MANIFEST, EMPTY_MANIFEST);
    fake.fault("/manifests/sha256", Fault::Replace(Bytes::from_static(b"{}")), 1);
    let error = client(&fake).manifest(&image(&fake, "a/b:1"), &digest).await.unwrap_err();
    let empty = Digest::of(b"{}");
    let expect = format!(
        "manifest {digest} of HOST/a/b: bad answer: its content has the digest {empty}; the registry or something before it is broken"
    );
    assert_eq!(text(&fake, &error), expect);
}

#[tokio::test]
async fn a_manifest_over_the_limit_is_not_read() {
    let fake = FakeRegistry::start().await.unwrap();
    let digest = fake.put_manifest("a/b", "1", OCI_MANIFEST, vec![b' '; crate::MANIFEST_MAX_BYTES + 1]);
    let error = client(&fake).manifest(&image(&fake, "a/b:1"), &digest).await.unwrap_err();
    assert_eq!(text(&fake, &error), format!("manifest {digest} of HOST/a/b: bad answer: larger than the limit of 4194304 bytes"));
}

#[tokio::test]
async fn a_body_that_ends_early_is_an_error_worth_another_try() {
    let fake = FakeRegistry::start().await.unwrap();
    let digest = fake.put_manifest("a/b", "1", OCI_MANIFEST, EMPTY_MANIFEST);
    fake.fault("/manifests/sha256", Fault::Cut(10), 1);
    let error = client(&fake).manifest(&image(&fake, "a/b:1"), &digest).await.unwrap_err();
    assert!(error.is_retryable() && text(&fake, &error).contains("the connection broke"), "{}", text(&fake, &error));
    let blob = fake.put_blob(vec![7; 100_000]);
    fake.fault("/blobs/", Fault::Cut(50_000), 1);
    let error = read(&client(&fake), &image(&fake, "a/b:1"), &blob, 100_000, 0).await.unwrap_err();
    assert!(error.is_retryable() && text(&fake, &error).contains("the connection broke"), "{}", text(&fake, &error));
}

#[tokio::test]
async fn a_blob_goes_on_where_it_was_cut_even_if_the_registry_ignores_ranges() {
    let fake = FakeRegistry::start().await.unwrap();
    let content: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let blob = fake.put_blob(content.clone());
    let registry = client(&fake);
    let image = image(&fake, "a/b:1");
    for fault in [None, Some(Fault::IgnoreRange), Some(Fault::WrongRange), Some(Fault::Status(416, Vec::new()))] {
        if let Some(fault) = fault.clone() {
            fake.fault("/blobs/", fault, 1);
        }
        assert_eq!(read(&registry, &image, &blob, 100_000, 70_000).await.unwrap(), content[70_000..], "{fault:?}");
    }
    let mut part = registry.blob(&image, &blob, 100_000, 10..20).await.unwrap();
    assert_eq!(part.chunk().await.unwrap().unwrap(), content[10..20]);
    assert_eq!(part.chunk().await.unwrap(), None);
    assert_eq!(fake.requests().last().unwrap().headers["range"], "bytes=10-19");
    fake.fault("/blobs/", Fault::IgnoreRange, 1);
    let mut part = registry.blob(&image, &blob, 100_000, 10..20).await.unwrap();
    assert_eq!(part.chunk().await.unwrap().unwrap(), content[10..20]);
    let error = read(&registry, &image, &blob, 99_999, 0).await.unwrap_err();
    assert!(text(&fake, &error).ends_with("it has 100000 bytes instead of the manifest's 99999"), "{error}");
}

#[tokio::test]
async fn a_dripping_blob_has_stalled() {
    let fake = FakeRegistry::start().await.unwrap();
    let blob = fake.put_blob(vec![7; 100_000]);
    fake.fault("/blobs/", Fault::Drip(1, Duration::from_millis(20)), 1);
    let stall = Duration::from_millis(300);
    let registry = Registry::with_timeouts(vec![plain(&fake)], None, Timeouts { stall, ..QUICK }).unwrap();
    let error = read(&registry, &image(&fake, "a/b:1"), &blob, 100_000, 0).await.unwrap_err();
    assert!(error.is_retryable());
    let text = text(&fake, &error);
    assert!(
        text.contains(": stalled: ") && text.ends_with("bytes in 300 ms; check the registry's load and the network"),
        "{text}"
    );
}

#[tokio::test]
async fn silence_and_a_closed_port_are_unreachable() {
    let fake = FakeRegistry::start().await.unwrap();
    fake.fault("/manifests/", Fault::Silence, 1);
    let answer = Duration::from_millis(200);
    let registry = Registry::with_timeouts(vec![plain(&fake)], None, Timeouts { answer, ..QUICK }).unwrap();
    let error = registry.resolve(&image(&fake, "a/b:1")).await.unwrap_err();
    assert_eq!(
        text(&fake, &error),
        "image HOST/a/b:1: no complete answer within 200 ms; check the registry's load and the network"
    );
    let closed = image(&fake, "a/b:1");
    let registry = client(&fake);
    drop(fake);
    // The server's socket closes when its task has ended.
    let deadline = crate::clock::now() + Duration::from_secs(5);
    loop {
        let error = registry.resolve(&closed).await.unwrap_err();
        assert!(error.is_retryable() || matches!(error, RegistryError::NotFound { .. }), "{error}");
        if error.to_string().contains("cannot connect; check the registry's name, port and network") {
            break;
        }
        assert!(crate::clock::now() < deadline, "{error}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn plain_http_is_spoken_only_where_configured() {
    let fake = FakeRegistry::start().await.unwrap();
    fake.put_manifest("a/b", "1", OCI_MANIFEST, EMPTY_MANIFEST);
    let registry = Registry::with_timeouts(Vec::new(), None, QUICK).unwrap();
    let error = registry.resolve(&image(&fake, "a/b:1")).await.unwrap_err();
    assert!(
        text(&fake, &error).contains("set insecure = true in a [[registry]] entry that covers it"),
        "{}",
        text(&fake, &error)
    );
    assert!(fake.requests().iter().all(|request| !request.path.starts_with("/v2")), "{:?}", fake.requests());
}

#[tokio::test]
async fn redirects_are_followed_without_the_login_and_within_bounds() {
    let (fake, elsewhere) = (FakeRegistry::start().await.unwrap(), FakeRegistry::start().await.unwrap());
    let blob = elsewhere.put_blob("content");
    let to = |place: String| Fault::Status(307, vec![format!("Location: {place}/v2/a/b/blobs/{blob}")]);
    fake.require_login(crate::fake::LoginRule::Bearer(None));
    fake.fault(
        "/blobs/",
        Fault::Status(401, vec![format!("WWW-Authenticate: Bearer realm=\"http://{}/token\"", fake.host())]),
        1,
    );
    fake.fault("/blobs/", to(format!("http://{}", elsewhere.host())), 1);
    assert_eq!(read(&client(&fake), &image(&fake, "a/b:1"), &blob, 7, 0).await.unwrap(), b"content");
    assert!(fake.requests().iter().any(|request| request.headers.contains_key("authorization")));
    assert!(elsewhere.requests().iter().all(|request| !request.headers.contains_key("authorization")));
    fake.fault("/blobs/", to(format!("https://{}", elsewhere.host())), 1);
    let error = read(&client(&fake), &image(&fake, "a/b:1"), &blob, 7, 0).await.unwrap_err();
    assert!(text(&fake, &error).contains("redirected to where we do not go"), "{}", text(&fake, &error));
    fake.fault("/blobs/", to(format!("http://{}", fake.host())), 20);
    let error = read(&client(&fake), &image(&fake, "a/b:1"), &blob, 7, 0).await.unwrap_err();
    assert!(text(&fake, &error).contains("redirected to where we do not go"), "{}", text(&fake, &error));
}

#[tokio::test]
async fn an_index_is_returned_as_such_and_the_best_platform_chosen() {
    let fake = FakeRegistry::start().await.unwrap();
    let entry = |platform: &str, size: u64| {
        let digest = Digest::of(platform.as_bytes());
        format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":{size},"platform":{platform}}}"#)
    };
    let entries = [
        entry(r#"{"os":"unknown","architecture":"unknown"}"#, 1),
        entry(r#"{"os":"windows","architecture":"amd64"}"#, 2),
        entry(r#"{"os":"linux","architecture":"amd64"}"#, 3),
        entry(r#"{"os":"linux","architecture":"amd64","variant":"v2"}"#, 4),
        entry(r#"{"os":"linux","architecture":"amd64","variant":"v4"}"#, 5),
        entry(r#"{"os":"linux","architecture":"arm","variant":"v7"}"#, 6),
        entry(r#"{"os":"linux","architecture":"arm","variant":"v6"}"#, 7),
        entry(r#"{"os":"linux","architecture":"386"}"#, 8).replace(OCI_MANIFEST, "application/vnd.example+json"),
    ];
    let text = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#, entries.join(","));
    let digest = fake.put_manifest("a/b", "1", OCI_INDEX, text);
    let ManifestOrIndex::Index(index) = client(&fake).manifest(&image(&fake, "a/b:1"), &digest).await.unwrap() else {
        panic!("not an index")
    };
    let check = |architecture: &str, variant, expect: Option<i64>| {
        let host = HostPlatform { architecture: architecture.to_owned(), variant };
        assert_eq!(host.select(&index).map(|entry| entry.size), expect, "{architecture} {variant}");
    };
    check("amd64", 1, Some(3));
    check("amd64", 3, Some(4));
    check("amd64", 4, Some(5));
    check("arm", 7, Some(6));
    check("arm", 6, Some(7));
    check("arm", 5, None);
    check("riscv64", 0, None);
    check("386", 0, None);
    assert_eq!(
        HostPlatform::offered(&index),
        "windows/amd64, linux/amd64, linux/amd64/v2, linux/amd64/v4, linux/arm/v7, linux/arm/v6"
    );
}
