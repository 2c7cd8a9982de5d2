//! Conformance, category content management: end-9, end-10.

use super::*;

#[tokio::test]
async fn end_9_deletes_a_tag_and_leaves_the_manifest() {
    let lab = Lab::new().await;
    let digest = lab.push_image("a", "v1", b"layer").await;
    lab.push_image("a", "v2", b"layer").await;
    assert_eq!(lab.status(Method::DELETE, "/v2/a/manifests/v1").await, 202);
    assert_eq!(lab.status(Method::GET, "/v2/a/manifests/v1").await, 404);
    assert_eq!(lab.status(Method::GET, "/v2/a/manifests/v2").await, 200);
    assert_eq!(lab.status(Method::GET, &format!("/v2/a/manifests/{digest}")).await, 200);
    assert_eq!(lab.status(Method::DELETE, "/v2/a/manifests/v1").await, 404);
}

#[tokio::test]
async fn end_9_deletes_a_manifest_and_its_tags() {
    let lab = Lab::new().await;
    let digest = lab.push_image("a", "v1", b"layer").await;
    lab.push_image("a", "v2", b"layer").await;
    lab.push_image("a", "other", b"other").await;
    assert_eq!(lab.status(Method::DELETE, &format!("/v2/a/manifests/{digest}")).await, 202);
    for gone in ["v1", "v2", digest.as_str()] {
        assert_eq!(lab.status(Method::GET, &format!("/v2/a/manifests/{gone}")).await, 404, "{gone}");
    }
    let tags: Value = lab.get("/v2/a/tags/list").await.json().await.unwrap();
    assert_eq!(tags["tags"], json!(["other"]));
    assert_eq!(
        code(lab.ask(Method::DELETE, &format!("/v2/a/manifests/{digest}")).send().await.unwrap()).await,
        "MANIFEST_UNKNOWN"
    );
}

#[tokio::test]
async fn end_9_keeps_what_an_index_needs() {
    let lab = Lab::new().await;
    let digest = lab.push_image("a", "v1", b"layer").await;
    let all = index(&[&digest]);
    assert_eq!(lab.put_manifest("a", "all", OCI_INDEX, &all).await.status(), 201);
    let path = format!("/v2/a/manifests/{digest}");
    let refused = lab.ask(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(refused.status(), 405);
    assert_eq!(code(refused).await, "UNSUPPORTED");
    let all = Digest::of(all.to_string().as_bytes());
    assert_eq!(lab.status(Method::DELETE, &format!("/v2/a/manifests/{all}")).await, 202);
    assert_eq!(lab.status(Method::DELETE, &path).await, 202);
}

#[tokio::test]
async fn end_10_deletes_a_blob_that_no_manifest_needs() {
    let lab = Lab::new().await;
    let manifest = lab.push_image("a", "v1", b"layer").await;
    let path = format!("/v2/a/blobs/{}", Digest::of(b"layer"));
    assert_eq!(lab.status(Method::DELETE, &path).await, 405);
    assert_eq!(lab.status(Method::DELETE, &format!("/v2/a/manifests/{manifest}")).await, 202);
    lab.push("b", b"layer").await;
    assert_eq!(lab.status(Method::DELETE, &path).await, 202);
    assert_eq!(lab.status(Method::GET, &path).await, 404);
    assert_eq!(lab.status(Method::DELETE, &path).await, 404);
    // Another repository's is its own.
    assert_eq!(lab.status(Method::GET, &path.replace("/a/", "/b/")).await, 200);
}

#[tokio::test]
async fn rights_are_asked_for_each_door() {
    let lab = Lab::new().await;
    let digest = lab.push_image("w/a", "v1", b"layer").await;
    let check = async |who: &str, method: Method, path: &str, status: u16| {
        let answer = lab.ask_as(who, method.clone(), path).send().await.unwrap();
        assert_eq!(answer.status(), status, "{who} {method} {path}");
    };
    let (manifest, blob) = (format!("/v2/w/a/manifests/{digest}"), format!("/v2/w/a/blobs/{}", Digest::of(b"layer")));
    for path in [manifest.as_str(), blob.as_str(), "/v2/w/a/tags/list", "/v2/_catalog", "/v2/"] {
        check("nobody", Method::GET, path, 401).await;
        check("reader", Method::GET, path, 200).await;
        check("writer", Method::GET, path, 200).await;
    }
    for (method, path) in [
        (Method::POST, "/v2/w/a/blobs/uploads/"),
        (Method::PUT, "/v2/w/a/manifests/v2"),
        (Method::PATCH, "/v2/w/a/blobs/uploads/x"),
    ] {
        check("nobody", method.clone(), path, 401).await;
        check("reader", method, path, 403).await;
    }
    check("writer", Method::POST, "/v2/other/blobs/uploads/", 403).await;
    check("writer", Method::POST, "/v2/w/a/blobs/uploads/", 202).await;
    for path in [&manifest, &blob] {
        check("nobody", Method::DELETE, path, 401).await;
        check("writer", Method::DELETE, path, 403).await;
    }
}
