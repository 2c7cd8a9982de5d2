//! The one place where tokio asks for a promise. The crate's only unsafe code.
#![allow(unsafe_code, reason = "the one file of the crate that may")]

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Makes a descriptor one that is waited for instead of blocked on.
pub(crate) fn waited_for(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = fcntl_getfl(&fd)?;
    fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
    // SAFETY: an OwnedFd is open as long as it lives, always names the same descriptor, and is given away here.
    Ok(unsafe { AsyncFd::register(fd) }?)
}
