//! Zip files as honest writers and others make them, put together byte by byte.

use super::*;
use coord_tar::Limits;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use std::io::{Cursor, Write as _};

/// One file of a zip, and the lies told about it.
#[derive(Clone)]
struct Item {
    name: &'static [u8],
    content: Vec<u8>,
    deflated: bool,
    /// Unix mode; none for a writer that knows no modes.
    mode: Option<u32>,
    flags: u16,
    method: Option<u16>,
    crc: Option<u32>,
    bytes: Option<u64>,
    local_name: Option<&'static [u8]>,
    /// Where its header is said to be.
    at: Option<u64>,
    /// Whether its sizes are in the extra field.
    zip64: bool,
}

fn item(name: &'static str, content: &str) -> Item {
    Item {
        name: name.as_bytes(),
        content: content.as_bytes().to_vec(),
        deflated: true,
        mode: Some(0o100_644),
        flags: 0,
        method: None,
        crc: None,
        bytes: None,
        local_name: None,
        at: None,
        zip64: false,
    }
}

fn put(zip: &mut Vec<u8>, numbers: &[(usize, u64)]) {
    for (width, number) in numbers {
        zip.extend_from_slice(&number.to_le_bytes()[..*width]);
    }
}

fn zip(items: &[Item]) -> Vec<u8> {
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    for item in items {
        let at = item.at.unwrap_or(zip.len() as u64);
        let packed = if item.deflated {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&item.content).unwrap();
            encoder.finish().unwrap()
        } else {
            item.content.clone()
        };
        let mut crc = Crc::new();
        crc.update(&item.content);
        let crc = u64::from(item.crc.unwrap_or(crc.sum()));
        let method = u64::from(item.method.unwrap_or(if item.deflated { DEFLATED } else { STORED }));
        let (bytes, packed_bytes) = (item.bytes.unwrap_or(item.content.len() as u64), packed.len() as u64);
        let local_name = item.local_name.unwrap_or(item.name);
        let flags = u64::from(item.flags);
        zip.extend_from_slice(&LOCAL_MAGIC);
        put(&mut zip, &[(2, 20), (2, flags), (2, method), (4, 0), (4, crc), (4, packed_bytes), (4, bytes)]);
        put(&mut zip, &[(2, local_name.len() as u64), (2, 0)]);
        zip.extend_from_slice(local_name);
        zip.extend_from_slice(&packed);
        let full = |number: u64| if item.zip64 { 0xffff_ffff } else { number };
        let made_by = if item.mode.is_some() { 3 << 8 | 20 } else { 20 };
        directory.extend_from_slice(&CENTRAL_MAGIC);
        put(&mut directory, &[(2, made_by), (2, 20), (2, flags), (2, method), (4, 0), (4, crc), (4, full(packed_bytes))]);
        put(&mut directory, &[(4, full(bytes)), (2, item.name.len() as u64), (2, if item.zip64 { 28 } else { 0 }), (2, 0)]);
        put(&mut directory, &[(2, 0), (2, 0), (4, u64::from(item.mode.unwrap_or(0)) << 16), (4, full(at))]);
        directory.extend_from_slice(item.name);
        if item.zip64 {
            put(&mut directory, &[(2, u64::from(ZIP64_EXTRA)), (2, 24), (8, bytes), (8, packed_bytes), (8, at)]);
        }
    }
    let (at, count) = (zip.len() as u64, items.len() as u64);
    zip.extend_from_slice(&directory);
    zip.extend_from_slice(&END_MAGIC);
    put(&mut zip, &[(2, 0), (2, 0), (2, count), (2, count), (4, directory.len() as u64), (4, at), (2, 0)]);
    zip
}

/// One line an entry: its name, mode or target, and size.
fn listed(zip: Vec<u8>) -> Result<String, String> {
    let checked = Checked::read(Cursor::new(zip), &std::env::temp_dir(), &Limits::default()).map_err(|e| e.to_string())?;
    let lines = checked.entries.iter().map(|(path, node)| {
        let path = String::from_utf8_lossy(path);
        match node {
            Node::Directory { mode, .. } => format!("{path}/ {mode:o}"),
            Node::Symlink { target } => format!("{path} -> {}", String::from_utf8_lossy(target)),
            Node::File { content, mode, .. } => format!("{path} {mode:o} {}", content.size),
        }
    });
    Ok(lines.collect::<Vec<_>>().join(", "))
}

fn check(items: &[Item], expect: &str) {
    assert_eq!(listed(zip(items)).unwrap(), expect);
}

#[track_caller]
fn check_refused(zip: Vec<u8>, expect: &str) {
    let error = listed(zip).unwrap_err();
    assert!(error.contains(expect), "{error}");
}

#[test]
fn files_folders_links_and_modes_are_read() {
    check(&[item("b/x", "hello"), item("a", "")], "a 644 0, b/ 755, b/x 644 5");
    check(&[Item { deflated: false, mode: Some(0o100_755), ..item("run", "x") }], "run 755 1");
    check(&[Item { mode: Some(0o600), ..item("python", "x") }], "python 600 1");
    check(&[Item { mode: None, ..item("d/", "") }, Item { mode: None, ..item("d/f", "x") }], "d/ 755, d/f 644 1");
    check(&[Item { mode: Some(0o040_700), deflated: false, ..item("d/", "") }], "d/ 700");
    check(&[Item { mode: Some(0o120_777), ..item("l", "../x") }], "l -> ../x");
    check(&[Item { zip64: true, ..item("large", "not really") }, item("b", "x")], "b 644 1, large 644 10");
}

#[test]
fn a_comment_may_hold_anything() {
    let mut commented = zip(&[item("a", "x")]);
    let length = commented.len();
    let comment = zip(&[item("evil", "x")]);
    commented[length - 2..].copy_from_slice(&u16::try_from(comment.len() + 1).unwrap().to_le_bytes());
    commented.extend_from_slice(&comment);
    commented.push(b'!');
    assert_eq!(listed(commented).unwrap(), "a 644 1");
}

#[test]
fn what_different_readers_would_read_differently_is_refused() {
    check_refused(zip(&[item("a", "x"), item("a", "y")]), "\"a\" is there twice");
    check_refused(zip(&[item("a", "x"), item("./a", "y")]), "is there twice");
    check_refused(zip(&[Item { local_name: Some(b"b"), ..item("a", "x") }]), "has another name where its content is");
    let mut prefixed = b"MZ".to_vec();
    prefixed.extend(zip(&[item("a", "x")]));
    check_refused(prefixed, "of a kind that is not known here");
    check_refused(zip(&[item("a", "x"), Item { at: Some(0), ..item("a", "x") }]), "is there twice");
    let shared = [item("a", "x"), Item { name: b"b", local_name: Some(b"b"), at: Some(0), ..item("b", "x") }];
    check_refused(zip(&shared), "has another name where its content is");
}

#[test]
fn what_lies_about_its_content_is_refused() {
    check_refused(zip(&[Item { crc: Some(1), ..item("a", "x") }]), "has a wrong checksum");
    check_refused(zip(&[Item { bytes: Some(3), ..item("a", "x") }]), "has another length than the directory says");
    check_refused(zip(&[Item { bytes: Some(1), ..item("a", "xyz") }]), "has another length than the directory says");
    check_refused(zip(&[Item { deflated: false, method: Some(8), ..item("a", "no deflate") }]), "cannot be decompressed");
    let whole = zip(&[item("a", "some text that is long enough"), item("b", "x")]);
    for length in (4..whole.len()).step_by(7) {
        assert!(listed(whole[..length].to_vec()).is_err(), "cut off at {length}");
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    check_refused(zip(&[Item { flags: 1, ..item("a", "x") }]), "\"a\" is encrypted; pack it without a password");
    check_refused(zip(&[Item { method: Some(14), ..item("a", "x") }]), "is packed by method 14");
    check_refused(zip(&[item("dir\\file", "x")]), "has a backslash in its name");
    check_refused(zip(&[item("../../etc/x", "x")]), "has \"..\" in its path");
    check_refused(
        zip(&[Item { mode: Some(0o060_644), ..item("dev", "") }]),
        "is neither a file, nor a folder, nor a symbolic link",
    );
    check_refused(zip(&[]), "the archive is empty");
}

#[test]
fn what_becomes_too_much_is_refused() {
    let limits = Limits { layer_max_bytes: 10, layer_max_entries: 2, ..Limits::default() };
    let read = |items: &[Item]| {
        Checked::read(Cursor::new(zip(items)), &std::env::temp_dir(), &limits).map(|_| ()).map_err(|e| e.to_string())
    };
    assert!(read(&[item("a", "0123456789")]).is_ok());
    assert!(read(&[item("a", "0123456789x")]).unwrap_err().contains("more than 10 bytes"));
    assert!(read(&[item("a", ""), item("b", ""), item("c", "")]).unwrap_err().contains("more than 2 entries"));
    let limits = Limits { ratio_free_bytes: 1000, ..Limits::default() };
    let bomb = zip(&[item("zeros", &"0".repeat(1_000_000))]);
    let error = Checked::read(Cursor::new(bomb), &std::env::temp_dir(), &limits).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("250 bytes unpacked per byte packed"), "{error}");
}

/// Whatever bytes change, the answer is an archive or an error.
#[test]
fn damaged_zip_files_are_refused_or_read_and_never_worse() {
    let whole =
        zip(&[item("d/", ""), Item { zip64: true, ..item("d/a", "text") }, Item { mode: Some(0o120_777), ..item("l", "d") }]);
    let limits = Limits { layer_max_bytes: 1 << 20, layer_max_entries: 100, ..Limits::default() };
    let mut bad = 0;
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            bad += u32::from(Checked::read(Cursor::new(damaged), &std::env::temp_dir(), &limits).is_err());
        }
    }
    assert!(bad > 100, "{bad}");
}
