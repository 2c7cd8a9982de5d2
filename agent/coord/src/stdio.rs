//! A second container's standard files: pipes, or a terminal, and what carries bytes between them and ours.
//!
//! ```text
//!   our stdin ── thread ──▶ pipe ──▶ the container ──▶ pipe ── thread ──▶ our stdout
//!                             └─ the other ends are handed to the agent, which gives them to the container ─┘
//! ```
//! Never our own files, which would let it read what is typed elsewhere. Plain threads, since our own files may be anything, and some of
//! those cannot be waited for. Deliberately absent: how the ends get to the agent.

use coord_attach::terminal;
use rustix::fs::{Mode, OFlags, fchmod, open};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Read and written at a time: what a pipe holds.
const PIECE_BYTES: usize = 64 * 1024;
/// A program that runs as another user may open `/dev/stdout` anew: only those who have the pipe already can find it.
const PIPE_MODE: Mode = Mode::from_raw_mode(0o666);
/// Whoever has taken the output along may hold it open when the container has ended: so long is waited for more of it.
const LAST_OUTPUT: Duration = Duration::from_millis(500);
/// Rows and columns of a terminal that does not say (a VT100's).
const SIZE_DEFAULT: (u16, u16) = (24, 80);

/// Our ends.
pub(crate) struct Streams {
    /// The write end of its standard input, where it has one; with a terminal, the terminal.
    stdin: Option<OwnedFd>,
    /// The read end of its standard output; with a terminal, the terminal.
    stdout: OwnedFd,
    /// The read end of its standard error; `None` with a terminal.
    stderr: Option<OwnedFd>,
}

/// What carries its output.
pub(crate) struct Carriers {
    outputs: Vec<Arc<Progress>>,
    /// The terminal, whose size follows ours.
    terminal: Option<OwnedFd>,
}

/// How far one stream is.
#[derive(Default)]
struct Progress {
    pieces: AtomicU64,
    /// Whether somebody who reads slowly is waited for.
    is_writing: AtomicBool,
    is_over: AtomicBool,
    over: Notify,
}

/// Makes both ends: the container's, and ours.
///
/// # Errors
/// When there are no more files, or no terminals here.
pub(crate) fn streams(stdin: bool, tty: bool) -> io::Result<([OwnedFd; 3], Streams)> {
    if tty { of_terminal(stdin) } else { of_pipes(stdin) }
}

fn of_pipes(stdin: bool) -> io::Result<([OwnedFd; 3], Streams)> {
    let (input, ours) = match stdin {
        true => pipe_with(PipeFlags::CLOEXEC).map(|(read, write)| (read, Some(write)))?,
        false => (no_input()?, None),
    };
    let (stdout, output) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, errors) = pipe_with(PipeFlags::CLOEXEC)?;
    for pipe in [&output, &errors] {
        fchmod(pipe, PIPE_MODE)?;
    }
    Ok(([input, output, errors], Streams { stdin: ours, stdout, stderr: Some(stderr) }))
}

/// `/dev/null`; where a root has none, a pipe that nobody writes to.
fn no_input() -> io::Result<OwnedFd> {
    match open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(null) => Ok(null),
        Err(_) => Ok(pipe_with(PipeFlags::CLOEXEC)?.0),
    }
}

fn of_terminal(stdin: bool) -> io::Result<([OwnedFd; 3], Streams)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let (rows, columns) = terminal::size().unwrap_or(SIZE_DEFAULT);
    tcsetwinsize(&ours, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    let name = ptsname(&ours, Vec::new())?;
    let other = || open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
    let theirs = [other()?, other()?, other()?];
    Ok((theirs, Streams { stdin: stdin.then(|| ours.try_clone()).transpose()?, stdout: ours, stderr: None }))
}

impl Streams {
    /// Begins to carry.
    ///
    /// # Errors
    /// When there are no more files.
    pub(crate) fn carry(self) -> io::Result<Carriers> {
        let terminal = if self.stderr.is_none() { Some(self.stdout.try_clone()?) } else { None };
        if let Some(stdin) = self.stdin {
            // It waits for a last key, and ends with the process.
            std::thread::spawn(move || copy(io::stdin().as_fd(), stdin.as_fd(), &Progress::default()));
        }
        let mut outputs = vec![output(self.stdout, io::stdout())];
        outputs.extend(self.stderr.map(|stderr| output(stderr, io::stderr())));
        Ok(Carriers { outputs, terminal })
    }
}

/// Carries one stream of output until its end, or until nobody reads it: then the container hears so, as in any pipeline.
fn output(from: OwnedFd, to: impl AsFd + Send + 'static) -> Arc<Progress> {
    let progress = Arc::new(Progress::default());
    let told = progress.clone();
    std::thread::spawn(move || {
        copy(from.as_fd(), to.as_fd(), &told);
        drop(from);
        told.is_over.store(true, Ordering::Release);
        told.over.notify_one();
    });
    progress
}

impl Carriers {
    /// Tells the terminal our size, which has changed.
    pub(crate) fn resize(&self) {
        if let (Some(terminal), Some((rows, columns))) = (&self.terminal, terminal::size()) {
            let _ = tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 });
        }
    }

    /// The container has ended: waits for the rest of what it wrote.
    pub(crate) async fn drain(&self) {
        for progress in &self.outputs {
            let mut pieces = progress.pieces.load(Ordering::Acquire);
            while !progress.is_over.load(Ordering::Acquire) {
                let waited = tokio::time::timeout(LAST_OUTPUT, progress.over.notified()).await;
                let now = progress.pieces.load(Ordering::Acquire);
                if waited.is_err() && now == pieces && !progress.is_writing.load(Ordering::Acquire) {
                    break;
                }
                pieces = now;
            }
        }
    }
}

/// Copies until there is no more, or nobody takes it.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, progress: &Progress) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = match retried(|| rustix::io::read(from, &mut piece[..]), from, rustix::event::PollFlags::IN) {
            // A terminal that nobody has open any more answers EIO.
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        progress.is_writing.store(true, Ordering::Release);
        let mut rest = &piece[..read];
        while !rest.is_empty() {
            match retried(|| rustix::io::write(to, rest), to, rustix::event::PollFlags::OUT) {
                Ok(written) => rest = &rest[written..],
                Err(_) => return,
            }
        }
        progress.pieces.fetch_add(1, Ordering::AcqRel);
        progress.is_writing.store(false, Ordering::Release);
    }
}

/// Again after an interruption; and where somebody has made our own file one that does not block, when it is ready.
fn retried(
    mut call: impl FnMut() -> Result<usize, Errno>,
    fd: BorrowedFd<'_>,
    ready: rustix::event::PollFlags,
) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // An error of it is told by the call.
                let _ = rustix::event::poll(&mut [rustix::event::PollFd::from_borrowed_fd(fd, ready)], None);
            }
            other => return other,
        }
    }
}
