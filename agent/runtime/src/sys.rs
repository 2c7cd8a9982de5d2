//! The two places where safe wrappers fall short. The runtime's only unsafe code.
#![allow(unsafe_code, reason = "the one file of the runtime that may")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Sends a signal to the process behind a pidfd: any signal, where rustix knows only those that have a name.
pub(super) fn send_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: plain numbers and a null pointer, which stands for the usual information.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, no_info, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Registers a descriptor for waiting until it can be read.
pub(super) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open as long as it lives, always names the same descriptor, and is given away here.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}
