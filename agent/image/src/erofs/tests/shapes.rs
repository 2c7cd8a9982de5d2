//! Trees made by hand: one of everything, and everything that lies at an edge of the format.

use super::{Garden, check};
use crate::tree::What;

#[test]
fn nothing_but_a_root() {
    check(Garden::new());
}

#[test]
fn one_of_everything() {
    let mut garden = Garden::new();
    let folder = garden.folder(0, "folder");
    let file = garden.file(folder, "file", 0, b"content");
    garden.name(0, "another name", file);
    garden.name(folder, "a third", file);
    garden.file(folder, "empty", 0, b"");
    garden.file(0, "elsewhere", 1, b"content of another layer");
    let set_id = garden.file(0, "set-id", 1, b"x");
    garden.at(set_id).mode = 0o6755;
    let sticky = garden.folder(0, "sticky");
    garden.at(sticky).mode = 0o1777;
    garden.symlink(0, "link", "folder/file");
    garden.add(0, "fifo", What::Fifo);
    garden.add(0, "null", What::CharDevice { major: 1, minor: 3 });
    garden.add(0, "large numbers", What::CharDevice { major: 0xfff, minor: 0xf_ffff });
    garden.add(0, "disk", What::BlockDevice { major: 259, minor: 0x1_2345 });
    garden.folder(folder, "empty folder");
    check(garden);
}

#[test]
fn owners_and_times_at_their_edges() {
    let mut garden = Garden::new();
    for (number, (mtime_s, mtime_ns)) in
        [(0, 0), (-1, 999_999_999), (-12_345_678_901, 5), (1 << 33, 1), (253_402_300_799, 7)].into_iter().enumerate()
    {
        let file = garden.file(0, format!("f{number}"), 0, b"x");
        *garden.at(file) = crate::tree::Inode { uid: u32::MAX - 1, gid: 1 << 31, mtime_s, mtime_ns, mode: 0, ..*garden.at(file) };
    }
    check(garden);
}

#[test]
fn names_that_sort_around_the_dots() {
    let mut garden = Garden::new();
    for name in ["!", "+", "-", ".!", ".-", "...", "..a", ".a", "0", "\n", " ", "\u{7f}"] {
        garden.file(0, name, 0, name.as_bytes());
    }
    garden.file(0, [0xff, 0xfe], 0, b"not text");
    garden.file(0, [1], 0, b"lowest");
    check(garden);
}

#[test]
fn longest_names_and_targets() {
    let mut garden = Garden::new();
    for byte in b'a'..=b'h' {
        garden.file(0, [byte; 255], 0, &[byte]);
    }
    let deep = garden.folder(0, "deep");
    garden.folder(deep, [b'z'; 255]);
    // The longest beside an inode is 448.
    for len in [1, 447, 448, 449, 511, 512, 513, 1023, 1024, 1025, 4094, 4095] {
        garden.symlink(0, format!("link-{len}"), vec![b'x'; len]);
    }
    check(garden);
}

#[test]
fn directories_of_every_size_around_a_block() {
    let mut garden = Garden::new();
    // "." and ".." take 27 bytes, an entry 12 and its name; the end of a directory fits beside its inode up to 448.
    for len in 1..=250 {
        let folder = garden.folder(0, format!("one-{len}"));
        garden.folder(folder, vec![b'n'; len]);
        let folder = garden.folder(0, format!("two-{len}"));
        garden.folder(folder, vec![b'n'; len]);
        garden.folder(folder, vec![b'm'; 220]);
    }
    for count in (0..60).chain([100, 500]) {
        let folder = garden.folder(0, format!("many-{count}"));
        for number in 0..count {
            garden.folder(folder, format!("{number}"));
        }
    }
    check(garden);
}

#[test]
fn a_directory_of_20000_names() {
    let mut garden = Garden::new();
    let file = garden.file(0, "file", 0, b"the same for all");
    let folder = garden.folder(0, "folder");
    for number in 0..20_000 {
        garden.name(folder, format!("name-{number}"), file);
    }
    check(garden);
}

#[test]
fn files_of_every_size_around_blocks_and_pages() {
    let mut garden = Garden::new();
    for size in [1, 511, 512, 513, 4095, 4096, 4097, 5000, 8191, 8192, 8193, 70_000, 1 << 20] {
        for device in 0..3 {
            let content: Vec<u8> = (0..size).map(|at: u32| (at / 7 + u32::from(device)).to_le_bytes()[0]).collect();
            garden.file(0, format!("{size}-{device}"), device, &content);
        }
    }
    check(garden);
}

#[test]
fn every_kind_of_attribute() {
    let mut garden = Garden::new();
    let acl = acl();
    let file = garden.file(0, "file", 0, b"x");
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    garden.at(file).mode = 0o654;
    garden.xattrs(
        file,
        &[
            ("security.capability", &capability),
            ("system.posix_acl_access", &acl),
            ("user.a", b""),
            ("user.b", b"value"),
            ("user.note", &[0xff; 1000]),
        ],
    );
    let folder = garden.folder(0, "folder");
    garden.xattrs(folder, &[("system.posix_acl_default", &acl), ("user.x", b"1")]);
    garden.file(folder, "inside", 0, b"y");
    let root = 0;
    garden.xattrs(root, &[("user.of the root", b"yes")]);
    check(garden);
}

#[test]
fn attributes_up_to_the_largest() {
    let mut garden = Garden::new();
    let long_name = format!("user.{}", "n".repeat(250));
    for len in [0, 1, 2, 3, 4, 100, 360, 400, 425, 426, 427, 428, 429, 430, 440, 447, 448, 449, 512, 4096, 65_535] {
        let value = vec![b'v'; len];
        let file = garden.file(0, format!("file-{len}"), 0, b"x");
        garden.xattrs(file, &[("user.v", &value)]);
        let folder = garden.folder(0, format!("folder-{len}"));
        garden.xattrs(folder, &[("user.v", &value), (&long_name, b"1")]);
        garden.folder(folder, "inside");
        let link = garden.symlink(0, format!("link-{len}"), "target");
        garden.xattrs(link, &[("security.note", &value)]);
    }
    let file = garden.file(0, "all that fits", 0, b"x");
    let value = vec![b'v'; 65_400];
    garden.xattrs(file, &[("user.1", &value), ("user.2", &value), ("user.3", &value), ("user.4", &value)]);
    check(garden);
}

/// `user::rw-, user:7:r-x, group::r--, mask::r-x, other::r--` as the kernel has it.
fn acl() -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [(1_u16, 6_u16, u32::MAX), (2, 5, 7), (4, 4, u32::MAX), (16, 5, u32::MAX), (32, 4, u32::MAX)] {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}
