//! Folders, packed, and read again as any reader of archives reads them.

use super::*;
use coord_tar::Archive;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

/// An entry and its content.
type Read = (Entry, Vec<u8>);

/// Packs a folder; what is in the archive, and what was said of it.
fn packed(folder: &Path) -> (Vec<Read>, Result<Vec<String>, PackError>) {
    let (sender, mut pieces) = mpsc::channel(1);
    let folder = folder.to_owned();
    let packing = std::thread::spawn(move || pack(&folder, sender));
    let mut bytes = Vec::new();
    while let Some(Ok(piece)) = pieces.blocking_recv() {
        bytes.extend_from_slice(&piece);
    }
    let packed = packing.join().expect("no panic");
    let mut archive = Archive::new(&bytes[..]);
    let (mut entries, mut entry) = (Vec::new(), Entry::default());
    while packed.is_ok() && archive.next_entry(&mut entry).expect("a proper archive") {
        let mut content = Vec::new();
        loop {
            let piece = archive.content().expect("content").to_vec();
            if piece.is_empty() {
                break;
            }
            archive.consume(piece.len());
            content.extend_from_slice(&piece);
        }
        entries.push((entry.clone(), content));
    }
    (entries, packed)
}

fn shown(entries: &[Read]) -> Vec<String> {
    let line = |(entry, content): &Read| {
        let kind = if entry.kind == Kind::Directory {
            'd'
        } else if entry.kind == Kind::Symlink {
            'l'
        } else {
            '-'
        };
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        format!("{kind}{:04o} {path} {}{}", entry.mode, String::from_utf8_lossy(&entry.link), content.len())
    };
    entries.iter().map(line).collect()
}

#[test]
fn a_folder_is_packed_as_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("b/deep")).expect("made");
    fs::write(at("a"), b"12345").expect("written");
    fs::write(at("b/empty"), b"").expect("written");
    fs::write(at("b/deep/big"), vec![7; 3 * PIECE_BYTES + 1]).expect("written");
    let long = "n".repeat(200);
    fs::write(at(&long), b"long").expect("written");
    symlink("../nowhere", at("b/link")).expect("made");
    for (name, mode) in
        [("a", 0o4750), ("b", 0o700), ("b/deep", 0o1777), ("b/empty", 0o444), ("b/deep/big", 0o600), (&long, 0o644)]
    {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).expect("set");
    }
    let (entries, done) = packed(dir.path());
    assert!(done.expect("packed").is_empty());
    let expect = [
        "-4750 a 5".to_owned(),
        "d0700 b/ 0".to_owned(),
        "d1777 b/deep/ 0".to_owned(),
        format!("-0600 b/deep/big {}", 3 * PIECE_BYTES + 1),
        "-0444 b/empty 0".to_owned(),
        "l0777 b/link ../nowhere0".to_owned(),
        format!("-0644 {long} 4"),
    ];
    assert_eq!(shown(&entries), expect);
    assert!(entries[3].1.iter().all(|byte| *byte == 7));
}

#[test]
fn what_is_no_file_is_passed_over_and_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).expect("a socket");
    rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("made");
    fs::write(dir.path().join("file"), b"x").expect("written");
    let (entries, done) = packed(dir.path());
    assert_eq!(shown(&entries).len(), 1);
    assert_eq!(done.expect("packed"), ["pipe, a named pipe", "socket, a socket"]);
}

#[test]
fn an_empty_folder_is_an_empty_archive() {
    let dir = tempfile::tempdir().expect("a folder");
    let (entries, done) = packed(dir.path());
    assert!(entries.is_empty() && done.is_ok());
}

/// The archive is stopped in the middle of a file, which then loses its end.
#[test]
fn a_file_that_becomes_shorter_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("file");
    fs::write(&file, vec![1; 20 * PIECE_BYTES]).expect("written");
    let (sender, mut pieces) = mpsc::channel(1);
    let folder = dir.path().to_owned();
    let packing = std::thread::spawn(move || pack(&folder, sender));
    pieces.blocking_recv().expect("a piece").expect("no error");
    fs::File::options().write(true).open(&file).and_then(|file| file.set_len(10)).expect("cut");
    let mut last = Ok(Bytes::new());
    while let Some(piece) = pieces.blocking_recv() {
        last = piece;
    }
    assert!(last.is_err(), "what has arrived would be taken for all");
    let error = packing.join().expect("no panic").expect_err("shorter");
    assert!(matches!(&error, PackError::Shrunk { path } if path == "file"), "{error}");
}

#[test]
fn nobody_is_waited_for_who_takes_no_more() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("file"), vec![1; 20 * PIECE_BYTES]).expect("written");
    let (sender, pieces) = mpsc::channel(1);
    drop(pieces);
    assert!(matches!(pack(dir.path(), sender), Err(PackError::Gone)));
}

#[test]
fn what_is_missing_is_named() {
    let (_, done) = packed(Path::new("/nowhere/at/all"));
    let error = done.expect_err("nothing there");
    assert_eq!(error.to_string(), "cannot open /nowhere/at/all");
}
