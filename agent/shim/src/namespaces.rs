//! The namespaces that must be there before the container's first process: its users, and its network.
//!
//! Both are made by a child that ends at once: whoever enters a user namespace has no way back out of it. The network
//! namespace belongs to the new user namespace, which is what makes `sysfs` and the network's kernel parameters the
//! container's own. The child leaves nothing: an open file keeps a namespace alive.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, waitpid};

use crate::request::UserRange;
use crate::sys;

/// What was made.
pub(crate) struct Namespaces {
    /// A user namespace with its range.
    pub(crate) users: Option<(File, UserRange)>,
    /// A network namespace in which `lo` is up.
    pub(crate) network: Option<File>,
}

impl UserRange {
    /// Whom user `id` of the container is on the host, if there is such a user.
    pub(crate) fn host(self, id: u32) -> Option<u32> {
        if id < self.count { self.first.checked_add(id) } else { None }
    }
}

/// The users that a network namespace is to belong to.
#[derive(Clone, Copy)]
pub(crate) enum Owner<'a> {
    /// The host's.
    Host,
    /// New ones, with this range of the host's.
    New(UserRange),
    /// Those of another container.
    Of(&'a File),
}

/// Makes a user namespace, and a network namespace that belongs to `owner`, where asked for.
pub(crate) fn make(owner: Owner<'_>, network: bool) -> io::Result<Namespaces> {
    let range = match owner {
        Owner::New(range) => Some(range),
        Owner::Host | Owner::Of(_) => None,
    };
    if range.is_none() && !network {
        return Ok(Namespaces { users: None, network: None });
    }
    let (made, tell_made) = pipe_with(PipeFlags::CLOEXEC)?;
    let (done, tell_done) = pipe_with(PipeFlags::CLOEXEC)?;
    let child = sys::fork_child(|| {
        // Held by the parent alone, so that its end is the end of this as well.
        sys::close(&tell_done);
        serve(owner, network, &tell_made, &done)
    })?;
    drop((tell_made, done));
    let result = take(child.as_raw_nonzero().get(), File::from(made), range, network);
    drop(tell_done);
    waitpid(Some(child), WaitOptions::empty())?;
    result
}

/// The child: makes them, says so, and stays until they have been opened. Returns its exit status.
fn serve(owner: Owner<'_>, network: bool, tell_made: &OwnedFd, done: &OwnedFd) -> i32 {
    let mut flags = CloneFlags::empty();
    flags.set(CloneFlags::CLONE_NEWUSER, matches!(owner, Owner::New(_)));
    flags.set(CloneFlags::CLONE_NEWNET, network);
    let entered = match owner {
        Owner::Of(users) => setns(users, CloneFlags::CLONE_NEWUSER),
        Owner::Host | Owner::New(_) => Ok(()),
    };
    let made = entered.and_then(|()| unshare(flags)).map_err(io::Error::from).and_then(|()| match network {
        true => std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| sys::loopback_up(&OwnedFd::from(socket))),
        false => Ok(()),
    });
    let error = made.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
    if rustix::io::write(tell_made, &error.to_ne_bytes()).is_ok() && error == 0 {
        // Ends with the parent's end of the pipe.
        let _ = rustix::io::read(done, &mut [0_u8; 1]);
    }
    error
}

fn take(child: i32, mut made: File, range: Option<UserRange>, network: bool) -> io::Result<Namespaces> {
    let mut error = [0; 4];
    made.read_exact(&mut error)?;
    match i32::from_ne_bytes(error) {
        0 => {}
        error => return Err(io::Error::from_raw_os_error(error)),
    }
    let users = match range {
        Some(range) => {
            for map in ["uid_map", "gid_map"] {
                let path = format!("/proc/{child}/{map}");
                // In one write: the kernel takes no second.
                fs::OpenOptions::new()
                    .write(true)
                    .open(path)?
                    .write_all(format!("0 {} {}", range.first, range.count).as_bytes())?;
            }
            Some((File::open(format!("/proc/{child}/ns/user"))?, range))
        }
        None => None,
    };
    let network = if network { Some(File::open(format!("/proc/{child}/ns/net"))?) } else { None };
    Ok(Namespaces { users, network })
}
