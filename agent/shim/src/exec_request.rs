//! What the agent and the shim say to each other over the shim's standard input when a program is to run in a container that
//! runs: one [`ExecRequest`] in, some [`ExecAnswer`]s back, all as JSON, the answers a line each.
//!
//! The agent compiles this very file as a module of its own, as it does with `request`. Deliberately absent: the program's exit
//! status, because the program is the agent's own child.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::request::{CgroupPlacement, Failure, ProcessId};

/// Tells the shim that an [`ExecRequest`] follows, as its only argument.
pub(crate) const EXEC_ARGUMENT: &str = "exec";

/// Everything the shim needs to run a program in a container. All paths are absolute.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ExecRequest {
    /// Holds the container's `config.json`.
    pub(crate) bundle: PathBuf,
    /// The container's first process.
    pub(crate) init: ProcessId,
    /// Where the container's processes are.
    pub(crate) cgroup: CgroupPlacement,
    /// The container's seccomp programs, if it has any; in the format of `Request::seccomp`.
    pub(crate) seccomp: Option<PathBuf>,
    /// Command and arguments; not empty.
    pub(crate) args: Vec<String>,
    /// Added to the container's environment.
    pub(crate) env: Vec<(String, String)>,
    /// The container's own where absent.
    pub(crate) cwd: Option<String>,
    /// The container's own where absent.
    pub(crate) user: Option<String>,
    /// A terminal of so many rows and columns.
    pub(crate) terminal: Option<(u16, u16)>,
    /// It gets a standard input.
    pub(crate) stdin: bool,
}

/// One answer of the shim. The socket's end after [`ExecAnswer::Connected`] means that the program has been executed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum ExecAnswer {
    /// There is a process, which the agent has to wait for, whatever comes.
    Forked {
        /// As seen from the host.
        pid: i32,
    },
    /// With this come the agent's ends of the program's standard input (if it has one), output and error, in this order; or its
    /// terminal alone.
    Connected,
    /// It does not come to run.
    Failed(Failure),
}
