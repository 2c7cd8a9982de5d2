//! Logs as monitors write them, and as crashes leave them.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use super::{Follow, LogLine, LogStream, read_tail};

fn line(number: usize) -> String {
    format!("{{\"t\":\"2026-11-22T13:00:00.{number:06}Z\",\"s\":\"out\",\"m\":\"line {number}\"}}\n")
}

fn write(path: &Path, text: &str) {
    OpenOptions::new().create(true).append(true).open(path).and_then(|mut file| file.write_all(text.as_bytes())).expect("a log");
}

fn numbers(lines: &[LogLine]) -> Vec<usize> {
    lines.iter().map(|line| line.message.trim_start_matches("line ").parse().expect("a number")).collect()
}

#[test]
fn the_last_lines_come_from_all_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.0.jsonl");
    // Larger than a block, so that lines lie across blocks.
    let (old, new) = (folder.path().join("web.0.jsonl.1"), &path);
    write(&old, &(0..5000).map(line).collect::<String>());
    write(new, &(5000..5003).map(line).collect::<String>());
    let check = |count: usize, expect: std::ops::Range<usize>| {
        let lines = read_tail(&path, count).expect("a tail");
        assert_eq!(numbers(&lines), expect.collect::<Vec<_>>());
    };
    check(0, 0..0);
    check(2, 5001..5003);
    check(3, 5000..5003);
    check(4000, 1003..5003);
    check(9000, 0..5003);
    assert_eq!(read_tail(&folder.path().join("none"), 5).expect("an empty tail"), []);
}

#[test]
fn what_is_no_line_is_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.0.jsonl");
    write(&path, &format!("{}{{\"t\":\"20\n\n{}{{\"half", line(1), line(2)));
    let lines = read_tail(&path, 10).expect("a tail");
    assert_eq!(numbers(&lines), [1, 2]);
    assert_eq!((lines[0].stream, lines[0].partial), (LogStream::Out, false));
}

#[test]
fn a_line_is_written_as_it_was_read() {
    let check = |text: &str| {
        let line = LogLine::parse(text.as_bytes()).expect("a line");
        assert_eq!(serde_json::to_string(&line).expect("JSON"), text);
    };
    check(r#"{"t":"2026-11-22T13:00:00.123456Z","s":"err","m":"a \"b\""}"#);
    check(r#"{"t":"2026-11-22T13:00:00.123456Z","s":"out","m":"","p":true}"#);
}

#[test]
fn following_sees_every_line_across_rotation() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.0.jsonl");
    write(&path, &line(0));
    let mut follow = Follow::from_end(&path).expect("a log to follow");
    let mut seen = Vec::new();
    let mut look = || {
        // Until there is nothing more.
        loop {
            let lines = follow.read().expect("lines");
            if lines.is_empty() {
                return seen.clone();
            }
            seen.extend(numbers(&lines));
        }
    };
    assert!(look().is_empty());
    let (half, rest) = (line(1)[..20].to_owned(), line(1)[20..].to_owned());
    write(&path, &half);
    assert!(look().is_empty());
    write(&path, &rest);
    assert_eq!(look(), [1]);
    write(&path, &line(2));
    fs::rename(&path, folder.path().join("web.0.jsonl.1")).expect("a rotation");
    assert_eq!(look(), [1, 2]);
    write(&path, &line(3));
    assert_eq!(look(), [1, 2, 3]);
}

#[tokio::test]
async fn following_waits_for_a_log_that_does_not_exist_yet() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("later.jsonl");
    let mut follow = Follow::from_end(&path).expect("a log to follow");
    let write_later = async {
        tokio::task::yield_now().await;
        write(&path, &line(7));
    };
    let (lines, ()) = tokio::join!(follow.next(), write_later);
    assert_eq!(numbers(&lines.expect("lines")), [7]);
}
