//! Trees as files: what was written is read, and nothing else is.

use super::super::{Attributes, Data, LayerNode, LayerTree, LayerWhat, Span};
use super::read;
use crate::Limits;
use crate::tests::tarball::Tarball;

/// One of each kind. `read` has encoded and decoded it already.
fn tree() -> LayerTree {
    let sparse: &[(&str, &[u8])] = &[("GNU.sparse.size", b"1000"), ("GNU.sparse.map", b"5,1")];
    let archive = Tarball::new()
        .dir("./", 0o755)
        .pax(&[("SCHILY.xattr.user.a", b"1"), ("SCHILY.xattr.user.b", b"22"), ("mtime", b"-7.5")])
        .file("etc/passwd", "root")
        .hard_link("etc/shadow", "etc/passwd")
        .hard_link("etc/below", "usr/file")
        .symlink("etc/link", "passwd")
        .pax(sparse)
        .file("etc/sparse", "x")
        .entry(b"pipe", b'6', 0o600, b"", b"")
        .entry(b"disk", b'4', 0o600, b"", b"")
        .file(".wh.gone", "")
        .file("opaque/.wh..wh..opq", "")
        .finish();
    read(&archive, &Limits::default()).unwrap().tree
}

/// Right again after a change, or nothing but the checksum would be tried.
fn seal(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len() - 4);
    let crc = crc32fast::hash(bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
}

#[test]
fn what_cannot_be_is_refused() {
    let tree = tree();
    let number = |what: fn(&LayerWhat) -> bool| tree.nodes.iter().position(|node| what(&node.what)).expect("is there");
    let [file, hard, below, link, sparse, whiteout] = [
        number(|what| matches!(what, LayerWhat::File { data: Data::Archive { .. }, .. })),
        number(|what| matches!(what, LayerWhat::HardLink { .. })),
        number(|what| matches!(what, LayerWhat::LinkBelow { .. })),
        number(|what| matches!(what, LayerWhat::Symlink { .. })),
        number(|what| matches!(what, LayerWhat::File { data: Data::Expanded { .. }, .. })),
        number(|what| matches!(what, LayerWhat::Whiteout)),
    ];
    let check = |what: &str, at: usize, change: &dyn Fn(&mut LayerNode)| {
        let mut changed = tree.clone();
        change(&mut changed.nodes[at]);
        let expect = format!("has an impossible entry {at}");
        assert_eq!(LayerTree::decode(&changed.encode()), Err(expect), "{what}");
    };
    check("a root without a folder", 0, &|node| node.what = LayerWhat::Fifo);
    check("a root with a name", 0, &|node| node.name = Span { at: 0, len: 1 });
    check("no name", file, &|node| node.name.len = 0);
    check("a parent that is no folder", link, &|node| node.parent = u32::try_from(file).unwrap());
    check("a parent that comes later", file, &|node| node.parent = 99);
    check("a mode with a type", file, &|node| node.attributes.mode = 0o10_000);
    check("a second of nanoseconds", file, &|node| node.attributes.mtime_ns = 1_000_000_000);
    check("half a pair of attributes", file, &|node| node.attributes.xattrs.len -= 1);
    let to = |to: usize| LayerWhat::HardLink { to: u32::try_from(to).unwrap() };
    for (what, target) in [("itself", hard), ("a folder", 0), ("a later one", hard + 1), ("a link below", below)] {
        check(what, hard, &|node| node.what = to(target));
    }
    check("a link to a whiteout", tree.nodes.len() - 1, &|node| node.what = to(whiteout));
    let archive = |offset| Data::Archive { offset };
    check("an odd offset", file, &|node| node.what = LayerWhat::File { size: 4, data: archive(511), content: 0 });
    check("a size beyond all", file, &|node| node.what = LayerWhat::File { size: u64::MAX, data: archive(512), content: 0 });
    let expanded = |size, offset| LayerWhat::File { size, data: Data::Expanded { offset }, content: 1 };
    check("beyond the expanded", sparse, &|node| node.what = expanded(1000, 512));
    check("a link to nothing", link, &|node| node.what = LayerWhat::Symlink { target: Span::default() });
    check("a link below to nothing", below, &|node| node.what = LayerWhat::LinkBelow { path: Span::default() });
    check("a device that is overlayfs's whiteout", file, &|node| node.what = LayerWhat::CharDevice { major: 0, minor: 0 });
    let mut swapped = tree.clone();
    swapped.nodes.swap(hard, link);
    assert!(LayerTree::decode(&swapped.encode()).is_err());
    let mut miscounted = tree.clone();
    miscounted.content_bytes += 1;
    assert_eq!(LayerTree::decode(&miscounted.encode()), Err("contradicts itself".to_owned()));
    assert_eq!(LayerTree::decode(&LayerTree::default().encode()), Err("contradicts itself".to_owned()));
}

#[test]
fn names_that_cannot_be_are_refused() {
    let check = |name: &[u8]| {
        let root = LayerWhat::Directory { described: true, opaque: false };
        let node = |name, what| LayerNode { parent: 0, name, what, attributes: Attributes::default() };
        let name_at = Span { at: 0, len: u32::try_from(name.len()).unwrap() };
        let tree = LayerTree {
            nodes: vec![node(Span::default(), root), node(name_at, LayerWhat::Fifo)],
            bytes: name.to_vec(),
            ..LayerTree::default()
        };
        LayerTree::decode(&tree.encode()).is_ok()
    };
    assert!(check(b"a") && check(b"...") && check(b".a") && check(b"\xff") && check(&[b'n'; 255]));
    for bad in [&b"."[..], b"..", b"a/b", b"/", b"a\0b"] {
        assert!(!check(bad), "{:?}", bad.escape_ascii().to_string());
    }
}

#[test]
fn damage_is_found() {
    let good = tree().encode();
    for length in 0..good.len() {
        assert!(LayerTree::decode(&good[..length]).is_err(), "cut at {length}");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(LayerTree::decode(&bad).is_err(), "changed at {at}");
    }
    let mut other = good.clone();
    other[7] = b'2';
    seal(&mut other);
    assert_eq!(LayerTree::decode(&other), Err("is no index of a layer".to_owned()));
    let longer = {
        let mut longer = [&good[..], &[0; 4]].concat();
        seal(&mut longer);
        longer
    };
    assert_eq!(LayerTree::decode(&longer), Err("is of the wrong length".to_owned()));
}

#[test]
fn damage_with_a_right_checksum_breaks_no_promise() {
    let good = tree().encode();
    let mut accepted = 0;
    for seed in 0..20_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = good.clone();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..bytes.len());
            bytes[at] =
                if random.bool() { random.u8(..) } else { *random.choice(&[0, 1, 0x7f, 0x80, 0xff, b'/', b'.']).unwrap() };
        }
        seal(&mut bytes);
        if let Ok(tree) = LayerTree::decode(&bytes) {
            accepted += 1;
            // What is accepted is whole: it can be written again, and merged, without harm.
            assert!(LayerTree::decode(&tree.encode()).as_ref() == Ok(&tree), "seed {seed}");
            let layer = super::Layer { tree: &tree, archive_device: 0, expanded_device: 1 };
            let _ = super::merge(&[layer, layer]);
        }
    }
    assert!(accepted > 100, "{accepted}: the damage is too great to try much");
}
