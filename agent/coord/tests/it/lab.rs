//! The program, started with a door of a test's own.

use crate::door::FakeDoor;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest that anything here takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// `coord` with these arguments.
pub(crate) fn coord(door: &FakeDoor, args: &[&str]) -> Command {
    coord_at(&door.socket(), args)
}

pub(crate) fn coord_at(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coord"));
    command.args(args).env("COORD_SOCKET", socket).env_remove("DOCKER_HOST").stdin(Stdio::null());
    command
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// Runs it to its end.
pub(crate) fn done(door: &FakeDoor, args: &[&str]) -> Done {
    coord(door, args).output().expect("coord runs").into()
}

/// The same, with something to read.
pub(crate) fn fed(door: &FakeDoor, args: &[&str], input: &[u8]) -> Done {
    let mut child = start(coord(door, args).stdin(Stdio::piped()));
    let mut stdin = child.0.take().and_then(|mut child| child.stdin.take().map(|stdin| (child, stdin))).expect("an input");
    std::io::Write::write_all(&mut stdin.1, input).expect("written");
    drop(stdin.1);
    stdin.0.wait_with_output().expect("an end").into()
}

/// A command that goes on; killed with the test.
pub(crate) struct Running(Option<Child>);

pub(crate) fn start(command: &mut Command) -> Running {
    Running(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("coord runs")))
}

impl Running {
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(self.0.as_ref().expect("it runs"));
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// To its end.
    pub(crate) fn done(mut self) -> Done {
        self.0.take().expect("it runs").wait_with_output().expect("an end").into()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits for something.
#[allow(clippy::disallowed_methods, reason = "the test's own clock")]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
