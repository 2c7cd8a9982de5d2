//! Running the built program.

use crate::fake::Fake;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long a run may say nothing before the test fails; far beyond what any does.
const DEADLINE: Duration = Duration::from_secs(30);

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// `None`: ended by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Fails unless the run ended with this code.
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Fails unless stderr has each of these.
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in:\n{}", self.stderr);
        }
        self
    }
}

/// The program with nothing of this machine's settings.
pub(crate) fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coordctl"));
    command.env_clear().env("HOME", home).env("TZ", "UTC").stdin(Stdio::null());
    command
}

/// Runs against the fake with a good token.
pub(crate) fn run(fake: &Fake, args: &[&str]) -> Outcome {
    finish(start(fake, args))
}

pub(crate) fn start(fake: &Fake, args: &[&str]) -> Running {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = command(home.path());
    command.env("COORD_URL", fake.url()).env("COORD_TOKEN", "coord-admin-test").args(args);
    spawn(command, Some(home))
}

/// Runs without a coordinator.
pub(crate) fn run_alone(args: &[&str], env: &[(&str, &str)]) -> Outcome {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = command(home.path());
    command.envs(env.iter().copied()).args(args);
    finish(spawn(command, Some(home)))
}

/// A run that goes on. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    stdout: String,
    stderr: Option<std::thread::JoinHandle<String>>,
    _home: Option<tempfile::TempDir>,
}

pub(crate) fn spawn(mut command: Command, home: Option<tempfile::TempDir>) -> Running {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start coordctl");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut stderr = child.stderr.take().expect("piped");
    let (sender, lines) = channel();
    std::thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
    let stderr = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    Running { child, lines, stdout: String::new(), stderr: Some(stderr), _home: home }
}

impl Running {
    /// The next line of stdout.
    pub(crate) fn line(&mut self) -> String {
        let line = self.lines.recv_timeout(DEADLINE).expect("a line within the deadline");
        self.stdout.push_str(&line);
        self.stdout.push('\n');
        line
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().expect("run kill");
        assert!(status.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the end.
pub(crate) fn finish(mut running: Running) -> Outcome {
    loop {
        match running.lines.recv_timeout(DEADLINE) {
            Ok(line) => running.stdout.extend([line.as_str(), "\n"]),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("coordctl did not end; it said:\n{}", running.stdout),
        }
    }
    let code = running.child.wait().expect("an ended child").code();
    let stderr = running.stderr.take().expect("joined once").join().expect("reading stderr");
    Outcome { code, stdout: std::mem::take(&mut running.stdout), stderr }
}
