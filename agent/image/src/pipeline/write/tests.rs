//! Archives of every length come out byte by byte, with direct I/O and without it, and the reserve is asked for on the way.

use super::super::buffers::{ALIGNMENT_BYTES, BUFFER_BYTES, Pool};
use super::{ArchiveFile, Buffer};
use crate::error::LayerError;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

fn content(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(bytes as u64);
    std::iter::repeat_with(|| random.u8(..)).take(bytes).collect()
}

/// As the reader hands them on: all full but the last, and after it an empty one.
fn buffers(content: &[u8]) -> Vec<Buffer> {
    let (_spent, from) = std::sync::mpsc::channel();
    let pool = Pool { spent: from };
    let pieces = content.chunks(BUFFER_BYTES).chain([&[][..]]);
    let fill = |piece: &[u8]| {
        let mut buffer = pool.buffer();
        buffer.space()[..piece.len()].copy_from_slice(piece);
        buffer.set_filled(piece.len());
        buffer
    };
    pieces.map(fill).collect()
}

fn check(bytes: usize, at_once: usize, direct: bool) {
    let (folder, content, room) = (TempDir::new().unwrap(), content(bytes), || Ok(()));
    let path = folder.path().join("tar");
    let mut file = ArchiveFile::create(&path, &room).unwrap();
    if !direct {
        file.leave_direct().unwrap();
    }
    for batch in buffers(&content).chunks(at_once) {
        file.append(batch).unwrap();
    }
    file.finish().unwrap();
    assert!(std::fs::read(&path).unwrap() == content, "{bytes} bytes, {at_once} buffers at once, direct: {direct}");
}

#[test]
fn archives_of_every_length_come_out_as_they_went_in() {
    for bytes in [0, 1, 512, ALIGNMENT_BYTES, ALIGNMENT_BYTES + 512, BUFFER_BYTES, BUFFER_BYTES + 1, 3 * BUFFER_BYTES + 10_240] {
        for at_once in [1, 2, 4] {
            check(bytes, at_once, true);
            check(bytes, at_once, false);
        }
    }
}

#[test]
fn buffers_start_at_a_border_of_pages() {
    for buffer in buffers(&content(2 * BUFFER_BYTES)) {
        assert_eq!(buffer.bytes().as_ptr().align_offset(ALIGNMENT_BYTES), 0);
    }
}

#[test]
fn room_is_asked_for_on_the_way() {
    let (folder, asked) = (TempDir::new().unwrap(), AtomicU64::new(0));
    let room = || match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Ok(()),
        _ => Err(LayerError::NoSpace),
    };
    let mut file = ArchiveFile::create(&folder.path().join("tar"), &room).unwrap();
    let batch = buffers(&content(4 * BUFFER_BYTES));
    let written = (0..1000).take_while(|_| file.append(&batch).is_ok()).count();
    assert_eq!((written, asked.load(Ordering::SeqCst)), (127, 2), "after 64 MiB, and after 128");
}
