//! A container within which the new one runs: what the two share is found by its first process.
//!
//! ```text
//! shim ─ setns(parent's processes) ─ libcontainer ─▶ a step, among the parent's processes ─ unshare(processes) ─▶ init
//!      ◀────────────────────────── who it is, as the host numbers it: credentials of a message ──────────────────
//! ```
//! The new container's processes are so among the parent's: when the parent's first process ends, the kernel ends them, whoever else is
//! there. Their own first one is a child of this process nevertheless, which stays outside. A pidfd vouches for the parent: all that
//! is opened by its number is opened while that number is its own.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces};

use crate::host_failure;
use crate::request::{Failure, ParentRequest, ProcessId};

/// See the module's description.
pub(crate) struct ParentContainer {
    request: ParentRequest,
    process: OwnedFd,
}

impl ParentContainer {
    pub(crate) fn open(request: ParentRequest) -> Result<ParentContainer, Failure> {
        let pid = Pid::from_raw(request.init.pid).ok_or_else(gone)?;
        let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
        // Looked at after it was opened: the number has belonged to this process at that moment.
        if ProcessId::of(request.init.pid) == Some(request.init) { Ok(ParentContainer { request, process }) } else { Err(gone()) }
    }

    /// One of its namespaces: `user`, `net`.
    pub(crate) fn namespace(&self, kind: &str) -> Result<File, Failure> {
        let path = format!("/proc/{}/ns/{kind}", self.request.init.pid);
        let opened = File::open(&path).map_err(|error| host_failure(&path, error));
        self.check()?;
        opened
    }

    /// Does something after which children of this process are among the parent's processes, where it has some of its own.
    pub(crate) fn among_its_processes<T>(&self, work: impl FnOnce() -> T) -> Result<T, Failure> {
        if !self.request.own_processes {
            return Ok(work());
        }
        let path = "/proc/self/ns/pid";
        let own = File::open(path).map_err(|error| host_failure(path, error))?;
        move_into_thread_name_spaces(self.process.as_fd(), ThreadNameSpaceType::PROCESS_ID)
            .map_err(|error| host_failure("entering the parent's processes", error))?;
        let done = work();
        move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID))
            .map_err(|error| host_failure("leaving the parent's processes", error))?;
        Ok(done)
    }

    /// Whether it is still there: until now its number was its own.
    fn check(&self) -> Result<(), Failure> {
        let mut polled = [PollFd::from_borrowed_fd(self.process.as_fd(), PollFlags::IN)];
        match poll(&mut polled, Some(&Timespec::default())) {
            Ok(0) => Ok(()),
            _ => Err(gone()),
        }
    }
}

fn gone() -> Failure {
    host_failure("the container within which it was to run", rustix::io::Errno::SRCH)
}

/// Tells this process how the host numbers another one, which sees other numbers.
pub(crate) struct Introduction {
    ours: UnixDatagram,
    /// For the other one: it sends a byte.
    pub(crate) theirs: UnixDatagram,
}

impl Introduction {
    pub(crate) fn new() -> io::Result<Introduction> {
        let (ours, theirs) = UnixDatagram::pair()?;
        set_socket_passcred(&ours, true)?;
        ours.set_nonblocking(true)?;
        Ok(Introduction { ours, theirs })
    }

    /// Whoever has sent a byte, if somebody has.
    pub(crate) fn received(&self) -> io::Result<Option<ProcessId>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        recvmsg(&self.ours, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::empty())?;
        let sender = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmCredentials(sender) => Some(sender.pid.as_raw_nonzero().get()),
            _ => None,
        });
        Ok(sender.and_then(ProcessId::of))
    }
}
