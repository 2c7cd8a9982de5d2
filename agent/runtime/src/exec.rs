//! Programs that are run in a container besides its command: for people who look into it, for health checks, for hooks.
//!
//! A shim of its own enters the container and makes the program's process, which is our child: the shim is gone when the program runs,
//! and nothing is left beside it. We hold its pidfd until it ends and take note of its status then, whoever still listens; a child that
//! nobody takes note of would keep its container from coming to its end.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal, waitid};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::embedded::{Container, Inner};
use super::error::{RuntimeError, StartFailure};
use super::exec_request::{ExecAnswer, ExecRequest};
use super::request::{Failure, FailureKind};
use super::watch::{ended, has_ended};
use super::{Exec, ExecSpec, Exit, sys};
use crate::clock;

/// It takes some 10 ms. What takes longer hangs: in a file system of the container that does not answer, for example.
const EXEC_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the first process of a container may be on its way out while nothing can enter the container any more.
const END_DELAY: Duration = Duration::from_millis(500);

/// Of what the shim says, which is a few hundred bytes.
const ANSWERS_MAX_BYTES: usize = 64 * 1024;

/// Runs a program; see [`super::Runtime::exec`].
pub(super) async fn exec(inner: Arc<Inner>, container: Arc<Container>, spec: ExecSpec) -> Result<Exec, RuntimeError> {
    let id = container.id.clone();
    check(&spec).map_err(|what| RuntimeError::Specification { id: id.clone(), what })?;
    if has_ended(&container.init_fd) {
        return Err(RuntimeError::NotRunning { id });
    }
    let internal = |what: String| RuntimeError::Internal { id: id.clone(), what };
    let _permit = inner.execs.acquire().await.map_err(|error| internal(error.to_string()))?;
    let request = request(&inner, &container, &spec);
    let mut attempt = spawn(&inner).await?;
    let talked = tokio::time::timeout(EXEC_TIMEOUT, attempt.talk(&request)).await;
    let program = attempt.program.take();
    attempt.end().await;
    let failure = match talked {
        Err(_) => RuntimeError::Timeout {
            id: id.clone(),
            seconds: EXEC_TIMEOUT.as_secs(),
            detail: format!("the command {:?} in it", request.args.first().map_or("", String::as_str)),
        },
        Ok(Err(error)) => RuntimeError::ShimDied { id: id.clone(), detail: error.to_string() },
        Ok(Ok(())) => match (attempt.failure.take(), program) {
            (None, Some(program)) if attempt.connected => return connect(&spec, program, attempt.ends).map_err(internal),
            (failure, program) => {
                discard(program).await;
                return Err(failed(&container, failure).await);
            }
        },
    };
    discard(program).await;
    Err(failure)
}

/// Changes the size of a terminal: [`Exec::stdin`] of a program that has one.
///
/// # Errors
/// When it is no terminal.
pub fn resize_terminal(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    Ok(tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?)
}

/// Sends a signal to [`Exec::process`]. One that has ended gets none, which is no error.
///
/// # Errors
/// When the kernel knows no such signal.
pub fn signal_process(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    match sys::send_signal(process, signal) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}

/// What is wrong with a specification, as far as that can be told without the container.
fn check(spec: &ExecSpec) -> Result<(), String> {
    if spec.args.first().is_none_or(String::is_empty) {
        return Err("there is no command to be run".to_owned());
    }
    if let Some(cwd) = spec.cwd.as_ref().filter(|cwd| !cwd.starts_with('/')) {
        return Err(format!("the working directory {cwd:?} is not an absolute path"));
    }
    if let Some((name, _)) = spec.env.iter().find(|(name, _)| name.is_empty() || name.contains('=')) {
        return Err(format!("{name:?} is no name of an environment variable"));
    }
    let env = spec.env.iter().flat_map(|(name, value)| [name, value]);
    if spec.args.iter().chain(env).chain(&spec.cwd).chain(&spec.user).any(|text| text.contains('\0')) {
        return Err("the command, environment, user or working directory holds a zero byte".to_owned());
    }
    Ok(())
}

fn request(inner: &Inner, container: &Container, spec: &ExecSpec) -> ExecRequest {
    ExecRequest {
        bundle: inner.folders.bundle(&container.id),
        init: container.init,
        cgroup: inner.cgroups.placement(&container.cgroup),
        seccomp: Some(inner.seccomp.of_container(&container.run)),
        args: spec.args.clone(),
        env: spec.env.clone(),
        cwd: spec.cwd.clone(),
        user: spec.user.clone(),
        terminal: spec.terminal,
        stdin: spec.stdin,
    }
}

/// A shim at work, and what it has said so far.
struct Attempt {
    /// The shim's pidfd.
    shim: OwnedFd,
    socket: StdUnixStream,
    /// The program's process, from the moment at which there is one.
    program: Option<Program>,
    connected: bool,
    /// Our ends of its standard input, output and error.
    ends: Vec<OwnedFd>,
    failure: Option<Failure>,
}

struct Program {
    pid: i32,
    fd: OwnedFd,
}

async fn spawn(inner: &Arc<Inner>) -> Result<Attempt, RuntimeError> {
    let inner = inner.clone();
    let spawn = move || -> io::Result<Attempt> {
        let (socket, theirs) = StdUnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let child = inner.helpers.spawn_exec(theirs)?;
        // Not reaped yet, so the number is still its own.
        let shim = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        Ok(Attempt { shim, socket, program: None, connected: false, ends: Vec::new(), failure: None })
    };
    // Making a process takes a moment in which nothing else would be done.
    let spawned = tokio::task::spawn_blocking(spawn).await.map_err(io::Error::other);
    spawned.and_then(|spawned| spawned).map_err(|source| RuntimeError::Helper { path: "coord-shim".into(), source })
}

impl Attempt {
    /// Sends the request and hears the answers, until the program has been executed or not.
    async fn talk(&mut self, request: &ExecRequest) -> io::Result<()> {
        let mut socket = UnixStream::from_std(self.socket.try_clone()?)?;
        socket.write_all(&serde_json::to_vec(request)?).await?;
        socket.shutdown().await?;
        let mut text = Vec::new();
        loop {
            let mut block = [0; 4096];
            let received = socket.async_io(Interest::READABLE, || receive(&socket, &mut block, &mut self.ends)).await?;
            if received == 0 {
                return Ok(());
            }
            text.extend_from_slice(&block[..received]);
            while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
                let answer = serde_json::from_slice(&text[..end])?;
                text.drain(..=end);
                self.hear(answer)?;
            }
            if text.len() > ANSWERS_MAX_BYTES {
                return Err(io::Error::other("its answer is too long"));
            }
        }
    }

    fn hear(&mut self, answer: ExecAnswer) -> io::Result<()> {
        match answer {
            ExecAnswer::Forked { pid } => {
                // Our child, which only we take note of: the number is still its own.
                let number = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
                self.program = Some(Program { pid, fd: pidfd_open(number, PidfdFlags::empty())? });
            }
            ExecAnswer::Connected => self.connected = true,
            ExecAnswer::Failed(failure) => self.failure = Some(failure),
        }
        Ok(())
    }

    /// The shim has nothing more to do.
    async fn end(&self) {
        // One that has ended by itself takes no signal.
        let _ = pidfd_send_signal(&self.shim, Signal::KILL);
        ended(&self.shim).await;
        let _ = waitid(WaitId::PidFd(self.shim.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

/// Reads what is there, descriptors too.
fn receive(socket: &UnixStream, block: &mut [u8], ends: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(block)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            ends.extend(fds);
        }
    }
    Ok(received.bytes)
}

/// Hands the program over to whoever asked for it.
fn connect(spec: &ExecSpec, program: Program, mut ends: Vec<OwnedFd>) -> Result<Exec, String> {
    let wanted = if spec.terminal.is_some() { 1 } else { 2 + usize::from(spec.stdin) };
    let process = Arc::new(program.fd);
    let (sender, ended) = oneshot::channel();
    tokio::spawn(take_note(process.clone(), sender));
    if ends.len() != wanted {
        return Err(format!("the shim sent {} descriptors instead of {wanted}", ends.len()));
    }
    let mut next = || ends.remove(0);
    let (stdin, stdout, stderr) = if spec.terminal.is_some() {
        let terminal = next();
        (Some(terminal.try_clone().map_err(|error| error.to_string())?), terminal, None)
    } else {
        (spec.stdin.then(&mut next), next(), Some(next()))
    };
    Ok(Exec { pid: program.pid, stdin, stdout, stderr, ended, process })
}

async fn take_note(process: Arc<OwnedFd>, listener: oneshot::Sender<Exit>) {
    ended(&process).await;
    // Nobody may be interested.
    let _ = listener.send(exit_of(&process));
}

fn exit_of(process: &OwnedFd) -> Exit {
    let status = waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED).ok().flatten();
    let code = status.as_ref().and_then(WaitIdStatus::exit_status);
    let signal = status.as_ref().and_then(WaitIdStatus::terminating_signal);
    Exit { code, signal, oom_killed: false, at: clock::now(), unknown: code.is_none() && signal.is_none() }
}

/// Ends a process that did not come to be the program.
async fn discard(program: Option<Program>) {
    let Some(Program { fd, .. }) = program else { return };
    let _ = pidfd_send_signal(&fd, Signal::KILL);
    ended(&fd).await;
    let _ = exit_of(&fd);
}

/// In a container that comes to its end, anything may fail, and its end shows only a moment later.
async fn failed(container: &Container, failure: Option<Failure>) -> RuntimeError {
    let id = container.id.clone();
    let of_the_host = failure.as_ref().is_none_or(|failure| failure.kind == FailureKind::Host);
    if of_the_host && tokio::time::timeout(END_DELAY, ended(&container.init_fd)).await.is_ok() {
        return RuntimeError::NotRunning { id };
    }
    match failure {
        Some(failure) => RuntimeError::Exec { id, failure: StartFailure::new(failure, "") },
        None => RuntimeError::ShimDied { id, detail: "it was killed before it had run the command".to_owned() },
    }
}
