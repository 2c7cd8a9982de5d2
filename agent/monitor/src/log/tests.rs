//! The log file on a real file system: rotation, appending, loss.

use std::fs;
use std::path::PathBuf;

use super::{Driver, Log, Missing};
use crate::arguments::Arguments;
use crate::json::Stream;
use crate::kept::Kept;
use crate::sys;

fn arguments(path: PathBuf, max_bytes: u64, max_files: u32) -> Arguments {
    Arguments {
        run: PathBuf::new(),
        init: 1,
        start_ticks: 0,
        log: path,
        log_max_bytes: max_bytes,
        log_max_files: max_files,
        oom_events: None,
        driver: Driver::File,
        rate_bytes_per_s: None,
        id: String::new(),
        name: String::new(),
    }
}

fn open(arguments: &Arguments) -> Log {
    // As long as the test: nobody looks.
    let Kept { block, lost_lines, skipped_lines, skipped_bytes, .. } = Box::leak(sys::zeroed());
    Log::new(arguments, block, Missing { lost_lines, skipped_lines, skipped_bytes })
}

fn log(path: PathBuf, max_bytes: u64, max_files: u32) -> Log {
    open(&arguments(path, max_bytes, max_files))
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("coord-monitor-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    fn log(&self) -> PathBuf {
        self.0.join("web.0.jsonl")
    }

    /// The messages of a file, by the text between `"m":"` and its end.
    fn messages(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.0.join(name)).unwrap_or_default();
        let message = |line: &str| line.split_once("\"m\":\"").and_then(|(_, rest)| rest.strip_suffix("\"}")).map(str::to_owned);
        text.lines().map(|line| message(line).unwrap_or_else(|| panic!("not a line of the log: {line}"))).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_are_rotated_and_the_oldest_goes() {
    let folder = Folder::new("rotate");
    // A line is 60 bytes and a few: two fit, a third does not.
    let mut log = log(folder.log(), 150, 3);
    for number in 0..9 {
        log.line(Stream::Out, format!("line {number}").as_bytes(), false);
    }
    log.flush();
    assert_eq!(folder.messages("web.0.jsonl"), ["line 8"]);
    assert_eq!(folder.messages("web.0.jsonl.1"), ["line 6", "line 7"]);
    assert_eq!(folder.messages("web.0.jsonl.2"), ["line 4", "line 5"]);
    assert!(!folder.0.join("web.0.jsonl.3").exists());
}

#[test]
fn one_file_alone_starts_over() {
    let folder = Folder::new("single");
    let mut log = log(folder.log(), 100, 1);
    for number in 0..3 {
        log.line(Stream::Out, format!("line {number}").as_bytes(), false);
    }
    log.flush();
    assert_eq!(folder.messages("web.0.jsonl"), ["line 2"]);
    assert!(!folder.0.join("web.0.jsonl.1").exists());
}

#[test]
fn a_later_monitor_appends() {
    let folder = Folder::new("append");
    for text in ["first", "second"] {
        let mut log = log(folder.log(), 1 << 20, 2);
        log.line(Stream::Out, text.as_bytes(), false);
        log.flush();
    }
    assert_eq!(folder.messages("web.0.jsonl"), ["first", "second"]);
}

#[test]
fn a_removed_file_is_made_anew() {
    let folder = Folder::new("removed");
    let mut log = log(folder.log(), 1 << 20, 2);
    log.line(Stream::Out, b"before", false);
    log.flush();
    fs::remove_file(folder.log()).expect("the log to be there");
    log.line(Stream::Out, b"after", false);
    log.flush();
    assert_eq!(folder.messages("web.0.jsonl"), ["after"]);
}

#[test]
fn lost_lines_are_counted() {
    let folder = Folder::new("lost");
    let mut log = log(folder.0.join("gone/web.0.jsonl"), 1 << 20, 2);
    log.line(Stream::Out, b"lost 1", false);
    log.line(Stream::Out, b"lost 2", false);
    log.flush();
    fs::create_dir(folder.0.join("gone")).expect("a folder");
    log.line(Stream::Out, b"kept", false);
    log.flush();
    let lost = "coord: 2 lines are missing here: the log could not be written";
    assert_eq!(folder.messages("gone/web.0.jsonl"), [lost, "kept"]);
}

#[test]
fn the_largest_line_is_whole() {
    let folder = Folder::new("large");
    let text = "x".repeat(crate::kept::LINE_MAX_BYTES);
    let mut log = log(folder.log(), 1 << 20, 2);
    log.line(Stream::Out, text.as_bytes(), false);
    log.flush();
    assert_eq!(folder.messages("web.0.jsonl"), [text]);
}

#[test]
fn losses_are_counted_until_they_can_be_told() {
    let folder = Folder::new("losses");
    let mut log = log(folder.0.join("gone/web.0.jsonl"), 1 << 20, 2);
    for round in 0..3 {
        log.line(Stream::Out, b"lost", false);
        log.flush();
        assert_eq!(log.lost_lines(), round + 1);
    }
    fs::create_dir(folder.0.join("gone")).expect("a folder");
    log.line(Stream::Out, b"kept", false);
    log.flush();
    assert_eq!(log.lost_lines(), 0);
    let lost = "coord: 3 lines are missing here: the log could not be written";
    assert_eq!(folder.messages("gone/web.0.jsonl"), [lost, "kept"]);
}

#[test]
fn what_is_too_much_is_left_out_and_counted() {
    let folder = Folder::new("rate");
    let mut arguments = arguments(folder.log(), 1 << 20, 2);
    arguments.rate_bytes_per_s = Some(100);
    let mut log = open(&arguments);
    // The credit of the beginning is that of the longest line.
    log.line(Stream::Out, "x".repeat(16_380).as_bytes(), false);
    for _ in 0..5 {
        log.line(Stream::Out, b"this is too much at once", false);
    }
    assert!(log.has_skipped());
    log.tell_skipped();
    assert!(!log.has_skipped());
    log.flush();
    let told = "coord: 5 lines (120 bytes) are left out here: more than 100 bytes in a second";
    assert_eq!(folder.messages("web.0.jsonl")[1..], [told]);
}

#[test]
fn a_missing_journal_is_told_once() {
    let folder = Folder::new("journal");
    let mut arguments = arguments(folder.log(), 1 << 20, 2);
    arguments.driver = Driver::Journal;
    let mut log = open(&arguments);
    log.journal = crate::journal::Journal::at(&arguments, folder.0.join("none").as_os_str().as_encoded_bytes());
    for text in ["one", "two"] {
        log.line(Stream::Out, text.as_bytes(), false);
    }
    log.flush();
    let told = "coord: the host's journal cannot be reached: lines are in this file only";
    assert_eq!(folder.messages("web.0.jsonl"), [told, "one", "two"]);
}

#[test]
fn nobody_gets_nothing() {
    let folder = Folder::new("none");
    let mut arguments = arguments(folder.log(), 1 << 20, 2);
    arguments.driver = Driver::Nobody;
    let mut log = open(&arguments);
    log.line(Stream::Out, b"unheard", false);
    log.flush();
    assert!(!folder.log().exists());
}
