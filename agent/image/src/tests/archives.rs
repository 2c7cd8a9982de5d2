//! What archives become, and what they must not.

use super::super::directories::{Numbered, from_kept, from_numbered, new_folder};
use super::super::error::LayerError;
use super::super::pipeline::Expanded;
use super::super::tree::{LayerTree, LayerWhat, read_layer};
use super::tarball::{Tarball, header, seal};
use super::{SMALL, chain, listing};
use crate::Limits;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use tempfile::TempDir;

/// Makes a directory of an archive while it is read, and another one of what would be kept of it; they are alike. Beside them lies a
/// witness that no archive may touch.
fn unpack_bytes(bytes: &[u8], limits: &Limits) -> (TempDir, Result<LayerTree, LayerError>) {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("outside")).unwrap();
    std::fs::write(folder.path().join("outside/witness"), "untouched").unwrap();
    let streamed = streamed(bytes, limits, folder.path());
    let kept = kept(bytes, limits, folder.path());
    match (&streamed, &kept) {
        (Ok(streamed), Ok(kept)) => {
            assert_eq!(streamed, kept);
            let path = |name: &str| folder.path().join(name);
            assert_eq!(listing(&path("diff")), listing(&path("kept")));
        }
        (Err(streamed), Err(kept)) => assert_eq!(chain(streamed), chain(kept)),
        _ => panic!("{streamed:?} {kept:?}"),
    }
    assert_eq!(listing(&folder.path().join("outside")), ["f 644 witness \"untouched\""]);
    (folder, streamed)
}

fn streamed(bytes: &[u8], limits: &Limits, folder: &Path) -> Result<LayerTree, LayerError> {
    let [files, links, root] = ["files", "links", "diff"].map(|name| new_folder(&folder.join(name)).unwrap());
    let room = || Ok(());
    let mut contents = Numbered::new(files, &room);
    let tree = read_layer(bytes, limits, &mut contents)?;
    from_numbered(&tree, contents, root, &links)?;
    let left = listing(&folder.join("files")).into_iter().filter(|line| line.starts_with("f ")).collect::<Vec<_>>();
    assert_eq!(left, Vec::<String>::new(), "each content has its place or is gone");
    Ok(tree)
}

fn kept(bytes: &[u8], limits: &Limits, folder: &Path) -> Result<LayerTree, LayerError> {
    let mut contents = Expanded::new(folder.join("expanded"));
    let tree = read_layer(bytes, limits, &mut contents)?;
    contents.finish(tree.expanded_bytes)?;
    let archive = folder.join("tar");
    std::fs::write(&archive, bytes).unwrap();
    let [links, root] = ["kept-links", "kept"].map(|name| new_folder(&folder.join(name)).unwrap());
    from_kept(&tree, File::open(archive).unwrap(), File::open(folder.join("expanded")).ok(), root, &links)?;
    Ok(tree)
}

/// The directories that are needed but not described, by name.
fn implicit(tree: &LayerTree) -> Vec<String> {
    let is_implicit = |what: LayerWhat| matches!(what, LayerWhat::Directory { described: false, .. });
    let nodes = tree.nodes.iter().filter(|node| is_implicit(node.what));
    nodes.map(|node| tree.bytes[node.name.range()].escape_ascii().to_string()).collect()
}

fn accepts(archive: Tarball, expect: &[&str]) -> (TempDir, LayerTree) {
    accepts_bytes(&archive.finish(), expect)
}

fn accepts_bytes(archive: &[u8], expect: &[&str]) -> (TempDir, LayerTree) {
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
    assert_eq!(implicit(&summary), ["run"]);
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
    assert_eq!(implicit(&summary), [""]);
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
    // Of a lower layer, perhaps; then the chain's own folder has it.
    accepts(Tarball::new().hard_link("h", "missing"), &[]);
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
    assert_eq!(implicit(&summary), ["", "usr"]);
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
fn whiteouts_and_attributes_of_overlayfs_do_not_come_in() {
    let mut whiteout = header(b"fake", b'3', 0o644, b"", 0);
    whiteout[329..336].copy_from_slice(b"0000000");
    seal(&mut whiteout);
    let mut disk = header(b"disk", b'4', 0o660, b"", 0);
    disk[329..336].copy_from_slice(b"0000010");
    disk[337..344].copy_from_slice(b"0000003");
    seal(&mut disk);
    let (_folder, tree) = accepts(Tarball::new().raw(&whiteout).raw(&disk).file("f", "1"), &["b 660 disk 8:3", "f 644 f \"1\""]);
    assert_eq!(tree.left_out, 1);
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
