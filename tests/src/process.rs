//! Processes that a test starts, each with its log in a file, each ended with its owner.
//!
//! A process is ended by its pid and never by its name: other people's programs of the same name run on the same
//! machine. It also dies with the thread that started it, should the test be killed before it can tidy up; so start
//! processes on the test's own thread.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
pub use nix::unistd::Pid;

use crate::wait;

/// A process whose end is not awaited longer than this is stuck in the kernel.
const END_LIMIT: Duration = Duration::from_secs(30);
/// `nsenter` and `unshare` fork at once; a loaded machine gets more.
const FORK_LIMIT: Duration = Duration::from_secs(10);

/// Where a process runs: which cgroups it joins, and which command takes it into its namespaces.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Cgroup directories, one per hierarchy.
    pub cgroups: Vec<PathBuf>,
    /// Such as `nsenter --net=...`; empty: this test's own namespaces.
    pub enter: Vec<String>,
    /// The `enter` command stays as the parent of what it runs, as it must to enter a pid namespace.
    pub forks: bool,
}

impl Place {
    /// The command line that runs `argv` here.
    pub fn command(&self, argv: &[&str]) -> Command {
        const JOIN: &str = r#"while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" || exit 125; shift; done
shift; exec "$@""#;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "sh", "-c", JOIN, "join"]);
        command.args(&self.cgroups).arg("--").args(&self.enter).args(argv);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command here to its end.
    pub fn run(&self, argv: &[&str]) -> Result<Output> {
        self.command(argv).output().with_context(|| format!("run {argv:?}"))
    }
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts `argv`; both of its outputs are appended to the file `log`.
    pub fn start(name: &str, argv: &[&str], place: &Place, log: &Path) -> Result<Process> {
        let out = File::options().create(true).append(true).open(log);
        let out = out.with_context(|| format!("open {}", log.display()))?;
        let mut command = place.command(argv);
        command.stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("start {name}: {argv:?}"))?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        let mut process = Process { name: name.to_owned(), child, pid, log: log.to_owned() };
        if place.forks {
            process.pid = process.await_child_of(pid)?;
        }
        Ok(process)
    }

    fn await_child_of(&mut self, parent: Pid) -> Result<Pid> {
        let what = format!("{} forks", self.name);
        let found = wait::wait_for(FORK_LIMIT, &what, || children(parent).first().copied());
        found.with_context(|| format!("{} says:\n{}", self.name, self.log()))
    }

    /// The process itself, not the command that took it to its place.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// All that it wrote so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid, signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().with_context(|| format!("wait for {}", self.name))?;
        Ok(())
    }

    /// SIGTERM, and gives how it ended.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        let what = format!("{} ends after SIGTERM", self.name);
        let child = &mut self.child;
        let status = wait::wait_for(END_LIMIT, &what, || child.try_wait().ok().flatten());
        status.with_context(|| format!("{} says:\n{}", self.name, self.log()))
    }

    /// Whether it still runs; the exit status where it does not.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            self.show_log();
        }
    }
}

impl Process {
    /// Into the test's output, which is shown only when the test fails.
    fn show_log(&self) {
        const LINES_MAX: usize = 20;
        const LINE_CHARS_MAX: usize = 400;
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let lines = &lines[lines.len().saturating_sub(LINES_MAX)..];
        let cut = lines.iter().map(|line| line.chars().take(LINE_CHARS_MAX).collect::<String>());
        let tail = cut.collect::<Vec<_>>().join("\n");
        crate::say(&format!("--- {} (last lines of its log)\n{tail}", self.name));
    }
}

/// The direct children of a process; none when it is gone.
pub fn children(pid: Pid) -> Vec<Pid> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let list = list.unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}

/// Whether a process exists and is not a zombie.
pub fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// Resident memory of a process in bytes, its share of shared pages included (PSS).
pub fn proportional_memory(pid: Pid) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|n| n.parse().ok());
    let kib: u64 = kib.with_context(|| format!("{path} has no Pss"))?;
    Ok(kib * 1024)
}

/// What a command said and how it ended, for messages.
pub fn describe(output: &Output) -> String {
    let ended = match (output.status.code(), output.status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, signal) => format!("signal {signal:?}"),
    };
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    format!("{ended}\n--- stdout\n{out}--- stderr\n{err}")
}
