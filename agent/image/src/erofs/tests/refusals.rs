//! Trees that the format cannot hold: an error that says what, and never an image that says something else.

use super::{Garden, write};
use crate::tree::{Span, What};

#[track_caller]
fn check(change: impl FnOnce(&mut Garden), devices: Option<&[u64]>, expect: &str) {
    let mut garden = Garden::new();
    change(&mut garden);
    let (tree, contents) = garden.grow();
    let sizes: Vec<u64> = contents.iter().map(|bytes| bytes.len() as u64).collect();
    let error = write(&tree, devices.unwrap_or(&sizes), &mut Vec::new()).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (std::io::ErrorKind::InvalidData, expect));
}

#[test]
fn what_the_format_cannot_hold_is_refused() {
    let none = |_: &mut Garden| {};
    const LARGE: u64 = 128 << 30;
    check(none, Some(&[LARGE; 16]), "the layers of an image may have 2 TiB together; this one has more");
    check(none, Some(&[u64::MAX]), "the layers of an image may have 2 TiB together; this one has more");
    check(none, Some(&[0; 17_000]), "an image cannot have so many layers");
    check(
        |garden| {
            garden.symlink(0, "link", vec![b'x'; 4096]);
        },
        None,
        "a link's target has 4096 bytes; 1 to 4095 are possible",
    );
    check(
        |garden| {
            garden.symlink(0, "link", "");
        },
        None,
        "a link's target has 0 bytes; 1 to 4095 are possible",
    );
    check(
        |garden| {
            garden.add(0, "device", What::CharDevice { major: 4096, minor: 0 });
        },
        None,
        "Linux has no device 4096:0",
    );
    check(
        |garden| garden.xattrs(0, &[("system.nfs4_acl", b"x")]),
        None,
        "the extended attribute system.nfs4_acl is of a kind that EROFS does not have",
    );
    check(
        |garden| {
            let value = vec![0; 65_535];
            garden.xattrs(0, &[("user.1", &value), ("user.2", &value), ("user.3", &value), ("user.4", &value)]);
        },
        None,
        "a file has 262172 bytes of extended attributes; at most 262148 are possible",
    );
}

#[test]
fn trees_that_are_none_are_refused() {
    check(
        |garden| {
            garden.add(0, "file", What::File { size: 1, device: 0, offset: 512 });
        },
        Some(&[512]),
        "the tree has a file whose content lies outside of its layer's archive",
    );
    check(
        |garden| {
            garden.add(0, "file", What::File { size: 1, device: 0, offset: 5 });
        },
        Some(&[1024]),
        "the tree has a file whose content lies outside of its layer's archive",
    );
    check(
        |garden| {
            garden.add(0, "file", What::File { size: u64::MAX, device: 0, offset: 512 });
        },
        Some(&[1024]),
        "the tree has a file whose content lies outside of its layer's archive",
    );
    check(|garden| garden.at(0).xattrs = Span { at: 1 << 30, len: 1 }, None, "the tree points outside of itself");
    check(|garden| garden.name(0, "a", 77), None, "the tree names an inode that it does not have");
    for name in ["", &"x".repeat(256)] {
        check(
            |garden| {
                garden.folder(0, name);
            },
            None,
            &format!("the name {name} is out of order, or has more than 255 bytes"),
        );
    }
}
