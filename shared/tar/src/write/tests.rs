//! What is written is read back, by our reader; what GNU tar makes of it is seen where layers are tested.

use super::*;
use crate::Archive;
use std::io::BufReader;

fn check(entry: &Entry, blocks: usize) {
    let mut bytes = Vec::new();
    write_header(&mut bytes, entry).unwrap();
    assert_eq!(bytes.len(), blocks * BLOCK_BYTES, "{:?}", entry.path.escape_ascii().to_string());
    bytes.resize(bytes.len() + usize::try_from(entry.size.min(4096)).unwrap(), 1);
    bytes.extend_from_slice(&[0; END_BYTES]);
    let mut read = Entry::default();
    assert!(Archive::new(BufReader::new(&bytes[..])).next_entry(&mut read).unwrap());
    let path = if entry.kind == Kind::Directory { [&entry.path[..], b"/"].concat() } else { entry.path.clone() };
    assert_eq!(read, Entry { path, offset: read.offset, ..entry.clone() });
}

fn file(path: &[u8]) -> Entry {
    Entry { path: path.to_vec(), mode: 0o4755, mtime_s: 1_700_000_000, ..Entry::default() }
}

#[test]
fn what_fits_is_one_block_and_what_does_not_is_said_before() {
    check(&file(b"app/shop"), 1);
    check(&Entry { size: 700, ..file(b"app/shop") }, 1);
    check(&Entry { kind: Kind::Directory, ..file(b"app") }, 1);
    check(&Entry { kind: Kind::Symlink, link: b"/usr/bin/env".to_vec(), ..file(b"app/link") }, 1);
    check(&Entry { kind: Kind::HardLink, link: vec![b'x'; 100], ..file(b"app/link") }, 1);
    check(&Entry { kind: Kind::CharDevice { major: 5, minor: 1 }, ..file(b"dev/console") }, 1);
    check(&Entry { uid: 0o777_7777, gid: 7, ..file(b"a") }, 1);
    check(&file(&[b'n'; 100]), 1);
    check(&file(&[&[b'p'; 155][..], b"/", &[b'n'; 100]].concat()), 1);
    // Names that no prefix helps, long targets, large numbers, attributes.
    check(&file(&[b'n'; 101]), 3);
    check(&file(&[&[b'p'; 156][..], b"/", &[b'n'; 100]].concat()), 3);
    check(&file("ä".repeat(99).as_bytes()), 3);
    check(&Entry { kind: Kind::Symlink, link: vec![b'x'; 101], ..file(b"l") }, 3);
    check(&Entry { uid: 0o1000_0000, gid: u32::MAX - 1, ..file(b"a") }, 3);
    check(&Entry { xattrs: [(b"user.a".to_vec(), b"1\n\0".to_vec())].into(), ..file(b"a") }, 3);
}

#[test]
fn a_directory_of_exactly_a_hundred_bytes_is_split_before_its_last_name() {
    let path = [&[b'p'; 40][..], b"/", &[b'n'; 59]].concat();
    check(&Entry { kind: Kind::Directory, ..file(&path) }, 1);
}

#[test]
fn records_count_themselves() {
    for length in [1, 2, 88, 89, 90, 91, 985, 986, 987, 988, 989] {
        let mut records = Vec::new();
        record(&mut records, b"path", &vec![b'x'; length]);
        let declared: usize = std::str::from_utf8(records.split(|byte| *byte == b' ').next().unwrap()).unwrap().parse().unwrap();
        assert_eq!(declared, records.len());
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for entry in [file(b""), Entry { size: 1, kind: Kind::Fifo, ..file(b"p") }] {
        assert_eq!(write_header(&mut Vec::new(), &entry).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
