//! Archives as GNU tar writes them, in each of its formats, against the folder that they were made of.

use super::{Read, path_of, read};
use crate::Limits;
use crate::tests::chain;
use crate::tree::{Data, LayerWhat};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("usr/lib")).unwrap();
    std::fs::write(at("usr/lib/some.so"), vec![b's'; 3000]).unwrap();
    std::fs::set_permissions(at("usr/lib/some.so"), std::fs::Permissions::from_mode(0o4750)).unwrap();
    std::fs::hard_link(at("usr/lib/some.so"), at("usr/also.so")).unwrap();
    symlink("usr/lib", at("lib")).unwrap();
    // Data between holes, and a hole at the end; and in many pieces.
    let sparse = std::fs::File::create(at("sparse")).unwrap();
    sparse.write_all_at(b"in the middle", 500_000).unwrap();
    sparse.set_len(1_000_001).unwrap();
    let pieces = std::fs::File::create(at("pieces")).unwrap();
    for number in 0..40 {
        pieces.write_all_at(format!("piece {number}").as_bytes(), number * 65_536).unwrap();
    }
    folder
}

/// What the oldest formats cannot keep.
fn add_more(folder: &Path) {
    rustix::fs::mknodat(CWD, folder.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o620), 0).unwrap();
    let long = folder.join("n".repeat(90)).join("m".repeat(180));
    std::fs::create_dir_all(&long).unwrap();
    symlink("t".repeat(300), long.join("long-target")).unwrap();
    let early = Timespec { tv_sec: -86_400, tv_nsec: 0 };
    let times = Timestamps { last_access: early, last_modification: early };
    rustix::fs::utimensat(CWD, folder.join("lib"), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn pack(folder: &Path, options: &[&str]) -> Read {
    let packed =
        Command::new("tar").args(options).arg("-C").arg(folder).args(["-cf", "-", "."]).output().expect("tar is installed");
    assert!(packed.status.success(), "tar {options:?}: {}", String::from_utf8_lossy(&packed.stderr));
    read(&packed.stdout, &Limits::default()).unwrap_or_else(|error| panic!("tar {options:?}: {}", chain(&error)))
}

/// Entry by entry against the folder. Times are compared to the second: not all formats have more.
fn check(folder: &Path, options: &[&str], has_sparse: bool) {
    let read = pack(folder, options);
    let mut expanded = 0;
    for number in 0..read.tree.nodes.len() {
        let node = &read.tree.nodes[number];
        let path = path_of(&read.tree, number);
        let meta = folder.join(&path).symlink_metadata().unwrap_or_else(|error| panic!("{options:?}: {path}: {error}"));
        let first = if let LayerWhat::HardLink { to } = node.what { to as usize } else { number };
        let node = &read.tree.nodes[first];
        let attributes = node.attributes;
        assert_eq!((u32::from(attributes.mode), attributes.uid), (meta.mode() & 0o7777, meta.uid()), "{options:?}: {path}");
        assert_eq!(attributes.mtime_s, meta.mtime(), "{options:?}: {path}");
        if let LayerWhat::File { size, data, content } = node.what {
            assert!(meta.is_file() && size == meta.len(), "{options:?}: {path}");
            assert!(std::fs::read(folder.join(&path)).unwrap() == read.kept.contents[&content], "{options:?}: {path}");
            expanded += usize::from(matches!(data, Data::Expanded { .. }));
        }
        if let LayerWhat::Symlink { target } = node.what {
            let target = read.tree.bytes[target.range()].to_vec();
            assert_eq!(std::fs::read_link(folder.join(&path)).unwrap().as_os_str().as_encoded_bytes(), target);
        }
        assert_eq!(matches!(node.what, LayerWhat::Directory { .. }), meta.is_dir(), "{options:?}: {path}");
    }
    let names = Command::new("find").arg(folder).output().unwrap().stdout.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(read.tree.nodes.len(), names, "{options:?}: every name is there");
    assert_eq!(expanded, if has_sparse { 2 } else { 0 }, "{options:?}: {:?}", read.listing());
}

#[test]
fn every_format_of_gnu_tar_is_read() {
    let folder = folder();
    check(folder.path(), &["--format=v7"], false);
    check(folder.path(), &["--format=ustar"], false);
    add_more(folder.path());
    for format in ["gnu", "oldgnu", "posix"] {
        let format = format!("--format={format}");
        check(folder.path(), &[&format], false);
        check(folder.path(), &[&format, "--sparse"], true);
    }
    for version in ["0.0", "0.1", "1.0"] {
        check(folder.path(), &["--format=posix", "--sparse", &format!("--sparse-version={version}")], true);
    }
}

#[test]
fn attributes_are_read_as_gnu_tar_writes_them() {
    let folder = folder();
    let file = folder.path().join("usr/lib/some.so");
    rustix::fs::setxattr(&file, "user.note", b"= 1\n2", XattrFlags::empty()).unwrap();
    let read = pack(folder.path(), &["--format=posix", "--xattrs", "--xattrs-include=*"]);
    let holder = |path: &str| read.tree.bytes[read.node(path).attributes.xattrs.range()].to_vec();
    // The first name in the tree is the one that is described.
    assert_eq!(holder("usr/also.so").escape_ascii().to_string(), "\\t\\x05\\x00user.note= 1\\n2");
}
