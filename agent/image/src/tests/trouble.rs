//! Disks that fill up, that take no more, and that are none: one clear error, nothing left behind, and what is here keeps working.

use super::chain;
use super::disks::{LoopDisk, SmallDisk, unmount_below};
use super::pulls::{Bench, names, options, until};
use super::root::Overlay;
use super::tarball::Tarball;
use crate::{FormatChoice, ImageStore, LayerError, Limits, Options, PullError, StoreError};
use coord_registry::fake::FakeLayer;
use coord_shared::names::Digest;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

const FORMATS: [FormatChoice; 2] = [FormatChoice::Auto, FormatChoice::Directories];

/// Takes much more room than its download lets expect.
fn swelling(mebibytes: usize) -> FakeLayer {
    let line = b"the same line again and again, until the disk is full of it\n";
    let content: Vec<u8> = line.iter().copied().cycle().take(mebibytes << 20).collect();
    Tarball::new().entry(b"big", b'0', 0o644, b"", &content).layer()
}

fn store_at(folder: &Path, format: FormatChoice, reserve_bytes: u64) -> ImageStore {
    ImageStore::open_with(folder, Options { format, reserve_bytes, limits: Limits::default(), ..options() }).unwrap()
}

async fn pull(bench: &Bench, store: &ImageStore, digest: &Digest) -> Result<(), PullError> {
    store.pull(&bench.registry, &bench.image(), digest, Arc::default()).await.map(drop)
}

fn shown(store: &ImageStore, digest: &Digest) -> Vec<String> {
    super::listing(&Overlay::of(&store.mount(digest).unwrap().lowers).root())
}

#[tokio::test]
async fn root_a_disk_that_fills_up_in_mid_pull() {
    let bench = Bench::new(FormatChoice::Auto).await;
    let small = bench.fake.put_image("shop/web", "1", "amd64", &[Tarball::new().file("f", "f").layer()]);
    let big = bench.fake.put_image("shop/web", "2", "amd64", &[swelling(32)]);
    for format in FORMATS {
        let disk = LoopDisk::new(64);
        let folder = disk.path().join("store");
        let store = store_at(&folder, format, 0);
        pull(&bench, &store, &small).await.unwrap();
        let running = Overlay::of(&store.mount(&small).unwrap().lowers);
        let before = names(&folder);
        fs::write(disk.path().join("other"), vec![1; 26 << 20]).unwrap();
        let error = pull(&bench, &store, &big).await.expect_err("the disk is full");
        assert!(matches!(error, PullError::Layer { source: LayerError::NoSpace, .. }), "{error:?}");
        assert!(error.is_retryable());
        assert!(chain(&error).contains("does not fit on the disk; free some space"), "{}", chain(&error));
        assert_eq!(names(&folder), before, "nothing of it is left");
        assert_eq!(super::listing(&running.root()), ["f 644 f \"f\""], "what runs goes on");
        assert_eq!(store.verify(None, false).unwrap(), []);
        fs::remove_file(disk.path().join("other")).unwrap();
        pull(&bench, &store, &big).await.unwrap();
        assert_eq!(shown(&store, &big), [format!("f 644 big {} bytes", 32 << 20)]);
    }
}

#[tokio::test]
async fn root_the_reserve_is_seen_before_a_pull_and_on_its_way() {
    let bench = Bench::new(FormatChoice::Auto).await;
    let big = swelling(70);
    let layer = format!("/blobs/{}", Digest::of(&big.blob));
    let big = bench.fake.put_image("shop/web", "2", "amd64", &[big]);
    for format in FORMATS {
        let asked = bench.fake.count(&layer);
        let disk = LoopDisk::new(128);
        let folder = disk.path().join("store");
        let store = store_at(&folder, format, 1 << 40);
        let error = pull(&bench, &store, &big).await.expect_err("less is free than is in reserve");
        assert!(matches!(error, PullError::Store { source: StoreError::Reserve { .. }, .. }), "{error:?}");
        assert!(error.is_retryable());
        let said = chain(&error);
        assert!(said.contains(" are needed, but ") && said.contains(" free, and 1.00 TiB are kept in reserve"), "{said}");
        assert_eq!(bench.fake.count(&layer), asked, "its layer was not asked for");
        drop(store);
        let store = store_at(&folder, format, 80 << 20);
        let error = pull(&bench, &store, &big).await.expect_err("it swells into the reserve");
        assert!(matches!(error, PullError::Layer { source: LayerError::Reserve { .. }, .. }), "{error:?}");
        assert!(chain(&error).contains("80.0 MiB are its reserve"), "{}", chain(&error));
        assert_eq!(names(&folder), Vec::<String>::new());
        drop(store);
        pull(&bench, &store_at(&folder, format, 20 << 20), &big).await.unwrap();
    }
}

#[tokio::test]
async fn root_a_disk_that_became_read_only() {
    let bench = Bench::new(FormatChoice::Auto).await;
    let image = |content: &str| bench.fake.put_image("shop/web", "1", "amd64", &[Tarball::new().file("f", content).layer()]);
    let (here, missing) = (image("1"), image("2"));
    for format in FORMATS {
        let disk = SmallDisk::new("64m");
        let folder = disk.folder.path().join("store");
        let store = store_at(&folder, format, 0);
        pull(&bench, &store, &here).await.unwrap();
        assert_eq!(shown(&store, &here), ["f 644 f \"1\""]);
        disk.make_read_only();
        assert!(store.get(&here).unwrap().is_some());
        assert_eq!(store.list().unwrap().len(), 1);
        assert_eq!(store.verify(None, false).unwrap(), []);
        assert_eq!(shown(&store, &here), ["f 644 f \"1\""], "what is here can be started");
        pull(&bench, &store, &here).await.unwrap();
        let error = chain(&pull(&bench, &store, &missing).await.expect_err("nothing can be written"));
        assert!(error.contains("Read-only file system"), "{error}");
        let error = chain(&store.prune(&BTreeSet::new()).expect_err("nothing can be removed"));
        assert!(error.contains("image store: cannot ") && error.contains("Read-only file system"), "{error}");
        assert!(store.get(&here).unwrap().is_some());
    }
}

#[tokio::test]
async fn root_a_store_in_memory() {
    let bench = Bench::new(FormatChoice::Auto).await;
    let layers = [Tarball::new().dir("d", 0o700).file("d/f", "1").layer(), Tarball::new().file("d/g", "2").layer()];
    let digest = bench.fake.put_image("shop/web", "1", "amd64", &layers);
    for format in FORMATS {
        let disk = SmallDisk::new("64m");
        let folder = disk.folder.path().join("store");
        let store = store_at(&folder, format, 0);
        pull(&bench, &store, &digest).await.unwrap();
        assert_eq!(shown(&store, &digest), ["d 700 d", "f 644 d/f \"1\"", "f 644 d/g \"2\""]);
        assert_eq!(store.verify(None, false).unwrap(), []);
        store.prune(&BTreeSet::new()).unwrap();
        until(|| names(&folder).is_empty()).await;
        unmount_below(&folder);
    }
}
