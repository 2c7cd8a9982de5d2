//! Packing, looked at through the reader of archives.

use super::*;
use coord_tar::{Archive, Entry, Kind};
use std::fs;
use std::io::BufReader;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use tempfile::TempDir;

fn include(path: &str, to: Option<&str>) -> Include {
    Include { path: path.to_owned(), to: to.map(str::to_owned) }
}

/// A workspace of a small service.
fn workspace() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir_all(at.join("target/release/deps")).unwrap();
    fs::create_dir_all(at.join("assets/img")).unwrap();
    fs::write(at.join("target/release/shop"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(at.join("target/release/shop"), fs::Permissions::from_mode(0o775)).unwrap();
    fs::write(at.join("target/release/liba.so"), "a").unwrap();
    fs::write(at.join("target/release/libb.so"), "b").unwrap();
    fs::write(at.join("target/release/deps/libc.so"), "c").unwrap();
    fs::write(at.join("assets/index.html"), "<p>").unwrap();
    fs::write(at.join("assets/img/logo.svg"), "<svg>").unwrap();
    fs::write(at.join("assets/img/logo.map"), "{}").unwrap();
    symlink("index.html", at.join("assets/home.html")).unwrap();
    folder
}

fn packed(folder: &TempDir, includes: &[Include], exclude: &[&str]) -> Result<(Packed, Vec<u8>), PackError> {
    let exclude: Vec<String> = exclude.iter().map(|pattern| (*pattern).to_owned()).collect();
    let mut out = Vec::new();
    let packed = pack(folder.path(), includes, &exclude, &mut out, &PackLimits::default())?;
    assert_eq!((packed.bytes, &packed.digest), (out.len() as u64, &Digest::of(&out)));
    Ok((packed, out))
}

/// One line an entry: name, mode, and the target of a link.
fn listed(archive: &[u8]) -> String {
    let tar = zstd::decode_all(archive).unwrap();
    let mut archive = Archive::new(BufReader::new(&tar[..]));
    let mut entry = Entry::default();
    let mut lines = Vec::new();
    while archive.next_entry(&mut entry).unwrap() {
        assert_eq!((entry.uid, entry.gid, entry.mtime_s), (0, 0, 0));
        let link =
            if entry.kind == Kind::Symlink { format!(" -> {}", String::from_utf8_lossy(&entry.link)) } else { String::new() };
        lines.push(format!("{} {:o}{link}", entry.path.escape_ascii(), entry.mode));
    }
    lines.join("\n")
}

fn check(includes: &[Include], exclude: &[&str], expect: &[&str]) {
    let (_, archive) = packed(&workspace(), includes, exclude).unwrap();
    assert_eq!(listed(&archive), expect.join("\n"));
}

#[test]
fn names_in_the_archive_follow_the_patterns() {
    check(&[include("target/release/shop", None)], &[], &["shop 755"]);
    check(&[include("target/release/shop", Some("bin/server"))], &[], &["bin/ 755", "bin/server 755"]);
    check(&[include("target/release/shop", Some("bin/"))], &[], &["bin/ 755", "bin/shop 755"]);
    check(&[include("target/release/*.so", None)], &[], &["liba.so 644", "libb.so 644"]);
    check(&[include("target/release/*.so", Some("lib"))], &[], &["lib/ 755", "lib/liba.so 644", "lib/libb.so 644"]);
    check(&[include("target/**/*c.so", None)], &[], &["release/ 755", "release/deps/ 755", "release/deps/libc.so 644"]);
    let assets = ["assets/ 755", "assets/home.html 777 -> index.html", "assets/img/ 755", "assets/img/logo.svg 644"];
    let assets = [&assets[..], &["assets/index.html 644"]].concat();
    check(&[include("assets", None)], &["**/*.map"], &assets);
    check(&[include("assets/**", None)], &["**/*.map"], &assets);
    check(&[include("assets/img/**", Some("."))], &["assets/img/*.map"], &["logo.svg 644"]);
}

#[test]
fn a_folder_may_be_packed_whole() {
    let (packed, archive) = packed(&workspace(), &[include(".", None)], &["target"]).unwrap();
    assert_eq!(packed.files, 4);
    assert!(listed(&archive).starts_with("assets/ 755\n"));
}

#[test]
fn the_same_files_give_the_same_bytes_wherever_and_whoever_made_them() {
    let everything = [include(".", None)];
    let (first, _) = packed(&workspace(), &everything, &[]).unwrap();
    let other = tempfile::tempdir().unwrap();
    let at = other.path();
    // In another order, with other modes, at another time.
    fs::create_dir_all(at.join("assets/img")).unwrap();
    symlink("index.html", at.join("assets/home.html")).unwrap();
    for (name, text) in [("assets/img/logo.map", "{}"), ("assets/img/logo.svg", "<svg>"), ("assets/index.html", "<p>")] {
        fs::write(at.join(name), text).unwrap();
        fs::set_permissions(at.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::create_dir_all(at.join("target/release/deps")).unwrap();
    fs::set_permissions(at.join("target"), fs::Permissions::from_mode(0o700)).unwrap();
    for (name, text) in [("deps/libc.so", "c"), ("libb.so", "b"), ("shop", "#!/bin/sh\n"), ("liba.so", "a")] {
        fs::write(at.join("target/release").join(name), text).unwrap();
    }
    fs::set_permissions(at.join("target/release/shop"), fs::Permissions::from_mode(0o700)).unwrap();
    rustix::fs::chown(at.join("assets/index.html"), Some(rustix::fs::Uid::from_raw(4711)), None).unwrap();
    let (second, _) = packed(&other, &everything, &[]).unwrap();
    assert_eq!(first, second);
    // Pinned: another digest here would be another digest for every archive that anybody has.
    assert_eq!(first.digest.to_string(), "sha256:77ebe0c4bc98dd9c202bc62eeef83a3c8716c720e00357877e5ff503b3d1a6cb");
}

fn check_refused(includes: &[Include], exclude: &[&str], expect: &str) {
    let folder = workspace();
    let error = packed(&folder, includes, exclude).unwrap_err();
    assert_eq!(error.to_string().replace(&folder.path().display().to_string(), "ROOT"), expect);
}

#[test]
fn a_pattern_that_matches_nothing_is_named() {
    let cure = "correct it, or see why the build has not made it";
    check_refused(&[include("target/debug/shop", None)], &[], &format!("\"target/debug/shop\" matches nothing in ROOT; {cure}"));
    check_refused(&[include("target/*.exe", None)], &[], &format!("\"target/*.exe\" matches nothing in ROOT; {cure}"));
    check_refused(&[include("assets", None)], &["assets"], &format!("\"assets\" matches nothing in ROOT; {cure}"));
}

#[test]
fn two_files_do_not_share_a_place() {
    let both = [include("target/release/liba.so", Some("lib.so")), include("target/release/libb.so", Some("lib.so"))];
    let expect = "both target/release/liba.so and target/release/libb.so would be \"lib.so\" in the archive; \
                  give one of them another `to`";
    check_refused(&both, &[], expect);
    // The same file twice is there once.
    check(&[include("target/release/shop", None), include("target/release/sho?", None)], &[], &["shop 755"]);
}

#[test]
fn no_link_leads_out() {
    let folder = workspace();
    symlink("/etc", folder.path().join("etc")).unwrap();
    symlink("/etc/passwd", folder.path().join("passwd")).unwrap();
    let error = packed(&folder, &[include("etc/passwd", None)], &[]).unwrap_err();
    assert!(matches!(error, PackError::ThroughLink { ref path, .. } if path == "etc"), "{error}");
    let (_, archive) = packed(&folder, &[include("etc", None), include("pass*", None)], &[]).unwrap();
    assert_eq!(listed(&archive), "etc 777 -> /etc\npasswd 777 -> /etc/passwd");
    assert!(packed(&folder, &[include("etc/*", None)], &[]).is_err());
    for path in ["../x", "/etc/passwd"] {
        assert!(matches!(packed(&folder, &[include(path, None)], &[]), Err(PackError::Pattern(_))));
        assert!(matches!(packed(&folder, &[include("assets", Some(path))], &[]), Err(PackError::Pattern(_))));
    }
}

#[test]
fn what_is_no_file_is_refused_and_may_be_excluded() {
    let folder = workspace();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("assets/pipe"), rustix::fs::Mode::RUSR).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("assets/img/socket")).unwrap();
    let error = packed(&folder, &[include("assets", None)], &[]).unwrap_err();
    assert_eq!(error.to_string(), "assets/img/socket is a socket, which cannot be packed; exclude it");
    let error = packed(&folder, &[include("assets", None)], &["**/socket"]).unwrap_err();
    assert_eq!(error.to_string(), "assets/pipe is a named pipe, which cannot be packed; exclude it");
    assert!(packed(&folder, &[include("assets", None)], &["**/socket", "assets/pipe"]).is_ok());
}

#[test]
fn limits_are_named() {
    let folder = workspace();
    let pack = |limits| pack(folder.path(), &[include(".", None)], &[], Vec::new(), &limits).unwrap_err().to_string();
    let usual = PackLimits::default();
    assert_eq!(pack(PackLimits { content_max_bytes: 5, ..usual }), "there is more than 5 bytes to pack; include less");
    assert_eq!(pack(PackLimits { entries_max: 5, ..usual }), "there is more than 5 files and folders to pack; include less");
    assert_eq!(pack(PackLimits { depth_max: 2, ..usual }), "there is more than 2 folders within folders to pack; include less");
}
