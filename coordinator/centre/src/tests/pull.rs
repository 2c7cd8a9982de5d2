//! Conformance, category pull: end-1, end-2, end-3.

use super::*;

#[tokio::test]
async fn end_1_says_that_the_protocol_is_spoken() {
    let lab = Lab::new().await;
    let answer = lab.get("/v2/").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "docker-distribution-api-version"), "registry/2.0");
    let stranger = lab.client.get(format!("{}/v2/", lab.base)).send().await.unwrap();
    assert_eq!(stranger.status(), 401);
    assert!(header(&stranger, "www-authenticate").starts_with("Basic "));
    assert_eq!(code(stranger).await, "UNAUTHORIZED");
}

#[tokio::test]
async fn end_2_gets_a_blob_whole() {
    let lab = Lab::new().await;
    let bytes = noise(700_000, 1);
    let digest = lab.push("a/b", &bytes).await;
    let got = lab.get(&format!("/v2/a/b/blobs/{digest}")).await;
    assert_eq!((got.status().as_u16(), header(&got, "content-length")), (200, "700000".to_owned()));
    assert_eq!(header(&got, "docker-content-digest"), digest.to_string());
    assert_eq!(got.bytes().await.unwrap(), bytes);
    let head = lab.ask(Method::HEAD, &format!("/v2/a/b/blobs/{digest}")).send().await.unwrap();
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, "700000".to_owned()));
    assert_eq!(header(&head, "docker-content-digest"), digest.to_string());
    assert!(head.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn end_2_knows_what_it_does_not_have() {
    let lab = Lab::new().await;
    let digest = lab.push("a", b"x").await;
    // Another repository does not have it, though the storage does.
    for path in [format!("/v2/b/blobs/{digest}"), format!("/v2/a/blobs/{}", Digest::of(b"y"))] {
        assert_eq!(lab.status(Method::HEAD, &path).await, 404);
        let got = lab.get(&path).await;
        assert_eq!(got.status(), 404);
        assert_eq!(code(got).await, "BLOB_UNKNOWN");
    }
    assert_eq!(code(lab.get("/v2/a/blobs/sha256:12").await).await, "DIGEST_INVALID");
}

#[tokio::test]
async fn end_2_gets_a_part() {
    let lab = Lab::new().await;
    let bytes = noise(600_000, 2);
    let digest = lab.push("a", &bytes).await;
    let empty = lab.push("a", b"").await;
    let check = async |digest: &Digest, range: &str, status: u16, content_range: &str, expect: &[u8]| {
        let got = lab.ask(Method::GET, &format!("/v2/a/blobs/{digest}")).header("range", range).send().await.unwrap();
        assert_eq!(got.status(), status, "{range}");
        assert_eq!(got.headers().get("content-range").map_or("", |text| text.to_str().unwrap()), content_range, "{range}");
        assert_eq!(got.bytes().await.unwrap(), expect, "{range}");
    };
    check(&digest, "bytes=0-0", 206, "bytes 0-0/600000", &bytes[..1]).await;
    check(&digest, "bytes=300000-", 206, "bytes 300000-599999/600000", &bytes[300_000..]).await;
    check(&digest, "bytes=599999-900000", 206, "bytes 599999-599999/600000", &bytes[599_999..]).await;
    check(&digest, "bytes=-5", 206, "bytes 599995-599999/600000", &bytes[599_995..]).await;
    check(&digest, "bytes=-900000", 206, "bytes 0-599999/600000", &bytes).await;
    check(&digest, "bytes=600000-", 416, "bytes */600000", b"").await;
    check(&digest, "bytes=-0", 416, "bytes */600000", b"").await;
    check(&empty, "bytes=0-", 416, "bytes */0", b"").await;
    for ignored in ["bytes=5-2", "bytes=0-1,3-4", "bytes=a-b", "bytes=+1-2", "items=0-1", "bytes=", "bytes=99999999999999999999-"]
    {
        check(&digest, ignored, 200, "", &bytes).await;
    }
}

#[tokio::test]
async fn end_3_gets_a_manifest_by_tag_and_digest() {
    let lab = Lab::new().await;
    let digest = lab.push_image("a", "v1", b"layer").await;
    for reference in ["v1", digest.as_str()] {
        let path = format!("/v2/a/manifests/{reference}");
        let got = lab.get(&path).await;
        assert_eq!((got.status().as_u16(), header(&got, "content-type")), (200, OCI_MANIFEST.to_owned()));
        assert_eq!(header(&got, "docker-content-digest"), digest.to_string());
        assert_eq!(Digest::of(&got.bytes().await.unwrap()), digest);
        let head = lab.ask(Method::HEAD, &path).send().await.unwrap();
        assert_eq!((head.status().as_u16(), header(&head, "docker-content-digest")), (200, digest.to_string()));
        let same = lab.ask(Method::GET, &path).header("if-none-match", format!("\"{digest}\"")).send().await.unwrap();
        assert_eq!(same.status(), 304);
    }
    for unknown in ["/v2/a/manifests/v2".to_owned(), format!("/v2/b/manifests/{digest}")] {
        assert_eq!(lab.status(Method::HEAD, &unknown).await, 404);
        assert_eq!(code(lab.get(&unknown).await).await, "MANIFEST_UNKNOWN");
    }
}
