//! Lists of layers, from their archives to a mount, and everything that may be damaged on the way.

use crate::error::StoreError;
use crate::record::LayerRecord;
use crate::rootfs;
use crate::store::{FormatChoice, ImageStore, Inner, Options};
use crate::tests::tarball::Tarball;
use crate::tree::read_layer;
use coord_shared::names::Digest;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

/// A store with layers in it. Nothing stays mounted.
pub(super) struct Shelf {
    pub(super) store: ImageStore,
    _dir: tempfile::TempDir,
}

impl Shelf {
    pub(super) fn new(format: FormatChoice) -> Shelf {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::open_with(dir.path(), Options { format, ..Options::default() }).unwrap();
        Shelf { store, _dir: dir }
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.store.inner
    }

    pub(super) fn add(&self, archive: Tarball) -> Digest {
        add(self.inner(), archive)
    }

    fn meta(&self, diff_ids: &[Digest]) -> PathBuf {
        self.inner().meta_path(&crate::store::layout::chain_of(diff_ids))
    }
}

/// Puts a layer in, as a pull does.
fn add(inner: &Inner, archive: Tarball) -> Digest {
    let bytes = archive.finish();
    let diff_id = Digest::of(&bytes);
    std::fs::create_dir(inner.layer_path(&diff_id)).unwrap();
    std::fs::write(inner.tar_path(&diff_id), &bytes).unwrap();
    let tree = read_layer(&bytes[..], &inner.options.limits, &mut super::super::chain::Nobody).unwrap();
    let index = tree.encode();
    std::fs::write(inner.index_path(&diff_id), &index).unwrap();
    let record = LayerRecord::of(diff_id.clone(), &tree, bytes.len() as u64, index.len() as u64);
    record.write(&inner.layer_path(&diff_id).join("layer.json")).unwrap();
    diff_id
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let _ = self.store.unmount_all();
    }
}

/// `path = content` of each file, `path/` of each empty folder.
fn files(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        let name = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
        if entries.is_empty() {
            lines.push(format!("{}/", name(&folder)));
        }
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else {
                lines.push(format!("{} = {}", name(&path), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    lines.sort();
    lines
}

fn base() -> Tarball {
    Tarball::new().dir("a", 0o755).file("a/one", "1").file("a/two", "2").file("b", "base").dir("c", 0o755).file("c/x", "x")
}

fn change() -> Tarball {
    Tarball::new().file("a/.wh.one", "").file("b", "changed").dir("c", 0o755).file("c/.wh..wh..opq", "").hard_link("d", "a/two")
}

const CHANGED: [&str; 4] = ["a/two = 2", "b = changed", "c/", "d = 2"];

#[test]
fn layers_show_as_one_tree_in_every_format() {
    for format in [FormatChoice::Auto, FormatChoice::Loop] {
        let shelf = Shelf::new(format);
        let (base, change, empty) = (shelf.add(base()), shelf.add(change()), shelf.add(Tarball::new()));
        let check = |diff_ids: &[&Digest], expect: &[&str]| {
            let diff_ids: Vec<Digest> = diff_ids.iter().copied().cloned().collect();
            let place = rootfs::mount(shelf.inner(), &diff_ids).unwrap();
            assert_eq!(rootfs::mount(shelf.inner(), &diff_ids).unwrap(), place);
            assert_eq!(files(&place), expect);
        };
        check(&[&empty], &["/"]);
        check(&[&base], &["a/one = 1", "a/two = 2", "b = base", "c/x = x"]);
        check(&[&base, &change], &CHANGED);
        check(&[&base, &change, &empty, &base], &["a/one = 1", "a/two = 2", "b = base", "c/x = x", "d = 2"]);
        assert_eq!(shelf.store.mounted().unwrap().len(), 4);
        shelf.store.unmount_all().unwrap();
        assert_eq!(shelf.store.mounted().unwrap().len(), 0);
    }
}

#[test]
fn what_can_be_made_again_is() {
    let shelf = Shelf::new(FormatChoice::Auto);
    let diff_ids = [shelf.add(base()), shelf.add(change())];
    let (meta, index) = (shelf.meta(&diff_ids), shelf.inner().index_path(&diff_ids[0]));
    rootfs::prepare(shelf.inner(), &diff_ids).unwrap();
    let (meta_bytes, index_bytes) = (std::fs::read(&meta).unwrap(), std::fs::read(&index).unwrap());
    let mut damaged = index_bytes.clone();
    damaged[20] ^= 1;
    let shorter = index_bytes[..index_bytes.len() - 1].to_vec();
    for damage in [None, Some(&damaged), Some(&shorter), Some(&Vec::new())] {
        std::fs::remove_file(&meta).unwrap();
        std::fs::remove_file(&index).unwrap();
        if let Some(bytes) = damage {
            std::fs::write(&index, bytes).unwrap();
        }
        let place = rootfs::mount(shelf.inner(), &diff_ids).unwrap();
        assert_eq!(files(&place), CHANGED);
        assert_eq!((std::fs::read(&meta).unwrap(), std::fs::read(&index).unwrap()), (meta_bytes.clone(), index_bytes.clone()));
        shelf.store.unmount_all().unwrap();
    }
}

#[test]
fn an_image_that_was_cut_short_is_made_again() {
    let shelf = Shelf::new(FormatChoice::Auto);
    let diff_ids = [shelf.add(base()), shelf.add(change())];
    let meta = shelf.meta(&diff_ids);
    rootfs::prepare(shelf.inner(), &diff_ids).unwrap();
    let bytes = std::fs::read(&meta).unwrap();
    let mut spoiled = bytes.clone();
    spoiled[1030] ^= 1;
    for damage in [&bytes[..0], &bytes[..1024], &bytes[..bytes.len() - 4096], &spoiled[..]] {
        assert!(rootfs::is_intact(shelf.inner(), &diff_ids).unwrap());
        std::fs::write(&meta, damage).unwrap();
        assert!(!rootfs::is_intact(shelf.inner(), &diff_ids).unwrap());
        assert_eq!(files(&rootfs::mount(shelf.inner(), &diff_ids).unwrap()), CHANGED);
        assert_eq!(std::fs::read(&meta).unwrap(), bytes);
        shelf.store.unmount_all().unwrap();
    }
}

#[test]
fn what_cannot_be_made_again_is_named() {
    let shelf = Shelf::new(FormatChoice::Auto);
    let diff_ids = [shelf.add(base())];
    std::fs::remove_file(shelf.inner().index_path(&diff_ids[0])).unwrap();
    let tar = shelf.inner().tar_path(&diff_ids[0]);
    let mut bytes = std::fs::read(&tar).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&tar, &bytes).unwrap();
    let error = rootfs::mount(shelf.inner(), &diff_ids).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { path, .. } if *path == tar), "{error}");
    std::fs::remove_file(&tar).unwrap();
    let error = rootfs::mount(shelf.inner(), &diff_ids).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { .. }), "{error}");
    assert_eq!(shelf.store.mounted().unwrap().len(), 0);
}

#[test]
fn layers_that_make_no_image_are_named() {
    let shelf = Shelf::new(FormatChoice::Auto);
    let diff_ids = [shelf.add(Tarball::new().file("a", "1")), shelf.add(Tarball::new().hard_link("b", "missing"))];
    let error = rootfs::mount(shelf.inner(), &diff_ids).unwrap_err();
    assert!(matches!(&error, StoreError::Unfit { problem } if problem.contains("missing")), "{error}");
    assert!(!shelf.meta(&diff_ids).exists());
}

#[test]
fn many_at_once_make_one_mount() {
    let shelf = Shelf::new(FormatChoice::Auto);
    let diff_ids = [shelf.add(base()), shelf.add(change())];
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                assert_eq!(files(&rootfs::mount(shelf.inner(), &diff_ids).unwrap()), CHANGED);
            });
        }
    });
    assert_eq!(super::table::mounts_in(&shelf.inner().dir().join("mnt")).unwrap().len(), 1);
}

#[test]
fn a_store_that_is_opened_again_knows_its_mounts() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    let diff_ids = [add(&store.inner, base())];
    let place = rootfs::mount(&store.inner, &diff_ids).unwrap();
    let device = |path: &Path| std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(path).unwrap());
    let before = device(&place);
    drop(store);
    let shelf = Shelf { store: ImageStore::open(dir.path()).unwrap(), _dir: dir };
    assert_eq!(rootfs::mount(shelf.inner(), &diff_ids).unwrap(), place);
    assert_eq!(device(&place), before);
    // Nobody keeps the image, so its layers and its mount go.
    shelf.store.prune(&std::collections::BTreeSet::new()).unwrap();
    assert_eq!(shelf.store.mounted().unwrap().len(), 0);
    assert!(!place.exists());
}
