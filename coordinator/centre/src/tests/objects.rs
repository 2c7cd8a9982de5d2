//! The same with blobs in an object store: here one in memory, which has the interface of a bucket.

use super::*;
use crate::{S3Config, StorageConfig};
use object_store::memory::InMemory;

async fn lab() -> Lab {
    Lab::over(|_| {}, |config, store| Centre::over_objects(config, store, Arc::new(InMemory::new()))).await
}

#[tokio::test]
async fn blobs_in_a_bucket_are_pushed_and_pulled() {
    let lab = lab().await;
    // In one go, and in three parts.
    for bytes in [b"".to_vec(), b"small".to_vec(), noise(17 * 1024 * 1024, 1)] {
        let digest = lab.push("a", &bytes).await;
        let path = format!("/v2/a/blobs/{digest}");
        assert_eq!(lab.get(&path).await.bytes().await.unwrap(), bytes);
        if bytes.len() > 100 {
            let part = lab.ask(Method::GET, &path).header("range", "bytes=9000000-9000099").send().await.unwrap();
            assert_eq!(part.status(), 206);
            assert_eq!(part.bytes().await.unwrap(), bytes[9_000_000..9_000_100]);
        }
    }
    assert_eq!(lab.centre.stored().await.unwrap().len(), 3);
    assert_eq!(std::fs::read_dir(lab.dir.path().join("uploads")).unwrap().count(), 0);
}

#[tokio::test]
async fn images_in_a_bucket_are_pushed_pulled_and_dropped() {
    let lab = lab().await;
    let digest = lab.push_image("a", "v1", b"layer").await;
    assert_eq!(Digest::of(&lab.get("/v2/a/manifests/v1").await.bytes().await.unwrap()), digest);
    assert_eq!(lab.status(Method::DELETE, &format!("/v2/a/manifests/{digest}")).await, 202);
    let layer = Digest::of(b"layer");
    let key = crate::records::blob_key(&layer);
    let seen = crate::records::load::<crate::records::BlobRecord>(&**lab.centre.store(), &key).await.unwrap().unwrap();
    assert!(lab.centre.drop_blob(&layer, Some(seen.revision), vec![name("a")]).await.unwrap());
    assert!(!lab.centre.stored().await.unwrap().iter().any(|stored| stored.digest == layer));
}

#[test]
fn a_bucket_needs_keys() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name)
    };
    let (key, empty) = (file("key", "  name\n"), file("empty", "\n"));
    let check = |secret: &std::path::Path, expect: &str| {
        let s3 = S3Config {
            bucket: "images".to_owned(),
            prefix: "fleet".to_owned(),
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            region: "us-east-1".to_owned(),
            access_key_file: key.clone(),
            secret_key_file: secret.to_owned(),
        };
        let config = CentreConfig { storage: StorageConfig::S3(s3), ..CentreConfig::new(dir.path()) };
        let opened = Centre::open(&config, Arc::new(MemoryStore::default())).map(drop).map_err(|error| error.to_string());
        match opened {
            Ok(()) => assert_eq!(expect, ""),
            Err(error) => assert!(error.contains(expect) && !expect.is_empty(), "{error}"),
        }
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    check(&key, "");
    check(&empty, "is empty");
    check(&dir.path().join("none"), "cannot read");
}
