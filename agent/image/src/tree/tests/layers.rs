//! Layers together, as a container sees them.

use super::{Read, merged, merged_listing, read};
use crate::Limits;
use crate::tests::tarball::Tarball;
use crate::tests::{SMALL, chain};
use crate::tree::{MergedTree, What};

fn base() -> Tarball {
    Tarball::new()
        .dir("./", 0o755)
        .dir("etc", 0o750)
        .file("etc/a", "a")
        .file("etc/b", "b")
        .dir("var", 0o755)
        .dir("var/cache", 0o755)
        .file("var/cache/x", "x")
        .dir("tmp", 0o1777)
        .file("gone", "gone")
}

const REST_OF_BASE: [&str; 5] = ["f 644 gone \"gone\"", "d 1777 tmp", "d 755 var", "d 755 var/cache", "f 644 var/cache/x \"x\""];

fn layers(archives: &[Tarball]) -> Vec<Read> {
    let read = |archive: &Tarball| read(&archive.clone().finish(), &SMALL).unwrap_or_else(|error| panic!("{}", chain(&error)));
    archives.iter().map(read).collect()
}

/// Merges layers, bottom first, and compares what is to be seen.
fn check(archives: &[Tarball], expect: &[&str]) -> MergedTree {
    let layers = layers(archives);
    let tree = merged(&layers).unwrap();
    assert_eq!(merged_listing(&tree, &layers), expect);
    tree
}

fn refuses(archives: &[Tarball], expect: &str) {
    assert_eq!(merged(&layers(archives)), Err(expect.to_owned()));
}

#[test]
fn whiteouts_and_opaque_folders_hide_what_is_below() {
    let top = Tarball::new()
        .dir("etc", 0o750)
        .file("etc/.wh.a", "")
        .file("etc/c", "c")
        .dir("var/cache", 0o700)
        .file("var/cache/.wh..wh..opq", "")
        .file("var/cache/y", "y")
        .file(".wh.gone", "");
    let expect = [
        "d 750 etc",
        "f 644 etc/b \"b\"",
        "f 644 etc/c \"c\"",
        "d 1777 tmp",
        "d 755 var",
        "d 700 var/cache",
        "f 644 var/cache/y \"y\"",
    ];
    check(&[base(), top.clone()], &expect);
    // A whiteout of nothing is nothing, and does not show.
    check(&[base(), top, Tarball::new().file(".wh.gone", "").file("etc/.wh.never", "").file("tmp/.wh.x", "")], &expect);
    // What was taken away may come again, from a layer above.
    let lines: Vec<&str> = [&["f 644 etc \"file\""][..], &REST_OF_BASE].concat();
    check(&[base(), Tarball::new().file(".wh.etc", ""), Tarball::new().file("etc", "file")], &lines);
}

#[test]
fn a_folder_and_its_whiteout_in_one_layer_make_a_new_folder() {
    let expect = |mode: &'static str| [&[mode, "f 644 etc/new \"n\""][..], &REST_OF_BASE].concat();
    check(&[base(), Tarball::new().file(".wh.etc", "").dir("etc", 0o700).file("etc/new", "n")], &expect("d 700 etc"));
    check(&[base(), Tarball::new().dir("etc", 0o700).file("etc/new", "n").file(".wh.etc", "")], &expect("d 700 etc"));
    check(&[base(), Tarball::new().file(".wh.etc", "").file("etc/new", "n")], &expect("d 755 etc"));
}

#[test]
fn an_opaque_root_hides_every_lower_layer() {
    let top = Tarball::new().file(".wh..wh..opq", "").file("only", "o");
    check(&[base(), top.clone()], &["f 644 only \"o\""]);
    check(&[base(), top, Tarball::new().file("more", "m")], &["f 644 more \"m\"", "f 644 only \"o\""]);
}

#[test]
fn folders_that_nobody_describes_look_as_below() {
    let top = Tarball::new().file("etc/y", "y").file("tmp/x", "x").file("var/cache/.wh.x", "").file("new/z", "z");
    let expect = [
        "d 750 etc",
        "f 644 etc/a \"a\"",
        "f 644 etc/b \"b\"",
        "f 644 etc/y \"y\"",
        "f 644 gone \"gone\"",
        "d 755 new",
        "f 644 new/z \"z\"",
        "d 1777 tmp",
        "f 644 tmp/x \"x\"",
        "d 755 var",
        "d 755 var/cache",
    ];
    let tree = check(&[base(), top.clone()], &expect);
    assert_eq!(tree.inodes[0].mtime_s, 1_700_000_000, "the root, too");
    // Not those that were taken away in between.
    let removed = Tarball::new().file(".wh.etc", "");
    let again = Tarball::new().file("etc/y", "y").file(".wh.var", "").file(".wh.gone", "").file(".wh.tmp", "");
    check(&[base(), removed, again], &["d 755 etc", "f 644 etc/y \"y\""]);
    // Through several layers.
    let between = Tarball::new().file("tmp/.wh.x", "");
    let lines: Vec<&str> = expect.to_vec();
    check(&[base(), between.clone(), top, between.clone(), Tarball::new().file("tmp/x", "x")], &lines);
}

#[test]
fn the_top_decides_what_a_name_is() {
    let files = Tarball::new().file("a", "1").file("b", "1").dir("c", 0o700).file("c/x", "").symlink("d", "c");
    let others = Tarball::new().dir("a", 0o711).file("c", "2").symlink("b", "c").file("d/y", "3");
    let expect = ["d 711 a", "l b -> c", "f 644 c \"2\"", "d 755 d", "f 644 d/y \"3\""];
    check(&[files.clone(), others.clone()], &expect);
    // What an entry of another kind hid does not come back.
    check(&[files, others, Tarball::new().dir("c", 0o755)], &[expect[0], expect[1], "d 755 c", expect[3], expect[4]]);
}

#[test]
fn hard_links_are_one_file_in_their_layer_and_across() {
    let linked = base().hard_link("etc/also", "etc/a").hard_link("third", "etc/also");
    let names = |count: usize| format!("f 644 etc/a \"a\" x{count}");
    let also = |count: usize| format!("f 644 etc/also \"a\" x{count}");
    let rest = |extra: &'static [&'static str]| [&["f 644 etc/b \"b\""][..], &REST_OF_BASE, extra].concat();
    let mut expect = vec!["d 750 etc".to_owned(), names(3), also(3)];
    expect.extend(rest(&[]).iter().map(ToString::to_string));
    expect.insert(5, "f 644 third \"a\" x3".to_owned());
    let check = |archives: &[Tarball], expect: &[String]| {
        let expect: Vec<&str> = expect.iter().map(String::as_str).collect();
        check(archives, &expect)
    };
    check(std::slice::from_ref(&linked), &expect);
    // One name less, and the first of them at that.
    let mut fewer = expect.clone();
    fewer.remove(1);
    for line in &mut fewer {
        *line = line.replace("x3", "x2");
    }
    check(&[linked.clone(), Tarball::new().file("etc/.wh.a", "")], &fewer);
    // One more, from above; it stays when the layer itself takes the old one away, and when one above does.
    let mut moved = fewer.clone();
    moved.insert(4, "f 644 here \"a\" x2".to_owned());
    for line in &mut moved {
        *line = line.replace("x2", "x3");
    }
    let link = Tarball::new().hard_link("here", "etc/a");
    let gone = Tarball::new().file("etc/.wh.a", "");
    check(&[linked.clone(), link.clone().file("etc/.wh.a", "")], &moved);
    check(&[linked.clone(), link.clone(), gone.clone()], &moved);
    // A link to a link to below, two layers up.
    let tree = merged(&layers(&[linked.clone(), link, Tarball::new().hard_link("again", "here")])).unwrap();
    assert_eq!(tree.inodes.iter().filter(|inode| inode.links == 5 && matches!(inode.what, What::File { .. })).count(), 1);
    let missing = |name: &str, target: &str| format!("{name:?} is a hard link to {target:?}, which no layer below has as a file");
    let below = Tarball::new().hard_link("etc/new", "etc/a");
    refuses(std::slice::from_ref(&below), &missing("etc/new", "etc/a"));
    refuses(&[linked.clone(), gone, below], &missing("etc/new", "etc/a"));
    refuses(&[linked.clone(), Tarball::new().hard_link("new", "etc")], &missing("new", "etc"));
    refuses(&[linked.clone(), Tarball::new().hard_link("new", "etc/a/x")], &missing("new", "etc/a/x"));
    refuses(&[base().symlink("s", "etc"), Tarball::new().hard_link("new", "s/a")], &missing("new", "s/a"));
    let opaque = Tarball::new().file("etc/.wh..wh..opq", "");
    refuses(&[linked, opaque, Tarball::new().hard_link("new", "etc/a")], &missing("new", "etc/a"));
}

#[test]
fn no_layers_and_empty_ones_are_an_empty_root() {
    let tree = check(&[], &[]);
    assert_eq!((tree.inodes[0].mode, tree.inodes[0].links), (0o755, 2));
    check(&[Tarball::new(), Tarball::new()], &[]);
    let described = check(&[Tarball::new().dir("./", 0o700), Tarball::new()], &[]);
    assert_eq!(described.inodes[0].mode, 0o700);
}

#[test]
fn devices_attributes_and_sparse_files_come_through() {
    let sparse: &[(&str, &[u8])] = &[("GNU.sparse.size", b"10"), ("GNU.sparse.map", b"5,1")];
    let below = Tarball::new().pax(&[("SCHILY.xattr.user.a", b"1")]).dir("d", 0o700).pax(sparse).file("sparse", "x");
    let above = Tarball::new()
        .pax(sparse)
        .file("d/sparse", "y")
        .entry(b"pipe", b'6', 0o600, b"", b"")
        .entry(b"disk", b'4', 0o640, b"", b"");
    let tree = check(
        &[below, above],
        &[
            "d 700 d",
            "f 644 d/sparse \"\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00y\\\\x00\\\\x00\\\\x00\\\\x00\"",
            "b 640 disk 0:0",
            "p 600 pipe",
            "f 644 sparse \"\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00x\\\\x00\\\\x00\\\\x00\\\\x00\"",
        ],
    );
    let folder = tree.inodes.iter().find(|inode| inode.mode == 0o700).unwrap();
    assert_eq!(tree.bytes[folder.xattrs.range()], *b"\x06\x01\x00user.a1");
    let devices: Vec<u16> = tree
        .inodes
        .iter()
        .filter_map(|inode| if let What::File { device, .. } = inode.what { Some(device) } else { None })
        .collect();
    assert_eq!(devices.iter().copied().min().zip(devices.iter().copied().max()), Some((1, 3)));
}

#[test]
fn many_layers_are_no_trouble() {
    let archives: Vec<Tarball> =
        (0..127).map(|number| Tarball::new().file(&format!("d/{number:03}"), "x").file("d/same", "s")).collect();
    let layers: Vec<Read> = archives.into_iter().map(|archive| read(&archive.finish(), &Limits::default()).unwrap()).collect();
    let tree = merged(&layers).unwrap();
    assert_eq!((tree.inodes.len(), tree.entries.len()), (130, 129));
}
