//! What archives become, and what they must not.

use super::super::error::LayerError;
use super::super::limits::Limits;
use super::super::unpack::tar::Archive;
use super::super::unpack::{Summary, unpack};
use super::tarball::{Tarball, header, seal};
use super::{SMALL, chain, listing};
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use tempfile::TempDir;

/// Unpacks into a folder of its own, with a witness beside it that no archive may touch.
fn unpack_bytes(bytes: &[u8], limits: &Limits) -> (TempDir, Result<Summary, LayerError>) {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("outside")).unwrap();
    std::fs::write(folder.path().join("outside/witness"), "untouched").unwrap();
    std::fs::create_dir(folder.path().join("diff")).unwrap();
    let root = File::open(folder.path().join("diff")).unwrap().into();
    let result = unpack(Archive::new(bytes), root, limits);
    assert_eq!(listing(&folder.path().join("outside")), ["f 644 witness \"untouched\""]);
    (folder, result)
}

fn accepts(archive: Tarball, expect: &[&str]) -> (TempDir, Summary) {
    accepts_bytes(&archive.finish(), expect)
}

fn accepts_bytes(archive: &[u8], expect: &[&str]) -> (TempDir, Summary) {
    let (folder, result) = unpack_bytes(archive, &SMALL);
    let summary = result.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(listing(&folder.path().join("diff")), expect);
    (folder, summary)
}

fn refuses(archive: Tarball, expect: &str) {
    refuses_bytes(&archive.finish(), expect);
}

fn refuses_bytes(archive: &[u8], expect: &str) {
    let (_folder, result) = unpack_bytes(archive, &SMALL);
    assert_eq!(chain(&result.expect_err("refused")), expect);
}

#[test]
fn the_usual_entries_become_what_they_say() {
    let archive = Tarball::new()
        .dir("./", 0o755)
        .dir("./bin/", 0o755)
        .entry(b"./bin/su", b'0', 0o4755, b"", b"run")
        .symlink("bin/sh", "su")
        .hard_link("bin/login", "bin/su")
        .dir("tmp", 0o1777)
        .entry(b"run/pipe", b'6', 0o620, b"", b"")
        .file("empty", "");
    let expect = [
        "d 755 bin",
        "f 4755 bin/login \"run\"",
        "l bin/sh -> su",
        "f 4755 bin/su \"run\"",
        "f 644 empty \"\"",
        "d 755 run",
        "p 620 run/pipe",
        "d 1777 tmp",
    ];
    let (folder, summary) = accepts(archive, &expect);
    let path = |name: &str| folder.path().join("diff").join(name);
    assert_eq!(path("bin/su").metadata().unwrap().ino(), path("bin/login").metadata().unwrap().ino());
    for name in ["", "bin", "bin/su", "bin/sh", "tmp", "run/pipe"] {
        assert_eq!(path(name).symlink_metadata().unwrap().mtime(), 1_700_000_000, "{name}");
    }
    assert_eq!((summary.entries, summary.content_bytes), (8, 3));
    assert_eq!(summary.implicit.into_iter().collect::<Vec<_>>(), [b"run".to_vec()]);
}

#[test]
fn names_are_bytes_and_may_be_long() {
    accepts(Tarball::new().entry(b"caf\xe9", b'0', 0o600, b"", b"1"), &["f 600 caf\\xe9 \"1\""]);
    let long = format!("{}/{}", "a".repeat(200), "b".repeat(250));
    let listed = [format!("d 755 {}", "a".repeat(200)), format!("f 644 {long} \"1\"")];
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    accepts(Tarball::new().pax(&[("path", long.as_bytes())]).file("short", "1"), &listed);
    let gnu = |archive: Tarball| archive.entry(b"././@LongLink", b'L', 0o644, b"", format!("{long}\0").as_bytes());
    accepts(gnu(Tarball::new()).file("short", "1"), &listed);
    let mut split = header(b"file", b'0', 0o644, b"", 0);
    split[345..349].copy_from_slice(b"long");
    seal(&mut split);
    accepts(Tarball::new().raw(&split), &["d 755 long", "f 644 long/file \"\""]);
    let target = "t".repeat(300);
    let link = format!("l s -> {target}");
    accepts(Tarball::new().pax(&[("linkpath", target.as_bytes())]).symlink("s", "short"), &[&link]);
    accepts(Tarball::new().entry(b"././@LongLink", b'K', 0o644, b"", target.as_bytes()).symlink("s", "short"), &[&link]);
    let too_long = vec![b'n'; 256];
    let (_folder, result) = unpack_bytes(&Tarball::new().pax(&[("path", &too_long)]).file("short", "1").finish(), &SMALL);
    let error = chain(&result.expect_err("no file system has such a name"));
    assert!(error.contains("cannot make \"nnn") && error.ends_with("File name too long (os error 36)"), "{error}");
}

#[test]
fn extended_headers_win_over_the_header() {
    let (folder, _) = accepts(
        Tarball::new().pax(&[("size", b"3"), ("mtime", b"1600000000.25"), ("comment", b"x = y")]).file("f", "abc"),
        &["f 644 f \"abc\""],
    );
    let meta = folder.path().join("diff/f").metadata().unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_600_000_000, 250_000_000));
    accepts(
        Tarball::new().entry(b"pax_global_header", b'g', 0o644, b"", b"16 comment=abcd\n").file("f", "1"),
        &["f 644 f \"1\""],
    );
    refuses(
        Tarball::new().entry(b"x", b'x', 0o644, b"", b"99 path=a\n").file("f", ""),
        "its archive has a malformed extended header; build the image again",
    );
    refuses(
        Tarball::new().pax(&[("size", b"-1")]).file("f", ""),
        "its archive has a bad number in an extended header; build the image again",
    );
    refuses(
        Tarball::new().pax(&[("uid", b"4294967295")]).file("f", ""),
        "its archive has an entry of owner or group 4294967295, which no system has; build the image again",
    );
    let huge = header(b"x", b'x', 0o644, b"", 2 << 20);
    refuses(Tarball::new().raw(&huge), "its archive has an extended header of more than 1 MiB; build the image again");
}

#[test]
fn later_entries_win() {
    accepts(Tarball::new().file("f", "one").file("f", "two"), &["f 644 f \"two\""]);
    accepts(Tarball::new().file("f", "one").symlink("f", "x"), &["l f -> x"]);
    accepts(Tarball::new().symlink("f", "x").file("f", "two"), &["f 644 f \"two\""]);
    accepts(Tarball::new().file("f", "one").dir("f/", 0o700), &["d 700 f"]);
    accepts(Tarball::new().dir("d/", 0o755).file("d/a/b", "1").dir("d/", 0o700), &["d 700 d", "d 755 d/a", "f 644 d/a/b \"1\""]);
    // A folder that gives way to a file goes with all that was in it, and with what was remembered of it.
    let (_folder, summary) =
        accepts(Tarball::new().file("d/a/b", "1").file("d/c", "2").file("d", "now a file"), &["f 644 d \"now a file\""]);
    assert_eq!(summary.implicit.into_iter().collect::<Vec<_>>(), [b"".to_vec()]);
    let relinked = Tarball::new().file("a", "1").hard_link("b", "a").file("b", "2");
    accepts(relinked, &["f 644 a \"1\"", "f 644 b \"2\""]);
}

#[test]
fn nothing_reaches_outside() {
    refuses(
        Tarball::new().file("../outside/witness", "x"),
        "its entry \"../outside/witness\" has \"..\" in its path; build the image without it",
    );
    refuses(
        Tarball::new().file("a/../../outside/witness", "x"),
        "its entry \"a/../../outside/witness\" has \"..\" in its path; build the image without it",
    );
    refuses(
        Tarball::new().hard_link("h", "../outside/witness"),
        "its entry \"h\" has \"..\" in its path; build the image without it",
    );
    accepts(Tarball::new().file("/etc/passwd", "x"), &["d 755 etc", "f 644 etc/passwd \"x\""]);
    accepts(Tarball::new().file("a", "1").hard_link("h", "/a"), &["f 644 a \"1\"", "f 644 h \"1\""]);
    let below = |name: &str| {
        format!(
            "its entry \"{name}\" lies below \"{}\", which is no folder in this layer; build the image without it",
            name.split('/').next().unwrap()
        )
    };
    refuses(Tarball::new().symlink("l", "../outside").file("l/witness", "x"), &below("l/witness"));
    refuses(Tarball::new().symlink("l", "/nowhere").file("l/witness", "x"), &below("l/witness"));
    refuses(Tarball::new().file("f", "").file("f/g", "x"), &below("f/g"));
    refuses(
        Tarball::new().symlink("l", "l").file("l/g", "x"),
        "its entry \"l/g\" lies below symbolic links that lead in circles; build the image without it",
    );
    refuses(
        Tarball::new().symlink("l", "../outside").hard_link("h", "l/witness"),
        "its entry \"h\" is a hard link to \"l/witness\", which is no file in this layer; build the image without it",
    );
    refuses(
        Tarball::new().hard_link("h", "missing"),
        "its entry \"h\" is a hard link to \"missing\", which is no file in this layer; build the image without it",
    );
    refuses(
        Tarball::new().dir("d", 0o755).hard_link("h", "d"),
        "its entry \"h\" is a hard link to \"d\", which is no file in this layer; build the image without it",
    );
    refuses(
        Tarball::new().file("h", "").hard_link("h", "h"),
        "its entry \"h\" is a hard link to itself; build the image without it",
    );
    refuses(
        Tarball::new().pax(&[("path", b"a\0b")]).file("f", ""),
        "its entry \"a\\\\x00b\" has a NUL in its name; build the image without it",
    );
    refuses(
        Tarball::new().symlink(".", "x"),
        "its entry \".\" stands for the image's root and is no directory; build the image without it",
    );
}

#[test]
fn links_among_parents_are_followed_as_a_container_would() {
    let usr_merged = Tarball::new().dir("usr/lib", 0o755).symlink("lib", "usr/lib").file("lib/so", "1").dir("lib/sub", 0o700);
    let (_folder, summary) =
        accepts(usr_merged, &["l lib -> usr/lib", "d 755 usr", "d 755 usr/lib", "f 644 usr/lib/so \"1\"", "d 700 usr/lib/sub"]);
    assert_eq!(summary.implicit.into_iter().collect::<Vec<_>>(), [b"".to_vec(), b"usr".to_vec()]);
    let absolute = Tarball::new().dir("outside", 0o755).symlink("l", "/outside").file("l/witness", "mine");
    accepts(absolute, &["l l -> /outside", "d 755 outside", "f 644 outside/witness \"mine\""]);
    // Up from the root is the root.
    let climbing = Tarball::new().dir("outside", 0o755).symlink("l", "../../../outside").file("l/witness", "mine");
    accepts(climbing, &["l l -> ../../../outside", "d 755 outside", "f 644 outside/witness \"mine\""]);
    let through_file = Tarball::new().dir("d", 0o755).symlink("s", "d").file("s", "replaces the link");
    accepts(through_file, &["d 755 d", "f 644 s \"replaces the link\""]);
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_else() {
    accepts(Tarball::new().dir("d", 0o755).file("d/.wh.gone", ""), &["d 755 d", "w d/gone"]);
    accepts(Tarball::new().file(".wh.f", "").file("f", "new"), &["f 644 f \"new\""]);
    accepts(Tarball::new().file("f", "new").file(".wh.f", ""), &["f 644 f \"new\""]);
    accepts(Tarball::new().file(".wh.f", "").file(".wh.f", ""), &["w f"]);
    accepts(Tarball::new().file(".wh..wh.plnk", "").file(".wh..wh.aufs", ""), &[]);
    accepts(Tarball::new().dir(".wh.d/", 0o755), &["w d"]);
    let nothing = |name: &str| format!("its entry \"{name}\" is a whiteout of nothing; build the image without it");
    refuses(Tarball::new().file("d/.wh.", ""), &nothing("d/.wh."));
    refuses(Tarball::new().file("d/.wh..", ""), &nothing("d/.wh.."));
    refuses(Tarball::new().file("d/.wh...", ""), &nothing("d/.wh..."));
    refuses(Tarball::new().file(".wh.d/f", ""), "its entry \".wh.d/f\" lies below a whiteout; build the image without it");
    refuses(
        Tarball::new().file(".wh.f", "").hard_link("h", "f"),
        "its entry \"h\" is a hard link to \"f\", which is no file in this layer; build the image without it",
    );
}

#[test]
fn devices_and_attributes_of_overlayfs_do_not_come_in() {
    let mut whiteout = header(b"fake", b'3', 0o644, b"", 0);
    whiteout[329..336].copy_from_slice(b"0000000");
    seal(&mut whiteout);
    let archive = Tarball::new().raw(&whiteout).entry(b"disk", b'4', 0o666, b"", b"").file("f", "1");
    let (_folder, summary) = accepts(archive, &["f 644 f \"1\""]);
    assert_eq!(summary.devices_left_out, 2);
    let tricks: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc/shadow"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"system_u:object_r:etc_t"),
        ("SCHILY.xattr.user.kept", b"yes"),
    ];
    let (folder, _) = accepts(Tarball::new().pax(tricks).dir("d", 0o755), &["d 755 d"]);
    let mut names = [0_u8; 256];
    let length = rustix::fs::listxattr(folder.path().join("diff/d"), &mut names[..]).unwrap();
    assert_eq!(names[..length].escape_ascii().to_string(), "user.kept\\x00");
}

#[test]
fn limits_hold() {
    let mut many = Tarball::new();
    for number in 0..51 {
        many = many.file(&format!("f{number}"), "");
    }
    refuses(many, "has more than 50 entries; is it a bomb? if not, make the image smaller");
    refuses(
        Tarball::new().file("a/b/c/d/e/f/g/h/i/j/k/l/m", ""),
        "has more than 12 folders within folders; is it a bomb? if not, make the image smaller",
    );
    let path = vec![b"p".repeat(200); 11].join(&b'/');
    let long = [path.clone(), path].concat();
    assert!(long.len() > 4095);
    let (_folder, result) =
        unpack_bytes(&Tarball::new().pax(&[("path", &long)]).file("f", "").finish(), &Limits { depth_max: 100, ..SMALL });
    assert!(chain(&result.expect_err("too long")).contains("has a path of more than 4095 bytes"));
    let mut wordy = Tarball::new();
    for number in 0..30 {
        wordy = wordy.dir(&format!("{}{number:09}", "w".repeat(90)), 0o755);
    }
    let names = "has more than 2000 bytes of folders' names; is it a bomb? if not, make the image smaller";
    refuses(wordy, names);
    // Folders that nobody described count too.
    let mut deep = Tarball::new();
    for number in 0..10 {
        deep = deep.file(&format!("{number}/a/b/c/d/e/f"), "");
    }
    refuses(deep, "has more than 50 entries; is it a bomb? if not, make the image smaller");
}

#[test]
fn broken_archives_are_refused() {
    let whole = Tarball::new().file("a", "content").unfinished();
    accepts_bytes(&whole, &["f 644 a \"content\""]);
    refuses_bytes(&whole[..515], "its archive ends in the middle of a file; build the image again");
    refuses_bytes(&whole[..600], "its archive ends in the middle of a file; build the image again");
    refuses_bytes(&whole[..300], "its archive ends in the middle of a header; build the image again");
    accepts_bytes(&[], &[]);
    let trailing = [Tarball::new().file("a", "1").finish(), b"garbage".to_vec()].concat();
    refuses_bytes(&trailing, "its archive has data after its end; build the image again");
    let padded = [Tarball::new().file("a", "1").finish(), vec![0; 9000]].concat();
    accepts_bytes(&padded, &["f 644 a \"1\""]);
    let mut wrong_sum = header(b"a", b'0', 0o644, b"", 0);
    wrong_sum[0] = b'b';
    refuses_bytes(&wrong_sum, "its archive has a header with a wrong checksum; build the image again");
    refuses_bytes(&[b'x'; 512], "its archive has a header with a bad checksum; build the image again");
    refuses(
        Tarball::new().entry(b"s", b'S', 0o644, b"", b""),
        "its archive has a sparse file, which is not supported (build the image without tar's --sparse); build the image again",
    );
    refuses(
        Tarball::new().pax(&[("GNU.sparse.major", b"1")]).file("s", ""),
        "its archive has a sparse file, which is not supported (build the image without tar's --sparse); build the image again",
    );
    refuses(
        Tarball::new().entry(b"odd", b'Q', 0o644, b"", b""),
        "its archive has an entry \"odd\" of unknown type 'Q'; build the image again",
    );
}

#[test]
fn numbers_beyond_octal() {
    let with_size = |field: &[u8; 12]| {
        let mut block = header(b"big", b'0', 0o644, b"", 0);
        block[124..136].copy_from_slice(field);
        seal(&mut block);
        Tarball::new().raw(&block)
    };
    let small = with_size(b"\x80\0\0\0\0\0\0\0\0\0\0\x01").raw(&[b'x'; 1]).raw(&[0; 511]);
    accepts(small, &["f 644 big \"x\""]);
    refuses(
        with_size(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"),
        "its archive has a file of an impossible size; build the image again",
    );
    refuses(
        with_size(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        "its archive has a header with a bad size; build the image again",
    );
    refuses(with_size(b"12345678999\0"), "its archive has a header with a bad size; build the image again");
}

#[test]
fn random_damage_does_no_harm() {
    let honest = Tarball::new()
        .dir("./", 0o755)
        .dir("etc", 0o755)
        .file("etc/passwd", "root")
        .pax(&[("path", b"etc/long"), ("SCHILY.xattr.user.x", b"1")])
        .file("short", &"content ".repeat(100))
        .entry(b"././@LongLink", b'K', 0o644, b"", b"passwd\0")
        .symlink("etc/link", "x")
        .hard_link("etc/hard", "etc/passwd")
        .file("etc/.wh.gone", "")
        .file("a/b/c", "d")
        .finish();
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut archive = honest.clone();
        for _ in 0..random.usize(1..12) {
            let at = random.usize(..archive.len());
            archive[at] = if random.bool() { random.u8(..) } else { *random.choice(b"./\x00017Lx-").unwrap() };
        }
        // Sums are made right again, or nothing but they would be tried.
        for block in archive.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
            seal(block.try_into().unwrap());
        }
        archive.truncate(random.usize(archive.len() / 2..=archive.len()));
        // Whether it is refused or not, the witness beside the folder is what counts; and no panic, and an end.
        let _ = unpack_bytes(&archive, &SMALL);
    }
}
