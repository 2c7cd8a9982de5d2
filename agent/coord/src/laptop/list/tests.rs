//! Lists of archives, and what differs between two.

use super::*;
use coord_tar::{Entry as TarEntry, padding, write_header};

/// An archive: kind, path, mode, content or target.
fn archive(entries: &[(Kind, &str, u16, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, path, mode, text) in entries {
        let (size, link) = if *kind == Kind::File { (text.len() as u64, Vec::new()) } else { (0, text.as_bytes().to_vec()) };
        let entry = TarEntry { path: path.as_bytes().to_vec(), kind: *kind, mode: *mode, size, link, ..TarEntry::default() };
        write_header(&mut bytes, &entry).expect("a header");
        if *kind == Kind::File {
            bytes.extend_from_slice(text.as_bytes());
            bytes.resize(bytes.len() + padding(size), 0);
        }
    }
    bytes.resize(bytes.len() + coord_tar::END_BYTES, 0);
    bytes
}

const FILE: Kind = Kind::File;
const FOLDER: Kind = Kind::Directory;
const LINK: Kind = Kind::Symlink;

fn listed(entries: &[(Kind, &str, u16, &str)]) -> Vec<Entry> {
    read(&archive(entries)[..]).expect("a list")
}

#[test]
fn an_archive_is_listed_by_path() {
    let list = listed(&[
        (FOLDER, "./", 0o755, ""),
        (FILE, "./b", 0o600, "bee"),
        (FOLDER, "./a", 0o700, ""),
        (LINK, "./a/l", 0o777, "../b"),
        (FILE, "/100%", 0o644, ""),
        (FILE, "b", 0o644, "later"),
        (Kind::HardLink, "c", 0o644, "./b"),
        (Kind::Fifo, "p", 0o644, ""),
    ]);
    let shown: Vec<String> =
        list.iter().map(|e| format!("{} {:?} {:o} {} {:?}", e.path, e.kind, e.mode, e.size, e.target.as_deref())).collect();
    let expect = [
        "100%25 File 644 0 None",
        "a Folder 700 0 None",
        "a/l Link 777 0 Some(\"../b\")",
        "b File 644 5 None",
        "c File 644 5 None",
        "p Special 644 0 None",
    ];
    assert_eq!(shown, expect);
    assert_eq!(list[3].digest, Some(Digest::of(b"later")));
    assert_eq!(sums(&list), (3, 10));
}

#[test]
fn names_of_any_bytes_are_written_down() {
    let check = |bytes: &[u8], expect: &str| assert_eq!(written(bytes), expect);
    check(b"a b", "a b");
    check("\u{e4}%".as_bytes(), "\u{e4}%25");
    check(b"\xff\xfe/x", "%FF%FE/x");
}

#[test]
fn the_first_difference_is_told() {
    let base = [(FILE, "a", 0o644, "one"), (FOLDER, "b", 0o755, ""), (LINK, "c", 0o777, "a")];
    let check = |other: &[(Kind, &str, u16, &str)], expect: &str| {
        let found = compare(&listed(&base), &listed(other));
        assert_eq!(found.expect_err("a difference"), expect);
    };
    let same = compare(&listed(&base), &listed(&base)).expect("no difference");
    assert_eq!((same.files, same.folders, same.links, same.bytes, same.hashed), (1, 1, 1, 3, 1));
    check(&[(FILE, "a", 0o644, "two"), base[1], base[2]], "a: its content differs");
    check(&[(FILE, "a", 0o644, "three"), base[1], base[2]], "a: it has 5 bytes, not 3");
    check(&[(FILE, "a", 0o600, "one"), base[1], base[2]], "a: its mode is 0600, not 0644");
    check(&[(LINK, "a", 0o777, "one"), base[1], base[2]], "a: it is a symbolic link, not a file");
    check(&[base[0], base[1], (LINK, "c", 0o777, "b")], "c: it leads elsewhere");
    check(&[base[0], base[2]], "b: it is missing");
    check(&[base[0], base[1]], "c: it is missing");
    check(&[base[0], (FILE, "aa", 0o644, ""), base[1], base[2]], "aa: it is not in the list");
    check(&[base[0], base[1], base[2], (FILE, "d", 0o644, "")], "d: it is not in the list");
}

#[test]
fn what_breaks_off_is_no_list() {
    let whole = archive(&[(FILE, "a", 0o644, "one")]);
    assert!(read(&whole[..600]).is_err());
    let (sender, pieces) = mpsc::channel(2);
    sender.try_send(Ok(whole[..512].to_vec().into())).expect("room");
    sender.try_send(Err(io::Error::other("cut"))).expect("room");
    assert!(read(Pieces::new(pieces)).is_err());
}
