//! Uploads survive: the end of the process at each stage, a lost commit, a day of silence.

use super::*;
use coord_store::Fault;
use std::path::PathBuf;

async fn patch(lab: &Lab, place: &str, piece: &[u8]) -> String {
    let patched = lab.ask(Method::PATCH, place).body(piece.to_vec()).send().await.unwrap();
    assert_eq!(patched.status(), 202);
    header(&patched, "range")
}

async fn put(lab: &Lab, place: &str, bytes: &[u8]) -> StatusCode {
    lab.ask(Method::PUT, &format!("{place}?digest={}", Digest::of(bytes))).send().await.unwrap().status()
}

async fn has(lab: &Lab, bytes: &[u8]) {
    let got = lab.get(&format!("/v2/a/blobs/{}", Digest::of(bytes))).await;
    assert_eq!(got.bytes().await.unwrap(), bytes);
}

fn folders(lab: &Lab) -> Vec<PathBuf> {
    std::fs::read_dir(lab.dir.path().join("uploads")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart_between_any_two_requests() {
    let lab = Lab::new().await;
    let bytes = noise(1_200_000, 1);
    let place = lab.begin("a").await;
    let lab = lab.restart().await;
    assert_eq!(patch(&lab, &place, &bytes[..700_000]).await, "0-699999");
    let lab = lab.restart().await;
    assert_eq!(header(&lab.get(&place).await, "range"), "0-699999");
    let lab = lab.restart().await;
    assert_eq!(patch(&lab, &place, &bytes[700_000..]).await, "0-1199999");
    let lab = lab.restart().await;
    assert_eq!(put(&lab, &place, &bytes).await, 201);
    let lab = lab.restart().await;
    has(&lab, &bytes).await;
    assert!(folders(&lab).is_empty());
}

#[tokio::test]
async fn what_came_before_the_connection_broke_stays() {
    let lab = Lab::new().await;
    let bytes = noise(1_000_000, 2);
    let place = lab.begin("a").await;
    let half = bytes[..600_000].to_vec();
    let pieces = futures_util::stream::iter([Ok(half), Err(std::io::Error::other("the cable"))]);
    let broken = lab.ask(Method::PATCH, &place).body(reqwest::Body::wrap_stream(pieces)).send().await;
    assert!(broken.is_err() || broken.unwrap().status().is_client_error());
    let stands = header(&lab.get(&place).await, "range");
    let stands: usize = stands.strip_prefix("0-").unwrap().parse::<usize>().unwrap();
    let stands = if stands == 0 { 0 } else { stands + 1 };
    assert!(stands <= 600_000);
    patch(&lab, &place, &bytes[stands..]).await;
    assert_eq!(put(&lab, &place, &bytes).await, 201);
    has(&lab, &bytes).await;
}

#[tokio::test]
async fn a_commit_that_fails_or_whose_answer_is_lost_can_be_repeated() {
    for fault in [Fault::Fail, Fault::LoseAnswer] {
        let lab = Lab::new().await;
        let bytes = noise(100_000, 3);
        let place = lab.begin("a").await;
        patch(&lab, &place, &bytes).await;
        lab.store.plan([fault]);
        assert_eq!(put(&lab, &place, &bytes).await, 500);
        // The bytes lie in their place already, and so would they after a crash: nothing may be added to them.
        let more = lab.ask(Method::PATCH, &place).body("more").send().await.unwrap();
        assert_eq!((more.status().as_u16(), code(more).await.as_str()), (400, "BLOB_UPLOAD_INVALID"));
        let lab = lab.restart().await;
        assert_eq!(put(&lab, &place, &bytes).await, 201, "{fault:?}");
        has(&lab, &bytes).await;
        assert!(folders(&lab).is_empty());
    }
}

#[tokio::test]
async fn a_conflict_is_tried_again() {
    let lab = Lab::new().await;
    lab.store.plan([Fault::Conflict, Fault::Conflict, Fault::None, Fault::Conflict]);
    lab.push("a", b"x").await;
    lab.push_image("a", "v1", b"layer").await;
    has(&lab, b"x").await;
}

#[tokio::test]
async fn a_folder_that_was_being_made_or_removed_goes() {
    let lab = Lab::new().await;
    lab.begin("a").await;
    let uploads = lab.dir.path().join("uploads");
    std::fs::create_dir(uploads.join("empty")).unwrap();
    std::fs::create_dir(uploads.join("no-state")).unwrap();
    std::fs::write(uploads.join("no-state/data"), "x").unwrap();
    std::fs::create_dir(uploads.join("garbage")).unwrap();
    std::fs::write(uploads.join("garbage/state.json"), "{").unwrap();
    let lab = lab.restart().await;
    assert_eq!(folders(&lab).len(), 1);
}

#[tokio::test]
async fn an_idle_upload_expires_and_a_fresh_one_does_not() {
    let lab = Lab::new().await;
    let (old, fresh) = (lab.begin("a").await, lab.begin("a").await);
    let data = lab.dir.path().join("uploads").join(old.rsplit('/').next().unwrap()).join("data");
    let long_ago = std::fs::metadata(&data).unwrap().modified().unwrap() - crate::UPLOAD_IDLE_MAX * 2;
    std::fs::File::options().write(true).open(&data).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(lab.centre.expire_uploads().await.unwrap(), 1);
    assert_eq!(lab.status(Method::GET, &old).await, 404);
    assert_eq!(lab.status(Method::GET, &fresh).await, 204);
    assert_eq!(lab.centre.uploads_weight().await.unwrap(), (1, 0));
}

#[tokio::test]
async fn pushing_again_mends_bytes_that_went_bad() {
    let lab = Lab::new().await;
    let digest = lab.push("a", b"good").await;
    let file = lab.dir.path().join("blobs/sha256").join(&digest.hex()[..2]).join(digest.hex());
    std::fs::write(&file, "bad!").unwrap();
    lab.push("a", b"good").await;
    has(&lab, b"good").await;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(lab.dir.path().join("blobs/sha256/stray"), "not ours").unwrap();
    assert!(lab.centre.stored().await.unwrap().is_empty());
    assert_eq!(lab.status(Method::GET, &format!("/v2/a/blobs/{digest}")).await, 404);
    lab.push("a", b"good").await;
    has(&lab, b"good").await;
}
