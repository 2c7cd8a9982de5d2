//! One archive: what is read from it, what is refused, and in which words.

use super::{Read, read};
use crate::Limits;
use crate::tests::tarball::{Tarball, header, seal};
use crate::tests::{SMALL, chain};

fn accepts(archive: Tarball, expect: &[&str]) -> Read {
    accepts_bytes(&archive.finish(), expect)
}

fn accepts_bytes(archive: &[u8], expect: &[&str]) -> Read {
    let read = read(archive, &SMALL).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(read.listing(), expect);
    read
}

fn refuses(archive: Tarball, expect: &str) {
    refuses_bytes(&archive.finish(), expect);
}

fn refuses_bytes(archive: &[u8], expect: &str) {
    match read(archive, &SMALL) {
        Ok(read) => panic!("accepted as {:?}", read.listing()),
        Err(error) => assert_eq!(chain(&error), expect),
    }
}

/// A header of one field changed.
fn patched(name: &[u8], flag: u8, at: usize, field: &[u8]) -> Tarball {
    let mut block = header(name, flag, 0o644, b"", 0);
    block[at..at + field.len()].copy_from_slice(field);
    seal(&mut block);
    Tarball::new().raw(&block)
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
        "d 755 .",
        "d 755 bin",
        "f 4755 bin/login \"run\"",
        "l bin/sh -> su",
        "h bin/su = bin/login",
        "f 644 empty \"\"",
        "d 755 run implied",
        "p 620 run/pipe",
        "d 1777 tmp",
    ];
    let read = accepts(archive, &expect);
    for name in [".", "bin", "bin/login", "bin/sh", "tmp", "run/pipe"] {
        assert_eq!(read.node(name).attributes.mtime_s, 1_700_000_000, "{name}");
    }
    assert_eq!((read.tree.entries, read.tree.content_bytes, read.tree.left_out), (8, 3, 0));
}

#[test]
fn names_are_bytes_and_may_be_long() {
    accepts(Tarball::new().entry(b"caf\xe9", b'0', 0o600, b"", b"1"), &["f 600 caf\\xe9 \"1\""]);
    let long = format!("{}/{}", "a".repeat(200), "b".repeat(250));
    let listed = [format!("d 755 {} implied", "a".repeat(200)), format!("f 644 {long} \"1\"")];
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    accepts(Tarball::new().pax(&[("path", long.as_bytes())]).file("short", "1"), &listed);
    let gnu = |archive: Tarball| archive.entry(b"././@LongLink", b'L', 0o644, b"", format!("{long}\0").as_bytes());
    accepts(gnu(Tarball::new()).file("short", "1"), &listed);
    accepts(patched(b"file", b'0', 345, b"long"), &["d 755 long implied", "f 644 long/file \"\""]);
    let target = "t".repeat(300);
    let link = format!("l s -> {target}");
    accepts(Tarball::new().pax(&[("linkpath", target.as_bytes())]).symlink("s", "short"), &[&link]);
    accepts(Tarball::new().entry(b"././@LongLink", b'K', 0o644, b"", target.as_bytes()).symlink("s", "short"), &[&link]);
    let name = "n".repeat(256);
    refuses(
        Tarball::new().pax(&[("path", name.as_bytes())]).file("short", "1"),
        &format!("its entry \"{name}\" has a name of more than 255 bytes; build the image without it"),
    );
    let huge = vec![b'n'; 100_000];
    refuses(
        Tarball::new().pax(&[("path", &huge)]).file("short", "1"),
        &format!("its entry \"{}...\" has a name of more than 255 bytes; build the image without it", "n".repeat(300)),
    );
    let target = "t/".repeat(2048);
    refuses(
        Tarball::new().pax(&[("linkpath", target.as_bytes())]).symlink("s", "x"),
        "its entry \"s\" is a symbolic link to a path of more than 4095 bytes; build the image without it",
    );
}

#[test]
fn extended_headers_win_over_the_header() {
    let read = accepts(
        Tarball::new().pax(&[("size", b"3"), ("mtime", b"1600000000.25"), ("comment", b"x = y")]).file("f", "abc"),
        &["f 644 f \"abc\""],
    );
    let attributes = read.node("f").attributes;
    assert_eq!((attributes.mtime_s, attributes.mtime_ns), (1_600_000_000, 250_000_000));
    // An empty value takes back what was said before.
    accepts(Tarball::new().pax(&[("path", b"a"), ("path", b"")]).file("f", ""), &["f 644 f \"\""]);
    refuses(
        Tarball::new().entry(b"x", b'x', 0o644, b"", b"99 path=a\n").file("f", ""),
        "its archive has a malformed extended header (at byte 0); build the image again",
    );
    refuses(
        Tarball::new().entry(b"x", b'x', 0o644, b"", b"0 path=a\n").file("f", ""),
        "its archive has a malformed extended header (at byte 0); build the image again",
    );
    refuses(
        Tarball::new().pax(&[("size", b"-1")]).file("f", ""),
        "its archive has the size \"-1\" in an extended header, which cannot be (at byte 0); build the image again",
    );
    let huge = header(b"x", b'x', 0o644, b"", 2 << 20);
    let too_large = "its archive has extended headers of more than 1 MiB for one entry; build the image again";
    refuses(Tarball::new().raw(&huge), too_large);
    // However many there are.
    let mut many = Tarball::new();
    for _ in 0..3 {
        many = many.pax(&[("comment", &vec![b'c'; 400_000])]);
    }
    refuses(many.file("f", ""), too_large);
}

#[test]
fn global_headers_hold_for_all_that_follow() {
    let global = |records: &[u8]| Tarball::new().entry(b"pax_global_header", b'g', 0o644, b"", records);
    accepts(global(b"16 comment=abcd\n").file("f", "1"), &["f 644 f \"1\""]);
    let archive = global(b"13 uid=70000\n16 mtime=1000.5\n").file("a", "").pax(&[("uid", b"5")]).file("b", "").file("c", "");
    let archive = archive.pax(&[("uid", b"")]).file("d", "");
    let read = accepts(archive, &["f 644 a \"\"", "f 644 b \"\"", "f 644 c \"\"", "f 644 d \"\""]);
    let own = rustix::process::geteuid().as_raw();
    for (name, uid) in [("a", 70_000), ("b", 5), ("c", 70_000), ("d", own)] {
        let attributes = read.node(name).attributes;
        assert_eq!((attributes.uid, attributes.mtime_s, attributes.mtime_ns), (uid, 1000, 500_000_000), "{name}");
    }
    for records in [&b"10 path=a\n"[..], b"14 linkpath=a\n", b"9 size=1\n", b"22 GNU.sparse.major=1\n"] {
        refuses(
            global(records).file("f", "1"),
            "its archive names or measures all entries at once in a global header (at byte 0); build the image again",
        );
    }
}

#[test]
fn times_are_kept_as_far_as_file_systems_keep_them() {
    let pax = |time: &str| Tarball::new().pax(&[("mtime", time.as_bytes())]).file("f", "").finish();
    let check = |archive: Vec<u8>, expect: (i64, u32)| {
        let attributes = accepts_bytes(&archive, &["f 644 f \"\""]).node("f").attributes;
        assert_eq!((attributes.mtime_s, attributes.mtime_ns), expect);
    };
    check(pax("-1.25"), (-2, 750_000_000));
    check(pax("-0.5"), (-1, 500_000_000));
    check(pax("1.1234567899"), (1, 123_456_789));
    check(pax("-9000000000.5"), (-2_147_483_648, 0));
    check(pax("9223372036854775807"), (15_032_385_535, 0));
    let binary = |field: &[u8]| patched(b"f", b'0', 136, field).finish();
    check(binary(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), (-2, 0));
    check(binary(b"\x80\0\0\0\0\0\0\x01\0\0\0\0"), (4_294_967_296, 0));
    check(binary(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), (15_032_385_535, 0));
    refuses_bytes(
        &binary(b"\x80\0\0\x01\0\0\0\0\0\0\0\0"),
        "its entry \"f\" has a time that cannot be; build the image without it",
    );
    for time in ["1.x", ".5", "1e9", "99999999999999999999"] {
        refuses_bytes(
            &pax(time),
            &format!(
                "its archive has the mtime {time:?} in an extended header, which cannot be (at byte 0); build the image again"
            ),
        );
    }
}

#[test]
fn owners_are_those_that_a_system_can_have() {
    let pax = |uid: &[u8]| Tarball::new().pax(&[("uid", uid)]).file("f", "");
    let read = accepts(pax(b"4294967294"), &["f 644 f \"\""]);
    assert_eq!(read.node("f").attributes.uid, 4_294_967_294);
    for uid in ["4294967295", "-2", "9000000000"] {
        refuses(
            pax(uid.as_bytes()),
            &format!("its entry \"f\" has the owner or group {uid}, which no system has; build the image without it"),
        );
    }
    let gid = |field: &[u8; 8]| patched(b"f", b'0', 116, field);
    assert_eq!(accepts(gid(b"\x80\0\0\0\x80\0\0\0"), &["f 644 f \"\""]).node("f").attributes.gid, 1 << 31);
    refuses(
        gid(b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        "its entry \"f\" has the owner or group -1, which no system has; build the image without it",
    );
    refuses(gid(b"nobody\0\0"), "its entry \"f\" has an owner or group that cannot be; build the image without it");
}

#[test]
fn later_entries_win() {
    accepts(Tarball::new().file("f", "one").file("f", "two"), &["f 644 f \"two\""]);
    accepts(Tarball::new().file("f", "one").symlink("f", "x"), &["l f -> x"]);
    accepts(Tarball::new().symlink("f", "x").file("f", "two"), &["f 644 f \"two\""]);
    accepts(Tarball::new().file("f", "one").dir("f/", 0o700), &["d 700 f"]);
    accepts(
        Tarball::new().dir("d/", 0o755).file("d/a/b", "1").dir("d/", 0o700),
        &["d 700 d", "d 755 d/a implied", "f 644 d/a/b \"1\""],
    );
    // A folder that gives way to a file goes with all that was in it, and does not come back with it.
    accepts(Tarball::new().file("d/a/b", "1").file("d/c", "2").file("d", "now a file"), &["f 644 d \"now a file\""]);
    accepts(
        Tarball::new()
            .file("d/a", "1")
            .file("d", "")
            .file("d2", "")
            .file("x/y", "")
            .file("x", "")
            .dir("x", 0o700)
            .dir("d", 0o755),
        &["d 755 d", "f 644 d2 \"\"", "d 700 x"],
    );
    let relinked = Tarball::new().file("a", "1").hard_link("b", "a").file("b", "2");
    accepts(relinked, &["f 644 a \"1\"", "f 644 b \"2\""]);
    let survives = Tarball::new().file("d/a", "1").hard_link("b", "d/a").file("d", "2");
    accepts(survives, &["f 644 b \"1\"", "f 644 d \"2\""]);
}

#[test]
fn nothing_reaches_outside() {
    let climbs = |name: &str| format!("its entry {name:?} has \"..\" in its path; build the image without it");
    refuses(Tarball::new().file("../outside", "x"), &climbs("../outside"));
    refuses(Tarball::new().file("a/../../outside", "x"), &climbs("a/../../outside"));
    refuses(Tarball::new().hard_link("h", "../outside"), &climbs("h"));
    accepts(Tarball::new().file("/etc/passwd", "x"), &["d 755 etc implied", "f 644 etc/passwd \"x\""]);
    accepts(Tarball::new().file("a", "1").hard_link("h", "/a"), &["f 644 a \"1\"", "h h = a"]);
    let below = |name: &str| {
        let folder = name.split('/').next().unwrap();
        format!("its entry {name:?} lies below {folder:?}, which is no folder in this layer; build the image without it")
    };
    refuses(Tarball::new().symlink("l", "../outside").file("l/witness", "x"), &below("l/witness"));
    refuses(Tarball::new().symlink("l", "/nowhere").file("l/witness", "x"), &below("l/witness"));
    refuses(Tarball::new().file("f", "").file("f/g", "x"), &below("f/g"));
    refuses(Tarball::new().file("g", "").symlink("l", "g").file("l/g", "x"), &below("l/g"));
    let circles =
        |name: &str| format!("its entry {name:?} lies below symbolic links that lead in circles; build the image without it");
    refuses(Tarball::new().symlink("l", "l").file("l/g", "x"), &circles("l/g"));
    refuses(Tarball::new().symlink("l", "m").symlink("m", "l").hard_link("h", "l/g"), &circles("h"));
    let path = format!("{}x", "l/".repeat(41));
    let archive = Tarball::new().symlink("l", ".").pax(&[("path", path.as_bytes())]).file("f", "x").finish();
    let error = read(&archive, &Limits { depth_max: 100, ..SMALL }).err().expect("no kernel would follow so many");
    assert_eq!(chain(&error), circles(&path));
    let no_file = |target: &str| {
        format!("its entry \"h\" is a hard link to {target:?}, which is no file in this layer; build the image without it")
    };
    refuses(Tarball::new().symlink("l", "../outside").hard_link("h", "l/witness"), &no_file("l/witness"));
    refuses(Tarball::new().dir("d", 0o755).hard_link("h", "d"), &no_file("d"));
    refuses(Tarball::new().hard_link("h", "/"), &no_file("/"));
    refuses(Tarball::new().file("f", "").hard_link("h", "f/g"), &no_file("f/g"));
    refuses(
        Tarball::new().file("h", "").hard_link("h", "h"),
        "its entry \"h\" is a hard link to itself; build the image without it",
    );
    refuses(
        Tarball::new().pax(&[("path", b"a\0b")]).file("f", ""),
        "its entry \"a\\\\x00b\" has a NUL in its name; build the image without it",
    );
    for empty in [&b""[..], b"a\0b"] {
        refuses(
            Tarball::new().pax(&[("linkpath", empty)]).symlink("s", ""),
            "its entry \"s\" is a symbolic link to nothing; build the image without it",
        );
    }
    refuses(
        Tarball::new().symlink(".", "x"),
        "its entry \".\" stands for the image's root and is no directory; build the image without it",
    );
}

#[test]
fn links_among_parents_are_followed_as_a_container_would() {
    let usr_merged = Tarball::new().dir("usr/lib", 0o755).symlink("lib", "usr/lib").file("lib/so", "1").dir("lib/sub", 0o700);
    accepts(
        usr_merged,
        &["l lib -> usr/lib", "d 755 usr implied", "d 755 usr/lib", "f 644 usr/lib/so \"1\"", "d 700 usr/lib/sub"],
    );
    let expect = |link: &str| [format!("l l -> {link}"), "d 755 there".to_owned(), "f 644 there/witness \"mine\"".to_owned()];
    // Up from the root is the root.
    for link in ["/there", "../../../there", "//there/./", "there/../there", "m/../there"] {
        let archive = Tarball::new().dir("there", 0o755).dir("m", 0o755).symlink("l", link).file("l/witness", "mine");
        let lines = expect(link);
        accepts(archive, &[&lines[0], "d 755 m", &lines[1], &lines[2]]);
    }
    let deep = Tarball::new().dir("a/b", 0o755).symlink("l", "a/b").symlink("a/b/up", "..").file("l/up/f", "1");
    accepts(deep, &["d 755 a implied", "d 755 a/b", "l a/b/up -> ..", "f 644 a/f \"1\"", "l l -> a/b"]);
    let through_file = Tarball::new().dir("d", 0o755).symlink("s", "d").file("s", "replaces the link");
    accepts(through_file, &["d 755 d", "f 644 s \"replaces the link\""]);
    // The last parent is remembered only as long as it is one.
    let moved =
        Tarball::new().dir("a", 0o755).dir("b", 0o755).symlink("l", "a").file("l/x", "").symlink("l", "b").file("l/y", "");
    accepts(moved, &["d 755 a", "f 644 a/x \"\"", "d 755 b", "f 644 b/y \"\"", "l l -> b"]);
    let linked = Tarball::new().file("usr/a", "1").symlink("u", "usr").hard_link("h", "u/a");
    accepts(linked, &["f 644 h \"1\"", "l u -> usr", "d 755 usr implied", "h usr/a = h"]);
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_else() {
    accepts(Tarball::new().dir("d", 0o755).file("d/.wh.gone", ""), &["d 755 d", "w d/gone"]);
    accepts(Tarball::new().file(".wh.f", "").file("f", "new"), &["f 644 f \"new\""]);
    accepts(Tarball::new().file("f", "new").file(".wh.f", ""), &["f 644 f \"new\""]);
    accepts(Tarball::new().file(".wh.f", "").file(".wh.f", ""), &["w f"]);
    accepts(Tarball::new().file(".wh..wh.plnk", "").file(".wh..wh.aufs", ""), &[]);
    accepts(Tarball::new().dir(".wh.d/", 0o755), &["w d"]);
    accepts(Tarball::new().file(".wh..wh..opq", ""), &["d 755 . implied opaque"]);
    accepts(Tarball::new().file("d/.wh..wh..opq", "").dir("d", 0o700), &["d 700 d opaque"]);
    for archive in [
        Tarball::new().file(".wh.d", "").dir("d", 0o700),
        Tarball::new().dir("d", 0o700).file(".wh.d", ""),
        Tarball::new().file(".wh.d", "").file("d", "").dir("d", 0o700),
        Tarball::new().file("d", "").file(".wh.d", "").dir("d", 0o700),
    ] {
        accepts(archive, &["d 700 d opaque"]);
    }
    accepts(Tarball::new().file(".wh.d", "").file("d/x", ""), &["d 755 d implied opaque", "f 644 d/x \"\""]);
    let nothing = |name: &str| format!("its entry {name:?} is a whiteout of nothing; build the image without it");
    refuses(Tarball::new().file("d/.wh.", ""), &nothing("d/.wh."));
    refuses(Tarball::new().file("d/.wh..", ""), &nothing("d/.wh.."));
    refuses(Tarball::new().file("d/.wh...", ""), &nothing("d/.wh..."));
    refuses(Tarball::new().file(".wh.d/f", ""), "its entry \".wh.d/f\" lies below a whiteout; build the image without it");
}

#[test]
fn hard_links_may_lead_below_but_not_to_what_is_hidden() {
    accepts(Tarball::new().hard_link("h", "etc/a"), &["h h = etc/a below"]);
    accepts(
        Tarball::new().dir("etc", 0o755).hard_link("etc/h", "etc/a").hard_link("g", "etc/h"),
        &["d 755 etc", "h etc/h = etc/a below", "h g = etc/a below"],
    );
    accepts(
        Tarball::new().dir("usr/lib", 0o755).symlink("lib", "usr/lib").hard_link("h", "lib/deep/so"),
        &["h h = usr/lib/deep/so below", "l lib -> usr/lib", "d 755 usr implied", "d 755 usr/lib"],
    );
    let hidden = |target: &str| {
        format!("its entry \"h\" is a hard link to {target:?}, which is no file in this layer; build the image without it")
    };
    refuses(Tarball::new().file(".wh.f", "").hard_link("h", "f"), &hidden("f"));
    refuses(Tarball::new().file("d/.wh..wh..opq", "").hard_link("h", "d/f"), &hidden("d/f"));
    refuses(Tarball::new().file(".wh..wh..opq", "").hard_link("h", "d/f"), &hidden("d/f"));
    refuses(Tarball::new().dir("d/e", 0o755).file(".wh.d", "").symlink("l", "d/e").hard_link("h", "l/f"), &hidden("l/f"));
}

#[test]
fn devices_come_in_but_no_whiteout_of_overlayfs() {
    let device = |name: &[u8], flag: u8, major: &[u8], minor: &[u8]| {
        let mut block = header(name, flag, 0o620, b"", 0);
        block[329..329 + major.len()].copy_from_slice(major);
        block[337..337 + minor.len()].copy_from_slice(minor);
        seal(&mut block);
        block
    };
    let archive = Tarball::new()
        .raw(&device(b"null", b'3', b"0000001", b"0000003"))
        .raw(&device(b"disk", b'4', b"0007777", b"3777777"))
        .raw(&device(b"zero", b'4', b"", b""))
        .raw(&device(b"fake/whiteout", b'3', b"0000000", b""));
    let read = accepts(archive, &["b 620 disk 4095:1048575", "c 620 null 1:3", "b 620 zero 0:0"]);
    assert_eq!((read.tree.entries, read.tree.left_out), (4, 1));
    for (major, minor) in [(b"0010000", b"0000000"), (b"0000000", b"4000000"), (b"nothing", b"0000000")] {
        refuses(
            Tarball::new().raw(&device(b"odd", b'4', major, minor)),
            "its entry \"odd\" is a device of a number that Linux does not have; build the image without it",
        );
    }
}

#[test]
fn attributes_come_in_unless_they_would_steer_the_host() {
    let records: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.user.b", b"2\n=\0"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc/shadow"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"system_u:object_r:etc_t"),
        ("SCHILY.xattr.system.posix_acl_access", b"\x02"),
        ("SCHILY.xattr.user.", b"y"),
        ("SCHILY.xattr.security.capability", b"cap"),
        ("SCHILY.xattr.user.a", b"old"),
        ("SCHILY.xattr.user.a", b""),
        ("LIBARCHIVE.xattr.user.c", b"eA=="),
    ];
    let read = accepts(Tarball::new().pax(records).dir("d", 0o755), &["d 755 d"]);
    let packed = &read.tree.bytes[read.node("d").attributes.xattrs.range()];
    assert_eq!(
        packed.escape_ascii().to_string(),
        "\\x13\\x03\\x00security.capabilitycap\\x06\\x00\\x00user.a\\x06\\x04\\x00user.b2\\n=\\x00"
    );
    assert_eq!(read.tree.left_out, 6);
    refuses(
        Tarball::new().pax(&[("SCHILY.xattr.a\0b", b"")]).file("f", ""),
        "its archive has an extended attribute \"a\\\\x00b\", which cannot be (at byte 0); build the image again",
    );
    let large = vec![b'v'; 40_000];
    refuses(
        Tarball::new().pax(&[("SCHILY.xattr.user.a", &large), ("SCHILY.xattr.user.b", &large)]).file("f", ""),
        "its archive has an entry with more than 64 KiB of extended attributes (at byte 0); build the image again",
    );
}

#[test]
fn limits_hold() {
    let mut many = Tarball::new();
    for number in 0..51 {
        many = many.file(&format!("f{number}"), "");
    }
    refuses(many, "has more than 50 entries; is it a bomb? if not, make the image smaller");
    let deep = "has more than 12 folders within folders; is it a bomb? if not, make the image smaller";
    refuses(Tarball::new().file("a/b/c/d/e/f/g/h/i/j/k/l/m", ""), deep);
    // Through a link it may be deeper than its path.
    let linked = Tarball::new().dir("a/b/c/d/e/f/g/h", 0o755).symlink("l", "a/b/c/d/e/f/g/h").file("l/i/j/k/l/m/n", "");
    refuses(linked, deep);
    let path = vec![b"p".repeat(200); 11].join(&b'/');
    let long = [path.clone(), path].join(&b'/');
    assert!(long.len() > 4095);
    let archive = Tarball::new().pax(&[("path", &long)]).file("f", "").finish();
    let error = read(&archive, &Limits { depth_max: 100, ..SMALL }).err().expect("too long");
    assert!(chain(&error).contains("has a path of more than 4095 bytes"));
    let mut wordy = Tarball::new();
    for number in 0..30 {
        wordy = wordy.dir(&format!("{}{number:09}", "w".repeat(90)), 0o755);
    }
    let text = "has more than 2000 bytes of names, links and attributes; is it a bomb? if not, make the image smaller";
    refuses(wordy, text);
    let target = "t".repeat(2000);
    refuses(Tarball::new().pax(&[("linkpath", target.as_bytes())]).symlink("s", "x"), text);
    // Folders that nobody described count too.
    let mut deep = Tarball::new();
    for number in 0..10 {
        deep = deep.file(&format!("{number}/a/b/c/d/e/f"), "");
    }
    refuses(deep, "has more than 50 entries; is it a bomb? if not, make the image smaller");
}

#[test]
fn an_entry_takes_about_a_hundred_bytes_of_memory() {
    use crate::tree::builder::{Name, Thing};
    use crate::tree::{DirEntry, Inode, LayerNode};
    // Names come on top; while a layer is read, its things and its nodes are both there at the end.
    assert_eq!((size_of::<Name>(), size_of::<Thing>()), (16, 72));
    assert_eq!(size_of::<LayerNode>(), 80);
    assert_eq!(size_of::<Inode>() + size_of::<DirEntry>(), 76);
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
    let announced = "its archive ends where an entry is announced; build the image again";
    refuses(Tarball::new().pax(&[("path", b"a")]), announced);
    refuses_bytes(&Tarball::new().entry(b"././@LongLink", b'L', 0o644, b"", b"a").unfinished(), announced);
    accepts(Tarball::new().entry(b"global", b'g', 0o644, b"", b"16 comment=abcd\n"), &[]);
    let padded = [Tarball::new().file("a", "1").finish(), vec![0; 9000]].concat();
    accepts_bytes(&padded, &["f 644 a \"1\""]);
    let mut wrong_sum = header(b"a", b'0', 0o644, b"", 0);
    wrong_sum[0] = b'b';
    refuses_bytes(&wrong_sum, "its archive has no proper header at byte 0; build the image again");
    let second = [whole, vec![b'x'; 512]].concat();
    refuses_bytes(&second, "its archive has no proper header at byte 1024; build the image again");
    refuses(
        Tarball::new().entry(b"odd", b'Q', 0o644, b"", b""),
        "its entry \"odd\" is of the unknown type 'Q'; build the image without it",
    );
}

#[test]
fn numbers_beyond_octal() {
    let with_size = |field: &[u8; 12]| patched(b"big", b'0', 124, field);
    let small = with_size(b"\x80\0\0\0\0\0\0\0\0\0\0\x01").raw(b"x").raw(&[0; 511]);
    accepts(small, &["f 644 big \"x\""]);
    let bad = "its entry \"big\" has a size that cannot be; build the image without it";
    refuses(with_size(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"), bad);
    refuses(with_size(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), bad);
    refuses(with_size(b"12345678999\0"), bad);
    refuses(
        with_size(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
        "its archive ends in the middle of a file; build the image again",
    );
}
