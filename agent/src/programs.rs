//! Programs that somebody wants run in a container, from the host or through the coordinator: finds the container, starts the program,
//! and gives back what attaches to it.
//!
//! Deliberately absent: how its input and output travel.

use crate::sync::report::Content;
use coord_attach::Program;
use coord_runtime::{EmbeddedRuntime, Exec, ExecSpec, RuntimeError};
use coord_shared::wire::{ErrorBody, ExecRequest, Exit, InstanceReport, InstanceState};
use rustix::process::{Signal, pidfd_send_signal};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

/// Who starts a program in a container: the runtime, or a test's own.
pub trait Starts: Send + Sync {
    /// As [`coord_runtime::Runtime::exec`].
    fn exec(&self, id: String, spec: ExecSpec) -> Pin<Box<dyn Future<Output = Result<Exec, RuntimeError>> + Send>>;
}

impl Starts for EmbeddedRuntime {
    fn exec(&self, id: String, spec: ExecSpec) -> Pin<Box<dyn Future<Output = Result<Exec, RuntimeError>> + Send>> {
        let runtime = self.clone();
        Box::pin(async move { coord_runtime::Runtime::exec(&runtime, &id, spec).await })
    }
}

/// Runs programs in this host's containers. Cheap to clone.
#[derive(Clone)]
pub struct Programs {
    runtime: Arc<dyn Starts>,
    /// What the loop reported last: which containers there are.
    content: watch::Receiver<Content>,
}

impl Programs {
    /// In the containers that `content` tells of.
    pub fn new(runtime: Arc<dyn Starts>, content: watch::Receiver<Content>) -> Self {
        Self { runtime, content }
    }

    /// Starts a program. When this returns `Ok`, it has been executed.
    ///
    /// # Errors
    /// `no_such_instance`, `not_running`; `command_not_found` and `command_not_executable`, which shells tell as 127 and 126; others.
    pub async fn start(&self, asked: ExecRequest) -> Result<Program, ErrorBody> {
        let id = self.container(&asked.container)?;
        if asked.command.is_empty() {
            return Err(failure("invalid_request", "no command to run".to_owned(), Some("name a program and its arguments")));
        }
        let terminal = asked.terminal.is_some();
        let spec = ExecSpec {
            args: asked.command,
            env: asked.environment,
            cwd: asked.working_dir,
            user: asked.user,
            terminal: asked.terminal,
            stdin: asked.stdin,
        };
        tracing::info!(container = %id, program = ?spec.args.first(), terminal, "running a program in a container");
        let exec = self.runtime.exec(id, spec).await.map_err(|error| refusal(&error))?;
        Ok(program(exec, terminal))
    }

    /// The running container that `wanted`, an instance or a container's ID, names.
    fn container(&self, wanted: &str) -> Result<String, ErrorBody> {
        let content = self.content.borrow();
        let reports = content.full.as_ref().map(|full| full.instances.as_slice()).unwrap_or_default();
        let is_it = |report: &&InstanceReport| {
            report.instance.to_string() == wanted || report.container.as_ref().is_some_and(|id| id.to_string() == wanted)
        };
        let hint = Some("`coord-agent ps` lists them");
        let report = reports
            .iter()
            .find(is_it)
            .ok_or_else(|| failure("no_such_instance", format!("this host has no instance {wanted}"), hint))?;
        match (&report.container, report.state) {
            (Some(id), InstanceState::Running | InstanceState::Stopping) => Ok(id.to_string()),
            (_, state) => Err(failure("not_running", format!("instance {wanted} does not run: it is {state}"), None)),
        }
    }
}

/// What attaches to a program that was started.
pub(crate) fn program(exec: Exec, terminal: bool) -> Program {
    let Exec { pid: _, stdin, stdout, stderr, ended, process } = exec;
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        // Not heard of any more: whoever waits sees that the sender is gone.
        if let Ok(exit) = ended.await {
            let _ = tell.send(Exit {
                code: exit.code,
                signal: exit.signal,
                oom_killed: exit.oom_killed,
                memory_limit: None,
                at: exit.at,
            });
        }
    });
    let signal = move |number: i32| {
        if let Some(signal) = Signal::from_named_raw(number) {
            // One that is gone is passed over.
            let _ = pidfd_send_signal(process.as_fd(), signal);
        }
    };
    Program { stdin, stdout, stderr, terminal, ended: told, signal: Box::new(signal) }
}

/// Why a program was not started, with a code that says what a shell would.
pub fn refusal(error: &RuntimeError) -> ErrorBody {
    let code = match error.exit_status() {
        127 => "command_not_found",
        126 => "command_not_executable",
        _ => "not_started",
    };
    failure(code, crate::chain(error), error.hint())
}

fn failure(code: &str, message: String, hint: Option<&str>) -> ErrorBody {
    ErrorBody { code: code.to_owned(), message, hint: hint.map(str::to_owned), detail: None }
}
