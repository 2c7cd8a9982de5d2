//! From archives to layers, looked at through the reader of archives.

use super::*;
use coord_shared::recipe::{ModeRule, Owner};
use coord_tar::{Archive, Limits};
use std::io::{BufReader, Cursor, Read as _};

const AT: i64 = 1_700_000_000;

fn recipe(target: &str) -> Recipe {
    Recipe {
        base: None,
        target: target.to_owned(),
        owner: Owner { user: 1000, group: 1000 },
        modes: Vec::new(),
        entrypoint: None,
        command: None,
        environment: BTreeMap::new(),
        working_dir: None,
        user: None,
        expose: Vec::new(),
        volumes: Vec::new(),
        labels: BTreeMap::new(),
        stop_signal: None,
        healthcheck: None,
        platform: None,
    }
}

/// A tar of entries in this order; a file's content is its path.
fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Vec::new();
    for entry in entries {
        let content = if entry.kind == Kind::File { entry.path.clone() } else { Vec::new() };
        let size = content.len() as u64;
        write_header(&mut tar, &Entry { size, ..entry.clone() }).unwrap();
        tar.extend_from_slice(&content);
        tar.resize(tar.len() + padding(size), 0);
    }
    tar.resize(tar.len() + END_BYTES, 0);
    tar
}

fn file(path: &str, mode: u16) -> Entry {
    Entry { path: path.into(), mode, uid: 7, gid: 8, mtime_s: 99, ..Entry::default() }
}

fn folder(path: &str, mode: u16) -> Entry {
    Entry { kind: Kind::Directory, ..file(path, mode) }
}

fn link(kind: Kind, path: &str, target: &str) -> Entry {
    Entry { kind, link: target.into(), ..file(path, 0o777) }
}

fn checked(archive: Vec<u8>) -> Result<Checked, ArchiveError> {
    Checked::read(Cursor::new(archive), &std::env::temp_dir(), &Limits::default())
}

fn made(archive: Vec<u8>, recipe: &Recipe, below: &Below) -> Result<(Layer, Vec<u8>), ArchiveError> {
    let mut out = Vec::new();
    let layer = checked(archive)?.write_layer(recipe, Timestamp::from_second(AT).unwrap(), below, &mut out)?;
    assert_eq!((&layer.digest, layer.bytes), (&Digest::of(&out), out.len() as u64));
    Ok((layer, out))
}

/// One line an entry: path, mode, owner, and what a link leads to. Contents and times are checked on the way.
fn listed(layer: &[u8]) -> String {
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(layer).read_to_end(&mut tar).unwrap();
    let mut archive = Archive::new(BufReader::new(&tar[..]));
    let mut entry = Entry::default();
    let mut lines = Vec::new();
    while archive.next_entry(&mut entry).unwrap() {
        let arrow = match entry.kind {
            Kind::Symlink => " -> ",
            Kind::HardLink => " = ",
            Kind::File | Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Directory | Kind::Fifo => "",
        };
        let (path, link) = (String::from_utf8_lossy(&entry.path), String::from_utf8_lossy(&entry.link));
        assert!(entry.mtime_s == AT || entry.mtime_s == 5, "{path}: {}", entry.mtime_s);
        if entry.kind == Kind::File {
            let content = archive.content().unwrap().to_vec();
            assert!(path.ends_with(String::from_utf8_lossy(&content).trim_start_matches("./")), "{path}");
        }
        lines.push(format!("{path} {:o} {}:{}{arrow}{link}", entry.mode, entry.uid, entry.gid));
    }
    lines.join("\n")
}

fn check(entries: &[Entry], recipe: &Recipe, below: &Below, expect: &[&str]) {
    assert_eq!(listed(&made(tar(entries), recipe, below).unwrap().1), expect.join("\n"));
}

fn check_refused(entries: &[Entry], expect: &str) {
    let error = made(tar(entries), &recipe("/app"), &Below::default()).unwrap_err();
    assert_eq!(error.to_string(), expect);
}

#[test]
fn files_land_sorted_below_the_target() {
    let entries = [file("./b/y", 0o4755), file("a", 0o644), folder("./", 0o700), folder("b/", 0o2750), file("b/x", 0o600)];
    let expect = [
        "opt/ 755 0:0",
        "opt/app/ 755 1000:1000",
        "opt/app/a 644 1000:1000",
        "opt/app/b/ 750 1000:1000",
        "opt/app/b/x 600 1000:1000",
        "opt/app/b/y 755 1000:1000",
    ];
    check(&entries, &recipe("/opt/app"), &Below::default(), &expect);
    check(&[file("a", 0o644)], &recipe("/"), &Below::default(), &["a 644 1000:1000"]);
}

#[test]
fn the_last_rule_that_matches_gives_the_mode() {
    let rule = |pattern: &str, mode| ModeRule { pattern: pattern.to_owned(), mode };
    let modes = vec![rule("bin/**", 0o700), rule("bin/su", 0o4755), rule("data", 0o1777)];
    let entries = [file("bin/a", 0o644), file("bin/su", 0o644), folder("data", 0o755), file("data/x", 0o640)];
    let expect = [
        "app/ 755 1000:1000",
        "app/bin/ 700 1000:1000",
        "app/bin/a 700 1000:1000",
        "app/bin/su 4755 1000:1000",
        "app/data/ 1777 1000:1000",
        "app/data/x 640 1000:1000",
    ];
    check(&entries, &Recipe { modes, ..recipe("/app") }, &Below::default(), &expect);
}

#[test]
fn links_stay_links() {
    let entries = [
        file("z", 0o755),
        link(Kind::HardLink, "a", "./z"),
        link(Kind::Symlink, "abs", "/usr/bin/env"),
        link(Kind::Symlink, "up", "../etc/x"),
    ];
    let expect = [
        "app/ 755 1000:1000",
        "app/a 755 1000:1000",
        "app/abs 777 1000:1000 -> /usr/bin/env",
        "app/up 777 1000:1000 -> ../etc/x",
        "app/z 755 1000:1000 = app/a",
    ];
    // The first name has the content, whichever had it in the archive: its text is "z".
    let (_, out) = made(tar(&entries), &recipe("/app"), &Below::default()).unwrap();
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&out[..]).read_to_end(&mut plain).unwrap();
    let mut archive = Archive::new(BufReader::new(&plain[..]));
    let (mut entry, mut lines) = (Entry::default(), Vec::new());
    while archive.next_entry(&mut entry).unwrap() {
        lines.push(String::from_utf8_lossy(&entry.path).into_owned());
    }
    assert_eq!(lines, expect.map(|line| line.split(' ').next().unwrap().to_owned()));
}

#[test]
fn what_leads_out_is_refused() {
    let again = "; pack it again without that";
    check_refused(&[file("../x", 0o644)], &format!("the entry \"../x\" has \"..\" in its path{again}"));
    check_refused(&[file("a/../../x", 0o644)], &format!("the entry \"a/../../x\" has \"..\" in its path{again}"));
    let up = "is a symbolic link to \"../../etc\", which leads above the image's root";
    check_refused(&[link(Kind::Symlink, "l", "../../etc")], &format!("the entry \"l\" {up}{again}"));
    let below = "lies below \"l\", which is no folder in this archive";
    check_refused(
        &[link(Kind::Symlink, "l", "/etc"), file("l/passwd", 0o644)],
        &format!("the entry \"l/passwd\" {below}{again}"),
    );
    let hard = "is a hard link to \"/etc/passwd\", which is no file before it in the archive";
    check_refused(&[link(Kind::HardLink, "h", "/etc/passwd")], &format!("the entry \"h\" {hard}{again}"));
    let device = Entry { kind: Kind::CharDevice { major: 1, minor: 3 }, ..file("null", 0o666) };
    check_refused(&[device], &format!("the entry \"null\" is a device, which an archive must not bring{again}"));
    let pipe = Entry { kind: Kind::Fifo, ..file("p", 0o666) };
    check_refused(&[pipe], &format!("the entry \"p\" is a named pipe, which no image needs{again}"));
    let mark = "would hide files of the base image (\".wh.\" is the mark of that)";
    check_refused(&[file("a/.wh.b", 0o644)], &format!("the entry \"a/.wh.b\" {mark}{again}"));
    check_refused(&[], "the archive is empty; look at what packs it");
}

#[test]
fn of_names_that_are_there_twice_the_later_counts() {
    let twice = [file("a", 0o600), file("./a", 0o644), folder("d", 0o700), folder("d", 0o755), file("A", 0o644)];
    let expect = ["app/ 755 1000:1000", "app/A 644 1000:1000", "app/a 644 1000:1000", "app/d/ 755 1000:1000"];
    // An absolute name is one of the image.
    let names: Vec<String> = listed_names(&tar(&twice));
    assert_eq!(names, expect.map(|line| line.split(' ').next().unwrap().to_owned()));
    let error = "the entry \"a\" is there twice, once as a folder and once as something else; pack it again without that";
    check_refused(&[file("a/b", 0o644), file("a", 0o644)], error);
}

fn listed_names(archive: &[u8]) -> Vec<String> {
    let (_, out) = made(archive.to_vec(), &recipe("/app"), &Below::default()).unwrap();
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&out[..]).read_to_end(&mut plain).unwrap();
    let mut archive = Archive::new(BufReader::new(&plain[..]));
    let (mut entry, mut names) = (Entry::default(), Vec::new());
    while archive.next_entry(&mut entry).unwrap() {
        names.push(String::from_utf8_lossy(&entry.path).into_owned());
    }
    names
}

fn base(layers: &[&[Entry]]) -> Below {
    let mut below = Below::default();
    for layer in layers {
        below.add_layer(&tar(layer)[..], &Limits::default()).unwrap();
    }
    below
}

fn at_5(entry: Entry) -> Entry {
    Entry { mtime_s: 5, uid: 0, gid: 3, ..entry }
}

#[test]
fn folders_of_the_base_image_stay_as_they_are_and_its_links_are_followed() {
    let system = [
        at_5(folder("usr", 0o711)),
        at_5(folder("usr/lib", 0o755)),
        at_5(folder("tmp", 0o1777)),
        link(Kind::Symlink, "lib", "usr/lib"),
        link(Kind::Symlink, "srv", "/gone/../data"),
    ];
    let below = base(&[&system]);
    let entries = [folder("x", 0o700), file("x/y", 0o644)];
    let expect = ["usr/ 711 0:3", "usr/lib/ 755 0:3", "usr/lib/x/ 700 1000:1000", "usr/lib/x/y 644 1000:1000"];
    check(&entries, &recipe("/lib"), &below, &expect);
    check(&entries[1..], &recipe("/tmp"), &below, &["tmp/ 1777 0:3", "tmp/x/ 755 1000:1000", "tmp/x/y 644 1000:1000"]);
    check(&[file("y", 0o644)], &recipe("/srv"), &below, &["data/ 755 1000:1000", "data/y 644 1000:1000"]);
    // The archive's own folders, too.
    let whole = [folder("lib", 0o700), file("lib/y", 0o644), folder("tmp", 0o700), file("tmp/z", 0o644)];
    let expect = ["tmp/ 1777 0:3", "tmp/z 644 1000:1000", "usr/ 711 0:3", "usr/lib/ 755 0:3", "usr/lib/y 644 1000:1000"];
    check(&whole, &recipe("/"), &below, &expect);
    let error = made(tar(&[file("lib/y", 0o644), file("usr/lib/y", 0o644)]), &recipe("/"), &below).unwrap_err().to_string();
    assert!(error.contains("lands at /usr/lib/y, where something else of the archive lands too"), "{error}");
    let circle = base(&[&[link(Kind::Symlink, "a", "b"), link(Kind::Symlink, "b", "a")]]);
    let error = made(tar(&entries), &recipe("/a/b"), &circle).unwrap_err().to_string();
    assert!(error.contains("lead in circles"), "{error}");
}

#[test]
fn upper_layers_of_the_base_image_hide_lower_ones() {
    let lower =
        [link(Kind::Symlink, "a", "x"), link(Kind::Symlink, "b", "x"), link(Kind::Symlink, "c", "x"), at_5(folder("d", 0o700))];
    let check = |upper: &[Entry], target: &str, expect: &str| {
        let (_, out) = made(tar(&[file("f", 0o644)]), &recipe(target), &base(&[&lower, upper])).unwrap();
        assert_eq!(listed(&out).lines().next(), Some(expect));
    };
    check(&[], "/a", "x/ 755 1000:1000");
    check(&[file(".wh.a", 0)], "/a", "a/ 755 1000:1000");
    check(&[file(".wh..wh..opq", 0)], "/b", "b/ 755 1000:1000");
    check(&[at_5(folder("c", 0o711))], "/c", "c/ 711 0:3");
    check(&[at_5(folder("d", 0o711))], "/d", "d/ 711 0:3");
    check(&[file("d", 0o711)], "/d", "d/ 755 1000:1000");
    check(&[file(".wh.d", 0), at_5(folder("d", 0o770))], "/d", "d/ 770 0:3");
}

/// Any other digest here would be another digest for every image that anybody has made.
#[test]
fn the_bytes_are_pinned() {
    let mut entries = vec![folder("bin", 0o755), link(Kind::Symlink, "bin/sh", "shop"), file(&"long/".repeat(50), 0o644)];
    entries[2].path.extend_from_slice("ä".repeat(60).as_bytes());
    entries.extend((0..2000).map(|n| file(&format!("data/{n}.txt"), 0o644)));
    let (layer, _) = made(tar(&entries), &recipe("/app"), &Below::default()).unwrap();
    assert_eq!(layer.digest.to_string(), "sha256:bab8ce500e05c6d2ea1daadcf3690e21ac787d54b69e8dba2d8ae9e1122706dd");
}

#[test]
fn the_order_owners_and_compression_of_an_archive_do_not_show() {
    let one = [folder("d", 0o755), file("d/a", 0o644), file("d/b", 0o755)];
    let mut other: Vec<Entry> = one.iter().rev().cloned().collect();
    for entry in &mut other {
        (entry.uid, entry.gid, entry.mtime_s) = (4711, 4712, 12345);
    }
    let made = |archive| made(archive, &recipe("/app"), &Below::default()).unwrap().0;
    let expect = made(tar(&one));
    assert_eq!(made(tar(&other)), expect);
    assert_eq!(made(zstd::encode_all(&tar(&other)[..], 19).unwrap()), expect);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Compression::new(1));
    gzip.write_all(&tar(&other)).unwrap();
    assert_eq!(made(gzip.finish().unwrap()), expect);
}

#[test]
fn archives_that_are_cut_off_or_go_on_are_refused() {
    let plain = tar(&[file("a", 0o644), file(&"b".repeat(90), 0o644)]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Compression::new(6));
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&plain[..], 3).unwrap();
    for packed in [&gzip, &zstd] {
        for length in [packed.len() / 2, packed.len() - 5] {
            let error = checked(packed[..length].to_vec()).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("was it cut off on its way?"), "{error}");
        }
        assert!(checked([&packed[..], b"more"].concat()).is_err());
    }
    assert!(checked(plain[..700].to_vec()).is_err());
    // Members one after the other are one archive.
    let (first, second) = plain.split_at(1000);
    let mut members = Vec::new();
    for part in [first, second] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Compression::new(6));
        gzip.write_all(part).unwrap();
        members.extend(gzip.finish().unwrap());
    }
    let expect = made(plain, &recipe("/app"), &Below::default()).unwrap().0;
    assert_eq!(made(members, &recipe("/app"), &Below::default()).unwrap().0, expect);
}

#[test]
fn bombs_end_at_the_limits() {
    let limits = Limits { layer_max_bytes: 100_000, layer_max_entries: 3, ratio_free_bytes: 10_000, ..Limits::default() };
    let refused =
        |archive: &[u8]| Checked::read(Cursor::new(archive), &std::env::temp_dir(), &limits).map(|_| ()).unwrap_err().to_string();
    let zeros = zstd::encode_all(&vec![0; 50_000][..], 19).unwrap();
    assert!(refused(&zeros).contains("250 bytes unpacked per byte packed"));
    let many: Vec<Entry> = (0..4).map(|n| file(&format!("{n}"), 0o644)).collect();
    assert!(refused(&tar(&many)).contains("more than 3 entries"));
    // A folder for each part of a name counts as well.
    assert!(refused(&tar(&[file("a/b/c/d", 0o644)])).contains("more than 3 entries"));
    let large = Entry { size: 200_000, ..file("large", 0o644) };
    let mut archive = Vec::new();
    write_header(&mut archive, &large).unwrap();
    assert!(refused(&archive).contains("makes the files larger than 100000 bytes"));
}

#[test]
fn other_archives_are_named() {
    let check = |start: &[u8], expect: &str| {
        let error = checked([start, &[7; 600]].concat()).map(|_| ()).unwrap_err().to_string();
        assert_eq!(error, format!("the archive is {expect}; pack it as tar.gz, tar.zst or zip"));
    };
    check(b"BZh9", "compressed with bzip2");
    check(b"\xfd7zXZ\0", "compressed with xz");
    check(b"7z\xbc\xaf", "a 7z archive");
    check(b"Rar!", "a RAR archive");
    check(b"\x7fELF", "a program, and no archive");
    check(b"hello", "of a kind that is not known here");
    assert!(matches!(checked(Vec::new()).map(|_| ()), Err(ArchiveError::Empty)));
}

/// Holes are zeros, as GNU tar packs them.
#[test]
fn sparse_files_become_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    let sparse = std::fs::File::create(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 300_000).unwrap();
    let packed =
        std::process::Command::new("tar").args(["-S", "-cf", "-", "-C"]).arg(folder.path()).arg("sparse").output().unwrap();
    assert!(packed.status.success() && packed.stdout.len() < 100_000, "{packed:?}");
    let whole = std::process::Command::new("tar").args(["-cf", "-", "-C"]).arg(folder.path()).arg("sparse").output().unwrap();
    let layer = |archive| made(archive, &recipe("/app"), &Below::default()).unwrap().0;
    assert_eq!(layer(packed.stdout), layer(whole.stdout));
}

/// A reader that panics, or counts beyond its numbers, is a door: whatever bytes change, the answer is a layer or an error.
#[test]
fn damaged_archives_are_refused_or_read_and_never_worse() {
    let plain = tar(&[folder("d", 0o755), file("d/a", 0o644), link(Kind::HardLink, "h", "d/a"), link(Kind::Symlink, "s", "d")]);
    let limits = Limits { layer_max_bytes: 1 << 20, layer_max_entries: 100, ..Limits::default() };
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let (mut good, mut bad) = (0, 0);
    for _ in 0..3000 {
        let mut damaged = plain.clone();
        for _ in 0..=random(3) {
            let at = random(damaged.len());
            damaged[at] = u8::try_from(random(256)).unwrap();
            // Numbers and names are where it hurts, and a header with a wrong sum is not looked at.
            let header = at / 512 * 512;
            if header + 512 <= damaged.len() {
                damaged[header + 148..header + 156].fill(b' ');
                let sum: u32 = damaged[header..header + 512].iter().map(|byte| u32::from(*byte)).sum();
                damaged[header + 148..header + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        let read = Checked::read(Cursor::new(damaged), &std::env::temp_dir(), &limits);
        let layer =
            read.and_then(|checked| checked.write_layer(&recipe("/app"), Timestamp::UNIX_EPOCH, &Below::default(), io::sink()));
        if layer.is_ok() { good += 1 } else { bad += 1 }
    }
    assert!(good > 100 && bad > 100, "{good} good, {bad} bad");
}
