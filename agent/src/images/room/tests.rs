//! Room is made by removing what nothing uses, and nothing else.

use super::*;
use coord_image::{ImageStore, LayerError};
use coord_registry::fake::{FakeLayer, FakeRegistry};
use coord_registry::{HostPlatform, Registry, RegistryConfig};
use coord_shared::names::InstanceId;
use std::cell::RefCell;
use std::rc::Rc;

/// A store with two images, the first of which is in use, and a loop that answers so and notes what it is told.
async fn check(test: impl AsyncFnOnce(&Room, &[Digest; 2], &RefCell<Vec<Digest>>)) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let fake = FakeRegistry::start().await.expect("a registry");
    let architecture = HostPlatform::current().architecture;
    // An archive of nothing.
    let nothing = vec![0; 1024];
    let layer = FakeLayer { diff_id: Digest::of(&nothing), blob: nothing.into() };
    fake.put_image("used", "1", &architecture, &[]);
    fake.put_image("unused", "1", &architecture, &[layer]);
    let entry = RegistryConfig { prefix: fake.host(), insecure: true, ..RegistryConfig::default() };
    let registry = Registry::new(vec![entry], []).expect("a client");
    let store = ImageStore::open(&dir.path().join("images")).expect("a store");
    let images = Images::new(store, registry, dir.path());
    let pull = async |name: &str| images.pull(&format!("{}/{name}:1", fake.host()), |_| {}).await.expect("pulled").digest;
    let digests = [pull("used").await, pull("unused").await];
    let (events, mut inbox) = mpsc::channel(8);
    let room = Room::new(images, Policy::default(), events);
    let told = Rc::new(RefCell::new(Vec::new()));
    let (notes, used) = (Rc::clone(&told), digests[0].clone());
    let set = tokio::task::LocalSet::new();
    set.spawn_local(async move {
        while let Some(event) = inbox.recv().await {
            if let Event::AskedForUses(answer) = event {
                let user: InstanceId = "web.0".parse().expect("a name");
                let _ = answer.send(Uses::from([(used.clone(), BTreeSet::from([user]))]));
            } else if let Event::ImagesRemoved(images) = event {
                notes.borrow_mut().extend(images);
            }
        }
    });
    set.run_until(test(&room, &digests, &told)).await;
}

fn too_large() -> PullError {
    let (path, needed_bytes) = ("images".into(), u64::MAX / 2);
    let source = StoreError::Reserve { path, needed_bytes, free_bytes: 1, reserve_bytes: 1, store_bytes: 1 };
    PullError::Store { image: "big".to_owned(), source }
}

#[tokio::test]
async fn a_pull_without_room_gets_what_nothing_uses() {
    check(async |room, [used, unused], told| {
        let progress = Progress::default();
        let other = PullError::BadImage { image: "bad".to_owned(), problem: "is bad".to_owned() };
        assert!(!room.make_for(&other, &progress).await, "room is no cure for that");
        assert!(room.make_for(&too_large(), &progress).await);
        // The loop has heard of it before it answers the next question.
        assert!(!room.make_for(&too_large(), &progress).await, "nothing more can go");
        assert_eq!(*told.borrow(), std::slice::from_ref(unused));
        let here = room.images.list(&Uses::new()).await.expect("a list");
        assert_eq!(here.iter().map(|row| &row.digest).collect::<Vec<_>>(), [used]);
    })
    .await;
}

#[tokio::test]
async fn tidying_up_keeps_what_was_used_a_moment_ago() {
    check(async |room, _, told| {
        room.tidy().await;
        uses(&room.events).await.expect("the loop has heard of what went");
        assert_eq!(*told.borrow(), []);
        assert_eq!(room.images.list(&Uses::new()).await.expect("a list").len(), 2);
    })
    .await;
}

#[test]
fn only_a_want_of_room_is_one() {
    let progress = Progress::default();
    progress.total_bytes.store(10, Ordering::Relaxed);
    let layer = |source| PullError::Layer { image: "a".to_owned(), layer: Digest::of(b""), source };
    let check = |error: PullError, expect: Option<u64>| assert_eq!(missing(&error, &progress), expect, "{error}");
    check(layer(LayerError::NoSpace), Some(30));
    check(layer(LayerError::Reserve { free_bytes: 1, reserve_bytes: 5 }), Some(35));
    check(layer(LayerError::Stopped), None);
    check(PullError::Shared { source: Arc::new(layer(LayerError::NoSpace)) }, Some(30));
}
