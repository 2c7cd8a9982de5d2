//! Sparse files, in each of the four forms that GNU tar ever wrote.

use super::{Read, read};
use crate::tests::tarball::{Tarball, header, seal};
use crate::tests::{SMALL, chain};
use crate::tree::{Data, LayerWhat};

/// Ten zeros, "ab", ten zeros, "cde", and five zeros at the end.
const SIZE: u64 = 30;
const MAP: [(u64, u64); 2] = [(10, 2), (22, 3)];
const STORED: &[u8] = b"abcde";

fn check_layer(archive: Tarball) -> Read {
    let read = read(&archive.finish(), &SMALL).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(read.listing(), ["f 644 before \"x\"", "f 644 sparse 30 bytes", "f 644 then \"y\""]);
    let LayerWhat::File { size, data, content } = read.node("sparse").what else { panic!("is a file") };
    assert_eq!((size, data, content), (SIZE, Data::Expanded { offset: 0 }, 1));
    assert_eq!(
        read.kept.contents[&1].escape_ascii().to_string(),
        format!("{0}ab{0}cde{1}", "\\x00".repeat(10), "\\x00".repeat(5))
    );
    assert_eq!((read.tree.expanded_bytes, read.tree.content_bytes), (512, 32));
    read
}

fn before() -> Tarball {
    Tarball::new().file("before", "x")
}

/// The old form, with some of the map in blocks after the header.
fn old(pieces: &[(u64, u64)], size: u64, stored: &[u8]) -> Tarball {
    let mut head = header(b"sparse", b'S', 0o644, b"", stored.len() as u64);
    // GNU's magic: the fields of longer names are used otherwise.
    head[257..265].copy_from_slice(b"ustar  \0");
    let fields = |pieces: &[(u64, u64)]| -> Vec<u8> {
        pieces.iter().flat_map(|(at, length)| format!("{at:011o}\0{length:011o}\0").into_bytes()).collect()
    };
    let (first, rest) = pieces.split_at(pieces.len().min(4));
    let text = fields(first);
    head[386..386 + text.len()].copy_from_slice(&text);
    head[482] = u8::from(!rest.is_empty());
    head[483..495].copy_from_slice(format!("{size:011o}\0").as_bytes());
    seal(&mut head);
    let mut archive = before().raw(&head);
    let mut chunks = rest.chunks(21).peekable();
    while let Some(chunk) = chunks.next() {
        let mut block = [0; 512];
        let text = fields(chunk);
        block[..text.len()].copy_from_slice(&text);
        block[504] = u8::from(chunks.peek().is_some());
        archive = archive.raw(&block);
    }
    archive.raw(stored).raw(&vec![0; stored.len().next_multiple_of(512) - stored.len()])
}

/// The newest form: the map is text in front of the content.
fn newest(map: &str, size: &str, stored: &[u8]) -> Tarball {
    let mut content = map.as_bytes().to_vec();
    content.resize(content.len().next_multiple_of(512), 0);
    content.extend_from_slice(stored);
    let records: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.realsize", size.as_bytes()),
    ];
    before().pax(records).entry(b"GNUSparseFile.1/sparse", b'0', 0o644, b"", &content)
}

#[test]
fn all_forms_mean_the_same() {
    let then = |archive: Tarball| archive.file("then", "y");
    check_layer(then(old(&MAP, SIZE, STORED)));
    check_layer(then(newest("2\n10\n2\n22\n3\n", "30", STORED)));
    let repeated: &[(&str, &[u8])] = &[
        ("GNU.sparse.size", b"30"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"10"),
        ("GNU.sparse.numbytes", b"2"),
        ("GNU.sparse.offset", b"22"),
        ("GNU.sparse.numbytes", b"3"),
    ];
    check_layer(then(before().pax(repeated).entry(b"sparse", b'0', 0o644, b"", STORED)));
    let joined: &[(&str, &[u8])] =
        &[("GNU.sparse.size", b"30"), ("GNU.sparse.map", b"10,2,22,3"), ("GNU.sparse.name", b"sparse")];
    check_layer(then(before().pax(joined).entry(b"GNUSparseFile.1/sparse", b'0', 0o644, b"", STORED)));
}

#[test]
fn long_maps_go_on_in_further_blocks() {
    for count in [4, 5, 25, 26, 60] {
        let pieces: Vec<(u64, u64)> = (0..count).map(|number| (number * 1000 + 999, 1)).collect();
        let stored: Vec<u8> = (0..count).map(|number| u8::try_from(number).unwrap() + b'A').collect();
        let map: String = pieces.iter().map(|(at, length)| format!("{at}\n{length}\n")).collect();
        let size = count * 1000 + 7;
        for archive in [old(&pieces, size, &stored), newest(&format!("{count}\n{map}"), &size.to_string(), &stored)] {
            let read = read(&archive.file("then", "y").finish(), &SMALL).unwrap_or_else(|error| panic!("{}", chain(&error)));
            let content = &read.kept.contents[&1];
            assert_eq!(content.len() as u64, size);
            let found: Vec<u8> = content.iter().copied().filter(|byte| *byte != 0).collect();
            assert_eq!(found, stored);
            assert_eq!(content[59_999.min(content.len() - 8)], *stored.last().unwrap());
            assert_eq!(read.kept.contents[&2], b"y");
        }
    }
}

#[test]
fn several_lie_one_after_the_other_and_holes_may_be_all_there_is() {
    let twice = newest("2\n10\n2\n22\n3\n", "600", STORED);
    let hole: &[(&str, &[u8])] = &[("GNU.sparse.size", b"1000"), ("GNU.sparse.map", b"")];
    let archive = twice.pax(hole).entry(b"hole", b'0', 0o644, b"", b"");
    let empty: &[(&str, &[u8])] = &[("GNU.sparse.size", b"0"), ("GNU.sparse.map", b"0,0")];
    let archive = archive.pax(empty).entry(b"empty", b'0', 0o644, b"", b"");
    let read = read(&archive.finish(), &SMALL).unwrap_or_else(|error| panic!("{}", chain(&error)));
    let data = |path| {
        let LayerWhat::File { size, data, .. } = read.node(path).what else { panic!("{path} is a file") };
        (size, data)
    };
    assert_eq!(data("sparse"), (600, Data::Expanded { offset: 0 }));
    assert_eq!(data("hole"), (1000, Data::Expanded { offset: 1024 }));
    assert_eq!(data("empty"), (0, Data::Expanded { offset: 2048 }));
    assert_eq!(read.tree.expanded_bytes, 2048);
    assert!(read.kept.contents[&2].iter().all(|byte| *byte == 0));
}

#[test]
fn maps_that_contradict_themselves_are_refused() {
    let refuses = |archive: Tarball, expect: &str| {
        let error = read(&archive.finish(), &SMALL).err().expect("refused");
        assert_eq!(chain(&error), expect);
    };
    let contradicts = "its entry \"sparse\" has a map of its holes that contradicts itself; build the image without it";
    // Not in order, overlapping, beyond the end, more or less than there is, too large to add up.
    refuses(old(&[(22, 3), (10, 2)], 30, STORED), contradicts);
    refuses(old(&[(10, 3), (12, 2)], 30, STORED), contradicts);
    refuses(old(&[(10, 2), (28, 3)], 30, STORED), contradicts);
    refuses(old(&[(10, 2), (22, 2)], 30, STORED), contradicts);
    refuses(old(&[(10, 2), (22, 4)], 30, STORED), contradicts);
    refuses(newest("1\n18446744073709551615\n5\n", "30", STORED), contradicts);
    refuses(newest("2\n10\n2\n22\n3\n", "18446744073709551615", STORED), contradicts);
    let bad = "its archive has a sparse file with a bad map; build the image again";
    for map in ["2\n10\n2\n22\n", "x\n", "1\n5", "\n", "1\n-1\n5\n", "1\n100000000000000000000\n5\n"] {
        refuses(newest(map, "30", b""), bad);
    }
    refuses(
        newest("300000\n", "30", b""),
        "has more than 262144 pieces of a sparse file; is it a bomb? if not, make the image smaller",
    );
    refuses(
        newest("1\n0\n5\n", "5000000", STORED),
        "its entry \"sparse\" makes the layer's sparse files larger than 4194304 bytes; build the image without it",
    );
    let value = |key: &str, value: &str| {
        refuses(
            before().pax(&[(&format!("GNU.sparse.{key}"), value.as_bytes())]).file("sparse", ""),
            &format!(
                "its archive has the GNU.sparse.{key} {value:?} in an extended header, which cannot be (at byte 1024); build the image again"
            ),
        );
    };
    value("numbytes", "1");
    value("map", "1,x");
    value("size", "-1");
    refuses(before().pax(&[("GNU.sparse.map", b"1")]).file("sparse", ""), contradicts);
    refuses(before().pax(&[("GNU.sparse.size", b"1"), ("GNU.sparse.map", b"1")]).file("sparse", ""), contradicts);
}
