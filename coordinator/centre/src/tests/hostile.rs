//! Input that means no good, or no sense.

use super::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn bytes_with_another_digest_are_no_blob() {
    let lab = Lab::new().await;
    let place = lab.begin("a").await;
    let wrong = Digest::of(b"good");
    let put = lab.ask(Method::PUT, &format!("{place}?digest={wrong}")).body("evil").send().await.unwrap();
    assert_eq!(put.status(), 400);
    assert_eq!(code(put).await, "DIGEST_INVALID");
    assert_eq!(lab.status(Method::GET, &place).await, 404);
    assert_eq!(lab.status(Method::HEAD, &format!("/v2/a/blobs/{wrong}")).await, 404);
    assert!(lab.centre.stored().await.unwrap().is_empty());
}

#[tokio::test]
async fn digests_must_be_digests() {
    let lab = Lab::new().await;
    let place = lab.begin("a").await;
    for digest in [
        "",
        "sha256:",
        "sha256:../../../etc/passwd",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        &format!("sha512:{}", "a".repeat(128)),
    ] {
        let put = lab.ask(Method::PUT, &place).query(&[("digest", digest)]).send().await.unwrap();
        assert_eq!(put.status(), 400, "{digest}");
        assert_eq!(code(put).await, "DIGEST_INVALID");
    }
    assert_eq!(code(lab.ask(Method::PUT, &place).send().await.unwrap()).await, "DIGEST_INVALID");
}

#[tokio::test]
async fn paths_are_names_or_nothing() {
    let lab = Lab::new().await;
    // By hand: a client's library would mend these paths.
    let check = async |path: &str, status: u16, expect: &str| {
        let head = "Host: x\r\nAuthorization: Bearer admin\r\nConnection: close";
        let answer = by_hand(&lab, &format!("GET {path} HTTP/1.1\r\n{head}\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(answer.contains(&format!("\"code\":\"{expect}\"")), "{path}: {answer}");
    };
    check("/v2/%2e%2e%2f%2e%2e/tags/list", 400, "NAME_INVALID").await;
    check("/v2/UPPER/tags/list", 400, "NAME_INVALID").await;
    check(&format!("/v2/{}/tags/list", "a".repeat(300)), 400, "NAME_INVALID").await;
    check("/v2/a/manifests/%2e%2e", 404, "MANIFEST_UNKNOWN").await;
    check("/v2/a/manifests/-x", 404, "MANIFEST_UNKNOWN").await;
    let put = lab.put_manifest("a", "-x", OCI_MANIFEST, &json!({})).await;
    assert_eq!((put.status().as_u16(), code(put).await.as_str()), (400, "MANIFEST_INVALID"));
    check("/v2/a/blobs/uploads/..%2f..%2fblobs", 404, "UNSUPPORTED").await;
    check("/v2/a/blobs/uploads/%2e%2e", 404, "BLOB_UPLOAD_UNKNOWN").await;
    check("/v2/a/nothing/x", 404, "UNSUPPORTED").await;
    check("/v2/a", 404, "UNSUPPORTED").await;
    check("/v2/tags/list", 404, "UNSUPPORTED").await;
    let odd = lab.ask(Method::DELETE, "/v2/a/tags/list").send().await.unwrap();
    assert_eq!(odd.status(), 405);
    // A repository may be called like a part of the protocol.
    lab.push_image("a/blobs/uploads", "v1", b"layer").await;
    assert_eq!(lab.get("/v2/a/blobs/uploads/manifests/v1").await.status(), 200);
    assert_eq!(lab.get("/v2/a/blobs/uploads/tags/list").await.status(), 200);
}

/// Sends a request by hand and reads what comes, until the other end closes or is done.
async fn by_hand(lab: &Lab, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(lab.base.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    let _ = read.expect("no end of the answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_body_that_is_shorter_than_it_says_is_no_piece() {
    let lab = Lab::new().await;
    let place = lab.begin("a").await;
    let head = "Host: x\r\nAuthorization: Bearer admin\r\n";
    by_hand(&lab, &format!("PATCH {place} HTTP/1.1\r\n{head}Content-Length: 100\r\nContent-Range: 0-99\r\n\r\nshort")).await;
    let range = header(&lab.get(&place).await, "range");
    assert!(["0-4", "0-0"].contains(&range.as_str()), "{range}");
    let digest = Digest::of(b"short");
    let answer = by_hand(&lab, &format!("PUT {place}?digest={digest} HTTP/1.1\r\n{head}Content-Length: 9\r\n\r\nx")).await;
    assert!(!answer.contains("201 Created"), "{answer}");
    assert_eq!(lab.status(Method::HEAD, &format!("/v2/a/blobs/{digest}")).await, 404);
}

#[tokio::test]
async fn a_piece_that_is_longer_than_it_says_is_refused() {
    let lab = Lab::new().await;
    let place = lab.begin("a").await;
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>("0123456789")]));
    let patched = lab.ask(Method::PATCH, &place).header("content-range", "0-4").body(body).send().await.unwrap();
    assert_eq!(patched.status(), 400);
    assert_eq!(code(patched).await, "SIZE_INVALID");
    assert_eq!(header(&lab.get(&place).await, "range"), "0-0");
}

#[tokio::test]
async fn there_is_a_limit_to_blobs_and_to_uploads() {
    let lab = Lab::with(|config| {
        config.upload_max_bytes = 1000;
        config.uploads_max = 2;
    })
    .await;
    let large = noise(1001, 1);
    let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::of(&large));
    assert_eq!(lab.ask(Method::POST, &path).body(large.clone()).send().await.unwrap().status(), 413);
    let place = lab.begin("a").await;
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = large.chunks(100).map(|piece| Ok(piece.to_vec())).collect();
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let patched = lab.ask(Method::PATCH, &place).body(body).send().await.unwrap();
    assert_eq!((patched.status().as_u16(), code(patched).await.as_str()), (413, "SIZE_INVALID"));
    lab.begin("a").await;
    let third = lab.ask(Method::POST, "/v2/a/blobs/uploads/").send().await.unwrap();
    assert_eq!((third.status().as_u16(), code(third).await.as_str()), (429, "TOOMANYREQUESTS"));
}

#[tokio::test]
async fn a_silent_sender_is_let_go() {
    let lab = Lab::with(|config| config.silence_max = Duration::from_millis(50)).await;
    let place = lab.begin("a").await;
    let body = reqwest::Body::wrap_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let patched = lab.ask(Method::PATCH, &place).body(body).send();
    let patched = tokio::time::timeout(Duration::from_secs(10), patched).await.expect("it still waits");
    assert!(patched.is_err() || patched.unwrap().status() == 400);
    assert_eq!(lab.status(Method::GET, &place).await, 204);
}

#[tokio::test]
async fn manifests_that_make_no_sense_are_refused() {
    let lab = Lab::new().await;
    let (config, layer) = (lab.push("a", b"{}").await, lab.push("a", b"layer").await);
    let good = image(&config, &layer, 5);
    let with = |field: &str, value: Value| {
        let mut manifest = good.clone();
        manifest[field] = value;
        manifest
    };
    let check = async |media_type: &str, manifest: &Value| {
        let put = lab.put_manifest("a", "v1", media_type, manifest).await;
        assert_eq!(put.status(), 400, "{manifest}");
        assert_eq!(code(put).await, "MANIFEST_INVALID");
    };
    check(OCI_MANIFEST, &json!("text")).await;
    check(OCI_MANIFEST, &with("schemaVersion", json!(1))).await;
    check(OCI_INDEX, &good).await;
    check(OCI_MANIFEST, &with("layers", Value::Null)).await;
    check(OCI_MANIFEST, &with("config", Value::Null)).await;
    check(OCI_MANIFEST, &with("manifests", json!([]))).await;
    check(OCI_MANIFEST, &with("subject", json!({ "digest": "sha256:x", "size": 1 }))).await;
    check(OCI_MANIFEST, &with("layers", json!([{ "digest": layer, "size": -1 }]))).await;
    check("application/x-unknown+json", &with("mediaType", json!("application/x-unknown+json"))).await;
    let many: Vec<Value> = (0..5000).map(|n| json!({ "digest": Digest::of(format!("{n}").as_bytes()), "size": 1 })).collect();
    check(OCI_MANIFEST, &with("layers", json!(many))).await;
    assert_eq!(lab.put_manifest("a", "v1", &format!("{OCI_MANIFEST}; charset=utf-8"), &good).await.status(), 201);
}

#[tokio::test]
async fn a_giant_manifest_is_not_read() {
    let lab = Lab::new().await;
    let giant = vec![b' '; crate::MANIFEST_MAX_BYTES + 1];
    let put = lab.ask(Method::PUT, "/v2/a/manifests/v1").body(giant.clone()).send().await.unwrap();
    assert_eq!(put.status(), 413);
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = giant.chunks(100_000).map(|piece| Ok(piece.to_vec())).collect();
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let put = lab.ask(Method::PUT, "/v2/a/manifests/v1").body(body).send().await;
    assert!(put.is_err() || put.unwrap().status() == 413);
    // The largest that may be.
    let (config, layer) = (lab.push("a", b"{}").await, lab.push("a", b"layer").await);
    let mut manifest = image(&config, &layer, 5);
    let room = crate::MANIFEST_MAX_BYTES - manifest.to_string().len() - r#","annotations":{"a":""}"#.len();
    manifest["annotations"] = json!({ "a": "x".repeat(room) });
    assert_eq!(manifest.to_string().len(), crate::MANIFEST_MAX_BYTES);
    assert_eq!(lab.put_manifest("a", "v1", OCI_MANIFEST, &manifest).await.status(), 201);
    assert_eq!(lab.get("/v2/a/manifests/v1").await.bytes().await.unwrap(), manifest.to_string());
}

#[tokio::test]
async fn indexes_nest_only_so_deep() {
    let lab = Lab::new().await;
    let mut below = lab.push_image("a", "v1", b"layer").await;
    for depth in 1..=5 {
        let level = json!({
            "schemaVersion": 2, "mediaType": OCI_INDEX,
            "manifests": [{ "mediaType": if depth == 1 { OCI_MANIFEST } else { OCI_INDEX }, "digest": below, "size": 1 }],
        });
        let put = lab.put_manifest("a", &format!("level{depth}"), OCI_INDEX, &level).await;
        assert_eq!(put.status(), if depth <= 4 { 201 } else { 400 }, "{depth}");
        below = Digest::of(level.to_string().as_bytes());
    }
}

#[tokio::test]
async fn layers_that_lie_elsewhere_need_not_be_pushed() {
    let lab = Lab::new().await;
    let config = lab.push("a", b"{}").await;
    let mut manifest = image(&config, &Digest::of(b"windows"), 7);
    manifest["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    assert_eq!(lab.put_manifest("a", "v1", OCI_MANIFEST, &manifest).await.status(), 404);
    manifest["layers"][0]["urls"] = json!(["https://example.org/layer"]);
    assert_eq!(lab.put_manifest("a", "v1", OCI_MANIFEST, &manifest).await.status(), 201);
}
