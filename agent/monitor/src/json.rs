//! The log's line format: `{"t":"2026-11-22T13:00:00.123456Z","s":"out","m":"text"}`, with `"p":true` at the end of a
//! part of a longer line. Bytes that are no UTF-8 become U+FFFD: a log can always be read.

use crate::clock::TIME_BYTES;

/// Where the text came from.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Passes one line to `write`, in pieces. `partial`: the line goes on in the next one.
pub(crate) fn line(time: &[u8; TIME_BYTES], stream: Stream, message: &[u8], partial: bool, mut write: impl FnMut(&[u8])) {
    write(b"{\"t\":\"");
    write(time);
    write(match stream {
        Stream::Out => b"\",\"s\":\"out\",\"m\":\"",
        Stream::Err => b"\",\"s\":\"err\",\"m\":\"",
    });
    for chunk in message.utf8_chunks() {
        escape(chunk.valid(), &mut write);
        if !chunk.invalid().is_empty() {
            write("\u{fffd}".as_bytes());
        }
    }
    write(if partial { b"\",\"p\":true}\n" } else { b"\"}\n" });
}

fn escape(text: &str, write: &mut impl FnMut(&[u8])) {
    let mut rest = text.as_bytes();
    while let Some(next) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        write(&rest[..next]);
        match rest[next] {
            b'"' => write(b"\\\""),
            b'\\' => write(b"\\\\"),
            b'\t' => write(b"\\t"),
            b'\n' => write(b"\\n"),
            b'\r' => write(b"\\r"),
            control => {
                let hex = b"0123456789abcdef";
                let digits = [hex[usize::from(control >> 4)], hex[usize::from(control & 15)]];
                write(b"\\u00");
                write(&digits);
            }
        }
        rest = &rest[next + 1..];
    }
    write(rest);
}

#[cfg(test)]
mod tests {
    use super::{Stream, line};

    #[test]
    fn any_bytes_become_one_line_of_json() {
        let check = |message: &[u8], partial: bool, expect: &str| {
            let mut text = Vec::new();
            line(b"2026-11-22T13:00:00.123456Z", Stream::Err, message, partial, |bytes| text.extend_from_slice(bytes));
            let expect = format!("{{\"t\":\"2026-11-22T13:00:00.123456Z\",\"s\":\"err\",\"m\":\"{expect}}}\n");
            assert_eq!(String::from_utf8(text).as_deref(), Ok(expect.as_str()));
        };
        check(b"", false, "\"");
        check(b"hello", false, "hello\"");
        check(b"part", true, "part\",\"p\":true");
        check(b"a \"b\" \\ c\td\x1b[0m\x00", false, "a \\\"b\\\" \\\\ c\\td\\u001b[0m\\u0000\"");
        check("gr\u{fc}n \u{2713}".as_bytes(), false, "gr\u{fc}n \u{2713}\"");
        check(b"bad \xff\xfe end", false, "bad \u{fffd}\u{fffd} end\"");
        check(b"cut \xe2\x9c", false, "cut \u{fffd}\"");
    }
}
