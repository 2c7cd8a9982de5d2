//! A monitor that is killed between any two steps: the next one goes on from there.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{CANARY, Kept, LINE_MAX_BYTES};
use crate::sys;

/// Reads `text`, and is killed after so many of its bytes.
fn killed_while_reading(kept: &mut Kept, text: &[u8], after: usize) {
    let killed = catch_unwind(AssertUnwindSafe(|| {
        let _ = kept.out.fill(text.len(), |place| -> Result<usize, ()> {
            place[..after].copy_from_slice(&text[..after]);
            std::panic::resume_unwind(Box::new("killed"))
        });
    }));
    assert!(killed.is_err());
    kept.out.recover();
}

fn read(kept: &mut Kept, text: &[u8]) {
    let read = kept.out.fill(text.len(), |place| -> Result<usize, ()> {
        place.copy_from_slice(&text[..place.len()]);
        Ok(place.len())
    });
    assert!(read.is_ok());
}

#[test]
fn what_was_read_is_known_after_a_kill() {
    let mut kept = sys::zeroed();
    read(&mut kept, b"half a ");
    killed_while_reading(&mut kept, b"line\n", 5);
    assert_eq!(kept.out.bytes(), b"half a line\n");
    killed_while_reading(&mut kept, b"never read", 0);
    assert_eq!(kept.out.bytes(), b"half a line\n");
    kept.out.consume(5);
    assert_eq!(kept.out.bytes(), b"a line\n");
    // What was there before must not be taken for what was read.
    kept.out.consume(7);
    killed_while_reading(&mut kept, b"half", 0);
    assert_eq!(kept.out.bytes(), b"");
    killed_while_reading(&mut kept, b"\n", 1);
    assert_eq!(kept.out.bytes(), b"\n");
}

#[test]
fn a_stream_holds_one_line_of_the_largest_size() {
    let mut kept = sys::zeroed();
    read(&mut kept, &vec![b'a'; LINE_MAX_BYTES - 10]);
    kept.out.consume(100);
    read(&mut kept, &[b'b'; 50]);
    read(&mut kept, &[b'c'; 200]);
    let bytes = kept.out.bytes();
    assert!(kept.out.is_full(), "{}", bytes.len());
    assert_eq!((bytes[0], bytes[LINE_MAX_BYTES - 110], bytes[LINE_MAX_BYTES - 1]), (b'a', b'b', b'c'));
    // The kernel gave less than it had announced.
    let mut kept = sys::zeroed();
    let read = kept.err.fill(10, |place| -> Result<usize, ()> {
        place[..3].copy_from_slice(b"abc");
        Ok(3)
    });
    assert_eq!((read, kept.err.bytes()), (Ok(3), b"abc".as_slice()));
    assert!(kept.err.fill(10, |_| Err("no")).is_err());
    assert_eq!(kept.err.bytes(), b"abc");
    assert!(std::str::from_utf8(&[CANARY]).is_err());
}

#[test]
fn an_append_that_was_cut_short_goes_on_where_it_stopped() {
    let mut kept = sys::zeroed();
    let add = |kept: &mut Kept, text: &[u8]| kept.block.add(text.len(), |place| place.copy_from_slice(text));
    add(&mut kept, b"one\n");
    add(&mut kept, b"two\n");
    assert_eq!((kept.block.bytes(), kept.block.lines()), (b"one\ntwo\n".as_slice(), 2));
    // Never written, half written, wholly written; and another file.
    assert_eq!(kept.block.announce(7, 100), 0);
    assert_eq!(kept.block.announce(7, 100), 0);
    assert_eq!(kept.block.announce(7, 105), 5);
    assert_eq!(kept.block.announce(7, 108), 8);
    assert_eq!(kept.block.announce(8, 104), 0);
    kept.block.clear();
    assert_eq!((kept.block.bytes(), kept.block.lines()), (b"".as_slice(), 0));
    add(&mut kept, b"three\n");
    assert_eq!(kept.block.announce(8, 110), 0);
    // There is an end to it.
    let huge = vec![b'x'; super::BLOCK_MAX_BYTES];
    add(&mut kept, &huge);
    assert_eq!(kept.block.bytes(), b"three\n");
    kept.block.clear();
    add(&mut kept, &huge);
    assert_eq!(kept.block.bytes().len(), super::BLOCK_MAX_BYTES);
    kept.block.clear();
    add(&mut kept, b"four\n");
    assert_eq!(kept.block.bytes(), b"four\n");
}

#[test]
fn a_file_is_taken_over_by_the_next_monitor() {
    let folder = std::env::temp_dir().join(format!("coord-monitor-kept-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("log.state");
    let first = Kept::open(&path);
    read(first, b"half a line");
    first.block.add(3, |place| place.copy_from_slice(b"abc"));
    first.lost_lines.store(3, std::sync::atomic::Ordering::SeqCst);
    let second = Kept::open(&path);
    assert_eq!((second.out.bytes(), second.block.bytes()), (b"half a line".as_slice(), b"abc".as_slice()));
    assert_eq!(second.lost_lines.load(std::sync::atomic::Ordering::SeqCst), 3);
    // Another release's file tells nothing.
    second.layout.store(1, std::sync::atomic::Ordering::SeqCst);
    let third = Kept::open(&path);
    assert_eq!((third.out.bytes(), third.block.bytes()), (b"".as_slice(), b"".as_slice()));
    // Without a folder there is memory.
    assert_eq!(Kept::open(&folder.join("none/log.state")).out.bytes(), b"");
    std::fs::remove_dir_all(&folder).expect("to be removed");
}
