//! The log of a run: one file of JSON lines, bounded, in which no secret stands.
//!
//! Lines of steps come from what their monitors write. What does not fit is counted and told at the end of the step, followed by the
//! step's last lines: those are what everybody looks for first.

use super::error::BuildError;
use super::mask::Masks;
use crate::logs::{LogLine, LogStream};
use coord_shared::wire::{LAST_LINES_MAX, RunLogLine};
use jiff::Timestamp;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// What is kept of a run's lines. Our own words and last lines come on top, which are few.
const RUN_LOG_MAX_BYTES: u64 = 16 << 20;
/// A longer line is cut: nobody reads it, and it would be much in one piece for all who pass it on.
const LINE_MAX_BYTES: usize = 16 << 10;
/// Of a line that travels with the report.
const LAST_LINE_MAX_BYTES: usize = 500;

/// See the module's description.
#[derive(Debug)]
pub(super) struct RunLog {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
    masks: Masks,
    /// The last lines of the step that runs.
    recent: VecDeque<RunLogLine>,
    /// Lines of that step that did not fit.
    dropped: u64,
    /// Of that step's lines: what the file has already, up to this time, and how many of exactly this time.
    passed: Option<(Timestamp, u64)>,
}

impl RunLog {
    /// Opens it, and takes away a line that a crash has cut off.
    pub(super) fn open(path: &Path) -> Result<Self, BuildError> {
        Self::with_limit(path, RUN_LOG_MAX_BYTES)
    }

    pub(super) fn with_limit(path: &Path, max_bytes: u64) -> Result<Self, BuildError> {
        let open = || {
            let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
            let bytes = whole_lines(&mut file)?;
            file.set_len(bytes)?;
            Ok((file, bytes))
        };
        let (file, bytes) = open().map_err(BuildError::file("open", path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes,
            max_bytes,
            masks: Masks::default(),
            recent: VecDeque::new(),
            dropped: 0,
            passed: None,
        })
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on these words are not to be seen.
    pub(super) fn mask(&mut self, masks: Masks) {
        self.masks = masks;
    }

    /// Our own words.
    pub(super) fn say(&mut self, step: &str, text: &str, now: Timestamp) {
        for line in text.lines() {
            let line = self.line(now, step, "coord", line);
            self.append(&[line]);
        }
    }

    /// Our own words about the step that runs: they are the last lines where nothing else is.
    pub(super) fn tell(&mut self, step: &str, text: &str, now: Timestamp) {
        let line = self.line(now, step, "coord", text.trim_end());
        let mut text = Vec::new();
        self.keep(line, &mut text);
        self.write(&text);
    }

    /// A step begins.
    pub(super) fn begin_step(&mut self) {
        (self.recent, self.dropped, self.passed) = (VecDeque::new(), 0, None);
    }

    /// A step that an earlier agent began goes on: what the file has of it already will not come twice.
    pub(super) fn resume_step(&mut self, step: &str) {
        self.begin_step();
        let Ok(file) = File::open(&self.path) else { return };
        for line in BufReader::new(file).lines().map_while(Result::ok) {
            let Ok(line) = serde_json::from_str::<RunLogLine>(&line) else { continue };
            if line.step != step || line.stream == "coord" {
                continue;
            }
            self.passed = match self.passed {
                Some((time, count)) if time == line.time => Some((time, count + 1)),
                Some(_) | None => Some((line.time, 1)),
            };
            self.remember(line);
        }
    }

    /// What a step's container has printed.
    pub(super) fn copy(&mut self, step: &str, lines: Vec<LogLine>) {
        let mut text = Vec::new();
        for line in lines {
            let Ok(time) = line.time.parse::<Timestamp>() else { continue };
            if self.has_passed(time) {
                continue;
            }
            let stream = match line.stream {
                LogStream::Out => "stdout",
                LogStream::Err => "stderr",
            };
            let line = self.line(time, step, stream, &line.message);
            self.keep(line, &mut text);
        }
        self.write(&text);
    }

    /// The step has ended: says what was left out, and gives back the last lines.
    pub(super) fn end_step(&mut self, step: &str, now: Timestamp) -> Vec<String> {
        let recent = std::mem::take(&mut self.recent);
        if self.dropped > 0 {
            let limit = self.max_bytes >> 20;
            self.say(
                step,
                &format!("{} lines were left out: the log of a run is at most {limit} MiB; its last lines:", self.dropped),
                now,
            );
            let count = usize::try_from(self.dropped).unwrap_or(usize::MAX).min(recent.len());
            let last: Vec<_> = recent.iter().skip(recent.len() - count).cloned().collect();
            self.append(&last);
        }
        recent.into_iter().map(|line| cut(line.line, LAST_LINE_MAX_BYTES)).collect()
    }

    fn has_passed(&mut self, time: Timestamp) -> bool {
        match &mut self.passed {
            Some((last, _)) if time < *last => true,
            Some((last, count)) if time == *last && *count > 0 => {
                *count -= 1;
                true
            }
            Some(_) | None => false,
        }
    }

    fn line(&self, time: Timestamp, step: &str, stream: &str, text: &str) -> RunLogLine {
        let line = cut(self.masks.apply(text), LINE_MAX_BYTES);
        RunLogLine { time, step: step.to_owned(), stream: stream.to_owned(), line }
    }

    /// Adds a line to what is to be written, or counts it.
    fn keep(&mut self, line: RunLogLine, text: &mut Vec<u8>) {
        if self.dropped > 0 || self.bytes + text.len() as u64 >= self.max_bytes {
            self.dropped += 1;
        } else {
            encode(&line, text);
        }
        self.remember(line);
    }

    fn remember(&mut self, line: RunLogLine) {
        if self.recent.len() >= LAST_LINES_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(line);
    }

    fn append(&mut self, lines: &[RunLogLine]) {
        let mut text = Vec::new();
        lines.iter().for_each(|line| encode(line, &mut text));
        self.write(&text);
    }

    fn write(&mut self, text: &[u8]) {
        match self.file.write_all(text) {
            Ok(()) => self.bytes += text.len() as u64,
            Err(error) => {
                self.dropped += 1;
                tracing::warn!(path = %self.path.display(), %error, "lines of a build are lost");
            }
        }
    }
}

fn encode(line: &RunLogLine, text: &mut Vec<u8>) {
    // A line is a time and three strings, which always serialise.
    if serde_json::to_writer(&mut *text, line).is_ok() {
        text.push(b'\n');
    }
}

/// The length of a log without the line at its end that has none.
fn whole_lines(file: &mut File) -> std::io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(file);
    let (mut whole, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if read == 0 || line.last() != Some(&b'\n') {
            return Ok(whole);
        }
        whole += read as u64;
    }
}

fn cut(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        let end = (0..=max_bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let rest = text.len() - end;
        text.truncate(end);
        text.push_str(&format!(" ... {rest} bytes more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(range: std::ops::Range<u32>) -> Vec<LogLine> {
        let line = |number: u32| LogLine {
            time: format!("2026-11-22T13:00:00.{number:06}Z"),
            stream: LogStream::Out,
            message: format!("line {number}"),
            partial: false,
        };
        range.map(line).collect()
    }

    fn read(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).expect("a log");
        text.lines().map(|line| serde_json::from_str::<RunLogLine>(line).expect("a line").line).collect()
    }

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    #[test]
    fn no_line_is_lost_or_comes_twice_when_a_step_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut log = RunLog::open(&path).expect("a log");
        log.say("fetch.0", "fetching", now());
        log.begin_step();
        log.copy("build.0", lines(0..10));
        // Killed in the midst of a line.
        std::fs::OpenOptions::new().append(true).open(&path).expect("a log").write_all(b"{\"time\":").expect("written");
        let mut log = RunLog::open(&path).expect("a log");
        log.resume_step("build.0");
        log.copy("build.0", lines(0..12));
        assert_eq!(log.end_step("build.0", now()), (0..12).map(|number| format!("line {number}")).collect::<Vec<_>>());
        let expect: Vec<_> =
            std::iter::once("fetching".to_owned()).chain((0..12).map(|number| format!("line {number}"))).collect();
        assert_eq!(read(&path), expect);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_the_last_lines_follow() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut log = RunLog::with_limit(&path, 10_000).expect("a log");
        log.begin_step();
        log.copy("build.0", lines(0..1000));
        let last = log.end_step("build.0", now());
        assert_eq!((last.len(), last.last().map(String::as_str)), (LAST_LINES_MAX, Some("line 999")));
        let kept = read(&path);
        let gap = kept.iter().position(|line| line.contains("lines were left out")).expect("a gap");
        assert_eq!(kept[gap].split(' ').next().and_then(|count| count.parse().ok()), Some(1000 - gap));
        assert_eq!(kept[gap + 1..], last);
        // The next step has its words, too.
        log.begin_step();
        log.copy("build.1", lines(0..3));
        assert_eq!(log.end_step("build.1", now()).len(), 3);
        assert_eq!(read(&path).last().map(String::as_str), Some("line 2"));
    }

    #[test]
    fn long_lines_are_cut() {
        assert_eq!(cut("äää".to_owned(), 3), "ä ... 4 bytes more");
        assert_eq!(cut("abc".to_owned(), 3), "abc");
    }
}
