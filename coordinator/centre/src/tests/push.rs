//! Conformance, category push: end-4a, end-4b, end-5, end-6, end-7, end-11, end-13.

use super::*;

async fn has(lab: &Lab, name: &str, bytes: &[u8]) {
    let got = lab.get(&format!("/v2/{name}/blobs/{}", Digest::of(bytes))).await;
    assert_eq!(got.bytes().await.unwrap(), bytes);
}

#[tokio::test]
async fn end_4a_and_6_push_a_blob_in_two_steps() {
    let lab = Lab::new().await;
    let bytes = noise(1_500_000, 1);
    let digest = Digest::of(&bytes);
    let place = lab.begin("a/b/c").await;
    let put = lab.ask(Method::PUT, &format!("{place}?digest={digest}")).body(bytes.clone()).send().await.unwrap();
    assert_eq!((put.status().as_u16(), header(&put, "docker-content-digest")), (201, digest.to_string()));
    assert_eq!(header(&put, "location"), format!("/v2/a/b/c/blobs/{digest}"));
    has(&lab, "a/b/c", &bytes).await;
    // It is over.
    assert_eq!(lab.status(Method::GET, &place).await, 404);
    assert_eq!(std::fs::read_dir(lab.dir.path().join("uploads")).unwrap().count(), 0);
}

#[tokio::test]
async fn end_4b_pushes_a_blob_in_one_step() {
    let lab = Lab::new().await;
    for bytes in [b"".to_vec(), b"x".to_vec(), noise(900_000, 2)] {
        lab.push("a", &bytes).await;
        // Again changes nothing.
        lab.push("a", &bytes).await;
        has(&lab, "a", &bytes).await;
    }
}

#[tokio::test]
async fn end_5_pushes_a_blob_in_pieces() {
    let lab = Lab::new().await;
    let bytes = noise(30, 3);
    let place = lab.begin("a").await;
    let send = async |range: &str, piece: &[u8]| {
        let request = lab.ask(Method::PATCH, &place).header("content-range", range).body(piece.to_vec());
        request.send().await.unwrap()
    };
    let first = send("0-9", &bytes[..10]).await;
    assert_eq!((first.status().as_u16(), header(&first, "range")), (202, "0-9".to_owned()));
    assert_eq!(header(&first, "location"), place);
    for (range, piece) in [("20-29", &bytes[20..]), ("0-9", &bytes[..10]), ("x", &bytes[10..20]), ("19-10", &bytes[10..20])] {
        let refused = send(range, piece).await;
        assert_eq!((refused.status().as_u16(), header(&refused, "range")), (416, "0-9".to_owned()), "{range}");
        assert_eq!(code(refused).await, "BLOB_UPLOAD_INVALID");
    }
    // Its own words contradict each other.
    assert_eq!(code(send("10-29", &bytes[10..20]).await).await, "SIZE_INVALID");
    // As HTTP writes it.
    assert_eq!(send("bytes 10-19/*", &bytes[10..20]).await.status(), 202);
    let put = lab.ask(Method::PUT, &format!("{place}?digest={}", Digest::of(&bytes)));
    let put = put.header("content-range", "20-29").body(bytes[20..].to_vec()).send().await.unwrap();
    assert_eq!(put.status(), 201);
    has(&lab, "a", &bytes).await;
}

#[tokio::test]
async fn end_5_takes_a_stream_without_length() {
    let lab = Lab::new().await;
    let bytes = noise(3_000_000, 4);
    let place = lab.begin("a").await;
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = bytes.chunks(7777).map(|piece| Ok(piece.to_vec())).collect();
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let patched = lab.ask(Method::PATCH, &place).body(body).send().await.unwrap();
    assert_eq!((patched.status().as_u16(), header(&patched, "range")), (202, "0-2999999".to_owned()));
    let put = lab.ask(Method::PUT, &format!("{place}?digest={}", Digest::of(&bytes))).send().await.unwrap();
    assert_eq!(put.status(), 201);
    has(&lab, "a", &bytes).await;
}

#[tokio::test]
async fn end_13_says_where_an_upload_stands() {
    let lab = Lab::new().await;
    let place = lab.begin("a").await;
    let check = async |range: &str| {
        let stands = lab.get(&place).await;
        assert_eq!((stands.status().as_u16(), header(&stands, "range")), (204, range.to_owned()));
        assert_eq!(header(&stands, "location"), place);
    };
    check("0-0").await;
    assert_eq!(lab.ask(Method::PATCH, &place).body("12345").send().await.unwrap().status(), 202);
    check("0-4").await;
    // Another repository's upload is none.
    assert_eq!(lab.status(Method::GET, &place.replace("/v2/a/", "/v2/b/")).await, 404);
}

#[tokio::test]
async fn an_upload_can_be_given_up() {
    let lab = Lab::new().await;
    let place = lab.begin("a").await;
    assert_eq!(lab.status(Method::DELETE, &place).await, 204);
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        assert_eq!(code(lab.ask(method.clone(), &place).send().await.unwrap()).await, "BLOB_UPLOAD_UNKNOWN", "{method}");
    }
    assert_eq!(std::fs::read_dir(lab.dir.path().join("uploads")).unwrap().count(), 0);
}

#[tokio::test]
async fn end_11_mounts_what_another_repository_has() {
    let lab = Lab::new().await;
    let digest = lab.push("from", b"shared").await;
    let mount = async |who: &str, to: &str, query: &str| {
        lab.ask_as(who, Method::POST, &format!("/v2/{to}/blobs/uploads/?{query}")).send().await.unwrap()
    };
    let mounted = mount("admin", "to", &format!("mount={digest}&from=from")).await;
    assert_eq!((mounted.status().as_u16(), header(&mounted, "location")), (201, format!("/v2/to/blobs/{digest}")));
    has(&lab, "to", b"shared").await;
    // A repository that does not have it, and no repository: an upload begins.
    for query in [format!("mount={digest}&from=elsewhere"), format!("mount={digest}")] {
        let begun = mount("admin", "other", &query).await;
        assert_eq!(begun.status(), 202);
        assert!(header(&begun, "location").contains("/v2/other/blobs/uploads/"));
    }
    assert_eq!(lab.status(Method::HEAD, &format!("/v2/other/blobs/{digest}")).await, 404);
    assert_eq!(mount("writer", "x", &format!("mount={digest}&from=from")).await.status(), 403);
    assert_eq!(mount("writer", "w/x", &format!("mount={digest}&from=from")).await.status(), 201);
}

#[tokio::test]
async fn end_7_takes_a_manifest() {
    let lab = Lab::new().await;
    let (config, layer) = (lab.push("a", b"{}").await, lab.push("a", b"layer").await);
    let manifest = image(&config, &layer, 5);
    let digest = Digest::of(manifest.to_string().as_bytes());
    for reference in ["v1", digest.as_str()] {
        let put = lab.put_manifest("a", reference, OCI_MANIFEST, &manifest).await;
        assert_eq!((put.status().as_u16(), header(&put, "docker-content-digest")), (201, digest.to_string()));
        assert_eq!(header(&put, "location"), format!("/v2/a/manifests/{digest}"));
    }
    let both = lab.put_manifest("a", "all", OCI_INDEX, &index(&[&digest])).await;
    assert_eq!(both.status(), 201);
    let wrong = lab.put_manifest("a", Digest::of(b"x").as_str(), OCI_MANIFEST, &manifest).await;
    assert_eq!(wrong.status(), 400);
    assert_eq!(code(wrong).await, "DIGEST_INVALID");
}

#[tokio::test]
async fn end_7_wants_everything_that_a_manifest_needs() {
    let lab = Lab::new().await;
    let (config, layer) = (lab.push("a", b"{}").await, lab.push("b", b"layer").await);
    let missing = [image(&config, &layer, 5), index(&[&Digest::of(b"x")])];
    for (manifest, media_type) in missing.iter().zip([OCI_MANIFEST, OCI_INDEX]) {
        let put = lab.put_manifest("a", "v1", media_type, manifest).await;
        assert_eq!(put.status(), 404);
        assert_eq!(code(put).await, "MANIFEST_BLOB_UNKNOWN");
    }
    assert_eq!(lab.status(Method::GET, "/v2/a/manifests/v1").await, 404);
}

#[tokio::test]
async fn end_7_moves_a_tag() {
    let lab = Lab::new().await;
    let (first, second) = (lab.push_image("a", "v", b"1").await, lab.push_image("a", "v", b"2").await);
    assert_eq!(header(&lab.get("/v2/a/manifests/v").await, "docker-content-digest"), second.to_string());
    assert_eq!(lab.status(Method::GET, &format!("/v2/a/manifests/{first}")).await, 200);
}
