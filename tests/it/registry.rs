//! The harness's own registry and its faults: what other tests build upon.

use anyhow::Result;
use coord_tests::faulty::{Fault, FaultyRegistry, Target};
use coord_tests::http::{self, Answer};
use coord_tests::image::{Image, sha256, web};
use coord_tests::registry::TestRegistry;

/// A registry serves a manifest only to who says that he understands its kind.
fn get_manifest(url: &str) -> Result<Answer> {
    http::request("GET", url, &[("Accept", Image::MEDIA_TYPE)], &[])
}

#[test]
fn a_pushed_image_can_be_read_back() -> Result<()> {
    let registry = TestRegistry::start()?;
    let image = web::image("1")?;
    registry.push(&image, "demo/web", "1")?;

    let base = format!("http://{}/v2/demo/web", registry.authority());
    let manifest = get_manifest(&format!("{base}/manifests/1"))?;
    assert_eq!(manifest.headers.get("docker-content-digest"), Some(image.manifest.digest.as_str()));
    assert_eq!(manifest.body, image.manifest.bytes);
    for blob in image.blobs() {
        let answer = http::get(&format!("{base}/blobs/{}", blob.digest))?;
        assert_eq!((answer.status, sha256(&answer.body)), (200, blob.digest.clone()));
    }
    Ok(())
}

#[test]
fn versions_differ_in_their_last_layer_only() -> Result<()> {
    let (one, two, again) = (web::image("1")?, web::image("2")?, web::image("1")?);
    assert_eq!(one.layers[0].digest, two.layers[0].digest);
    assert_ne!(one.layers[1].digest, two.layers[1].digest);
    assert_eq!(one.manifest.digest, again.manifest.digest);
    Ok(())
}

#[test]
fn a_faulty_registry_does_as_it_is_told() -> Result<()> {
    let registry = TestRegistry::start()?;
    let image = web::image("1")?;
    registry.push(&image, "demo/web", "1")?;
    let faulty = FaultyRegistry::start(registry.authority())?;
    let base = format!("http://{}/v2/demo/web", faulty.authority());
    let (manifest, blob) = (format!("{base}/manifests/1"), format!("{base}/blobs/{}", image.config.digest));

    assert_eq!(get_manifest(&manifest)?.body, image.manifest.bytes);

    faulty.set(Target::Manifests, Fault::Status(401));
    let refused = get_manifest(&manifest)?;
    assert_eq!(refused.status, 401);
    assert!(refused.headers.get("www-authenticate").is_some());
    assert_eq!(http::get(&blob)?.body, image.config.bytes);

    faulty.set(Target::Blobs, Fault::WrongBytes);
    let wrong = http::get(&blob)?;
    assert_eq!(wrong.body.len(), image.config.bytes.len());
    assert_ne!(sha256(&wrong.body), image.config.digest);

    faulty.set(Target::Blobs, Fault::Truncated);
    assert!(http::get(&blob).is_err());
    faulty.set(Target::All, Fault::HungUp);
    assert!(http::get(&blob).is_err());

    faulty.set_times(Target::All, Fault::Status(500), 1);
    assert_eq!(http::get(&blob)?.status, 500);
    assert_eq!(http::get(&blob)?.status, 200);
    faulty.clear();
    assert_eq!(faulty.requests().len(), 8);
    Ok(())
}
