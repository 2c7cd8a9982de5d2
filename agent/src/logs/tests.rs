//! Logs as monitors write them, and as crashes leave them.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use super::{Follow, LogLine, LogStream, begin, read_tail};

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

/// A part of a line, or its end.
fn part(stream: &str, message: &str, partial: bool) -> String {
    let more = if partial { ",\"p\":true" } else { "" };
    format!("{{\"t\":\"2026-11-22T13:00:00.000000Z\",\"s\":\"{stream}\",\"m\":\"{message}\"{more}}}\n")
}

#[test]
fn parts_become_one_line_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.0.jsonl");
    let mut follow = Follow::from_end(&path).expect("a log to follow");
    let text = [
        part("out", "first", false),
        part("err", "an ", true),
        part("out", "a ", true),
        part("err", "error", false),
        part("out", "long ", true),
        part("out", "line", false),
        part("out", "last", false),
        part("err", "no end", true),
    ];
    // Across two files.
    write(&folder.path().join("web.0.jsonl.1"), &text[..4].concat());
    write(&path, &text[4..].concat());
    let messages = |lines: Vec<LogLine>| lines.into_iter().map(|line| line.message).collect::<Vec<_>>();
    let mut followed = messages(follow.read().expect("lines"));
    followed.extend(messages(follow.read().expect("lines")));
    assert_eq!(followed, ["first", "an error", "a long line", "last"]);
    write(&path, &part("err", "?", false));
    assert_eq!(messages(follow.read().expect("lines")), ["no end?"]);
    let tail = |count: usize| messages(read_tail(&path, count).expect("a tail"));
    assert_eq!(tail(1), ["no end?"]);
    assert_eq!(tail(2), ["last", "no end?"]);
    assert_eq!(tail(3), ["a long line", "last", "no end?"]);
    assert_eq!(tail(4), ["an error", "a long line", "last", "no end?"]);
    assert_eq!(tail(9), ["first", "an error", "a long line", "last", "no end?"]);
}

#[test]
fn what_is_older_is_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.0.jsonl");
    write(&folder.path().join("web.0.jsonl.1"), &(0..10).map(line).collect::<String>());
    write(&path, &(10..20).map(line).collect::<String>());
    let check = |since: &str, count: usize, expect: std::ops::Range<usize>| {
        let since = since.parse().expect("a time");
        assert_eq!(numbers(&begin(&path, count, Some(since)).expect("lines").0), expect.collect::<Vec<_>>(), "{since}");
    };
    check("2026-11-22T13:00:00.000015Z", 100, 15..20);
    check("2026-11-22T13:00:00.000005Z", 100, 5..20);
    check("2026-11-22T13:00:00.000005Z", 3, 17..20);
    check("2026-11-22T12:00:00Z", 100, 0..20);
    check("2026-11-22T14:00:00Z", 100, 0..0);
}

/// Reads and rotates at once; neither a hole nor a line twice may come of it.
#[test]
fn following_is_exact_however_fast_the_log_is_rotated() {
    const LINES: usize = 2_000;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.0.jsonl");
    write(&path, &line(0));
    let written = path.clone();
    let (go, wait) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        let files = 150;
        for number in 1..LINES {
            write(&written, &line(number));
            if number % 20 == 0 {
                // As the monitor does it.
                for older in (1..files).rev().map(|number| (format!(".{number}"), format!(".{}", number + 1))) {
                    let name = |end: &str| folder_name(&written, end);
                    if name(&older.0).exists() {
                        fs::rename(name(&older.0), name(&older.1)).expect("a rename");
                    }
                }
                fs::rename(&written, folder_name(&written, ".1")).expect("a rename");
            }
            if number == 100 {
                go.send(()).expect("a reader");
            }
        }
    });
    wait.recv().expect("a writer");
    let (begun, mut follow) = begin(&path, 10_000, None).expect("a log");
    let mut seen = numbers(&begun);
    while seen.last() != Some(&(LINES - 1)) {
        // Asked before the look: what is written between the two is found by the next one.
        let is_all_written = writer.is_finished();
        let lines = follow.read().expect("lines");
        assert!(!lines.is_empty() || !is_all_written, "stuck at {:?}", seen.last());
        seen.extend(numbers(&lines));
    }
    assert_eq!(seen, (0..LINES).collect::<Vec<_>>());
    writer.join().expect("the writer");
}

fn folder_name(path: &Path, end: &str) -> std::path::PathBuf {
    std::path::PathBuf::from(format!("{}{end}", path.display()))
}
