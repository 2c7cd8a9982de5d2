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
//! Deliberately absent: cgroups are made and limited by the agent; cleaning up after a failure is the agent's as well.

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

use request::{Failure, FailureKind, Outcome, REQUEST_MAX_BYTES, Request};

fn main() -> ExitCode {
    // The only thread of this process: nobody else can use the descriptor.
    let Ok(agent) = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else {
        return ExitCode::from(2);
    };
    // Without an agent at the other end there is nothing to start: it died before it had said what.
    let Ok(request) = read_request(&agent) else {
        return ExitCode::from(2);
    };
    // A subscriber is set once, here.
    let _ = tracing::subscriber::set_global_default(trace::ErrorsToStderr);
    match start::start(&request) {
        Ok(init) => {
            answer(agent, &Outcome::Running { init });
            let error = start::become_monitor(&request, init);
            // The agent finds the container without a monitor and starts another one.
            let _ = writeln!(io::stderr(), "cannot execute {}: {error}", request.monitor.program.display());
            ExitCode::from(3)
        }
        Err(failure) => {
            answer(agent, &Outcome::Failed(failure));
            ExitCode::FAILURE
        }
    }
}

fn read_request(agent: &UnixStream) -> io::Result<Request> {
    let mut text = Vec::new();
    agent.take(REQUEST_MAX_BYTES).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
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
