//! The log file on a real file system: rotation, appending, loss.

use std::fs;
use std::path::PathBuf;

use super::Log;
use crate::json::Stream;

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
    let mut log = Log::new(folder.log(), 150, 3);
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
    let mut log = Log::new(folder.log(), 100, 1);
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
        let mut log = Log::new(folder.log(), 1 << 20, 2);
        log.line(Stream::Out, text.as_bytes(), false);
        log.flush();
    }
    assert_eq!(folder.messages("web.0.jsonl"), ["first", "second"]);
}

#[test]
fn a_removed_file_is_made_anew() {
    let folder = Folder::new("removed");
    let mut log = Log::new(folder.log(), 1 << 20, 2);
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
    let mut log = Log::new(folder.0.join("gone/web.0.jsonl"), 1 << 20, 2);
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
fn a_line_larger_than_the_buffer_is_whole() {
    let folder = Folder::new("large");
    let text = "x".repeat(3 * super::BUFFER_BYTES);
    let mut log = Log::new(folder.log(), 1 << 20, 2);
    log.line(Stream::Out, text.as_bytes(), false);
    log.flush();
    assert_eq!(folder.messages("web.0.jsonl"), [text]);
}
