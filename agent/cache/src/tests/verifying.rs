//! What is found when a cache is not what its list says.

use super::*;
use std::fs::{self, Permissions};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

/// A cache with a bit of everything, changed behind its back.
fn check(change: impl FnOnce(&Path), expect: &str) {
    let cache = cache();
    let large = vec![9; 3 << 20];
    let archive =
        tar().file("a/b.txt", b"0123456789").file("a/c.txt", b"c").link("l", "a").file("large", &large).file("z/z", b"");
    cache.put(&archive.end()).expect("a put");
    let verified = cache.store.verify().expect("nothing has changed yet");
    assert_eq!((verified.files, verified.folders, verified.links, verified.hashed, verified.sampled), (4, 2, 1, 3, 1));
    change(&cache.files());
    let list = cache.store.list_of(cache.store.current()).expect("a list");
    for has_no_devices in [false, true] {
        let files = fs::File::open(cache.files()).expect("a folder").into();
        match crate::compare::compare_with(&files, &list, crate::Mounts::Refuse, has_no_devices) {
            Err(error) => assert_eq!(error.to_string(), expect),
            Ok(_) => assert_eq!("nothing found", expect),
        }
    }
}

#[test]
fn the_first_difference_is_named() {
    check(
        |files| fs::write(files.join("a/b.txt"), "012345678x").unwrap(),
        "a/b.txt: its content differs (sha256 b97e4b4c5cb1..., not 84d89877f0d4...)",
    );
    check(|files| fs::write(files.join("a/b.txt"), "0123456789ab").unwrap(), "a/b.txt: it has 12 bytes, not 10");
    check(|files| fs::remove_file(files.join("a/c.txt")).unwrap(), "a/c.txt: it is missing");
    check(|files| fs::remove_dir_all(files.join("z")).unwrap(), "z: it is missing");
    check(|files| fs::remove_file(files.join("z/z")).unwrap(), "z/z: it is missing");
    check(|files| fs::write(files.join("a/bb"), "").unwrap(), "a/bb: it is not in the list");
    check(|files| fs::write(files.join("zz"), "").unwrap(), "zz: it is not in the list");
    check(|files| fs::create_dir(files.join("a-")).unwrap(), "a-: it is not in the list");
    check(
        |files| fs::set_permissions(files.join("a/b.txt"), Permissions::from_mode(0o600)).unwrap(),
        "a/b.txt: it has mode 0600, not 0644",
    );
    check(|files| fs::set_permissions(files.join("a"), Permissions::from_mode(0o777)).unwrap(), "a: it has mode 0777, not 0755");
    let swap = |files: &Path, name: &str, target: &str| {
        fs::rename(files.join(name), files.parent().unwrap().join("away")).unwrap();
        symlink(target, files.join(name)).unwrap();
    };
    check(|files| swap(files, "a/b.txt", "c.txt"), "a/b.txt: it is a symbolic link, not a file");
    check(|files| swap(files, "z", "a"), "z: it is a symbolic link, not a folder");
    check(|files| swap(files, "l", "/etc"), "l: it leads to /etc, not to a");
    let pipe = |files: &Path, name: &str| {
        fs::remove_file(files.join(name)).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, files.join(name), rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    };
    check(|files| pipe(files, "a/b.txt"), "a/b.txt: it is a pipe, socket or device, not a file");
    let socket = |files: &Path| {
        fs::remove_file(files.join("a/b.txt")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(files.join("a/b.txt")).unwrap());
    };
    check(socket, "a/b.txt: it is a pipe, socket or device, not a file");
    check(
        |files| fs::remove_file(files.join("l")).and_then(|()| fs::write(files.join("l"), "a")).unwrap(),
        "l: it is a file, not a symbolic link",
    );
}

#[test]
fn of_large_files_pieces_are_compared() {
    let at = |at: u64| {
        move |files: &Path| {
            use std::os::unix::fs::FileExt as _;
            fs::File::options().write(true).open(files.join("large")).unwrap().write_all_at(b"x", at).unwrap();
        }
    };
    let differs = |at_byte: u64| {
        let cache = cache();
        cache.put(&tar().file("large", &vec![9; 3 << 20]).end()).expect("a put");
        at(at_byte)(&cache.files());
        cache.store.verify().is_err()
    };
    assert!(differs(0) && differs((3 << 20) - 1), "both ends are in the sample");
    assert!(!differs(100_000), "what lies between pieces is not read");
}

#[test]
fn what_a_container_sees_is_found_from_its_root() {
    let cache = cache();
    cache.put(&tar().file("a", b"a").end()).expect("a put");
    let list = cache.store.list_of(cache.store.current()).expect("a list");
    let root = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(root.path().join("data/work")).unwrap();
    fs::copy(cache.files().join("a"), root.path().join("data/work/a")).unwrap();
    // As the container sees it, an absolute link begins at its own root.
    symlink("/data", root.path().join("link")).unwrap();
    let opened = fs::File::open(root.path()).unwrap();
    for path in ["/data/work", "/link/work", "/../../data/work"] {
        let folder = crate::visible_at(opened.as_fd(), path).expect("a folder");
        assert_eq!(crate::compare(&folder, &list, crate::Mounts::Refuse).expect("the same").files, 1);
    }
    assert!(crate::visible_at(opened.as_fd(), "/proc").is_err());
    assert!(crate::visible_at(opened.as_fd(), "/data/work/a").is_err());
}
