//! The container's input and output: pipes, or a terminal; never our own, which would let it read what is typed elsewhere.

use rustix::fs::{Mode, OFlags, fchmod, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A program that runs as another user may open `/dev/stdout` anew: only those who have the pipe already can find it.
const PIPE_MODE: Mode = Mode::from_raw_mode(0o666);

/// Our ends.
pub(super) struct Streams {
    /// The write end of its standard input, where it has one; with a terminal, the terminal.
    pub(super) stdin: Option<OwnedFd>,
    /// The read end of its standard output; with a terminal, the terminal.
    pub(super) stdout: OwnedFd,
    /// The read end of its standard error; `None` with a terminal.
    pub(super) stderr: Option<OwnedFd>,
}

/// Makes both ends: the container's, and ours.
pub(super) fn streams(stdin: bool, terminal: Option<(u16, u16)>) -> io::Result<(Arc<[OwnedFd; 3]>, Streams)> {
    match terminal {
        Some(size) => of_terminal(stdin, size),
        None => of_pipes(stdin),
    }
}

fn of_pipes(stdin: bool) -> io::Result<(Arc<[OwnedFd; 3]>, Streams)> {
    let (input, ours) = match stdin {
        true => pipe_with(PipeFlags::CLOEXEC).map(|(read, write)| (read, Some(write)))?,
        false => (open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?, None),
    };
    let (stdout, output) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, errors) = pipe_with(PipeFlags::CLOEXEC)?;
    for pipe in [&output, &errors] {
        fchmod(pipe, PIPE_MODE)?;
    }
    Ok((Arc::new([input, output, errors]), Streams { stdin: ours, stdout, stderr: Some(stderr) }))
}

fn of_terminal(stdin: bool, (rows, columns): (u16, u16)) -> io::Result<(Arc<[OwnedFd; 3]>, Streams)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    tcsetwinsize(&ours, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    let name = ptsname(&ours, Vec::new())?;
    let other = || open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
    let theirs = Arc::new([other()?, other()?, other()?]);
    Ok((theirs, Streams { stdin: stdin.then(|| ours.try_clone()).transpose()?, stdout: ours, stderr: None }))
}
