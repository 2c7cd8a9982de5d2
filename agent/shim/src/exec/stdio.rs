//! A program's standard input, output and error: three pipes, or a terminal of the container's own.
//!
//! All of them belong to the program's user, who may want to open `/dev/stdout` again.

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fchown, fstat, fstatfs, major, minor, openat2};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Gid, Uid, ioctl_tiocsctty};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::exec_request::ExecAnswer;
use crate::host_failure;
use crate::request::Failure;
use crate::user::User;

/// The file that makes terminals, in the container. Those of engines have the same at `/dev/ptmx`, by a link or a mount.
const MULTIPLEXER: &str = "/dev/pts/ptmx";

/// The numbers of that device (Documentation/admin-guide/devices.txt), and the magic number of its file system.
const MULTIPLEXER_DEVICE: (u32, u32) = (5, 2);
const DEVPTS_MAGIC: i64 = 0x1cd1;

/// See the module's description.
pub(super) struct Stdio {
    /// For the agent.
    theirs: Vec<OwnedFd>,
    /// Standard input, output and error.
    own: [OwnedFd; 3],
    terminal: bool,
}

impl Stdio {
    pub(super) fn pipes(stdin: bool, null: &File, user: &User) -> Result<Stdio, Failure> {
        let make = || -> io::Result<Stdio> {
            let (out_read, out) = pipe_with(PipeFlags::CLOEXEC)?;
            let (err_read, err) = pipe_with(PipeFlags::CLOEXEC)?;
            give(&out, user)?;
            give(&err, user)?;
            if !stdin {
                return Ok(Stdio {
                    theirs: vec![out_read, err_read],
                    own: [null.try_clone()?.into(), out, err],
                    terminal: false,
                });
            }
            let (input, input_write) = pipe_with(PipeFlags::CLOEXEC)?;
            give(&input, user)?;
            Ok(Stdio { theirs: vec![input_write, out_read, err_read], own: [input, out, err], terminal: false })
        };
        make().map_err(|error| host_failure("making pipes", error))
    }

    pub(super) fn terminal((rows, columns): (u16, u16), user: &User) -> Result<Stdio, Failure> {
        let make = || -> io::Result<Stdio> {
            let master = open_multiplexer()?;
            unlockpt(&master)?;
            let own = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
            tcsetwinsize(&master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
            give(&own, user)?;
            Ok(Stdio { theirs: vec![master], own: [own.try_clone()?, own.try_clone()?, own], terminal: true })
        };
        make().map_err(|error| host_failure("making a terminal", error))
    }

    /// Sends the agent its ends, and with them the word that there is a program from here on.
    pub(super) fn send(&self, agent: &UnixStream) -> io::Result<()> {
        let mut text = serde_json::to_vec(&ExecAnswer::Connected)?;
        text.push(b'\n');
        let fds = self.theirs.iter().map(AsFd::as_fd).collect::<Vec<_>>();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // Short: it goes in one piece.
        sendmsg(agent, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Puts them into their places. A terminal becomes that of this process's session, which must be a new one.
    pub(super) fn install(&self) -> io::Result<()> {
        let [input, output, error] = &self.own;
        if self.terminal {
            ioctl_tiocsctty(input)?;
        }
        rustix::stdio::dup2_stdin(input)?;
        rustix::stdio::dup2_stdout(output)?;
        rustix::stdio::dup2_stderr(error)?;
        Ok(())
    }
}

/// What lies at that path is the container's to choose: it must be what it is taken for.
fn open_multiplexer() -> io::Result<OwnedFd> {
    let open = |flags| openat2(CWD, MULTIPLEXER, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    let genuine = |file: &OwnedFd| -> Result<bool, Errno> {
        let device = fstat(file)?.st_rdev;
        Ok((major(device), minor(device)) == MULTIPLEXER_DEVICE && fstatfs(file)?.f_type == DEVPTS_MAGIC)
    };
    // Looked at before it is opened: to open some devices is to use them.
    let found = open(OFlags::PATH)?;
    if !genuine(&found)? {
        return Err(io::Error::other(format!("{MULTIPLEXER} of the container makes no terminals")));
    }
    let opened = open(OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK)?;
    if !genuine(&opened)? {
        return Err(io::Error::other(format!("{MULTIPLEXER} of the container makes no terminals")));
    }
    rustix::fs::fcntl_setfl(&opened, OFlags::empty())?;
    Ok(opened)
}

/// The group stays: that of terminals is chosen when their file system is mounted.
fn give(file: &OwnedFd, user: &User) -> io::Result<()> {
    fchown(file, Some(Uid::from_raw(user.uid)), None::<Gid>)?;
    Ok(())
}
