//! From compressed bytes to verified files: formats, digests, bombs, and readers that go away.

use super::super::directories::{Numbered, from_numbered, new_folder};
use super::super::error::LayerError;
use super::super::pipeline::{Expanded, Feed, Job, Made, Memory, run};
use super::tarball::{Tarball, gzip};
use super::{SMALL, chain, listing};
use crate::Limits;
use bytes::Bytes;
use coord_shared::names::Digest;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Feeds a layer in pieces of this size, as a network would; without the end when it is to be cut. Once to make a directory (`diff`) and
/// once to keep the archive (`tar`): the outcome is the same.
fn unpack_pieces(
    blob: &Bytes,
    digest: &Digest,
    diff_id: &Digest,
    piece_bytes: usize,
    ends: bool,
    limits: &Limits,
) -> (TempDir, Result<Made, LayerError>) {
    let folder = TempDir::new().unwrap();
    let feed = || {
        let (sink, feed) = mpsc::channel(blob.len() / piece_bytes + 2);
        for piece in blob.chunks(piece_bytes) {
            assert!(sink.try_send(Feed::Bytes(blob.slice_ref(piece))).is_ok());
        }
        if ends {
            assert!(sink.try_send(Feed::End).is_ok());
        }
        feed
    };
    let (memory, room) = (Memory::default(), || Ok(()));
    let path = |name: &str| folder.path().join(name);
    let job = Job { digest, diff_id, limits, memory: &memory, archive: None, room: &room };
    let mut contents = Numbered::new(new_folder(&path("files")).unwrap(), &room);
    let made = run(feed(), &job, &mut contents);
    let tar = path("tar");
    let kept = run(feed(), &Job { archive: Some(&tar), ..job }, &mut Expanded::new(path("expanded")));
    match (&made, &kept) {
        (Ok(made), Ok(kept)) => {
            assert_eq!((&made.tree, made.archive_bytes), (&kept.tree, kept.archive_bytes));
            assert_eq!(Digest::of(&std::fs::read(&tar).unwrap()), *diff_id);
            let [root, links] = ["diff", "links"].map(|name| new_folder(&path(name)).unwrap());
            from_numbered(&made.tree, contents, root, &links).unwrap();
        }
        (Err(made), Err(kept)) => assert_eq!(chain(made), chain(kept)),
        _ => panic!("{made:?} {kept:?}"),
    }
    (folder, made)
}

fn unpack_blob(blob: &Bytes, diff_id: &Digest) -> (TempDir, Result<Made, LayerError>) {
    unpack_pieces(blob, &Digest::of(blob), diff_id, 1000, true, &SMALL)
}

fn refuses(blob: &Bytes, diff_id: &Digest, expect: &str) {
    let (_folder, result) = unpack_blob(blob, diff_id);
    let error = chain(&result.expect_err("refused"));
    assert!(error.contains(expect), "{error}");
}

fn zstd(content: &[u8], level: i32) -> Bytes {
    zstd::encode_all(content, level).unwrap().into()
}

#[test]
fn every_format_is_read_in_pieces_of_any_size() {
    let archive = Tarball::new().file("hello", "world").file("text", &"lorem ipsum ".repeat(20_000)).finish();
    let halves = archive.split_at(archive.len() / 2);
    let members: Bytes = [gzip(halves.0), gzip(halves.1)].concat().into();
    let frames: Bytes = [zstd(halves.0, 3), zstd(halves.1, 3)].concat().into();
    for blob in [gzip(&archive), members, zstd(&archive, 1), zstd(&archive, 19), frames, Bytes::from(archive.clone())] {
        for piece_bytes in [1, 3, 4096, usize::MAX / 2] {
            if piece_bytes < 4096 && blob.len() > 100_000 {
                continue;
            }
            let (folder, result) = unpack_pieces(&blob, &Digest::of(&blob), &Digest::of(&archive), piece_bytes, true, &SMALL);
            assert_eq!(result.unwrap().tree.entries, 2);
            assert_eq!(listing(&folder.path().join("diff")), ["f 644 hello \"world\"", "f 644 text 240000 bytes"]);
        }
    }
}

#[test]
fn an_empty_layer_is_one() {
    let nothing = Bytes::new();
    let (_folder, result) = unpack_pieces(&nothing, &Digest::of(b""), &Digest::of(b""), 1, true, &SMALL);
    assert_eq!(result.unwrap().tree.entries, 0);
}

#[test]
fn digest_and_diff_id_must_match() {
    let archive = Tarball::new().file("hello", "world").finish();
    let (blob, diff_id) = (gzip(&archive), Digest::of(&archive));
    let other = Digest::of(b"other");
    let (_folder, result) = unpack_pieces(&blob, &other, &diff_id, 100, true, &SMALL);
    let expect = format!("its bytes have the digest {}; the registry or something before it is broken", Digest::of(&blob));
    assert_eq!(chain(&result.unwrap_err()), expect);
    refuses(&blob, &other, &format!("its archive has the diff id {diff_id} instead of {other}; push the image again"));
    // Wrong bytes are called wrong, whatever stumbles over them first.
    let mut damaged = blob.to_vec();
    damaged[20] ^= 0x55;
    let damaged = Bytes::from(damaged);
    let (_folder, result) = unpack_pieces(&damaged, &Digest::of(&blob), &diff_id, 100, true, &SMALL);
    assert!(matches!(result, Err(LayerError::Digest { .. })), "{result:?}");
    let mut damaged = archive.clone();
    damaged[2] ^= 0x55;
    let (_folder, result) = unpack_pieces(&damaged.into(), &diff_id, &diff_id, 100, true, &SMALL);
    assert!(matches!(result, Err(LayerError::Digest { .. })), "{result:?}");
}

#[test]
fn damage_and_garbage_are_refused() {
    let archive = Tarball::new().file("hello", "world").finish();
    let diff_id = Digest::of(&archive);
    let blob = gzip(&archive);
    refuses(&blob.slice(..blob.len() - 4), &diff_id, "cannot be decompressed; push the image again: ");
    refuses(&[&blob[..], b"garbage"].concat().into(), &diff_id, "cannot be decompressed; push the image again: ");
    let packed = zstd(&archive, 3);
    refuses(&packed.slice(..packed.len() - 4), &diff_id, "cannot be decompressed; push the image again: ");
    refuses(&[&packed[..], b"garbage"].concat().into(), &diff_id, "cannot be decompressed; push the image again: ");
    refuses(&Bytes::from_static(b"BZh91AY&SY"), &diff_id, "its archive ends in the middle of a header");
}

#[test]
fn headers_of_gzip_may_say_more() {
    let archive = Tarball::new().file("hello", "world").finish();
    let diff_id = Digest::of(&archive);
    let plain = gzip(&archive);
    let with = |flags: u8, fields: &[u8]| {
        let mut blob = plain[..10].to_vec();
        blob[3] = flags;
        blob.extend_from_slice(fields);
        blob.extend_from_slice(&plain[10..]);
        Bytes::from(blob)
    };
    for blob in [with(8, b"a.tar\0"), with(16, b"words\0"), with(4, b"\x03\0abc"), with(2, b"xx"), with(30, b"\x01\0an\0c\0xx")] {
        let (_folder, result) = unpack_blob(&blob, &diff_id);
        assert_eq!(result.unwrap().tree.entries, 1);
    }
    let unknown = "cannot be decompressed; push the image again: it has a gzip header of an unknown kind";
    refuses(&with(0x20, b""), &diff_id, unknown);
    let mut other_method = plain.to_vec();
    other_method[2] = 7;
    refuses(&other_method.into(), &diff_id, unknown);
    refuses(&with(8, b"never ends"), &diff_id, "cannot be decompressed; push the image again: ");
    // As Go's reader has it, and so all engines: no padding after the last member.
    let padded: Bytes = [&plain[..], &[0; 512]].concat().into();
    refuses(&padded, &diff_id, "cannot be decompressed; push the image again: there is something else after its end");
    let mut wrong_size = plain.to_vec();
    let last = wrong_size.len() - 1;
    wrong_size[last] ^= 1;
    refuses(&wrong_size.into(), &diff_id, "cannot be decompressed; push the image again: its size is not what its trailer says");
}

#[test]
fn frames_of_zstd_may_differ_and_be_skipped() {
    let archive = Tarball::new().file("hello", "world").file("text", &"lorem ipsum ".repeat(20_000)).finish();
    let diff_id = Digest::of(&archive);
    let frame = |content: &[u8], window_log: u32| {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(window_log).unwrap();
        std::io::Write::write_all(&mut encoder, content).unwrap();
        encoder.finish().unwrap()
    };
    let skipped = [b"\x52\x2a\x4d\x18\x05\0\0\0hello".to_vec(), b"\x50\x2a\x4d\x18\0\0\0\0".to_vec()];
    let (head, tail) = archive.split_at(1000);
    // The window grows from frame to frame.
    let frames = [skipped[0].clone(), frame(head, 12), skipped[1].clone(), frame(tail, 24), skipped[0].clone()].concat();
    for piece_bytes in [1, 5, 1000] {
        let frames = Bytes::from(frames.clone());
        let result = unpack_pieces(&frames, &Digest::of(&frames), &diff_id, piece_bytes, true, &SMALL).1;
        assert_eq!(result.unwrap().tree.entries, 2);
    }
    refuses(
        &frames[..frames.len() - 3].to_vec().into(),
        &diff_id,
        "cannot be decompressed; push the image again: it ends too early",
    );
}

#[test]
fn bombs_are_stopped() {
    let zeros = |bytes: usize| {
        let archive = Tarball::new().entry(b"zeros", b'0', 0o644, b"", &vec![0; bytes]).finish();
        (archive.clone(), Digest::of(&archive))
    };
    let (archive, diff_id) = zeros(1 << 20);
    let ratio = "has more than 20 bytes unpacked per byte packed; is it a bomb? if not, make the image smaller";
    refuses(&gzip(&archive), &diff_id, ratio);
    refuses(&zstd(&archive, 3), &diff_id, ratio);
    let (archive, diff_id) = zeros(200 << 10);
    assert!(unpack_blob(&gzip(&archive), &diff_id).1.is_ok(), "small layers may be all zeros");
    let noise: Vec<u8> = (0..5_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    let archive = Tarball::new().entry(b"noise", b'0', 0o644, b"", &noise).finish();
    refuses(&gzip(&archive), &Digest::of(&archive), "has more than 4194304 bytes; is it a bomb? if not, make the image smaller");
    // A window larger than we are willing to hold in memory.
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(27).unwrap();
    std::io::Write::write_all(&mut encoder, &noise).unwrap();
    refuses(
        &encoder.finish().unwrap().into(),
        &Digest::of(&noise),
        "cannot be decompressed; push the image again: it needs a window of more than 32 MiB",
    );
}

#[test]
fn a_feed_that_goes_away_stops_everything() {
    let archive = Tarball::new().file("hello", "world").finish();
    let blob = gzip(&archive);
    let cut = blob.slice(..blob.len() / 2);
    for blob in [cut, blob, Bytes::new()] {
        let (_folder, result) = unpack_pieces(&blob, &Digest::of(&blob), &Digest::of(&archive), 100, false, &SMALL);
        assert!(matches!(result, Err(LayerError::Stopped)), "{result:?}");
    }
}
