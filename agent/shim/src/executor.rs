//! The last steps inside the container: enter the v1 cgroups, clean up what a process inherits, load seccomp, execute.
//!
//! Our own because libcontainer's does not load seccomp without libseccomp (nor for exec'd processes at all), lets the
//! signal mask and ignored signals of its caller through, and reports only a text. Everything is prepared before the
//! fork: what runs here touches no host path any more, and no allocation can fail in a surprising place.
//! What goes wrong is written to a pipe as a [`Failure`]; the pipe closes by itself when `execve` succeeds, which is how
//! the shim knows that the command really runs.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use rustix::fs::Mode;
use rustix::process::Pid;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::request::{Failure, FailureKind};
use crate::sys;
use crate::verify::verify;

/// What programs expect to find, and what container engines give them.
const UMASK: u32 = 0o022;

/// See the module's description. Shared by the processes that libcontainer forks.
#[derive(Clone)]
pub(crate) struct ContainerExecutor(Rc<Prepared>);

/// All that is needed in the container, made while it was still easy.
pub(crate) struct Prepared {
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    /// What to try to execute, in this order: one path, or one for each part of PATH.
    pub(crate) candidates: Vec<CString>,
    /// Open `tasks` files; this process has one thread.
    pub(crate) v1_tasks: Vec<OwnedFd>,
    /// To be loaded in this order.
    pub(crate) filters: Vec<Vec<sys::Instruction>>,
    /// What is left of the rights once the filters are loaded, where something was kept for that.
    pub(crate) rights: Option<CapabilitySet>,
    /// The program that is the first process, and whose child is the command.
    pub(crate) init: Option<OwnedFd>,
    /// Where the first process shows itself, which sees other numbers of processes than the shim.
    pub(crate) introduction: Option<UnixDatagram>,
    /// Standard input may be a terminal.
    pub(crate) terminal: bool,
    /// Where a [`Failure`] is written to. A number, because the shim closes its copy while this lives on.
    pub(crate) failure_pipe: i32,
}

impl ContainerExecutor {
    pub(crate) fn new(prepared: Prepared) -> ContainerExecutor {
        ContainerExecutor(Rc::new(prepared))
    }

    fn command(&self) -> String {
        self.0.arguments.first().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    fn fail(&self, failure: &Failure) -> String {
        let text = serde_json::to_string(failure).unwrap_or_default();
        // When the pipe is gone, the text still takes libcontainer's own way.
        if let Ok(pipe) = sys::borrow(self.0.failure_pipe) {
            let _ = rustix::io::write(pipe, text.as_bytes());
        }
        failure.detail.clone()
    }

    fn host_failure(&self, what: &str, error: &io::Error) -> String {
        self.fail(&Failure::new(FailureKind::Host, what, error))
    }

    fn execute(&self) -> Failure {
        execute_first(&self.0.candidates, &self.0.arguments, &self.0.environment).unwrap_or_else(|| not_found(self.command()))
    }
}

impl Executor for ContainerExecutor {
    /// Runs as the container's user inside its root, before the container counts as created.
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        verify(spec).map_err(|error| {
            let text = self.host_failure("isolating the container", &error);
            ExecutorValidationError::ArgValidationError(text)
        })?;
        let failed = |what: &str, error: io::Error| ExecutorValidationError::ArgValidationError(self.host_failure(what, &error));
        for procs in &self.0.v1_tasks {
            rustix::io::write(procs, b"0").map_err(|error| failed("entering the container's cgroup", error.into()))?;
        }
        match &self.0.introduction {
            Some(shim) => shim.send(b"!").map(drop).map_err(|error| failed("telling who it is", error)),
            None => Ok(()),
        }
    }

    fn setup_envs(&self, _envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(()) // given to execve as it is
    }

    fn exec(&self, _spec: &Spec) -> Result<(), ExecutorError> {
        Err(ExecutorError::Other(self.become_command()))
    }
}

impl ContainerExecutor {
    /// Executes the command, or the init and the command below it. Returns why it could not, having told it.
    pub(crate) fn become_command(&self) -> String {
        if let Err(told) = self.restrict() {
            return told;
        }
        let failure = match &self.0.init {
            Some(init) => self.execute_below(init),
            None => self.execute(),
        };
        self.fail(&failure)
    }

    /// The last restrictions: what comes after this is the command's own doing.
    fn restrict(&self) -> Result<(), String> {
        sys::reset_signals();
        rustix::process::umask(Mode::from_raw_mode(UMASK));
        sys::new_session_keyring();
        if self.0.terminal {
            sys::take_terminal();
        }
        for filter in &self.0.filters {
            sys::load_seccomp(filter).map_err(|error| self.host_failure("loading the seccomp filter", &error))?;
        }
        if let Some(rights) = self.0.rights {
            let sets = CapabilitySets { effective: rights, permitted: rights, inheritable: CapabilitySet::empty() };
            set_capabilities(None, sets).map_err(|error| self.host_failure("dropping capabilities", &error.into()))?;
        }
        Ok(())
    }

    /// Executes the command in a child, and the init in its parent. Whether the command can be executed is told by the
    /// child, as ever; the pipe is closed when both have been.
    fn execute_below(&self, init: &OwnedFd) -> Failure {
        let child = sys::fork_child(|| {
            if self.0.terminal {
                sys::lead_foreground();
            }
            self.fail(&self.execute());
            CANNOT_EXECUTE
        });
        let arguments = |child: Pid| ["coord-init".to_owned(), "--init".to_owned(), child.as_raw_nonzero().to_string()];
        let error = match child {
            Ok(child) => {
                let arguments = arguments(child).into_iter().filter_map(|text| CString::new(text).ok()).collect::<Vec<_>>();
                sys::execute_open(init.as_fd(), &arguments)
            }
            Err(error) => error,
        };
        Failure::new(FailureKind::Host, "the container's init", &error)
    }
}

/// What shells say of a command that could not be executed. Nobody sees it: the start has failed.
const CANNOT_EXECUTE: i32 = 126;

/// Executes the first of `candidates` that is a program. Returns why it cannot be executed, or `None` when there is none.
pub(crate) fn execute_first(candidates: &[CString], arguments: &[CString], environment: &[CString]) -> Option<Failure> {
    let mut denied = None;
    for candidate in candidates {
        let error = sys::execute(candidate, arguments, environment);
        let kind = match error.raw_os_error() {
            // ENOENT also means: the interpreter of the script or the loader of the program is missing.
            Some(libc::ENOENT | libc::ENOTDIR) => continue,
            Some(libc::EACCES | libc::EISDIR) => FailureKind::CommandNotExecutable,
            Some(libc::ENOEXEC) => FailureKind::CommandFormat,
            _ => FailureKind::Host,
        };
        let failure = Failure::new(kind, candidate.to_string_lossy(), &error);
        if kind != FailureKind::CommandNotExecutable {
            return Some(failure);
        }
        denied.get_or_insert(failure);
    }
    denied
}

/// There is no program of this name.
pub(crate) fn not_found(command: impl Into<String>) -> Failure {
    Failure::new(FailureKind::CommandNotFound, command, &io::Error::from_raw_os_error(libc::ENOENT))
}

/// The paths to try for `command`, in the manner of `execvp`: one that holds a slash stands for itself.
pub(crate) fn candidates(command: &str, environment: &[String]) -> Vec<String> {
    if command.contains('/') {
        return vec![command.to_owned()];
    }
    let path = environment.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or_default();
    path.split(':').map(|folder| if folder.is_empty() { format!("./{command}") } else { format!("{folder}/{command}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::candidates;

    #[test]
    fn a_command_is_looked_for_along_the_path() {
        let check = |command: &str, environment: &[&str], expect: &[&str]| {
            let environment = environment.iter().map(|&variable| variable.to_owned()).collect::<Vec<_>>();
            assert_eq!(candidates(command, &environment), expect);
        };
        check("sh", &["PATH=/usr/bin:/bin"], &["/usr/bin/sh", "/bin/sh"]);
        check("sh", &["HOME=/", "PATH=/bin:"], &["/bin/sh", "./sh"]);
        check("/bin/sh", &["PATH=/usr/bin"], &["/bin/sh"]);
        check("./run", &[], &["./run"]);
    }
}
