//! A program that is run inside a container to its end, within a limit of time: what health checks and hooks have in common.
//!
//! Whatever becomes of the one who asked for it, the program does not outlive its limit: dropping the future kills it.
//! Deliberately absent: programs that people talk to (see `coord-agent exec`).

use coord_runtime::{Exec, ExecSpec, Runtime, RuntimeError};
use coord_shared::decide::health::OUTPUT_MAX_BYTES;
use coord_shared::quantity::Span;
use coord_shared::wire;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, getpgid, kill_process_group, pidfd_send_signal};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

/// How long what a program wrote is waited for once it has ended: it is there already, but children may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Why a program did not come to a good end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It was not started.
    #[error("it could not be started")]
    Start(#[source] RuntimeError),
    /// There is no such container any more: its end is told elsewhere.
    #[error("its container has ended")]
    NoContainer,
    /// It took too long and was killed.
    #[error("it was killed after {limit}{}", quoted(output))]
    TimedOut {
        /// Its limit.
        limit: Span,
        /// What it had said.
        output: String,
    },
    /// It ended with another code than 0, or by a signal.
    #[error("{exit}{}", quoted(output))]
    Failed {
        /// How.
        exit: wire::Exit,
        /// What it had said.
        output: String,
    },
}

impl ProgramError {
    fn of_start(error: RuntimeError) -> Self {
        let is_gone = matches!(error, RuntimeError::NotFound { .. } | RuntimeError::NotRunning { .. });
        if is_gone { Self::NoContainer } else { Self::Start(error) }
    }
}

fn quoted(output: &str) -> String {
    let output = output.trim();
    if output.is_empty() { String::new() } else { format!(": {output}") }
}

/// Runs a program in container `id`; well if it exits with 0 within `limit`.
///
/// # Errors
/// Everything else, with the first [`OUTPUT_MAX_BYTES`] of what it said.
pub(crate) async fn run<R: Runtime>(runtime: &R, id: &str, spec: ExecSpec, limit: Duration) -> Result<(), ProgramError> {
    let said = Said::default();
    let ended = tokio::time::timeout(limit, async {
        let mut exec = runtime.exec(id, spec).await.map_err(ProgramError::of_start)?;
        drop(exec.stdin.take());
        let mut killer = Killer::of(&exec);
        let exit = listen(&mut exec, &said).await;
        killer.armed = false;
        Ok(exit)
    })
    .await;
    match ended {
        Err(_) => Err(ProgramError::TimedOut { limit: Span(limit), output: said.text() }),
        Ok(Err(error)) => Err(error),
        Ok(Ok(exit)) if exit.is_success() => Ok(()),
        Ok(Ok(exit)) => Err(ProgramError::Failed { exit, output: said.text() }),
    }
}

/// Takes in what the program says until it ends.
async fn listen(exec: &mut Exec, said: &Said) -> wire::Exit {
    let (stdout, stderr) = (take(&exec.stdout), exec.stderr.as_ref().map(take));
    let mut words = std::pin::pin!(async {
        tokio::join!(said.take_in(stdout), async {
            if let Some(stderr) = stderr {
                said.take_in(stderr).await;
            }
        });
    });
    let mut is_silent = false;
    let exit = loop {
        tokio::select! {
            exit = &mut exec.ended => break exit.ok(),
            () = &mut words, if !is_silent => is_silent = true,
        }
    };
    if !is_silent {
        let _ = tokio::time::timeout(LAST_WORDS, words).await;
    }
    let at = crate::clock::now().wall;
    let (code, signal) = exit.map_or((None, None), |exit| (exit.code, exit.signal));
    wire::Exit { code, signal, oom_killed: false, memory_limit: None, at }
}

fn take(end: &OwnedFd) -> std::io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(end.try_clone()?)
}

/// The first of what a program says, from both its outputs.
#[derive(Default)]
struct Said(Mutex<Vec<u8>>);

impl Said {
    /// Reads to the end, so that the program never waits for a reader; keeps the beginning.
    async fn take_in(&self, from: std::io::Result<pipe::Receiver>) {
        let Ok(mut from) = from else { return };
        // Small, because it lies in the future of every program that runs.
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let room = OUTPUT_MAX_BYTES.saturating_sub(kept.len()).min(count);
            kept.extend_from_slice(&buffer[..room]);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).trim().to_owned()
    }
}

/// Kills the program when it is dropped, unless that has ended.
struct Killer {
    pid: i32,
    process: Arc<OwnedFd>,
    armed: bool,
}

impl Killer {
    fn of(exec: &Exec) -> Self {
        Self { pid: exec.pid, process: exec.process.clone(), armed: true }
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        // Its children too, where it leads a group of its own. While it lives, nobody else has its number.
        if let Some(pid) = Pid::from_raw(self.pid)
            && lives(&self.process)
            && getpgid(Some(pid)) == Ok(pid)
        {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }
}

fn lives(process: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    matches!(poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
}

#[cfg(test)]
pub(crate) mod tests;
