//! The system calls for which no safe wrapper exists. The crate's only unsafe code.
#![allow(unsafe_code, reason = "the one file of this crate that may")]

use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;

use rustix::process::Pid;

/// One instruction of classic BPF, as the kernel lays it out (`struct sock_filter`).
pub(crate) type Instruction = libc::sock_filter;

/// Size of an [`Instruction`].
pub(crate) const INSTRUCTION_BYTES: usize = mem::size_of::<Instruction>();

/// Makes `program` a seccomp filter of this process. Needs `no_new_privs` or CAP_SYS_ADMIN.
pub(crate) fn load_seccomp(program: &[Instruction]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: `program` points at `len` instructions that live until the call returns; the kernel copies and never
    // writes them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whoever stops a whole scope or session means the container. The monitor that this process becomes inherits that; the
/// container does not.
pub(crate) fn ignore_stop_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: SIG_IGN is a valid disposition, and no handler of ours is replaced.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Gives every signal its default meaning and unblocks all: programs expect to be born like that, and an ignored
/// SIGPIPE or a blocked SIGTERM would be inherited across `execve`.
pub(crate) fn reset_signals() {
    /// The kernel's `struct sigaction`, as large as on any architecture: all zero is SIG_DFL without flags.
    const DEFAULT: [u64; 4] = [0; 4];
    let none = 0_u64;
    for signal in 1..=SIGNALS {
        // SAFETY: `DEFAULT` is as large as what is read, the old action is not asked for. For SIGKILL and SIGSTOP the call
        // fails, which changes nothing. The C library's function would spare the two signals that it uses itself.
        unsafe {
            let old = ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), old, size_of::<u64>());
        }
    }
    // SAFETY: a mask of the size that is given is read, the old mask is not asked for.
    unsafe {
        let old = ptr::null_mut::<u64>();
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, old, size_of::<u64>());
    }
}

/// The kernel's number of signals.
const SIGNALS: libc::c_int = 64;

/// Makes `number` another descriptor of `file`, which `execve` leaves open. What it was before is closed.
pub(crate) fn duplicate_to(file: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: plain numbers. Whoever calls this, between fork and execve, has no use for what `number` was.
    if unsafe { libc::dup2(file.as_raw_fd(), number) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Replaces this process. Returns only when that failed.
pub(crate) fn execute(path: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    match try_execute(path, arguments, environment) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_execute(path: &CString, arguments: &[CString], environment: &[CString]) -> io::Result<Infallible> {
    let pointers = |strings: &[CString]| strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect::<Vec<_>>();
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: the path ends with a zero byte, both lists end with a null pointer, and all strings outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    Err(io::Error::last_os_error())
}

/// Marks all file descriptors from 3 on to be closed by `execve`.
pub(crate) fn close_all_on_exec() -> io::Result<()> {
    // SAFETY: only a flag of each descriptor is changed; none is closed here.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets the interface `lo` of this process's network namespace up, through any socket.
pub(crate) fn loopback_up(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: an all-zero ifreq is valid.
    let mut request = unsafe { mem::zeroed::<libc::ifreq>() };
    request.ifr_name[0] = b'l'.cast_signed() as libc::c_char;
    request.ifr_name[1] = b'o'.cast_signed() as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, and `request` is one whose name and flags are set.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The open file behind a number, which must be one that this process keeps open.
pub(crate) fn borrow(number: RawFd) -> io::Result<BorrowedFd<'static>> {
    // SAFETY: F_GETFD reads a flag; a number that is not open is an error.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, as was just checked, and the callers (between fork and execve) close nothing.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}

/// The kernel's `struct mount_attr` (mount_setattr(2)): what to set, what to clear, the propagation, a user namespace.
#[repr(C)]
#[derive(Default)]
pub(crate) struct MountAttributes {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) propagation: u64,
    pub(crate) userns: u64,
}

/// Changes a mount, and those below it if `recursive`: all of them, or none.
pub(crate) fn set_mount_attributes(mount: BorrowedFd<'_>, recursive: bool, attributes: &MountAttributes) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let size = size_of::<MountAttributes>();
    // SAFETY: the path is an empty string, and the kernel reads `size` bytes of a structure that is as large.
    let result = unsafe {
        libc::syscall(libc::SYS_mount_setattr, mount.as_raw_fd(), c"".as_ptr(), flags, ptr::from_ref(attributes), size)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets as whom this thread makes files. Returns without a word when it may not; whoever needs it sees by the owner.
pub(crate) fn set_file_owner(id: u32) {
    // SAFETY: plain numbers; both calls return what was set before.
    unsafe {
        libc::syscall(libc::SYS_setfsgid, id);
        libc::syscall(libc::SYS_setfsuid, id);
    }
}

/// Runs `work` in a child, which ends with the status that it returns. This process has one thread, so that the child is whole.
pub(crate) fn fork_child(work: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: a process of one thread may do anything after a fork.
    match unsafe { libc::fork() } {
        0 => {
            let status = work();
            // SAFETY: ends this process; nothing of the parent's is flushed or dropped twice.
            unsafe { libc::_exit(status) }
        }
        pid => Pid::from_raw(pid).filter(|_| pid > 0).ok_or_else(io::Error::last_os_error),
    }
}

/// Closes a file that this process has a copy of from its parent, without the parent's noticing.
pub(crate) fn close(file: &OwnedFd) {
    // SAFETY: in a child that never drops `file`, and that uses the number no more.
    unsafe { libc::close(file.as_raw_fd()) };
}

/// Replaces this process by an open program. Returns only when that failed.
pub(crate) fn execute_open(program: BorrowedFd<'_>, arguments: &[CString]) -> io::Error {
    let arguments = arguments.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect::<Vec<_>>();
    let environment = [ptr::null::<libc::c_char>()];
    // SAFETY: the path is an empty string, both lists end with a null pointer, and all strings outlive the call.
    unsafe {
        let path = c"".as_ptr();
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            path,
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Makes the terminal at standard input, if there is one, that of this session.
pub(crate) fn take_terminal() {
    // SAFETY: plain numbers; anything else than a terminal refuses.
    unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
}

/// Makes this process a group of its own, and the one in the foreground of the terminal at standard input, if there is one.
pub(crate) fn lead_foreground() {
    // SAFETY: plain numbers. SIGTTOU, which would stop a process of the background, is ignored meanwhile.
    unsafe {
        libc::setpgid(0, 0);
        let old = libc::signal(libc::SIGTTOU, libc::SIG_IGN);
        libc::tcsetpgrp(0, libc::getpid());
        libc::signal(libc::SIGTTOU, old);
    }
}

/// Makes a copy of this process that is not its child but its parent's, in the group of cgroup v2 that is given. Returns the copy's
/// number, or `None` in the copy. Before Linux 5.7 there is no way to give a group.
pub(crate) fn fork_sibling(group: Option<BorrowedFd<'_>>) -> io::Result<Option<i32>> {
    /// `CLONE_INTO_CGROUP` of <linux/sched.h>.
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let parent = libc::CLONE_PARENT.cast_unsigned();
    let pid = match group {
        Some(group) => {
            // `struct clone_args` of <linux/sched.h>, in its second version: flags, pidfd, child_tid, parent_tid, exit_signal, stack,
            // stack_size, tls, set_tid, set_tid_size, cgroup.
            let mut arguments = [0_u64; 11];
            arguments[0] = u64::from(parent) | INTO_CGROUP;
            arguments[10] = u64::from(group.as_raw_fd().cast_unsigned());
            // SAFETY: `arguments` is as large as is said. Without CLONE_VM the copy has its own memory; this process has one thread, so
            // that no lock is held by another.
            unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)) }
        }
        // SAFETY: as above; a null stack means this one, copied. Its end is told by SIGCHLD, as is this process's own.
        None => unsafe { libc::syscall(libc::SYS_clone, u64::from(parent), 0_u64, 0_u64, 0_u64, 0_u64) },
    };
    match i32::try_from(pid) {
        Ok(0) => Ok(None),
        Ok(pid) if pid > 0 => Ok(Some(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Leaves the keys of whoever started this process. Where the kernel has none, or gives none, there is nothing to leave.
pub(crate) fn new_session_keyring() {
    /// `KEYCTL_JOIN_SESSION_KEYRING` of <linux/keyctl.h>.
    const JOIN: libc::c_long = 1;
    // SAFETY: a null name stands for a new keyring without one.
    unsafe { libc::syscall(libc::SYS_keyctl, JOIN, ptr::null::<libc::c_char>()) };
}
