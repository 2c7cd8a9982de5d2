//! `coord-shim`: starts one container with libcontainer, then becomes its monitor.
//!
//! A process of its own, because libcontainer forks and would deadlock in the agent's threads; started from a sealed
//! memory file, because the container's first process is a copy of this one until it executes its command, and could
//! otherwise be made to overwrite the host's binary through `/proc/self/exe`. Reads one request from standard input (a
//! socket), answers with one outcome, and then executes `coord-monitor`: the container's first process is then that
//! one's child, and this program with all of libcontainer is gone from memory.
//!
//! ```text
//! agent ──request──▶ shim ── mounts, network ── libcontainer ──▶ init ── execve ──▶ the command
//!       ◀─outcome──       ── execve ──▶ monitor (same pid, parent of init)
//! ```
//! Its second mode runs a program in a container that runs (`exec`).
//! Deliberately absent: cgroups are made and limited by the agent; cleaning up after a failure is the agent's as well.

mod clock;
mod exec;
mod exec_request;
mod executor;
mod request;
mod root;
mod start;
mod sys;
mod trace;
mod user;

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use request::{Failure, FailureKind, Outcome, PROTOCOL, Request};

/// A request that is larger than this is refused by the shim. The largest part is the environment, which the kernel
/// itself limits to 2 MiB together with the arguments.
const REQUEST_MAX_BYTES: u64 = 4 * 1024 * 1024;

fn main() -> ExitCode {
    // For whoever checks an installation.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "--version") {
        let said = io::stdout().write_all(concat!("coord-shim ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
        return if said.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    sys::ignore_stop_signals();
    let exec = std::env::args_os().nth(1).is_some_and(|argument| argument == exec_request::EXEC_ARGUMENT);
    // The only thread of this process: nobody else can use the descriptor.
    let Ok(agent) = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else {
        return ExitCode::from(2);
    };
    // Without an agent at the other end there is nothing to start: it died before it had said what.
    let Ok(text) = read_request(&agent) else {
        return ExitCode::from(2);
    };
    if exec {
        let Ok(request) = serde_json::from_slice(&text) else { return ExitCode::from(2) };
        exec::exec(&agent, &request);
        return ExitCode::SUCCESS;
    }
    let Ok(request) = serde_json::from_slice::<Request>(&text) else {
        return ExitCode::from(2);
    };
    if request.protocol != PROTOCOL {
        let detail = format!(
            "the agent speaks protocol {}, this shim {PROTOCOL}: install agent and helpers of one release",
            request.protocol
        );
        answer(agent, &Outcome::Failed(Failure { kind: FailureKind::Host, object: "coord-shim".to_owned(), detail }));
        return ExitCode::FAILURE;
    }
    // A subscriber is set once, here.
    let _ = tracing::subscriber::set_global_default(trace::ErrorsToStderr);
    match start::start(&request) {
        Ok(started) => {
            answer(agent, &Outcome::Running { init: started.init, started_at_ms: started.started_at_ms });
            // When that fails, the agent finds the container without a monitor and starts another one.
            let _ = start::become_monitor(&request, &started);
            ExitCode::from(3)
        }
        Err(failure) => {
            answer(agent, &Outcome::Failed(failure));
            ExitCode::FAILURE
        }
    }
}

fn read_request(agent: &UnixStream) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    agent.take(REQUEST_MAX_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// An agent that is gone meanwhile finds the outcome in `state.json`.
fn answer(mut agent: UnixStream, outcome: &Outcome) {
    let text = serde_json::to_vec(outcome).unwrap_or_default();
    let _ = agent.write_all(&text);
}

/// A failure of something that every host should grant.
fn host_failure(what: &str, error: impl Into<io::Error>) -> Failure {
    Failure::new(FailureKind::Host, what, &error.into())
}

impl Failure {
    /// A failure whose detail is an error together with its causes.
    pub(crate) fn new(kind: FailureKind, object: impl Into<String>, error: &dyn std::error::Error) -> Failure {
        let mut detail = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some libraries print their cause already.
            if !detail.contains(&text) {
                detail = format!("{detail}: {text}");
            }
            cause = error.source();
        }
        Failure { kind, object: object.into(), detail }
    }
}
