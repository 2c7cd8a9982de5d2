//! Many at once: the same blob, the same tag, and a collection that wants what a push needs.

use super::*;
use crate::records::{self, BlobRecord, ManifestRecord};
use crate::{NewManifest, Reference};
use bytes::Bytes;
use futures_util::future::join_all;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_blob_may_be_pushed_by_many_at_once() {
    let lab = Lab::new().await;
    let bytes = noise(300_000, 1);
    join_all((0..16).map(|_| lab.push("a", &bytes))).await;
    let got = lab.get(&format!("/v2/a/blobs/{}", Digest::of(&bytes))).await;
    assert_eq!(got.bytes().await.unwrap(), bytes);
    assert_eq!(lab.centre.stored().await.unwrap().len(), 1);
    assert_eq!(std::fs::read_dir(lab.dir.path().join("uploads")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_images_on_one_base_are_pushed_at_once() {
    let lab = Lab::new().await;
    let (config, base) = (lab.push("a", b"{}").await, lab.push("a", b"base").await);
    let put = async |number: usize| {
        let mut manifest = image(&config, &base, 4);
        manifest["annotations"] = json!({ "number": number.to_string() });
        lab.put_manifest("a", "latest", OCI_MANIFEST, &manifest).await.status()
    };
    let put: Vec<StatusCode> = join_all((0..24).map(put)).await;
    assert!(put.iter().all(|status| *status == 201), "{put:?}");
    assert_eq!(lab.get("/v2/a/manifests/latest").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_writers_of_one_upload_do_not_mix() {
    let lab = Lab::new().await;
    let place = lab.begin("a").await;
    let send = async |piece: Vec<u8>| {
        let request = lab.ask(Method::PATCH, &place).header("content-range", "0-399999").body(piece);
        request.send().await.unwrap().status()
    };
    let (ones, twos) = (vec![1; 400_000], vec![2; 400_000]);
    let (a, b) = tokio::join!(send(ones.clone()), send(twos.clone()));
    assert!((a == 202) != (b == 202), "{a} {b}");
    let winner = if a == 202 { ones } else { twos };
    let put = lab.ask(Method::PUT, &format!("{place}?digest={}", Digest::of(&winner))).send().await.unwrap();
    assert_eq!(put.status(), 201);
}

/// What a collection does with one blob: reads its record, looks for references, drops it. It begins a little later each time, so that
/// it meets a push at each of its points.
async fn collect(lab: &Lab, digest: &Digest, later: Duration) -> bool {
    tokio::time::sleep(later).await;
    let store = lab.centre.store();
    let seen = records::load::<BlobRecord>(&**store, &records::blob_key(digest)).await.unwrap();
    let manifests = records::load_all::<ManifestRecord>(&**store, records::MANIFEST).await.unwrap();
    if manifests.iter().any(|(_, manifest)| manifest.record.blobs.contains(digest)) {
        return false;
    }
    tokio::task::yield_now().await;
    let repositories = vec![name("a"), name("b")];
    lab.centre.drop_blob(digest, seen.map(|seen| seen.revision), repositories).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_collection_never_takes_what_a_push_needs() {
    let lab = Lab::new().await;
    let (mut kept, mut taken) = (0, 0);
    for round in 0..400 {
        if kept >= 10 && taken >= 10 {
            break;
        }
        let layer = format!("layer {round}");
        let (config, digest) = (lab.push("a", b"{}").await, lab.push("a", layer.as_bytes()).await);
        let manifest = image(&config, &digest, layer.len());
        let new = NewManifest {
            repository: name("a"),
            reference: Some(Reference::Tag("v".parse().unwrap())),
            media_type: None,
            bytes: Bytes::from(manifest.to_string()),
            by: "test".to_owned(),
        };
        let (repository, to) = (name("a"), name("b"));
        let (put, mounted, pushed, dropped) = tokio::join!(
            lab.centre.put_manifest(new),
            lab.centre.mount(&repository, &to, &digest),
            async { if round % 2 == 0 { Some(lab.push("b", layer.as_bytes()).await) } else { None } },
            collect(&lab, &digest, Duration::from_micros(round % 40 * 500)),
        );
        let path = |name: &str| format!("/v2/{name}/blobs/{digest}");
        match put {
            // Whatever was taken, it was not this.
            Ok(_) => {
                kept += 1;
                assert_eq!(lab.get(&path("a")).await.bytes().await.unwrap(), layer, "round {round}");
            }
            Err(crate::CentreError::Missing { .. }) => taken += 1,
            Err(error) => panic!("round {round}: {error}"),
        }
        if pushed.is_some() || (mounted.unwrap() && !dropped) {
            let record = records::load::<BlobRecord>(&**lab.centre.store(), &records::blob_key(&digest)).await.unwrap();
            let stored = lab.centre.stored().await.unwrap().iter().any(|stored| stored.digest == digest);
            assert_eq!(record.is_some(), stored, "round {round}");
        }
    }
    assert!(kept >= 10 && taken >= 10, "{kept} kept, {taken} taken");
}

#[tokio::test]
async fn a_blob_goes_only_as_it_was_seen() {
    let lab = Lab::new().await;
    let digest = lab.push("a", b"x").await;
    let seen = records::load::<BlobRecord>(&**lab.centre.store(), &records::blob_key(&digest)).await.unwrap().unwrap();
    // Somebody pushed it again meanwhile.
    lab.push("b", b"x").await;
    assert!(!lab.centre.drop_blob(&digest, Some(seen.revision), vec![name("a")]).await.unwrap());
    assert!(!lab.centre.drop_blob(&digest, None, vec![]).await.unwrap());
    assert_eq!(lab.get(&format!("/v2/a/blobs/{digest}")).await.status(), 200);
    let seen = records::load::<BlobRecord>(&**lab.centre.store(), &records::blob_key(&digest)).await.unwrap().unwrap();
    assert!(lab.centre.drop_blob(&digest, Some(seen.revision), vec![name("a"), name("b")]).await.unwrap());
    assert_eq!(lab.get(&format!("/v2/b/blobs/{digest}")).await.status(), 404);
    assert!(lab.centre.stored().await.unwrap().is_empty());
    // And can come again.
    lab.push("a", b"x").await;
    assert_eq!(lab.get(&format!("/v2/a/blobs/{digest}")).await.status(), 200);
}
