//! Damage of every kind is found, named with the images that have it, and, if asked, taken away so that the next pull brings it back.

use super::pulls::{Bench, names, until};
use super::tarball::Tarball;
use crate::{Finding, Object};
use coord_registry::fake::FakeLayer;
use coord_shared::names::Digest;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Times and contents that differ, so that each can be told from the others.
fn layers() -> [FakeLayer; 2] {
    let sparse = b"2\n0\n3\n100000\n3\n";
    let mut content = sparse.to_vec();
    content.resize(512, 0);
    content.extend_from_slice(b"onetwo");
    let records: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"holes"),
        ("GNU.sparse.realsize", b"100003"),
    ];
    let base = Tarball::new().dir("./", 0o755).dir("etc", 0o750).file("etc/a", "aaaa").hard_link("etc/b", "etc/a");
    let base = base.symlink("link", "etc/a").pax(records).entry(b"GNUSparseFile.0/holes", b'0', 0o644, b"", &content);
    let top = Tarball::new().file(".wh.link", "").pax(&[("SCHILY.xattr.user.note", b"n")]).file("noted", "noted");
    [base.layer(), top.layer()]
}

/// Both images have the lower layer, and only the first one the upper.
struct Case {
    bench: Bench,
    both: Digest,
    lower: Digest,
    layers: [FakeLayer; 2],
}

impl Case {
    async fn new(bench: Bench) -> Case {
        let layers = layers();
        let both = bench.fake.put_image("shop/web", "1", "amd64", &layers);
        let lower = bench.fake.put_image("shop/web", "2", "amd64", &layers[..1]);
        let case = Case { bench, both, lower, layers };
        case.pull().await;
        case
    }

    async fn pull(&self) {
        for digest in [&self.both, &self.lower] {
            self.bench.pull(digest).await.unwrap();
            self.bench.store.mount(digest).unwrap();
        }
    }

    fn layer(&self, number: usize) -> PathBuf {
        self.bench.store.inner.layer_path(&self.layers[number].diff_id)
    }

    fn is_archive(&self) -> bool {
        self.layer(0).join("tar").exists()
    }

    /// Damages something; what is found, and what is found again after a repair and a pull: nothing.
    async fn check(&self, damage: impl FnOnce(&Case), object: Object, images: &[&Digest], problem: &str) {
        let store = &self.bench.store;
        let whole = names(self.bench.folder.path());
        assert_eq!(store.verify(None, false).unwrap(), [], "before: {problem}");
        damage(self);
        let mut images: Vec<Digest> = images.iter().map(|digest| (*digest).clone()).collect();
        images.sort();
        let found = store.verify(None, false).unwrap();
        let [Finding { object: damaged, images: whose, problem: said, is_repaired: false }] = &found[..] else {
            panic!("{problem}: {found:?}");
        };
        assert_eq!((damaged, whose), (&object, &images), "{said}");
        assert!(said.contains(problem), "{problem}: {said}");
        let is_told = |digest| store.verify(Some(digest), false).unwrap() == found;
        assert!(images.iter().all(is_told), "each image's own look finds it");
        let repaired = store.verify(None, true).unwrap();
        assert!(repaired.len() == 1 && repaired[0].is_repaired, "{repaired:?}");
        assert_eq!(store.verify(None, false).unwrap(), [], "after: {problem}");
        self.pull().await;
        assert_eq!(store.verify(None, false).unwrap(), [], "pulled again: {problem}");
        until(|| names(self.bench.folder.path()) == whole).await;
    }
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

in_both_formats!(root_damage_of_every_kind_is_found);
async fn root_damage_of_every_kind_is_found(bench: Bench) {
    let case = Case::new(bench).await;
    let (both, lower) = (case.both.clone(), case.lower.clone());
    let [bottom, top] = [0, 1].map(|number| Object::Layer(case.layers[number].diff_id.clone()));
    let record = case.bench.store.inner.image_path(&both);
    case.check(|_| flip(&record, 30), Object::Image(both.clone()), &[&both], "").await;
    case.check(|_| fs::write(&record, "{").unwrap(), Object::Image(both.clone()), &[&both], "EOF").await;
    let gone = |case: &Case| fs::remove_dir_all(case.layer(1)).unwrap();
    case.check(gone, top.clone(), &[&both], "it is missing").await;
    case.check(|case| fs::write(case.layer(0).join("layer.json"), "").unwrap(), bottom.clone(), &[&both, &lower], "EOF").await;
    if case.is_archive() {
        archives(&case, &bottom, &top).await;
    } else {
        directories(&case, &bottom, &top).await;
    }
}

async fn archives(case: &Case, bottom: &Object, top: &Object) {
    let (both, lower) = (&case.both, &case.lower);
    let all: &[&Digest] = &[both, lower];
    // A file's content is no business of the archive's reader: only the digest sees it.
    case.check(|case| flip(&case.layer(0).join("tar"), 3 * 512), bottom.clone(), all, "its archive has the digest").await;
    case.check(|case| flip(&case.layer(0).join("tar"), 0), bottom.clone(), all, "its archive is damaged").await;
    let longer = |case: &Case| File::options().append(true).open(case.layer(1).join("tar")).unwrap().write_all(b"x").unwrap();
    case.check(longer, top.clone(), &[both], "its files are missing").await;
    case.check(|case| flip(&case.layer(0).join("index"), 60), bottom.clone(), all, "its index is not its archive's").await;
    case.check(|case| fs::remove_file(case.layer(0).join("index")).unwrap(), bottom.clone(), all, "its index cannot").await;
    for at in [1, 5000, 100_001] {
        let expanded = "the expanded contents of its sparse files are not";
        case.check(|case| flip(&case.layer(0).join("expanded"), at), bottom.clone(), all, expanded).await;
    }
    let diff_ids = case.bench.store.inner.diff_ids_of(both).unwrap();
    let chain = crate::store::layout::chain_of(&diff_ids);
    let meta = case.bench.store.inner.meta_path(&chain);
    for at in [1100, fs::metadata(&meta).unwrap().len() - 1] {
        case.check(|_| flip(&meta, at), Object::Chain(chain.clone()), &[both], "its EROFS image is not").await;
    }
}

async fn directories(case: &Case, bottom: &Object, top: &Object) {
    let (both, lower) = (&case.both, &case.lower);
    let all: &[&Digest] = &[both, lower];
    let diff = |number: usize, name: &str| case.layer(number).join("diff").join(name);
    /// Puts the time back, as nobody would who means no harm.
    fn in_secret(path: &Path, change: impl FnOnce(&Path)) {
        let meta = path.symlink_metadata().unwrap();
        let folder = path.parent().unwrap();
        let folder_time = folder.metadata().unwrap().modified().unwrap();
        change(path);
        if path.is_file() {
            File::open(path).unwrap().set_modified(meta.modified().unwrap()).unwrap();
        }
        File::open(folder).unwrap().set_modified(folder_time).unwrap();
    }
    let content = |_: &Case| in_secret(&diff(0, "etc/a"), |path| fs::write(path, "bbbb").unwrap());
    case.check(content, bottom.clone(), all, "\"/etc/a\" has another content").await;
    let hole = |_: &Case| in_secret(&diff(0, "holes"), |path| flip(path, 5000));
    case.check(hole, bottom.clone(), all, "\"/holes\" has another content").await;
    let longer = |_: &Case| in_secret(&diff(0, "etc/a"), |path| fs::write(path, "aaaaa").unwrap());
    case.check(longer, bottom.clone(), all, "\"/etc/a\" has 5 bytes instead of 4").await;
    let touched = |_: &Case| File::open(diff(0, "etc/a")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    case.check(touched, bottom.clone(), all, "\"/etc/a\" was modified").await;
    let mode = |_: &Case| fs::set_permissions(diff(0, "etc"), fs::Permissions::from_mode(0o777)).unwrap();
    case.check(mode, bottom.clone(), all, "\"/etc\" has the mode 777 instead of 750").await;
    let owner = |_: &Case| std::os::unix::fs::lchown(diff(0, "link"), Some(7), None).unwrap();
    case.check(owner, bottom.clone(), all, "\"/link\" belongs to 7:0 instead of 0:0").await;
    let removed = |_: &Case| in_secret(&diff(0, "etc/b"), |path| fs::remove_file(path).unwrap());
    case.check(removed, bottom.clone(), all, "\"/etc/b\" is missing").await;
    let extra = |_: &Case| {
        let folder = diff(0, "etc");
        let time = folder.metadata().unwrap().modified().unwrap();
        fs::write(folder.join("new"), "").unwrap();
        File::open(&folder).unwrap().set_modified(time).unwrap();
    };
    case.check(extra, bottom.clone(), all, "folder \"/etc\" has 3 names instead of 2").await;
    let unlinked = |_: &Case| {
        in_secret(&diff(0, "etc/b"), |path| {
            let time = path.metadata().unwrap().modified().unwrap();
            fs::remove_file(path).unwrap();
            fs::write(path, "aaaa").unwrap();
            File::open(path).unwrap().set_modified(time).unwrap();
        });
    };
    case.check(unlinked, bottom.clone(), all, "\"/etc/b\" and \"/etc/a\" are not one file").await;
    let elsewhere = |_: &Case| {
        in_secret(&diff(0, "link"), |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("etc/c", path).unwrap();
        });
    };
    case.check(elsewhere, bottom.clone(), all, "\"/link\" leads elsewhere").await;
    let note = |_: &Case| rustix::fs::removexattr(diff(1, "noted"), "user.note").unwrap();
    case.check(note, top.clone(), &[both], "\"/noted\" has other attributes").await;
    let shown = |_: &Case| in_secret(&diff(1, "link"), |path| fs::remove_file(path).unwrap());
    case.check(shown, top.clone(), &[both], "\"/link\" is missing").await;
    case.check(|case| flip(&case.layer(0).join("index"), 60), bottom.clone(), all, "its index has a wrong checksum").await;
}

#[test]
fn findings_say_what_to_do() {
    let (image, layer) = (Digest::of(b"image"), Digest::of(b"layer"));
    let check = |object: Object, is_repaired: bool, expect: &str| {
        let finding = Finding { object, images: vec![image.clone()], problem: "it is missing".to_owned(), is_repaired };
        let shown = finding.to_string().replace(image.hex(), "IMAGE").replace(layer.hex(), "LAYER");
        assert_eq!(shown, expect);
    };
    let removes = "verify with --repair removes it";
    check(Object::Image(image.clone()), false, &format!("image sha256:IMAGE: it is missing; {removes}"));
    check(Object::Layer(layer.clone()), false, &format!("layer sha256:LAYER of sha256:IMAGE: it is missing; {removes}"));
    check(
        Object::Layer(layer.clone()),
        true,
        "layer sha256:LAYER of sha256:IMAGE: it is missing; it was removed; pull the image again",
    );
    check(
        Object::Chain(layer.clone()),
        true,
        "root file system sha256:LAYER of sha256:IMAGE: it is missing; it was removed and is made again at the next start",
    );
}
