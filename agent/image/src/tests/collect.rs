//! What goes when the disk fills up or images grow old, and what never does.

use super::disks::LoopDisk;
use super::pulls::{Bench, names, options};
use super::tarball::Tarball;
use crate::{Format, FormatChoice, ImageStore, Options, Policy};
use coord_registry::fake::FakeLayer;
use coord_shared::names::Digest;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const HOUR: Duration = Duration::from_secs(3600);

fn noise(name: &str, bytes: usize) -> FakeLayer {
    let mut random = fastrand::Rng::with_seed(name.len() as u64);
    let content: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(bytes).collect();
    Tarball::new().entry(name.as_bytes(), b'0', 0o644, b"", &content).layer()
}

/// Three images: the first two share a layer of 1 MB, each has one of its own.
async fn three(bench: &Bench) -> [Digest; 3] {
    let shared = noise("shared", 1_000_000);
    let a = bench.fake.put_image("shop/web", "a", "amd64", &[shared.clone(), noise("a", 400_000)]);
    let b = bench.fake.put_image("shop/web", "b", "amd64", &[shared, noise("bb", 500_000)]);
    let c = bench.fake.put_image("shop/web", "c", "amd64", &[noise("ccc", 600_000)]);
    for digest in [&a, &b, &c] {
        bench.pull(digest).await.unwrap();
    }
    [a, b, c]
}

/// Makes an image look as if it was last used so long ago. A test reads the clock as little as the product: from a file just made.
fn age(store: &ImageStore, digest: &Digest, hours: u32) {
    let now = tempfile::tempfile().unwrap().metadata().unwrap().modified().unwrap();
    File::open(store.inner.image_path(digest)).unwrap().set_modified(now - HOUR * hours).unwrap();
}

fn here(store: &ImageStore) -> BTreeSet<Digest> {
    store.list().unwrap().into_iter().map(|image| image.digest).collect()
}

in_both_formats!(root_the_longest_unused_go_first_and_only_as_many_as_must);
async fn root_the_longest_unused_go_first_and_only_as_many_as_must(bench: Bench) {
    let [a, b, c] = three(&bench).await;
    let store = &bench.store;
    let nothing = BTreeSet::new();
    let calm = Policy { high_water_percent: 100, low_water_percent: 100, ..Policy::default() };
    for (digest, hours) in [(&a, 3), (&b, 2), (&c, 1)] {
        age(store, digest, hours);
    }
    assert_eq!(store.collect(&nothing, &calm).unwrap().images, []);
    // Room for a bit more than there is: what a brings alone is not enough, what b brings with it is.
    let free = store.usage().unwrap().disk_free_bytes;
    store.mount(&a).unwrap();
    let asking = Policy { room_bytes: free + (1 << 20), ..calm };
    age(store, &a, 3);
    let in_use = BTreeSet::from([c.clone()]);
    let pruned = store.collect(&in_use, &asking).unwrap();
    assert!(pruned.images.contains(&a), "{pruned:?}");
    assert!(!names(bench.folder.path()).iter().any(|name| name.starts_with("tmp/")), "the room is back when it returns");
    assert!(here(store).contains(&c));
    assert_eq!(store.verify(None, false).unwrap(), []);
    // Full: everything that is not in use, however young.
    let full = Policy { high_water_percent: 0, low_water_percent: 0, ..Policy::default() };
    store.collect(&in_use, &full).unwrap();
    assert_eq!(here(store), in_use);
    assert_eq!(names(bench.folder.path()).len(), 2, "an image and its layer");
    // Old: goes, used or not being another question.
    age(store, &c, 25);
    assert_eq!(store.collect(&in_use, &calm).unwrap().images, []);
    store.touch(&c).unwrap();
    assert_eq!(store.collect(&nothing, &calm).unwrap().images, []);
    age(store, &c, 25);
    assert_eq!(store.collect(&nothing, &calm).unwrap().images, [c]);
    assert_eq!(names(bench.folder.path()), Vec::<String>::new());
    assert_eq!(crate::rootfs::mounted_in(&bench.folder.path().join("mnt")).unwrap().len(), 0);
}

in_both_formats!(root_a_damaged_record_stops_no_collection);
async fn root_a_damaged_record_stops_no_collection(bench: Bench) {
    let [a, b, c] = three(&bench).await;
    let store = &bench.store;
    let full = Policy { high_water_percent: 0, low_water_percent: 0, ..Policy::default() };
    fs::write(store.inner.image_path(&a), "{").unwrap();
    // Its layers are not known any more: none goes as long as something may run from it.
    let pruned = store.collect(&BTreeSet::from([a.clone(), b.clone()]), &full).unwrap();
    assert_eq!((pruned.images, pruned.layers), (vec![c], 0));
    let pruned = store.collect(&BTreeSet::from([b.clone()]), &full).unwrap();
    assert_eq!((pruned.images, pruned.layers), (vec![a], 2));
    assert_eq!(here(store), BTreeSet::from([b]));
}

in_both_formats!(root_an_image_is_told_with_its_sizes_its_names_and_its_use);
async fn root_an_image_is_told_with_its_sizes_its_names_and_its_use(bench: Bench) {
    let [a, b, c] = three(&bench).await;
    let store = &bench.store;
    let other = format!("{}/shop/web:c", bench.fake.host()).parse().unwrap();
    store.pull(&bench.registry, &other, &c, Arc::default()).await.unwrap();
    let list = store.list().unwrap();
    let of = |digest: &Digest| list.iter().find(|image| image.digest == *digest).unwrap();
    let between = |bytes: u64, low: u64, high: u64| assert!((low..high).contains(&bytes), "{bytes}");
    between(of(&a).disk_bytes, 400_000, 420_000);
    between(of(&b).disk_bytes, 500_000, 520_000);
    between(of(&c).disk_bytes, 600_000, 620_000);
    between(of(&a).shared_bytes, 1_000_000, 1_020_000);
    assert_eq!((of(&c).shared_bytes, of(&c).content_bytes, of(&a).layers), (0, 600_000, 2));
    between(store.usage().unwrap().store_bytes, 2_500_000, 2_560_000);
    assert_eq!(of(&c).references, [bench.image().to_string(), other.to_string()]);
    assert!(of(&c).last_used > SystemTime::UNIX_EPOCH);
    let is_archive = of(&a).format == Format::Archive;
    assert!(!of(&a).mounted);
    store.mount(&a).unwrap();
    let details = store.inspect(&a).unwrap().unwrap();
    assert_eq!(details.summary.mounted, is_archive);
    assert_eq!(details.layers.len(), 2);
    assert_eq!((details.layers[1].entries, details.layers[1].content_bytes), (1, 400_000));
    assert_eq!(details.config.config().as_ref().unwrap().cmd().as_deref(), Some(&["true".to_owned()][..]));
    assert_eq!(store.inspect(&Digest::of(b"none")).unwrap(), None);
    let found = |text: &str| store.find(text).unwrap();
    let is_found = |text: &str| found(text).as_slice() == std::slice::from_ref(&c);
    assert!(is_found(&other.to_string()));
    assert_eq!(found(&bench.image().to_string()).len(), 3);
    assert!(is_found(c.short()));
    assert!(is_found(c.as_str()));
    assert!(is_found(&c.hex()[..6]));
    assert_eq!(found(&c.hex()[..5]), []);
    assert_eq!(found("unknown:1"), []);
}

#[tokio::test]
async fn an_image_keeps_the_latest_of_its_names() {
    let bench = Bench::new(FormatChoice::Auto).await;
    let digest = bench.fake.put_image("shop/web", "1", "amd64", &[]);
    for tag in 0..20 {
        let image = format!("{}/shop/web:{tag}", bench.fake.host()).parse().unwrap();
        bench.store.pull(&bench.registry, &image, &digest, Arc::default()).await.unwrap();
    }
    let references = bench.store.list().unwrap().remove(0).references;
    assert_eq!(references.len(), 16);
    assert!(references[0].ends_with(":4") && references[15].ends_with(":19"), "{references:?}");
}

#[tokio::test]
async fn old_pieces_of_downloads_go() {
    let bench = Bench::new(FormatChoice::Auto).await;
    let partial = bench.store.inner.partial_dir();
    for (name, hours) in [("old.0", 25), ("young.0", 23)] {
        fs::write(partial.join(name), "x").unwrap();
        let now = partial.join(name).metadata().unwrap().modified().unwrap();
        File::open(partial.join(name)).unwrap().set_modified(now - HOUR * hours).unwrap();
    }
    bench.store.prune(&BTreeSet::new()).unwrap();
    assert!(!partial.join("old.0").exists() && partial.join("young.0").exists());
}

#[tokio::test]
async fn root_the_water_marks_are_shares_of_the_stores_own_disk() {
    let bench = Bench::new(FormatChoice::Auto).await;
    let disk = LoopDisk::new(40);
    for format in [FormatChoice::Auto, FormatChoice::Directories] {
        let folder = disk.path().join("store");
        let store = ImageStore::open_with(&folder, Options { format, ..options() }).unwrap();
        let digest = bench.fake.put_image("shop/web", "1", "amd64", &[noise("n", 2_000_000)]);
        store.pull(&bench.registry, &bench.image(), &digest, Arc::default()).await.unwrap();
        let usage = store.usage().unwrap();
        let percent = usage.disk_used_bytes * 100 / (usage.disk_used_bytes + usage.disk_free_bytes);
        let mark = u8::try_from(percent).unwrap();
        let at = |mark: u8| Policy { high_water_percent: mark, low_water_percent: mark, ..Policy::default() };
        assert_eq!(store.collect(&BTreeSet::new(), &at(mark + 1)).unwrap().images, []);
        assert_eq!(store.collect(&BTreeSet::new(), &at(mark - 2)).unwrap().images, [digest]);
        assert!(store.usage().unwrap().disk_free_bytes > usage.disk_free_bytes + 1_900_000);
    }
}
