//! A container within which the new one runs: what the two share is found by its first process.
//!
//! ```text
//! shim ─ setns(parent's processes) ─ libcontainer ─▶ a step, among the parent's processes ─ unshare(processes) ─▶ init
//!      ◀────────────────────────── who it is, as the host numbers it: credentials of a message ──────────────────
//! ```
//! The new container's processes are so among the parent's: when the parent's first process ends, the kernel ends them, whoever else is
//! there. Their own first one is a child of this process nevertheless, which stays outside. A pidfd vouches for the parent: all that
//! is opened by its number is opened while that number is its own. A folder of the parent is cloned among the parent's own mounts, where
//! this process, which has a single thread, goes for that moment: the kernel clones no mounts of others.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces};

use crate::request::{Failure, ParentRequest, ProcessId};
use crate::tree::Tree;
use crate::{host_failure, live};

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

    /// What it has at `path`, which cannot lead out of it, with all that is mounted below. The error is in words.
    pub(crate) fn clone_tree(&self, path: &Path) -> Result<Tree, String> {
        let said = |what: &'static str| move |error: Errno| format!("{what}: {error}");
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = openat(CWD, "/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let own = own.map_err(said("/proc/self/ns/mnt"))?;
        // Under these names there is something of the container's in its mounts.
        let itself = openat(CWD, "/proc/self", folder, Mode::empty()).map_err(said("/proc/self"))?;
        let root = openat(CWD, format!("/proc/{}/root", self.request.init.pid), folder, Mode::empty());
        let root = root.map_err(said("the parent's root"))?;
        self.check().map_err(|failure| format!("{}: {}", failure.object, failure.detail))?;
        move_into_thread_name_spaces(self.process.as_fd(), ThreadNameSpaceType::MOUNT)
            .map_err(said("entering the parent's mounts"))?;
        let cloned = clone_within(&itself, &root, path);
        // Else everything from here on would be looked up in there.
        move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount)).map_err(said("leaving the parent's mounts"))?;
        cloned
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

/// To be called among the mounts of a container whose root is `root`; `itself` is this process's folder in the host's `/proc`.
fn clone_within(itself: &OwnedFd, root: &OwnedFd, path: &Path) -> Result<Tree, String> {
    let said = |error: Errno| error.to_string();
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let place = openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).map_err(said)?;
    let real = readlinkat(itself, format!("fd/{}", place.as_raw_fd()), Vec::new()).map_err(said)?;
    let mountinfo = openat(itself, "mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(said)?;
    let mut text = Vec::new();
    File::from(mountinfo).take(live::MOUNTINFO_MAX_BYTES).read_to_end(&mut text).map_err(|error| error.to_string())?;
    match live::obstacle(&String::from_utf8_lossy(&text), Path::new(OsStr::from_bytes(real.to_bytes()))) {
        Some(obstacle) => Err(obstacle),
        None => Tree::clone_open(place.as_fd()).map_err(said),
    }
}

fn gone() -> Failure {
    host_failure("the container within which it was to run", Errno::SRCH)
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

    /// Whoever has sent a byte.
    pub(crate) fn received(&self) -> io::Result<ProcessId> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        recvmsg(&self.ours, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::empty())?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmCredentials(sender) = message {
                let gone = || io::Error::other("the container's first process was gone before it could be looked at");
                return ProcessId::of(sender.pid.as_raw_nonzero().get()).ok_or_else(gone);
            }
        }
        Err(io::Error::other("the container's first process has not said who it is"))
    }
}
