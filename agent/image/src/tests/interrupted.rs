//! Pulls that an earlier process did not live to finish, and bytes that are wrong through no fault of the registry.

use super::super::FormatChoice;
use super::super::{ImageStore, Options};
use super::pulls::{Bench, options, until};
use super::tarball::Tarball;
use coord_registry::fake::{FakeLayer, FakeRegistry, Fault};
use coord_registry::{Registry, RegistryConfig};
use coord_shared::names::{Digest, ImageReference};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

/// Tell the child process of a test where to pull what to.
const CHILD: [&str; 3] = ["COORD_TEST_PULL_STORE", "COORD_TEST_PULL_IMAGE", "COORD_TEST_PULL_DIGEST"];

/// Three megabytes that no compression makes small.
fn large() -> FakeLayer {
    let mut random = fastrand::Rng::with_seed(17);
    let content: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(3_000_000).collect();
    Tarball::new().entry(b"large", b'0', 0o644, b"", &content).layer()
}

/// Of the downloads that were not finished.
fn kept_bytes(store: &Path) -> u64 {
    std::fs::read_dir(store.join("partial")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// Ends with the test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // One that has ended by itself is as dead.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process that is killed is this very test, told by variables that it is the child.
#[tokio::test]
async fn a_pull_that_was_killed_is_continued_by_the_next_process() {
    if let [Ok(store), Ok(image), Ok(digest)] = CHILD.map(std::env::var) {
        let image: ImageReference = image.parse().unwrap();
        let config = RegistryConfig { prefix: image.registry().to_owned(), insecure: true, ..RegistryConfig::default() };
        let registry = Registry::new(vec![config], None).unwrap();
        let options = Options { spool_after: Duration::from_millis(50), ..options() };
        let store = ImageStore::open_with(Path::new(&store), options).unwrap();
        let pulled = store.pull(&registry, &image, &digest.parse().unwrap(), Arc::default()).await;
        panic!("it was to be killed, and ended: {:?}", pulled.map(|image| image.digest));
    }
    let (folder, fake) = (tempfile::TempDir::new().unwrap(), FakeRegistry::start().await.unwrap());
    let layer = large();
    let digest = fake.put_image("shop/web", "1", "amd64", std::slice::from_ref(&layer));
    let path = format!("/blobs/{}", Digest::of(&layer.blob));
    let image = format!("{}/shop/web:1", fake.host());
    fake.fault(&path, Fault::Drip(30_000, Duration::from_millis(10)), 1);
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "tests::interrupted::a_pull_that_was_killed_is_continued_by_the_next_process"]);
    let store = folder.path().to_str().unwrap();
    child.envs(CHILD.into_iter().zip([store, &image, digest.as_ref()]));
    let child = Killed(child.spawn().unwrap());
    until(|| folder.path().join("partial").is_dir() && kept_bytes(folder.path()) > 1_000_000).await;
    drop(child);

    let store = ImageStore::open_with(folder.path(), options()).unwrap();
    let config = RegistryConfig { prefix: fake.host(), insecure: true, ..RegistryConfig::default() };
    let registry = Registry::new(vec![config], None).unwrap();
    store.pull(&registry, &image.parse().unwrap(), &digest, Arc::default()).await.unwrap();
    let asked: Vec<_> = fake.requests().into_iter().filter(|request| request.path.contains(&path)).collect();
    assert!(asked.len() > 1 && asked[1..].iter().all(|request| request.headers.contains_key("range")), "{asked:?}");
    let served = fake.served_bytes();
    assert!(served * 10 < 13 * layer.blob.len() as u64, "{served} bytes for {}", layer.blob.len());
    assert_eq!(kept_bytes(folder.path()), 0);
}

#[tokio::test]
async fn what_was_kept_and_is_wrong_is_fetched_anew_in_the_same_pull() {
    let bench = Bench::new(FormatChoice::Auto).await;
    let layer = large();
    let digest = bench.fake.put_image("shop/web", "1", "amd64", std::slice::from_ref(&layer));
    let blob = Digest::of(&layer.blob);
    let part = bench.folder.path().join("partial").join(format!("{}.500000", blob.hex()));
    // As a power cut may leave it: its length is there, its content is not.
    std::fs::write(&part, vec![0; 1_000_000]).unwrap();
    let progress = Arc::default();
    bench.store.pull(&bench.registry, &bench.image(), &digest, Arc::clone(&progress)).await.unwrap();
    let done = progress.done_bytes.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((done, kept_bytes(bench.folder.path())), (layer.blob.len() as u64, 0));
}

#[tokio::test]
async fn a_mirror_that_serves_a_wrong_layer_costs_a_second_try_and_no_more() {
    let bench = Bench::new(FormatChoice::Auto).await;
    let mirror = FakeRegistry::start().await.unwrap();
    let layer = large();
    mirror.put_image("shop/web", "1", "amd64", std::slice::from_ref(&layer));
    let digest = bench.fake.put_image("shop/web", "1", "amd64", std::slice::from_ref(&layer));
    let path = format!("/blobs/{}", Digest::of(&layer.blob));
    let mut wrong = layer.blob.to_vec();
    wrong[2_000_000] ^= 1;
    mirror.fault(&path, Fault::Replace(wrong.into()), 1);
    let plain = |prefix: String| RegistryConfig { prefix, insecure: true, ..RegistryConfig::default() };
    let own = RegistryConfig { mirror: vec![mirror.host()], ..plain(bench.fake.host()) };
    let registry = Registry::new(vec![own, plain(mirror.host())], None).unwrap();
    bench.store.pull(&registry, &bench.image(), &digest, Arc::default()).await.unwrap();
    assert_eq!((mirror.count(&path), bench.fake.count(&path)), (1, 1));
}
