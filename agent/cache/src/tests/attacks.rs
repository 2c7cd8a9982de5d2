//! What strangers put, and what they make of what they mount.

use super::*;
use std::os::unix::fs::symlink;

fn refused(archive: Tar, expect: &str) {
    let cache = cache();
    let outside = cache.folder.path().join("outside");
    std::fs::write(&outside, "untouched").expect("a file");
    let error = cache.put(&archive.end()).expect_err("refused").to_string();
    assert!(error.contains(expect), "{error:?} does not say {expect:?}");
    assert_eq!(cache.listed(), Vec::<String>::new());
    assert_eq!(names(cache.folder.path()), ["outside", "work"]);
    assert_eq!(std::fs::read(outside).expect("a file"), b"untouched");
    cache.is_at_rest();
}

#[test]
fn archives_stay_within() {
    refused(tar().file("../outside", b"x"), "has \"..\" in it");
    refused(tar().file("a/../../../outside", b"x"), "has \"..\" in it");
    refused(tar().file("/etc/outside", b"x"), "is absolute");
    refused(tar().hard_link("a", "../outside"), "has \"..\" in it");
    refused(tar().hard_link("a", "/etc/passwd"), "is absolute");
    refused(tar().hard_link("a", "not-there"), "does not come before it");
    refused(tar().link("a", "/etc/passwd").hard_link("b", "a"), "no file");
    refused(tar().folder("d", 0o755).hard_link("b", "d"), "no file");
    refused(tar().file("a", b"").hard_link("a", "a"), "no file");
    refused(tar().link("up", "../../..").file("up/outside", b"x"), "a symbolic link and something else");
    refused(tar().special("p", 0o644, Kind::Fifo, ""), "is a named pipe");
    refused(tar().special("n", 0o666, Kind::CharDevice { major: 1, minor: 3 }, ""), "is a device");
    refused(tar().special("s", 0o666, Kind::BlockDevice { major: 8, minor: 0 }, ""), "is a device");
    refused(tar().file(".", b"x"), "is the cache itself");
    refused(tar().file([b'a'; 300], b""), "more than 255 bytes");
    refused(tar().file("ab/".repeat(300) + "x", b""), "256 folders");
    refused(tar().file(vec![b"a".repeat(200); 21].join(&b'/'), b""), "4095 bytes");
}

#[test]
fn headers_that_lie_are_refused() {
    let mut larger = tar().file("a", &[1; 600]).0;
    larger[124..136].copy_from_slice(b"77777777777\0");
    puts::seal(&mut larger[..512]);
    let cache = cache();
    let error = cache.put(&Tar(larger).end()).expect_err("refused").to_string();
    assert!(error.contains("more than 1073741824 bytes"), "{error}");
    cache.is_at_rest();
    // A sparse file that says to be huge, of four bytes.
    let mut sparse = tar().file("sparse", b"data").0;
    sparse[156] = b'S';
    sparse[386..398].copy_from_slice(b"00000000000\0");
    sparse[398..410].copy_from_slice(b"00000000004\0");
    sparse[483..495].copy_from_slice(b"77777777777\0");
    puts::seal(&mut sparse[..512]);
    let error = cache.put(&Tar(sparse).end()).expect_err("refused").to_string();
    assert!(error.contains("more than 1073741824 bytes"), "{error}");
    cache.is_at_rest();
}

#[test]
fn setuid_and_setgid_bits_are_dropped() {
    let cache = cache();
    cache.put(&tar().folder("d", 0o7777).file_of("su", 0o6755, b"x").end()).expect("a put");
    assert_eq!(cache.listed(), ["Folder 1777 0 d", "File 0755 1 su"]);
}

#[test]
fn any_name_that_a_file_can_have_is_listed_and_compared() {
    let cache = cache();
    let names = [&b"line\nbreak"[..], b"\xff\xfe", b"100%", b"--", b" ", b"\x1b[2J", b"*", "文".as_bytes()];
    let archive = names.iter().fold(tar(), |tar, name| tar.file(name, name));
    assert_eq!(cache.put(&archive.end()).expect("a put").files, 8);
    assert_eq!(cache.listed().len(), 8);
    let cache = cache.reopened();
    cache.put_file("more", b"x").expect("a put that joins them");
    assert_eq!(cache.listed().len(), 9);
}

#[test]
fn links_in_a_cache_are_never_followed() {
    let cache = cache();
    let outside = cache.folder.path().join("outside");
    std::fs::create_dir(&outside).expect("a folder");
    std::fs::write(outside.join("passwd"), "root").expect("a file");
    let target = outside.to_string_lossy().into_owned();
    cache.put(&tar().link("etc", &target).link("pw", &format!("{target}/passwd")).end()).expect("a put");
    assert!(cache.put_file("etc/passwd", b"evil").is_err());
    assert!(cache.put(&tar().folder("etc", 0o777).file("etc/passwd", b"evil").end()).is_err());
    // A link in a file's place is replaced, not written through.
    cache.put_file("pw", b"evil").expect("a put");
    assert_eq!(std::fs::read(outside.join("passwd")).expect("a file"), b"root");
    assert_eq!(cache.listed(), ["Link 0777 0 etc", "File 0644 4 pw"]);
}

#[test]
fn a_folder_that_becomes_a_link_between_two_puts_leads_nowhere() {
    let cache = cache();
    let outside = cache.folder.path().join("outside");
    std::fs::create_dir(&outside).expect("a folder");
    cache.put(&tar().file("d/a", b"a").end()).expect("a put");
    // A container that may write does so.
    std::fs::remove_dir_all(cache.files().join("d")).expect("removed");
    symlink(&outside, cache.files().join("d")).expect("a link");
    assert!(cache.put_file("d/b", b"evil").is_err());
    assert_eq!(names(&outside), Vec::<String>::new());
    cache.store.rescan().expect("a list");
    assert_eq!(cache.listed(), ["Link 0777 0 d"]);
}

#[test]
fn what_a_writer_leaves_is_listed_without_waiting_for_it() {
    let cache = cache();
    cache.put_file("a", b"a").expect("a put");
    let pipe = cache.files().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o644.into(), 0).expect("a pipe");
    cache.store.rescan().expect("a list");
    assert_eq!(cache.listed(), ["File 0644 1 a", "Special 0644 0 pipe"]);
    cache.put_file("b", b"b").expect("a put that joins them");
    assert_eq!(cache.listed().len(), 3);
}

#[test]
fn folders_without_end_are_removed_all_the_same() {
    let cache = cache();
    let mut folder = rustix::fs::open(cache.files(), rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).expect("a folder");
    rustix::fs::mkdirat(&folder, ".removed-1", 0o755.into()).expect("a folder in the way");
    // More than a process may have descriptors.
    for _ in 0..1100 {
        rustix::fs::mkdirat(&folder, "d", 0o755.into()).expect("a folder");
        folder = rustix::fs::openat(&folder, "d", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).expect("a folder");
    }
    drop(folder);
    assert!(cache.store.rescan().is_err_and(|error| error.to_string() == "it has more than 256 folders within folders"));
    Store::remove(&cache.path()).expect("removed");
    assert_eq!(names(cache.folder.path()), Vec::<String>::new());
}

/// While one exchanges a folder for a link that leads out, again and again, others walk through it.
#[test]
fn a_link_that_comes_and_goes_leads_nowhere() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use std::sync::atomic::{AtomicBool, Ordering};
    let cache = cache();
    let outside = cache.folder.path().join("outside");
    std::fs::create_dir(&outside).expect("a folder");
    std::fs::write(outside.join("secret"), "of the host").expect("a file");
    cache.put(&tar().file("d/a", b"a").end()).expect("a put");
    let (folder, link) = (cache.files().join("d"), cache.folder.path().join("link"));
    symlink(&outside, &link).expect("a link");
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE).expect("exchanged");
            }
        });
        for _ in 0..300 {
            let list = crate::scan(open(&cache.files()), crate::Mounts::Enter);
            // It may well be neither for a moment: then it is an error, and not a list of what is outside.
            let has_secret = list.is_ok_and(|list| list.iter().any(|entry| entry.path.contains("secret")));
            assert!(!has_secret, "the walk was led out");
            let _ = cache.store.verify();
            // Joins what is there with what is put: into the folder, or not at all.
            let staged = cache.store.stage_file(b"d/evil", 0o644, b"evil".as_slice(), cache.budget()).expect("staged");
            let _ = crate::merge::move_into(&staged.items, &open(&staged.folder().join("files")), &open(&cache.files()));
        }
        is_done.store(true, Ordering::Relaxed);
    });
    assert_eq!(names(&outside), ["secret"]);
}

fn open(folder: &Path) -> std::os::fd::OwnedFd {
    std::fs::File::open(folder).expect("a folder").into()
}
