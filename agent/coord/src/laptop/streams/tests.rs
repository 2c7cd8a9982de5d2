//! Pieces of two outputs, however they come.

use super::*;

/// What comes of these bytes, cut into pieces of each length.
fn check(tty: bool, bytes: &[u8], out: &[u8], err: &[u8]) {
    for length in [1, 3, 8, 9, 1000] {
        let (mut got_out, mut got_err) = (Vec::new(), Vec::new());
        let mut separator = Separator::new(tty);
        for piece in bytes.chunks(length) {
            let taken = separator.push(piece, |is_error, bytes| {
                if is_error {
                    got_err.extend_from_slice(bytes)
                } else {
                    got_out.extend_from_slice(bytes)
                }
                Ok(())
            });
            taken.expect("taken");
        }
        assert_eq!((got_out.as_slice(), got_err.as_slice()), (out, err), "in pieces of {length}");
    }
}

#[test]
fn two_outputs_are_told_apart() {
    check(false, b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x03err\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01!", b"out!", b"err");
    check(false, b"\x01\0\0\0\0\0\0\x05cut", b"", b"");
    check(true, b"\x01as it is", b"\x01as it is", b"");
}

#[test]
fn a_reader_that_is_gone_is_told() {
    let mut separator = Separator::new(false);
    let gone = separator.push(b"\x01\0\0\0\0\0\0\x01x", |_, _| Err(io::ErrorKind::BrokenPipe.into()));
    assert_eq!(gone.expect_err("gone").kind(), io::ErrorKind::BrokenPipe);
}
