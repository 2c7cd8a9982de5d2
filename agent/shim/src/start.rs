//! The way from a request to a running command.

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use nix::sched::{CloneFlags, setns};
use rustix::fs::{Gid, Mode, OFlags, Uid, open};
use rustix::mount::mount_bind;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::agent::{Agent, STDIO};
use crate::assemble::{Assembled, Users, assemble};
use crate::executor::{ContainerExecutor, Prepared, candidates};
use crate::parent::{Introduction, ParentContainer};
use crate::request::{Failure, FailureKind, Message, Network, ProcessId, Request};
use crate::{clock, external, host_failure, sys};

/// Where libcontainer looks for cgroups.
const CGROUP_MOUNT: &str = "/sys/fs/cgroup";

/// A failure that is told through the pipe is shorter than this.
const FAILURE_MAX_BYTES: u64 = 64 * 1024;

/// A seccomp file is smaller than this: two programs of at most 4096 instructions, the kernel's own limit.
const SECCOMP_MAX_BYTES: u64 = 2 * (4 + 4096 * sys::INSTRUCTION_BYTES as u64);

/// The monitor must outlive what it watches, when the host runs out of memory. 1000 would be first, -1000 never.
const MONITOR_OOM_SCORE_ADJUSTMENT: &str = "-900";

/// A container whose command has been executed.
pub(crate) struct Started {
    pub(crate) init: ProcessId,
    pub(crate) started_at_ms: i64,
    /// What the host could not give it, a few words each.
    pub(crate) weakened: Vec<String>,
    /// Its FIFOs, kept open until the monitor has opened them: what a container that ended at once has written is lost
    /// with the last one who has them open.
    outputs: [OwnedFd; 2],
}

/// Starts the container. When it returns `Ok`, the command runs and `state.json` says so. `stdio` are the files that the
/// container has been given, if it has been given any.
pub(crate) fn start(request: &Request, stdio: Vec<OwnedFd>, agent: &mut Agent) -> Result<Started, Failure> {
    // Own session: a Ctrl-C in the agent's terminal is not for containers. Fails when this is a session leader already.
    let _ = rustix::process::setsid();
    // libcontainer leaves the groups of its caller when the container's user has none.
    rustix::thread::set_thread_groups(&[]).map_err(|error| host_failure("dropping the agent's groups", error))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));

    let host = HostMounts::open()?;
    let parent = request.parent.map(ParentContainer::open).transpose()?;
    let users = Users::make(request, parent.as_ref())?;
    if request.network == Network::Connected
        && let Some(network) = &users.network
    {
        let namespace = format!("/proc/{}/fd/{}", std::process::id(), network.as_raw_fd()).into();
        agent.say(&Message::Network { namespace });
    }
    let made = assemble(request, users, parent.as_ref())?;
    let outputs = [open_fifo(request, "out.fifo", &made)?, open_fifo(request, "err.fifo", &made)?];
    let init = run(request, &made, parent.as_ref(), stdio, &outputs, agent)?;
    host.reenter()?;
    // Best effort: needs CAP_SYS_RESOURCE, and only matters when the whole host is out of memory.
    let _ = fs::write("/proc/self/oom_score_adj", MONITOR_OOM_SCORE_ADJUSTMENT);
    let started_at_ms = write_state(request, init, &made.weakened).map_err(|error| host_failure("writing state.json", error))?;
    Ok(Started { init, started_at_ms, weakened: made.weakened, outputs })
}

/// Replaces this process by the container's monitor. Returns only when that failed.
pub(crate) fn become_monitor(request: &Request, started: &Started) -> io::Error {
    let text = |text: OsString| CString::new(text.into_vec()).unwrap_or_default();
    let program = text(request.monitor.program.clone().into_os_string());
    let mut arguments = vec![c"coord-monitor".to_owned()];
    arguments.extend(request.monitor.arguments(&request.run, started.init).into_iter().map(text));
    if let Err(error) = keep_open(&started.outputs).and_then(|()| sys::close_all_on_exec()) {
        return error;
    }
    sys::execute(&program, &arguments, &[])
}

/// The mounts that this process leaves for a while, and comes back to before it becomes the monitor: so the monitor keeps
/// no mount of the container alive.
struct HostMounts(File);

impl HostMounts {
    fn open() -> Result<HostMounts, Failure> {
        let path = "/proc/self/ns/mnt";
        File::open(path).map(HostMounts).map_err(|error| host_failure(path, error))
    }

    fn reenter(&self) -> Result<(), Failure> {
        setns(self.0.as_fd(), CloneFlags::CLONE_NEWNS)
            .map_err(|error| host_failure("returning to the host's mount namespace", error))
    }
}

/// On hybrid hosts, shows libcontainer the v2 tree only. It can then place the container in one group that can be killed
/// at once; the v1 groups, which lie elsewhere for each controller, are entered by our executor.
fn hide_v1_cgroups(request: &Request) -> Result<(), Failure> {
    let cgroup = &request.cgroup;
    if cgroup.unified.is_none() || cgroup.unified_mount == Path::new(CGROUP_MOUNT) {
        return Ok(());
    }
    mount_bind(&cgroup.unified_mount, CGROUP_MOUNT).map_err(|error| host_failure(CGROUP_MOUNT, error))
}

/// Has libcontainer or an OCI runtime create and start the container, and waits until its command has been executed.
fn run(
    request: &Request,
    made: &Assembled,
    parent: Option<&ParentContainer>,
    stdio: Vec<OwnedFd>,
    outputs: &[OwnedFd; 2],
    agent: &mut Agent,
) -> Result<ProcessId, Failure> {
    if let Some(program) = &request.external {
        let stdio = standard_files(request, stdio, outputs).map_err(|error| host_failure("its standard files", error))?;
        made.save_final_spec(request)?;
        return external::run(request, program, made, stdio, agent);
    }
    let (failures, failure_pipe) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| host_failure("making a pipe", error))?;
    let introduction = Introduction::new().map_err(|error| host_failure("making a socket", error))?;
    let executor = ContainerExecutor::new(prepare(request, made, &introduction, failure_pipe.as_raw_fd())?);
    let stdio = standard_files(request, stdio, outputs).map_err(|error| host_failure("its standard files", error))?;
    let work = request.run.join("libcontainer");

    // Not earlier: the v1 groups have been opened by now.
    hide_v1_cgroups(request)?;
    let created = match parent {
        Some(parent) => parent.among_its_processes(|| create(request, executor, stdio, &work))?,
        None => create(request, executor, stdio, &work),
    };
    let created = created.and_then(|mut container| {
        let init = introduction.received().map_err(LibcontainerError::OtherIO)?;
        container.set_pid(init.pid);
        Ok((container, init))
    });
    // The rights that libcontainer was told are more than the container gets, if the filters need them to be loaded.
    made.save_final_spec(request)?;
    if let Ok((_, init)) = &created {
        // It waits to be started, and would do so for ever where there is no agent any more to end it.
        agree(request, *init, agent).inspect_err(|_| end(*init))?;
    }
    let created = created.and_then(|(mut container, init)| container.start().map(|()| init));
    drop(failure_pipe);
    // Ends when the container's first process has executed its command or is gone: nobody else has the pipe.
    let told = read_failure(File::from(failures));
    // Its state and sockets are of no use to us: we keep our own.
    let _ = fs::remove_dir_all(&work);
    match (told, created) {
        (Some(failure), _) => Err(failure),
        (None, Err(error)) => Err(Failure::new(FailureKind::Host, "", &error)),
        (None, Ok(init)) => Ok(init),
    }
}

/// Waits for all that the agent has to do or to say before the command may be executed.
fn agree(request: &Request, init: ProcessId, agent: &mut Agent) -> Result<(), Failure> {
    if request.network == Network::Connected {
        agent.wait_until_connected()?;
    }
    if request.is_inspected {
        agent.say(&Message::Ready { init });
        agent.wait_until_inspected()?;
    }
    Ok(())
}

/// Ends a first process that executes nothing. It is a child that nobody has taken note of: its number is still its own.
fn end(init: ProcessId) {
    if let Some(pid) = Pid::from_raw(init.pid) {
        let _ = kill_process(pid, Signal::KILL);
        let _ = waitpid(Some(pid), WaitOptions::empty());
    }
}

/// Nothing and the FIFOs, or what it was given.
fn standard_files(request: &Request, given: Vec<OwnedFd>, [out, err]: &[OwnedFd; 2]) -> io::Result<[OwnedFd; STDIO]> {
    match <[OwnedFd; STDIO]>::try_from(given) {
        Ok(given) if request.given_stdio => Ok(given),
        Err(_) if request.given_stdio => Err(io::Error::other("they did not come with the request")),
        _ => Ok([File::open("/dev/null")?.into(), out.try_clone()?, err.try_clone()?]),
    }
}

fn create(
    request: &Request,
    executor: ContainerExecutor,
    [input, output, error]: [OwnedFd; STDIO],
    work: &Path,
) -> Result<Container, LibcontainerError> {
    fs::create_dir_all(work).map_err(LibcontainerError::OtherIO)?;
    ContainerBuilder::new(request.id.clone(), SyscallType::default())
        .with_executor(executor)
        .with_root_path(work)?
        .with_stdin(input)
        .with_stdout(output)
        .with_stderr(error)
        .as_init(&request.bundle)
        .with_systemd(false)
        .build()
}

fn prepare(request: &Request, made: &Assembled, introduction: &Introduction, failure_pipe: i32) -> Result<Prepared, Failure> {
    let none = Vec::new();
    let process = made.spec.process().as_ref();
    let arguments = process.and_then(|process| process.args().as_ref()).unwrap_or(&none);
    let environment = process.and_then(|process| process.env().as_ref()).unwrap_or(&none);
    let command = arguments.first().map(String::as_str).unwrap_or_default();
    let mut v1_tasks = Vec::new();
    for path in &request.cgroup.v1_tasks {
        let file = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        v1_tasks.push(file.map_err(|error| host_failure(&path.to_string_lossy(), error))?);
    }
    Ok(Prepared {
        arguments: c_strings(arguments)?,
        environment: c_strings(environment)?,
        candidates: c_strings(&candidates(command, environment))?,
        v1_tasks,
        filters: read_filters(&request.seccomp).map_err(|error| host_failure(&request.seccomp.to_string_lossy(), error))?,
        rights: made.rights(request),
        init: request.init.as_deref().map(open_program).transpose()?,
        introduction: Some(introduction.theirs.try_clone().map_err(|error| host_failure("making a socket", error))?),
        terminal: request.given_stdio,
        failure_pipe,
    })
}

pub(crate) fn open_program(path: &Path) -> Result<OwnedFd, Failure> {
    open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|error| host_failure(&path.to_string_lossy(), error))
}

pub(crate) fn c_strings(texts: &[String]) -> Result<Vec<CString>, Failure> {
    let convert = |text: &String| {
        CString::new(text.as_str()).map_err(|error| Failure::new(FailureKind::CommandFormat, text.as_str(), &error))
    };
    texts.iter().map(convert).collect()
}

/// Reads the programs that the agent has compiled; see [`Request::seccomp`].
pub(crate) fn read_filters(path: &Path) -> io::Result<Vec<Vec<sys::Instruction>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SECCOMP_MAX_BYTES).read_to_end(&mut bytes)?;
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "damaged seccomp file; restart the agent to renew it");
    let mut filters = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_ne_bytes(*length) as usize * sys::INSTRUCTION_BYTES;
        let (program, after) = after.split_at_checked(length).ok_or_else(damaged)?;
        filters.push(program.chunks_exact(sys::INSTRUCTION_BYTES).map(instruction).collect());
        rest = after;
    }
    if rest.is_empty() { Ok(filters) } else { Err(damaged()) }
}

/// `struct sock_filter`: a 16-bit code, two 8-bit jumps, a 32-bit operand.
fn instruction(bytes: &[u8]) -> sys::Instruction {
    sys::Instruction {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}

/// Opened for reading too, so that the container's output waits in the FIFO when its monitor is gone: a writer without
/// any reader would be ended by SIGPIPE. Given to the container's user, who may want to reopen `/dev/stdout`.
fn open_fifo(request: &Request, name: &str, made: &Assembled) -> Result<OwnedFd, Failure> {
    let path = request.run.join(name);
    let opened = || -> rustix::io::Result<OwnedFd> {
        let fifo = open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let (uid, gid) = (Uid::from_raw(made.on_host(made.user.uid)), Gid::from_raw(made.on_host(made.user.gid)));
        rustix::fs::fchown(&fifo, Some(uid), Some(gid))?;
        Ok(fifo)
    };
    opened().map_err(|error| host_failure(&path.to_string_lossy(), error))
}

pub(crate) fn read_failure(pipe: File) -> Option<Failure> {
    let mut text = Vec::new();
    pipe.take(FAILURE_MAX_BYTES).read_to_end(&mut text).ok()?;
    serde_json::Deserializer::from_slice(&text).into_iter().next()?.ok()
}

/// Adds what is known now to the agent's `state.json`: whatever happens to the agent from here on, it will find the
/// container.
fn write_state(request: &Request, init: ProcessId, weakened: &[String]) -> io::Result<i64> {
    let (path, temporary) = (request.run.join("state.json"), request.run.join("state.json.shim"));
    let mut state = serde_json::from_slice::<serde_json::Value>(&fs::read(&path)?)?;
    let started_at_ms = clock::now_ms();
    state["generation"] = (state["generation"].as_u64().unwrap_or(0) + 1).into();
    state["phase"] = "running".into();
    state["init"] = serde_json::to_value(init)?;
    state["monitor"] = serde_json::to_value(ProcessId::of(std::process::id().cast_signed()))?;
    state["started_at_ms"] = started_at_ms.into();
    state["weakened"] = weakened.into();
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(&state)?)?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    Ok(started_at_ms)
}

/// The monitor inherits the FIFOs in the place of standard output and error, and leaves them alone: it must not wait when
/// it reads, and the container, which shares these very descriptions, must.
fn keep_open([out, err]: &[OwnedFd; 2]) -> io::Result<()> {
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(out)?;
    rustix::stdio::dup2_stderr(err)?;
    Ok(())
}
