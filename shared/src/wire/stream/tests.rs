//! Frames survive their travel in any pieces; what is no frame is refused; nobody sends more than a window.

use super::*;
use std::collections::VecDeque;

fn exit() -> Exit {
    Exit {
        code: Some(3),
        signal: None,
        oom_killed: false,
        memory_limit: None,
        at: "2026-11-22T20:00:00Z".parse().expect("a time"),
    }
}

fn error(message: &str) -> ErrorBody {
    ErrorBody { code: "not_found".to_owned(), message: message.to_owned(), hint: Some("look".to_owned()), detail: None }
}

fn all() -> Vec<Frame> {
    vec![
        Frame::Stdin(Vec::new()),
        Frame::Stdin(b"ls\n\0\xff".to_vec()),
        Frame::Stdout(vec![7; FRAME_DATA_MAX_BYTES]),
        Frame::Stderr(b"no".to_vec()),
        Frame::Resize { rows: 24, columns: 65535 },
        Frame::Signal(-1),
        Frame::Credit(u32::MAX),
        Frame::Error(error("no \"such\" program")),
        Frame::Exit(exit()),
    ]
}

/// The same numbers each time: a failure can be repeated.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("below a usize")
    }
}

#[test]
fn a_frame_survives_its_travel() {
    for frame in all() {
        assert_eq!(Frame::decode(&frame.encode()), Ok(Some(frame)));
    }
    assert_eq!(Frame::Resize { rows: 1, columns: 258 }.encode(), [3, 0, 1, 1, 2]);
    assert_eq!(Frame::Stdin(b"a".to_vec()).encode_prefixed(), [0, 0, 0, 2, 0, b'a']);
}

#[test]
fn a_stream_may_come_in_any_pieces() {
    let frames = all();
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode_prefixed).collect();
    for seed in 1..40 {
        let (mut numbers, mut buffer, mut got, mut rest) = (Numbers(seed), FrameBuffer::default(), Vec::new(), &bytes[..]);
        while !rest.is_empty() {
            let size = (1 + numbers.below(if seed % 2 == 0 { 9 } else { 20_000 })).min(rest.len());
            buffer.push(&rest[..size]);
            rest = &rest[size..];
            while let Some(frame) = buffer.next_frame().expect("frames only") {
                got.push(frame);
            }
        }
        assert!(buffer.is_empty());
        assert_eq!(got, frames, "seed {seed}");
    }
}

#[test]
fn what_is_no_frame_is_refused() {
    let check = |message: &[u8], expect: FrameError| assert_eq!(Frame::decode(message), Err(expect));
    check(&[], FrameError::Empty);
    check(&[3, 0, 1, 2], FrameError::Malformed { kind: 3 });
    check(&[4], FrameError::Malformed { kind: 4 });
    check(b"\x05{}", FrameError::Malformed { kind: 5 });
    check(b"\x06", FrameError::Malformed { kind: 6 });
    check(&[7, 1, 2, 3, 4, 5], FrameError::Malformed { kind: 7 });
    check(&vec![0; FRAME_MAX_BYTES + 1], FrameError::TooLarge { bytes: FRAME_MAX_BYTES + 1 });
    assert_eq!(Frame::decode(&[200, 1, 2]), Ok(None));

    let mut buffer = FrameBuffer::default();
    // The length alone is enough to refuse it: nobody waits for 4 GiB.
    buffer.push(&[0xff, 0xff, 0xff, 0xff]);
    assert!(matches!(buffer.next_frame(), Err(FrameError::TooLarge { .. })));
    let mut buffer = FrameBuffer::default();
    buffer.push(&[0, 0, 0, 1, 99, 0, 0, 0, 2, 0, b'x', 0]);
    assert_eq!(buffer.next_frame(), Ok(Some(Frame::Stdin(b"x".to_vec()))), "an unknown kind is passed over");
    assert_eq!(buffer.next_frame(), Ok(None));
    assert!(!buffer.is_empty(), "the stream ends in mid-frame");
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let good: Vec<u8> = all().iter().flat_map(Frame::encode_prefixed).collect();
    for seed in 1..300 {
        let mut numbers = Numbers(seed);
        let mut bytes = good[good.len() - 600..].to_vec();
        for _ in 0..=numbers.below(8) {
            let at = numbers.below(bytes.len());
            bytes[at] = u8::try_from(numbers.below(256)).expect("a byte");
        }
        let mut buffer = FrameBuffer::default();
        buffer.push(&bytes);
        while let Ok(Some(_)) = buffer.next_frame() {}
        let length = numbers.below(200);
        let noise: Vec<u8> = (0..length).map(|_| u8::try_from(numbers.below(256)).expect("a byte")).collect();
        let _ = Frame::decode(&noise);
    }
}

#[test]
fn a_long_error_is_shortened_to_fit() {
    let long = ErrorBody { detail: Some("d".repeat(FRAME_MAX_BYTES)), ..error(&"\u{1}".repeat(FRAME_MAX_BYTES)) };
    let bytes = Frame::Error(long).encode();
    assert!(bytes.len() <= FRAME_MAX_BYTES, "{}", bytes.len());
    let Ok(Some(Frame::Error(short))) = Frame::decode(&bytes) else { panic!("no error frame") };
    assert_eq!((short.code.as_str(), short.hint.as_deref()), ("not_found", Some("look")));
}

#[test]
fn nobody_sends_more_than_a_window_and_nobody_stands_still() {
    for seed in 1..60 {
        let mut numbers = Numbers(seed);
        let (mut send, mut receive) = (SendWindow::default(), ReceiveWindow::default());
        let (mut to_send, mut waiting, mut arrived) = (5_000_000usize, VecDeque::new(), 0usize);
        let mut rounds = 0;
        while arrived < 5_000_000 {
            rounds += 1;
            assert!(rounds < 100_000, "it stands still; seed {seed}");
            let piece = (1 + numbers.below(FRAME_DATA_MAX_BYTES)).min(send.left_bytes()).min(to_send);
            if piece > 0 && numbers.below(3) > 0 {
                send.sent(piece);
                to_send -= piece;
                receive.received(piece).expect("within the window");
                waiting.push_back(piece);
            } else if let Some(piece) = waiting.pop_front() {
                arrived += piece;
                if let Some(credit) = receive.passed_on(piece) {
                    send.credited(credit);
                }
            }
            assert!(waiting.iter().sum::<usize>() <= STREAM_WINDOW_BYTES as usize);
        }
    }
    let mut receive = ReceiveWindow::default();
    receive.received(STREAM_WINDOW_BYTES as usize).expect("a whole window");
    assert_eq!(receive.received(5), Err(FrameError::Overrun { bytes: 5 }));
    let mut send = SendWindow::default();
    send.credited(u32::MAX);
    assert_eq!(send.left_bytes(), STREAM_WINDOW_BYTES as usize, "credit beyond a window is nobody's to give");
}
