//! The system calls for which the standard library has nothing. The crate's only unsafe code.
#![allow(unsafe_code, reason = "the one file of this crate that may")]

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use crate::kept::Kept;

/// Logs may hold secrets: readable for root and its group only.
const LOG_MODE: u32 = 0o640;

/// Opens a FIFO so that reads never wait. For writing as well: it then has no end.
pub(crate) fn open_fifo(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Opens a log for appending, and makes it when it is not there. A symlink is refused.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(LOG_MODE).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// How many bytes can be read at once.
pub(crate) fn available(fifo: &File) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes an int, and `count` is one.
    if unsafe { libc::ioctl(fifo.as_raw_fd(), libc::FIONREAD as _, &raw mut count) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The kernel's page, at least.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Maps a file of this content, which is made if it is not there and grows by zeros to its size; or memory that is lost with this
/// process, where that fails. Nobody else writes to it: the folder is root's own, and a container has one monitor at a time. To be
/// called once.
pub(crate) fn map_kept(path: &Path) -> &'static mut Kept {
    let length = mem::size_of::<Kept>();
    let options = || File::options().read(true).write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path);
    let file = options().and_then(|file| file.set_len(length as u64).map(|()| file));
    let map = |flags: libc::c_int, fd: libc::c_int| {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice; `fd` is open, or not looked at.
        unsafe { libc::mmap(ptr::null_mut(), length, access, flags, fd, 0) }
    };
    let mut memory = file.map_or(libc::MAP_FAILED, |file| map(libc::MAP_SHARED, file.as_raw_fd()));
    if memory == libc::MAP_FAILED {
        memory = map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1);
    }
    if memory == libc::MAP_FAILED {
        return Box::leak(zeroed());
    }
    // SAFETY: the mapping is as large as a `Kept`, aligned to a page, never unmapped, and given away once. A `Kept` is made of numbers
    // and bytes, for which any content is valid.
    unsafe { &mut *memory.cast::<Kept>() }
}

/// In memory alone.
pub(crate) fn zeroed() -> Box<Kept> {
    // SAFETY: zero is a valid content, see above.
    unsafe { Box::new_zeroed().assume_init() }
}

/// Gives the pages of `bytes` back to the kernel, but for the first ones; they are zeros from then on, or as they were.
pub(crate) fn give_back(bytes: &mut [u8]) {
    let start = bytes.as_mut_ptr();
    let skip = start.align_offset(PAGE_BYTES) + 2 * PAGE_BYTES;
    let Some(length) = bytes.len().checked_sub(skip + PAGE_BYTES) else { return };
    // SAFETY: whole pages within `bytes`, which holds nothing that is still needed. Where the kernel refuses, nothing happens.
    unsafe { libc::madvise(start.add(skip).cast(), length / PAGE_BYTES * PAGE_BYTES, libc::MADV_REMOVE) };
}

/// Time since the boot, in no particular relation to the time of day.
pub(crate) fn monotonic_clock() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A socket for datagrams to other sockets of this host; sending waits at most so long.
pub(crate) fn datagram_socket(wait: Duration) -> io::Result<OwnedFd> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(wait))?;
    Ok(socket.into())
}

/// Sends one datagram to the socket at `path`. Waits for room there if `wait`.
pub(crate) fn send_to<const PARTS: usize>(socket: &OwnedFd, path: &[u8], parts: [&[u8]; PARTS], wait: bool) -> io::Result<()> {
    // SAFETY: zero is a valid content of an address and of a header.
    let (mut address, mut header) = unsafe { (mem::zeroed::<libc::sockaddr_un>(), mem::zeroed::<libc::msghdr>()) };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    // One byte stays zero: the end of the path.
    for (place, &byte) in address.sun_path.iter_mut().zip(path.iter().take(107)) {
        *place = byte as libc::c_char;
    }
    let mut parts = parts.map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
    header.msg_name = (&raw mut address).cast();
    header.msg_namelen = mem::size_of::<libc::sockaddr_un>() as libc::socklen_t;
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = PARTS as _;
    let flags = libc::MSG_NOSIGNAL | if wait { 0 } else { libc::MSG_DONTWAIT };
    // SAFETY: the header names an address and parts that live until the call returns; the kernel only reads them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, flags) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whoever stops a whole scope or session means the container; its monitor ends when that has ended.
pub(crate) fn ignore_stop_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: SIG_IGN is a valid disposition, and no handler of ours is replaced.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// A process that stays the same, whatever becomes of its number.
pub(crate) struct ProcessFd(OwnedFd);

impl ProcessFd {
    /// `None` when there is no process of this number and start time (in clock ticks after boot) any more.
    pub(crate) fn open(pid: i32, start_ticks: u64) -> Option<ProcessFd> {
        // SAFETY: plain numbers; the result is checked.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(fd).ok().filter(|&fd| fd >= 0)?;
        // SAFETY: the kernel has just opened it for us, nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Looked at after it was opened: what has this number and this start time now is what was opened.
        (start_of(pid)? == start_ticks).then_some(ProcessFd(fd))
    }
}

fn start_of(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = &stat[stat.rfind(')')? + 1..];
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// What [`wait_readable`] has found.
pub(crate) struct Ready {
    /// The process has ended.
    pub(crate) ended: bool,
    /// The time is over.
    pub(crate) nothing: bool,
}

/// Waits until the process ends or one of the files can be read, at most so many milliseconds.
pub(crate) fn wait_readable(process: &ProcessFd, files: [&File; 2], at_most_ms: Option<i32>) -> io::Result<Ready> {
    let poll = |fd: i32| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut polls = [poll(process.0.as_raw_fd()), poll(files[0].as_raw_fd()), poll(files[1].as_raw_fd())];
    // SAFETY: the array is valid for its length, and the descriptors are open.
    let result = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, at_most_ms.unwrap_or(-1)) };
    if result < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(Ready { ended: polls[0].revents != 0, nothing: result == 0 })
}

/// How the process ended: from `waitid` when it is our child, otherwise from the pidfd (Linux 6.15 and later).
pub(crate) fn status(process: &ProcessFd) -> Option<Status> {
    status_of_child(process).or_else(|| status_of_other(process))
}

fn status_of_child(process: &ProcessFd) -> Option<Status> {
    // SAFETY: all-zero is a valid siginfo_t.
    let mut info = unsafe { mem::zeroed::<libc::siginfo_t>() };
    let id = process.0.as_raw_fd().cast_unsigned();
    // SAFETY: `info` is valid for writing.
    if unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED) } != 0 {
        return None;
    }
    // SAFETY: waitid has filled in the fields of a SIGCHLD.
    let status = unsafe { info.si_status() };
    Some(if info.si_code == libc::CLD_EXITED { Status::Code(status) } else { Status::Signal(status) })
}

/// `struct pidfd_info` of <linux/pidfd.h>, as large as its first published version.
#[repr(C)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    numbers: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_INFO_EXIT`: asked for, and answered when the process has been reaped.
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// `PIDFD_GET_INFO`: `_IOWR(0xFF, 11, struct pidfd_info)`, for 64 bytes.
const PIDFD_GET_INFO: u64 = (3 << 30) | ((size_of::<PidfdInfo>() as u64) << 16) | (0xFF << 8) | 11;

fn status_of_other(process: &ProcessFd) -> Option<Status> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, cgroup_id: 0, numbers: [0; 11], exit_code: 0 };
    // Its parent may need a moment to reap it, and only then is the status there.
    for _ in 0..REAP_ATTEMPTS {
        info.mask = PIDFD_INFO_EXIT;
        // SAFETY: `info` has the size that the request's number says, and is valid for reading and writing.
        if unsafe { libc::ioctl(process.0.as_raw_fd(), PIDFD_GET_INFO as _, &raw mut info) } != 0 {
            return None;
        }
        if info.mask & PIDFD_INFO_EXIT != 0 {
            let (code, signal) = (info.exit_code >> 8 & 0xFF, info.exit_code & 0x7F);
            return Some(if signal == 0 { Status::Code(code) } else { Status::Signal(signal) });
        }
        std::thread::sleep(REAP_PAUSE);
    }
    None
}

/// How often and at what distance to look whether somebody else's child has been reaped: 5 s in all. Most first processes of hosts do it
/// at once, some look every other second.
const REAP_ATTEMPTS: u32 = 500;
const REAP_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Sets the name that `ps` shows.
pub(crate) fn name_process(name: &std::ffi::CStr) {
    // SAFETY: the string ends with a zero byte; the kernel copies at most 16 bytes of it.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// A set of signals.
pub(crate) struct Signals(libc::sigset_t);

/// From here on signals wait until they are asked for. Those by which the kernel tells of a fault of this process's own do not.
pub(crate) fn block_all_signals() -> Signals {
    // SAFETY: all-zero is a valid sigset_t, and is filled in; the old mask is not asked for.
    unsafe {
        let mut set = mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut set);
        for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGSYS, libc::SIGTRAP, libc::SIGABRT] {
            libc::sigdelset(&raw mut set, fault);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        Signals(set)
    }
}

/// Waits for the next signal. `None`: there was none after all.
pub(crate) fn wait_signal(signals: &Signals) -> Option<i32> {
    // SAFETY: the set is valid, and the details of the signal are not asked for.
    let signal = unsafe { libc::sigwaitinfo(&raw const signals.0, std::ptr::null_mut()) };
    (signal > 0).then_some(signal)
}

/// Takes note of a child that has ended, if there is one.
pub(crate) fn reap_any() -> Option<(i32, Status)> {
    let mut status = 0;
    // SAFETY: `status` is valid for writing.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    let ended = match libc::WIFEXITED(status) {
        true => Status::Code(libc::WEXITSTATUS(status)),
        false => Status::Signal(libc::WTERMSIG(status)),
    };
    (pid > 0).then_some((pid, ended))
}

/// Sends a signal to a child. One that has just ended gets none.
pub(crate) fn pass_on(child: i32, signal: i32) {
    // SAFETY: plain numbers. The child is not taken note of yet, so that the number is its own.
    unsafe { libc::kill(child, signal) };
}
