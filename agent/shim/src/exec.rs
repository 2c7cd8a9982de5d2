//! The shim's second mode: runs a program in a container that runs, exactly as confined as the container's own command.
//!
//! ```text
//! agent ──request──▶ shim: pidfd of init, config.json ─ setns(pid) ─ clone(CLONE_PARENT) ─▶ child: cgroup, setns(all), user,
//!       ◀──Forked──        and ends                                                         stdio, rights, seccomp, execve
//!       ◀──────────────────────────────────Connected, with its stdio──────────────────────
//! ```
//! The child is the agent's own, so that nothing of ours stays beside the program: no process, no descriptor, no namespace. Until it
//! executes the program it cannot be looked at from inside the container: it is not dumpable, and its binary is a sealed memory file.
//! All that names something of the host is opened before the child enters the container; all that names something of the container is
//! resolved after that. Deliberately absent: waiting for the program, and cleaning up; both are the agent's.

mod enter;
mod program;
mod rights;
mod stdio;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, pidfd_open, set_dumpable_behavior};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::exec_request::{ExecAnswer, ExecRequest};
use crate::request::{CgroupPlacement, Failure, ProcessId};
use crate::{host_failure, sys};
use program::Program;

/// A request that is larger than this is refused. The largest part is the environment, which the kernel itself limits to 2 MiB
/// together with the arguments.
const REQUEST_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Reads the request and brings the program on its way; what becomes of it after that, its process tells the agent itself.
/// Without an agent at the other end there is nothing to run: it died before it had said what.
pub(crate) fn serve() -> io::Result<()> {
    // The only thread of this process: nobody else can use the descriptor.
    let agent = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from)?;
    let mut text = Vec::new();
    (&agent).take(REQUEST_MAX_BYTES).read_to_end(&mut text)?;
    exec(&agent, &serde_json::from_slice(&text)?);
    Ok(())
}

fn exec(agent: &UnixStream, request: &ExecRequest) {
    let answer = start(agent, request).map_or_else(ExecAnswer::Failed, |pid| ExecAnswer::Forked { pid });
    tell(agent, &answer);
}

/// What the child needs besides the [`Program`]: all of it opened on the host.
struct Container {
    init: OwnedFd,
    /// The namespaces in which it differs from this process, but for that of processes.
    namespaces: ThreadNameSpaceType,
    /// The files to write `0` to, to enter its groups of cgroup v1.
    v1_tasks: Vec<OwnedFd>,
    /// Its group in the v2 tree; after it the one in which init is now, which may lie deeper.
    unified: Vec<OwnedFd>,
    null: File,
}

/// Returns the program's number. Its process goes another way.
fn start(agent: &UnixStream, request: &ExecRequest) -> Result<i32, Failure> {
    // Inherited by the child, until it executes the program.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| host_failure("hiding from the container", error))?;
    let program = Program::load(request)?;
    let container = Container::open(request)?;
    program.set_oom_score_adjustment()?;
    container.enter_processes()?;
    // Born in its group, where the kernel can do that: it spares a move, for which all processors would have to wait.
    let born = container.unified.first().and_then(|group| sys::fork_sibling(Some(group.as_fd())).ok());
    let (placed, forked) = match born {
        Some(forked) => (true, forked),
        None => (false, sys::fork_sibling(None).map_err(|error| host_failure("making a process", error))?),
    };
    match forked {
        Some(pid) => Ok(pid),
        None => {
            let failure = enter::enter(agent, &container, &program, placed);
            tell(agent, &ExecAnswer::Failed(failure));
            std::process::exit(1)
        }
    }
}

/// When the agent is gone, nobody needs to know.
fn tell(mut agent: &UnixStream, answer: &ExecAnswer) {
    let mut text = serde_json::to_vec(answer).unwrap_or_default();
    text.push(b'\n');
    let _ = agent.write_all(&text);
}

impl Container {
    fn open(request: &ExecRequest) -> Result<Container, Failure> {
        let init = open_process(request.init)?;
        let write = |path: &Path| {
            let file = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
            file.map_err(|error| host_failure(&path.to_string_lossy(), error))
        };
        Ok(Container {
            init,
            namespaces: foreign_namespaces(request.init.pid)?,
            v1_tasks: request.cgroup.v1_tasks.iter().map(|path| write(path)).collect::<Result<_, _>>()?,
            unified: open_groups(&request.cgroup, request.init.pid)?,
            null: File::options().read(true).write(true).open("/dev/null").map_err(|error| host_failure("/dev/null", error))?,
        })
    }

    /// From here on, children of this process are processes of the container.
    fn enter_processes(&self) -> Result<(), Failure> {
        move_into_thread_name_spaces(self.init.as_fd(), ThreadNameSpaceType::PROCESS_ID)
            .map_err(|error| host_failure("entering the container's processes", error))
    }
}

/// A pidfd of exactly this process.
fn open_process(process: ProcessId) -> Result<OwnedFd, Failure> {
    let gone = || host_failure("the container's first process", rustix::io::Errno::SRCH);
    let pid = Pid::from_raw(process.pid).ok_or_else(gone)?;
    let opened = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
    // Looked at after it was opened: the number has belonged to this process at that moment.
    if ProcessId::of(process.pid) == Some(process) { Ok(opened) } else { Err(gone()) }
}

/// One's own user namespace must not be entered again, and what is shared need not be.
fn foreign_namespaces(init: i32) -> Result<ThreadNameSpaceType, Failure> {
    let kinds = [
        ("user", ThreadNameSpaceType::USER),
        ("mnt", ThreadNameSpaceType::MOUNT),
        ("net", ThreadNameSpaceType::NETWORK),
        ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
        ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
        ("cgroup", ThreadNameSpaceType::CONTROL_GROUP),
    ];
    let mut foreign = ThreadNameSpaceType::empty();
    for (name, kind) in kinds {
        let of = |process: &str| {
            let path = format!("/proc/{process}/ns/{name}");
            fs::metadata(&path).map(|file| (file.dev(), file.ino())).map_err(|error| host_failure(&path, error))
        };
        if of("self")? != of(&init.to_string())? {
            foreign |= kind;
        }
    }
    Ok(foreign)
}

/// A container that divides its group must have left it: v2 allows processes in the leaves only.
fn open_groups(cgroup: &CgroupPlacement, init: i32) -> Result<Vec<OwnedFd>, Failure> {
    let Some(unified) = &cgroup.unified else { return Ok(Vec::new()) };
    let groups = fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap_or_default();
    let now = groups.lines().find_map(|line| line.strip_prefix("0::")).map(PathBuf::from).filter(|now| now != unified);
    let folder = |path: &Path| cgroup.unified_mount.join(path.strip_prefix("/").unwrap_or(path));
    let open = |path: PathBuf| {
        let opened = open(&path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        opened.map_err(|error| host_failure(&path.to_string_lossy(), error))
    };
    [Some(folder(unified)), now.map(|now| folder(&now))].into_iter().flatten().map(open).collect()
}
