//! Conformance, category content discovery: end-8a, end-8b, end-12a, end-12b, and the list of repositories.

use super::*;

async fn list(lab: &Lab, path: &str) -> (Vec<String>, Option<String>) {
    let answer = lab.get(path).await;
    assert_eq!(answer.status(), 200, "{path}");
    let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
    let next = link.map(|link| link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).unwrap().to_owned());
    let body: Value = answer.json().await.unwrap();
    let names = body.get("tags").or_else(|| body.get("repositories")).unwrap().as_array().unwrap();
    (names.iter().map(|name| name.as_str().unwrap().to_owned()).collect(), next)
}

#[tokio::test]
async fn end_8a_lists_tags_in_order() {
    let lab = Lab::new().await;
    for tag in ["v10", "v2", "B", "a", "_x"] {
        lab.push_image("a", tag, b"layer").await;
    }
    lab.push_image("a/b", "other", b"layer").await;
    assert_eq!(list(&lab, "/v2/a/tags/list").await, (["B", "_x", "a", "v10", "v2"].map(String::from).to_vec(), None));
    assert_eq!(code(lab.get("/v2/none/tags/list").await).await, "NAME_UNKNOWN");
}

#[tokio::test]
async fn end_8b_lists_tags_by_pages() {
    let lab = Lab::new().await;
    for tag in ["a", "b", "c", "d", "e"] {
        lab.push_image("x", tag, b"layer").await;
    }
    let (mut path, mut all) = ("/v2/x/tags/list?n=2".to_owned(), Vec::new());
    loop {
        let (tags, next) = list(&lab, &path).await;
        assert!(tags.len() <= 2);
        all.push(tags.concat());
        match next {
            Some(next) => path = next,
            None => break,
        }
    }
    assert_eq!(all, ["ab", "cd", "e"]);
    assert_eq!(list(&lab, "/v2/x/tags/list?n=0").await, (vec![], None));
    assert_eq!(list(&lab, "/v2/x/tags/list?last=bb").await, (["c", "d", "e"].map(String::from).to_vec(), None));
    assert_eq!(list(&lab, "/v2/x/tags/list?n=5").await.1, None);
    assert_eq!(lab.status(Method::GET, "/v2/x/tags/list?n=x").await, 400);
}

#[tokio::test]
async fn repositories_are_listed_by_pages() {
    let lab = Lab::new().await;
    for repository in ["b", "a/c", "a"] {
        lab.push(repository, b"x").await;
    }
    let (first, next) = list(&lab, "/v2/_catalog?n=2").await;
    assert_eq!(first, ["a", "a/c"]);
    assert_eq!(list(&lab, &next.unwrap()).await, (vec!["b".to_owned()], None));
}

/// An artifact that says something about `subject`.
async fn refer(lab: &Lab, subject: &Digest, kind: &str, number: u32) -> Digest {
    let empty = lab.push("a", b"{}").await;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": kind,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2 },
        "layers": [{ "mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2 }],
        "subject": { "mediaType": OCI_MANIFEST, "digest": subject, "size": 1 },
        "annotations": { "number": number.to_string() },
    });
    let digest = Digest::of(manifest.to_string().as_bytes());
    let put = lab.put_manifest("a", digest.as_str(), OCI_MANIFEST, &manifest).await;
    assert_eq!((put.status().as_u16(), header(&put, "oci-subject")), (201, subject.to_string()));
    digest
}

#[tokio::test]
async fn end_12a_lists_what_refers_to_a_manifest() {
    let lab = Lab::new().await;
    // The subject may come later.
    let subject = Digest::of(image(&Digest::of(b"{}"), &Digest::of(b"layer"), 5).to_string().as_bytes());
    let sbom = refer(&lab, &subject, "application/sbom", 1).await;
    assert_eq!(lab.push_image("a", "v1", b"layer").await, subject);
    let answer = lab.get(&format!("/v2/a/referrers/{subject}")).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "content-type")), (200, OCI_INDEX.to_owned()));
    let body: Value = answer.json().await.unwrap();
    let entry = &body["manifests"][0];
    assert_eq!((entry["digest"].as_str(), entry["artifactType"].as_str()), (Some(sbom.as_str()), Some("application/sbom")));
    assert_eq!((entry["annotations"]["number"].as_str(), entry["mediaType"].as_str()), (Some("1"), Some(OCI_MANIFEST)));
    assert!(entry["size"].as_u64().is_some_and(|size| size > 100));
    // None is an empty list, never 404.
    for path in [format!("/v2/a/referrers/{}", Digest::of(b"x")), format!("/v2/none/referrers/{subject}")] {
        let body: Value = lab.get(&path).await.json().await.unwrap();
        assert_eq!(body["manifests"], json!([]));
    }
    // One that is deleted refers to nothing.
    assert_eq!(lab.status(Method::DELETE, &format!("/v2/a/manifests/{sbom}")).await, 202);
    let body: Value = lab.get(&format!("/v2/a/referrers/{subject}")).await.json().await.unwrap();
    assert_eq!(body["manifests"], json!([]));
}

#[tokio::test]
async fn end_12b_filters_by_artifact_type() {
    let lab = Lab::new().await;
    let subject = lab.push_image("a", "v1", b"layer").await;
    let (_, signature) = (refer(&lab, &subject, "x/sbom", 1).await, refer(&lab, &subject, "x/signature+json", 2).await);
    let answer = lab.get(&format!("/v2/a/referrers/{subject}?artifactType=x%2Fsignature%2Bjson")).await;
    assert_eq!(header(&answer, "oci-filters-applied"), "artifactType");
    let body: Value = answer.json().await.unwrap();
    let found: Vec<&str> = body["manifests"].as_array().unwrap().iter().map(|entry| entry["digest"].as_str().unwrap()).collect();
    assert_eq!(found, [signature.as_str()]);
}

#[tokio::test]
async fn end_12a_lists_many_by_pages() {
    let lab = Lab::new().await;
    let subject = lab.push_image("a", "v1", b"layer").await;
    for number in 0..203 {
        refer(&lab, &subject, "x/many", number).await;
    }
    let (mut path, mut pages) = (format!("/v2/a/referrers/{subject}?artifactType=x/many"), Vec::new());
    loop {
        let answer = lab.get(&path).await;
        let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let body: Value = answer.json().await.unwrap();
        pages.push(body["manifests"].as_array().unwrap().len());
        match link {
            Some(link) => path = link[1..link.find('>').unwrap()].to_owned(),
            None => break,
        }
    }
    assert_eq!(pages, [200, 3]);
}
