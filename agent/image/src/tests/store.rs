//! The store over its life: crashes, damage, other owners, removal.

use super::super::{ImageStore, StoreError};
use super::chain;
use super::pulls::{Bench, names, options, until};
use super::tarball::Tarball;
use coord_registry::fake::{FakeLayer, Fault};
use coord_shared::names::Digest;
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

fn layer(content: &str) -> FakeLayer {
    Tarball::new().dir("./", 0o755).file("f", content).layer()
}

#[tokio::test]
async fn one_process_owns_a_store() {
    let folder = TempDir::new().unwrap();
    let first = ImageStore::open(folder.path()).unwrap();
    let error = ImageStore::open(folder.path()).err().expect("in use");
    let expect = format!(
        "image store: {} is in use by another process; stop it, or give this agent a state_dir of its own",
        folder.path().display()
    );
    assert_eq!(chain(&error), expect);
    drop(first);
    ImageStore::open(folder.path()).unwrap();
}

in_both_formats!(what_a_crash_left_is_removed_and_what_was_whole_stays);
async fn what_a_crash_left_is_removed_and_what_was_whole_stays(bench: Bench) {
    let digest = bench.fake.put_image("shop/web", "1", "amd64", &[layer("1")]);
    let image = bench.pull(&digest).await.unwrap();
    let whole = names(bench.folder.path());
    let Bench { folder, store, .. } = bench;
    drop(store);
    // As a process leaves it that is killed while it unpacks, while it writes a record, and while it prunes.
    fs::create_dir_all(folder.path().join("tmp/7/diff/etc")).unwrap();
    fs::write(folder.path().join("tmp/7/diff/etc/half"), "ha").unwrap();
    fs::write(folder.path().join("tmp/8"), "{\"format\":").unwrap();
    let store = ImageStore::open_with(folder.path(), options()).unwrap();
    until(|| names(folder.path()) == whole).await;
    assert_eq!(store.get(&digest).unwrap().unwrap(), image);
}

in_both_formats!(damage_is_named_and_pulling_repairs_it);
async fn damage_is_named_and_pulling_repairs_it(bench: Bench) {
    let layers = [layer("1"), layer("2")];
    let digest = bench.fake.put_image("shop/web", "1", "amd64", &layers);
    let image = bench.pull(&digest).await.unwrap();
    let record = bench.folder.path().join("images").join(format!("{}.json", digest.hex()));
    let layer_folder = bench.folder.path().join("layers").join(layers[0].diff_id.hex());
    let text = fs::read_to_string(&record).unwrap();
    let check = async |problem: &str| {
        let error = bench.store.get(&digest).expect_err("damaged");
        let shown = chain(&error);
        assert!(
            matches!(error, StoreError::Damaged { .. })
                && shown.contains(problem)
                && shown.ends_with("pulling the image again repairs it"),
            "{shown}"
        );
        assert_eq!(bench.pull(&digest).await.unwrap(), image, "{problem}");
        assert_eq!(bench.store.get(&digest).unwrap().unwrap(), image, "{problem}");
        assert!(names(bench.folder.path()).iter().all(|name| !name.starts_with("tmp/")));
    };
    fs::write(&record, &text[..text.len() / 2]).unwrap();
    assert!(bench.store.list().unwrap().is_empty());
    check("EOF while parsing").await;
    fs::write(&record, text.replace("true", "evil")).unwrap();
    check("its config is not what it was").await;
    fs::write(&record, text.replace("\"format\":2", "\"format\":99")).unwrap();
    check("it is of another image or format").await;
    fs::remove_dir_all(&layer_folder).unwrap();
    check("is missing").await;
    let files = layer_folder.join("diff");
    if files.is_dir() { fs::remove_dir_all(files) } else { fs::remove_file(layer_folder.join("tar")) }.unwrap();
    check("its files are missing").await;
    fs::write(layer_folder.join("layer.json"), "").unwrap();
    check("EOF while parsing").await;
}

in_both_formats!(prune_takes_what_nobody_needs);
async fn prune_takes_what_nobody_needs(bench: Bench) {
    let (base, a, b) = (layer("base"), layer("a"), layer("b"));
    let first = bench.fake.put_image("shop/web", "1", "amd64", &[base.clone(), a.clone()]);
    let second = bench.fake.put_image("shop/web", "2", "amd64", &[base.clone(), b.clone()]);
    bench.pull(&first).await.unwrap();
    let kept = bench.pull(&second).await.unwrap();
    let pruned = bench.store.prune(&BTreeSet::from([first.clone(), second.clone()])).unwrap();
    assert_eq!(pruned, Default::default());
    let pruned = bench.store.prune(&BTreeSet::from([second.clone()])).unwrap();
    assert_eq!((pruned.images, pruned.layers, pruned.content_bytes), (vec![first.clone()], 1, 1));
    assert_eq!(bench.store.get(&first).unwrap(), None);
    assert_eq!(bench.store.get(&second).unwrap().unwrap(), kept);
    let mut expect = vec![
        format!("images/{}.json", second.hex()),
        format!("layers/{}", base.diff_id.hex()),
        format!("layers/{}", b.diff_id.hex()),
    ];
    expect.sort();
    until(|| names(bench.folder.path()) == expect).await;
    bench.store.prune(&BTreeSet::new()).unwrap();
    until(|| names(bench.folder.path()).is_empty()).await;
}

in_both_formats!(prune_leaves_a_pull_in_flight_what_it_has);
async fn prune_leaves_a_pull_in_flight_what_it_has(bench: Bench) {
    let (quick, slow) = (layer("quick"), layer(&"slow".repeat(2000)));
    let digest = bench.fake.put_image("shop/web", "1", "amd64", &[quick.clone(), slow.clone()]);
    let path = format!("/blobs/{}", Digest::of(&slow.blob));
    bench.fake.fault(&path, Fault::Drip(20, Duration::from_millis(50)), 1);
    let quick_folder = format!("layers/{}", quick.diff_id.hex());
    let meddle = async {
        until(|| names(bench.folder.path()).contains(&quick_folder)).await;
        assert_eq!(bench.store.prune(&BTreeSet::new()).unwrap().layers, 0);
        assert!(names(bench.folder.path()).contains(&quick_folder));
    };
    let (image, ()) = tokio::join!(bench.pull(&digest), meddle);
    assert_eq!(bench.shown(&image.unwrap()), ["f 644 f 8000 bytes"]);
}
