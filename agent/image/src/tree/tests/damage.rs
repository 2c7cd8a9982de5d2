//! Archives with random damage: whatever comes of them, it is an end without a panic, and a tree that keeps its promises. The same
//! checks as those of the fuzz targets, in a fixed number of seeded runs.

use crate::fuzzing;
use crate::tests::tarball::{Tarball, seal};

fn honest() -> Vec<u8> {
    let sparse: &[(&str, &[u8])] =
        &[("GNU.sparse.major", b"1"), ("GNU.sparse.name", b"sparse"), ("GNU.sparse.realsize", b"3000")];
    let mut map = b"2\n10\n2\n22\n3\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"abcde");
    let mut old = crate::tests::tarball::header(b"old", b'S', 0o644, b"", 5);
    old[386..410].copy_from_slice(b"00000000012\x0000000000005\x00");
    old[483..495].copy_from_slice(b"00000000077\0");
    seal(&mut old);
    Tarball::new()
        .dir("./", 0o755)
        .entry(b"global", b'g', 0o644, b"", b"13 uid=70000\n")
        .dir("etc", 0o755)
        .file("etc/passwd", "root")
        .pax(&[("path", b"etc/long"), ("SCHILY.xattr.user.x", b"1"), ("mtime", b"1.5")])
        .file("short", &"content ".repeat(100))
        .entry(b"././@LongLink", b'K', 0o644, b"", b"passwd\0")
        .symlink("etc/link", "x")
        .symlink("up", "etc/..")
        .file("up/etc/up", "1")
        .hard_link("etc/hard", "etc/passwd")
        .hard_link("etc/below", "usr/lib/x")
        .pax(sparse)
        .entry(b"sparse", b'0', 0o644, b"", &map)
        .raw(&old)
        .raw(b"abcde")
        .raw(&[0; 507])
        .entry(b"dev", b'3', 0o644, b"", b"")
        .file("etc/.wh.gone", "")
        .file("a/.wh..wh..opq", "")
        .file("a/b/c", "d")
        .finish()
}

#[test]
fn random_damage_does_no_harm() {
    let honest = honest();
    assert!(fuzzing::layer(&honest), "it is read as it is");
    let mut accepted = 0;
    for seed in 0..2000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut archive = honest.clone();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..archive.len());
            archive[at] = if random.bool() { random.u8(..) } else { *random.choice(b"./\x000123456789LKxgS-\n=").unwrap() };
        }
        if random.u8(..4) == 0 {
            archive.truncate(random.usize(..=archive.len()));
        }
        accepted += u32::from(fuzzing::sealed_layer(&archive));
    }
    assert!(accepted > 100, "{accepted}: the damage is too great to try much");
}
