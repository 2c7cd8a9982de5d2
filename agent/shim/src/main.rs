//! `coord-shim`: starts one container with libcontainer, then becomes its monitor.
//!
//! A process of its own, because libcontainer forks and would deadlock in the agent's threads; started from a sealed
//! memory file, because the container's first process is a copy of this one until it executes its command, and could
//! otherwise be made to overwrite the host's binary through `/proc/self/exe`. Reads one request from standard input (a
//! socket), says what became of it, and then executes `coord-monitor`: the container's first process is then that
//! one's child, and this program with all of libcontainer is gone from memory.
//!
//! ```text
//! agent ──request──▶ shim ── users, network ── root ── libcontainer ──▶ init ── execve ──▶ the command
//!       ◀─outcome──       ── execve ──▶ monitor (same pid, parent of init)
//! ```
//! Where an OCI runtime is asked for, that does libcontainer's part (`external`). Its second mode runs a program in a container that runs (`exec`).
//! Deliberately absent: cgroups are made and limited by the agent; cleaning up after a failure is the agent's as well.

mod agent;
mod assemble;
mod clock;
mod container_root;
mod copy_up;
mod exec;
mod exec_request;
mod executor;
mod external;
mod live;
mod mounts;
mod namespaces;
mod parent;
mod request;
mod root;
mod start;
mod sys;
mod trace;
mod tree;
mod user;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;

use agent::Agent;
use request::{Failure, FailureKind, Message, PROTOCOL, Request};

fn main() -> ExitCode {
    // For whoever checks an installation.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "--version") {
        let said = io::stdout().write_all(concat!("coord-shim ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
        return if said.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    sys::ignore_stop_signals();
    if let Some(mode) = std::env::args_os().nth(1).filter(|mode| external::is_mode(mode)) {
        external::become_command(&mode, std::env::args_os().skip(2));
        return ExitCode::FAILURE;
    }
    if std::env::args_os().nth(1).is_some_and(|argument| argument == exec_request::EXEC_ARGUMENT) {
        return if exec::serve().is_ok() { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    let Ok(mut agent) = Agent::at_stdin() else {
        return ExitCode::from(2);
    };
    // Without an agent at the other end there is nothing to start: it died before it had said what.
    let Ok((stdio, request)) = agent.receive_files().and_then(|stdio| Ok((stdio, agent.receive::<Request>()?))) else {
        return ExitCode::from(2);
    };
    if request.protocol != PROTOCOL {
        let detail = format!(
            "the agent speaks protocol {}, this shim {PROTOCOL}: install agent and helpers of one release",
            request.protocol
        );
        agent.say(&Message::Failed(Failure { kind: FailureKind::Host, object: "coord-shim".to_owned(), detail }));
        return ExitCode::FAILURE;
    }
    // A subscriber is set once, here.
    let _ = tracing::subscriber::set_global_default(trace::ErrorsToStderr);
    match start::start(&request, stdio, &mut agent) {
        Ok(started) => {
            let (init, started_at_ms, weakened) = (started.init, started.started_at_ms, started.weakened.clone());
            agent.say(&Message::Running { init, started_at_ms, weakened });
            // When that fails, the agent finds the container without a monitor and starts another one.
            let _ = start::become_monitor(&request, &started);
            ExitCode::from(3)
        }
        Err(failure) => {
            agent.say(&Message::Failed(failure));
            ExitCode::FAILURE
        }
    }
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
