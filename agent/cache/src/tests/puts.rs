//! What a put makes of a cache.

use super::*;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;

#[test]
fn files_folders_and_links_are_there_as_they_were_put() {
    let cache = cache();
    let archive =
        tar().folder("bin", 0o750).file_of("bin/run", 0o755, b"#!/bin/sh\n").link("latest", "bin/run").file("a/b/deep", b"x");
    let counts = cache.put(&archive.end()).expect("a put");
    assert_eq!(counts, Counts { files: 2, bytes: 11, folders: 3, links: 1, specials: 0 });
    let expect = ["Folder 0755 0 a", "Folder 0755 0 a/b", "File 0644 1 a/b/deep", "Folder 0750 0 bin", "File 0755 10 bin/run"];
    assert_eq!(cache.listed()[..5], expect);
    assert_eq!(cache.listed()[5], "Link 0777 0 latest");
    cache.is_at_rest();
    let cache = cache.reopened();
    assert_eq!(cache.store.counts(), counts);
    assert_eq!(Store::notes(&cache.path()).expect("notes"), b"notes");
}

#[test]
fn a_second_put_joins_the_first_and_replaces_files() {
    let cache = cache();
    cache.put(&tar().folder("a", 0o700).file("a/one", b"1").file("two", b"2").link("l", "two").end()).expect("a put");
    cache.put(&tar().file("a/new", b"new").file("two", b"changed").file("l", b"a file now").end()).expect("a put");
    cache.put_file("a/x/y", b"one file").expect("a put");
    cache.put_below("a/x", &tar().folder(".", 0o755).file("./z", b"z").end()).expect("a put");
    let expect = [
        // It was described once, and later puts only went through it.
        "Folder 0700 0 a",
        "File 0644 3 a/new",
        "File 0644 1 a/one",
        "Folder 0755 0 a/x",
        "File 0644 8 a/x/y",
        "File 0644 1 a/x/z",
        "File 0644 10 l",
        "File 0644 7 two",
    ];
    assert_eq!(cache.listed(), expect);
    assert_eq!(std::fs::read(cache.files().join("two")).expect("a file"), b"changed");
    cache.is_at_rest();
}

#[test]
fn of_two_files_with_one_name_the_later_counts() {
    let cache = cache();
    cache.put(&tar().file("a", b"first").link("b", "a").file("a", b"second one").file("b", b"b").end()).expect("a put");
    assert_eq!(cache.listed(), ["File 0644 10 a", "File 0644 1 b"]);
    cache.is_at_rest();
}

#[test]
fn hard_links_of_one_archive_stay_links() {
    let cache = cache();
    cache.put(&tar().file("a", b"shared").hard_link("d/b", "a").hard_link("c", "./d/b").end()).expect("a put");
    assert_eq!(cache.listed(), ["File 0644 6 a", "File 0644 6 c", "Folder 0755 0 d", "File 0644 6 d/b"]);
    assert_eq!(cache.files().join("a").metadata().expect("a file").nlink(), 3);
}

#[test]
fn owners_of_a_container_are_kept_and_others_are_not() {
    let cache = cache();
    let entry = |path: &str, uid, gid| coord_tar::Entry { path: path.into(), uid, gid, mode: 0o644, ..Default::default() };
    cache.put(&tar().entry(&entry("app", 1000, 100), b"").entry(&entry("big", 1_000_000, 65535), b"").end()).expect("a put");
    let owner = |name: &str| cache.files().join(name).metadata().map(|meta| (meta.uid(), meta.gid())).expect("a file");
    assert_eq!((owner("app"), owner("big")), ((1000, 100), (0, 65535)));
}

#[test]
fn holes_are_holes_and_count_as_what_is_read() {
    let cache = cache();
    // GNU tar, old form: four pieces in the header, here one at the very end of 4 MiB.
    let mut archive = tar().file("sparse", b"data").0;
    archive[156] = b'S';
    archive[257..265].copy_from_slice(b"ustar  \0");
    archive[386..398].copy_from_slice(b"00017777774\0");
    archive[398..410].copy_from_slice(b"00000000004\0");
    archive[483..495].copy_from_slice(b"00020000000\0");
    seal(&mut archive[..512]);
    let counts = cache.put(&Tar(archive).end()).expect("a put");
    assert_eq!(counts.bytes, 4 << 20);
    let meta = cache.files().join("sparse").metadata().expect("a file");
    assert!(meta.len() == 4 << 20 && meta.blocks() < 100, "{} blocks", meta.blocks());
    assert_eq!(cache.store.verify().expect("verified").sampled, 1);
}

/// Makes a header's checksum right.
pub(super) fn seal(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn the_quota_is_reached_and_not_passed() {
    let archive = |bytes: usize| tar().file("a", b"12345").file("b", &vec![b'x'; bytes]).end();
    assert!(cache_of(10).put(&archive(5)).is_ok());
    let cache = cache_of(10);
    let error = cache.put(&archive(6)).expect_err("one byte too much");
    assert_eq!(error.to_string(), "this is more than 10 bytes");
    assert_eq!(cache.listed(), Vec::<String>::new());
    cache.is_at_rest();
    assert!(cache.put_file("f", &[0; 11]).is_err_and(|error| matches!(error, CacheError::OverQuota { .. })));
    assert!(cache.put_file("f", &[0; 10]).is_ok());
    cache.is_at_rest();
    let many = (0..1001).fold(tar(), |tar, number| tar.file(format!("f{number}"), b""));
    assert!(cache.put(&many.end()).is_err_and(|error| error.to_string() == "this is more than 1000 paths"));
    cache.is_at_rest();
}

#[test]
fn what_ends_early_leaves_nothing() {
    let cache = cache();
    cache.put_file("before", b"1").expect("a put");
    let archive = tar().file("a", b"1").file("b", &[7; 2000]).end();
    for length in [100, 512, 515, 1600, 2600] {
        let result = cache.put(&archive[..length]);
        // A stream that ends where an entry would begin is whole: some writers leave the end mark out.
        assert!(length == 512 || result.is_err(), "{length}");
    }
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        }
    }
    let start = &archive[..1030];
    let staged = cache.store.stage_archive(b"", start.chain(Broken), cache.budget());
    assert!(staged.is_err_and(|error| error.to_string() == "the files ended before all had come"));
    let staged = cache.store.stage_file(b"c", 0o644, b"half".as_slice().chain(Broken), cache.budget());
    assert!(staged.is_err());
    assert_eq!(cache.listed(), ["File 0644 1 before"]);
    cache.is_at_rest();
}

#[test]
fn a_file_and_a_folder_do_not_take_each_others_place() {
    let cache = cache();
    cache.put(&tar().file("folder/a", b"a").file("file", b"f").link("link", "folder").end()).expect("a put");
    let check = |result: Result<Counts, CacheError>, expect: &str| {
        assert_eq!(result.expect_err("refused").to_string(), expect);
        assert_eq!(cache.listed().len(), 4);
        cache.is_at_rest();
    };
    check(cache.put_file("folder", b"x"), "folder is a folder in the cache, and a file cannot take its place");
    check(
        cache.put(&tar().file("new", b"").folder("file", 0o755).end()),
        "file is a file in the cache, and a folder cannot take its place",
    );
    check(cache.put_file("link/x", b"x"), "link is a symbolic link in the cache, and a folder cannot take its place");
    check(cache.put_file("file/x", b"x"), "file is a file in the cache, and a folder cannot take its place");
    check(cache.put(&tar().file("n", b"").file("n/x", b"").end()), "n is a file and something else, too");
    check(cache.put(&tar().file("n/x", b"").file("n", b"").end()), "n is a folder and something else, too");
    check(cache.put_file("", b"x"), ". is the cache itself");
}

#[test]
fn whoever_mounts_a_generation_keeps_it() {
    let cache = cache();
    cache.put(&tar().file("a", b"old").file("same", b"same").end()).expect("a put");
    let old = cache.store.current();
    let in_use = BTreeSet::from([old]);
    let staged = cache.store.stage_file(b"a", 0o644, b"newer".as_slice(), cache.budget()).expect("staged");
    cache.store.commit(staged, &in_use).expect("a put");
    assert_eq!(std::fs::read(cache.store.files(old).join("a")).expect("the old one"), b"old");
    assert_eq!(std::fs::read(cache.files().join("a")).expect("the new one"), b"newer");
    assert_eq!(cache.store.list_of(old).expect("a list")[0].size, 3);
    assert_eq!(cache.store.amount(), Amount { bytes: 9 + 3, entries: 2 });
    // The next process finds it, as long as it is in use.
    let store = Store::open(&cache.path(), &in_use).expect("a store");
    assert_eq!(store.amount(), cache.store.amount());
    // What is replaced now was never in the old one, but nobody knows: it counts.
    let staged = store.stage_file(b"a", 0o644, b"newest".as_slice(), cache.budget()).expect("staged");
    store.commit(staged, &in_use).expect("a put");
    assert_eq!(store.amount(), Amount { bytes: 10 + 3 + 5, entries: 2 });
    let store = Store::open(&cache.path(), &in_use).expect("a store");
    assert_eq!(store.amount(), Amount { bytes: 10 + 3 + 5, entries: 2 });
    store.release(old);
    assert_eq!(store.amount(), Amount { bytes: 10, entries: 2 });
    cache.reopened().is_at_rest();
}

#[test]
fn two_puts_at_once_are_both_there() {
    let cache = cache();
    let stage = |path: &[u8]| cache.store.stage_file(path, 0o644, path, cache.budget()).expect("staged");
    let (one, other) = (stage(b"d/one"), stage(b"d/other"));
    cache.store.commit(other, &BTreeSet::new()).expect("a put");
    cache.store.commit(one, &BTreeSet::new()).expect("a put");
    assert_eq!(cache.listed(), ["Folder 0755 0 d", "File 0644 5 d/one", "File 0644 7 d/other"]);
    cache.is_at_rest();
}

#[test]
fn what_a_killed_process_left_is_removed() {
    let cache = cache();
    cache.put_file("kept", b"1").expect("a put");
    let parent = cache.folder.path();
    // Each is what the disk looks like when the process ends after one of the steps.
    std::fs::create_dir_all(cache.path().join("put/7/files/half")).expect("a put that was unpacked");
    std::fs::create_dir_all(cache.path().join("g/2/files")).expect("a generation that was not made current");
    std::fs::create_dir_all(cache.path().join("g/0/files")).expect("a generation that was not removed");
    std::fs::write(cache.path().join("current.new"), "2").expect("a number that was not renamed");
    std::fs::create_dir_all(parent.join(".new-half/g/0/files")).expect("a cache that was being made");
    std::fs::create_dir_all(parent.join(".gone-old-0/g/0/files/x")).expect("a cache that was being removed");
    assert_eq!(Store::recover(parent).expect("recovered"), ["work"]);
    let cache = cache.reopened();
    assert_eq!(cache.listed(), ["File 0644 1 kept"]);
    cache.is_at_rest();
    assert_eq!(names(cache.folder.path()), ["work"]);
    cache.put_file("more", b"2").expect("a put");
    assert_eq!(cache.listed().len(), 2);
    Store::remove(&cache.path()).expect("removed");
    assert_eq!(names(cache.folder.path()), Vec::<String>::new());
    Store::remove(&cache.path()).expect("removed is removed");
}

#[test]
fn one_file_alone_needs_no_generation_of_its_own() {
    let cache = cache();
    cache.put(&tar().file("d/a", b"a").file("d/b", b"b").end()).expect("a put");
    let generation = cache.store.current();
    cache.put_file("d/c", b"c").expect("a put");
    cache.put_file("d/a", b"changed").expect("a put");
    assert_eq!(cache.store.current(), generation);
    assert_eq!(cache.listed(), ["Folder 0755 0 d", "File 0644 7 d/a", "File 0644 1 d/b", "File 0644 1 d/c"]);
    cache.is_at_rest();
    // With a folder, or while somebody mounts it, it does.
    cache.put_file("e/x", b"x").expect("a put");
    assert!(cache.store.current() > generation);
    let (generation, in_use) = (cache.store.current(), BTreeSet::from([cache.store.current()]));
    let staged = cache.store.stage_file(b"d/a", 0o644, b"new".as_slice(), cache.budget()).expect("staged");
    cache.store.commit(staged, &in_use).expect("a put");
    assert_eq!(std::fs::read(cache.store.files(generation).join("d/a")).expect("the old one"), b"changed");
    assert!(cache.put_file("d", b"x").is_err());
    assert!(!cache.path().join("g").join(cache.store.current().to_string()).join("list.next").exists());
}

#[test]
fn a_process_killed_between_a_file_and_its_list_leaves_both_or_none() {
    for was_renamed in [false, true] {
        let cache = cache();
        cache.put(&tar().file("a", b"old").file("b", b"b").end()).expect("a put");
        let generation = cache.path().join("g").join(cache.store.current().to_string());
        let old = std::fs::read(generation.join("list")).expect("a list");
        cache.put_file("a", b"newer").expect("a put");
        // Back to the moment before the list was renamed, or to the one before the file was.
        std::fs::rename(generation.join("list"), generation.join("list.next")).expect("renamed");
        std::fs::write(generation.join("list"), old).expect("the old list");
        if !was_renamed {
            std::fs::write(generation.join("files/a"), "old").expect("the old file");
        }
        let cache = cache.reopened();
        let size = if was_renamed { 5 } else { 3 };
        assert_eq!(cache.listed(), [format!("File 0644 {size} a"), "File 0644 1 b".to_owned()]);
        assert_eq!(names(&generation), ["files", "list"]);
    }
}
