//! Paths within a cache: as bytes on the disk, as text in lists, and in which order they stand there.

use crate::{CacheError, DEPTH_MAX};
use coord_tar::{NAME_MAX_BYTES, PATH_MAX_BYTES};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

/// Of a path in a message.
const SHOWN_MAX_CHARS: usize = 300;

/// Bytes as text: those that are no UTF-8 as `%XX`, and `%` as `%25`.
pub(crate) fn encode(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '%' => text.push_str("%25"),
                other => text.push(other),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The bytes again; none for what `encode` never writes.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut raw = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    raw.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let (hex, rest) = part.split_at_checked(2)?;
        raw.push(u8::from_str_radix(hex, 16).ok()?);
        raw.extend_from_slice(rest.as_bytes());
    }
    Some(Cow::Owned(raw))
}

/// A path in a message: on one line, and not longer than that.
pub(crate) fn shown(path: &str) -> String {
    let mut text = String::new();
    for (count, character) in path.chars().enumerate() {
        if count == SHOWN_MAX_CHARS {
            text.push_str("...");
            break;
        }
        if character.is_control() { text.extend(character.escape_default()) } else { text.push(character) }
    }
    if text.is_empty() { ".".to_owned() } else { text }
}

/// The order of lists: a folder before what is in it, and that before anything else. It is the order in which a walk with sorted names
/// comes by.
pub(crate) fn order(one: &str, other: &str) -> Ordering {
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    one.bytes().map(rank).cmp(other.bytes().map(rank))
}

/// Whether `path` lies below `folder`; everything lies below the empty one.
pub(crate) fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Folder and name of a path.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// A path as a stranger wrote it, without its empty and `.` parts, below `below`; empty means the cache itself.
///
/// # Errors
/// It is absolute, leads out by `..`, or is longer or deeper than can be.
pub(crate) fn clean(below: &[u8], raw: &[u8]) -> Result<Vec<u8>, CacheError> {
    let bad = |problem: &str| Err(CacheError::bad_path(raw, problem));
    if raw.contains(&0) {
        return bad("has a NUL in its name");
    }
    if raw.starts_with(b"/") {
        return bad("is absolute; paths are relative to the cache");
    }
    let mut clean = below.to_vec();
    for part in raw.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")) {
        if part == b".." {
            return bad("has \"..\" in it");
        }
        if part.len() > NAME_MAX_BYTES {
            return bad("has a name of more than 255 bytes");
        }
        if !clean.is_empty() {
            clean.push(b'/');
        }
        clean.extend_from_slice(part);
    }
    if clean.len() > PATH_MAX_BYTES {
        return bad("has more than 4095 bytes");
    }
    if clean.split(|byte| *byte == b'/').count() > DEPTH_MAX {
        return bad("lies more than 256 folders deep");
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_survives_being_written_down() {
        let check = |raw: &[u8], text: &str| {
            assert_eq!(encode(raw), text);
            assert_eq!(decode(text).as_deref(), Some(raw));
        };
        check(b"a/b.txt", "a/b.txt");
        check(b"100%", "100%25");
        check(b"line\nbreak", "line\nbreak");
        check("Grüße/文".as_bytes(), "Grüße/文");
        check(b"\xff\xfe%\xc3", "%FF%FE%25%C3");
        for broken in ["%", "%2", "%zz", "%+1", "a%é"] {
            assert!(decode(broken).is_none() || broken == "%+1", "{broken}");
        }
    }

    #[test]
    fn a_folder_comes_before_what_is_in_it_and_that_before_the_rest() {
        let mut paths = ["b", "a-b", "a", "a/b", "a.txt", "a/b/c", "a/a"];
        paths.sort_by(|one, other| order(one, other));
        assert_eq!(paths, ["a", "a/a", "a/b", "a/b/c", "a-b", "a.txt", "b"]);
    }

    #[test]
    fn paths_stay_within() {
        let check =
            |raw: &[u8], expect: Option<&[u8]>| assert_eq!(clean(b"", raw).ok().as_deref(), expect, "{}", raw.escape_ascii());
        check(b"./a//b/.", Some(b"a/b"));
        check(b".", Some(b""));
        check(b"..a/b..", Some(b"..a/b.."));
        check(b"../a", None);
        check(b"a/../../b", None);
        check(b"/etc/passwd", None);
        check(b"a\0b", None);
        check(&[b'a'; 256], None);
        check(&[b'a'; 255], Some(&[b'a'; 255]));
        check(&b"a/".repeat(300), None);
        check(&[&b"a".repeat(200)[..], b"/"].concat().repeat(21), None);
        assert_eq!(clean(b"in", b"a").expect("a path"), b"in/a");
        assert!(clean(b"in", b"../a").is_err());
    }

    #[test]
    fn messages_have_one_line() {
        assert_eq!(shown("a\nb\u{1b}[0m"), "a\\nb\\u{1b}[0m");
        assert_eq!(shown(""), ".");
        assert_eq!(shown(&"x".repeat(400)).len(), 303);
    }
}
