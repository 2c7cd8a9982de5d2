//! The program's end of a session: its input and output as frames, whoever sits at the other end.
//!
//! ```text
//!   stdout, stderr ─▶ read ─▶ Frame ─▶ to_send ─▶ outgoing        no more is read than the window allows,
//!   stdin ◀─ input ◀─ Frame ◀─ incoming                           no more is taken than was allowed
//! ```
//! One task; nothing in it waits for one direction while the other could go on. Deliberately absent: how frames travel (the control
//! socket and the coordinator's WebSocket know that), and what a terminal looks like to a person.

use coord_shared::wire::{Exit, FRAME_DATA_MAX_BYTES, Frame, ReceiveWindow, SendWindow};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Signal, pidfd_send_signal};
use rustix::termios::{Winsize, tcsetwinsize};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// Once the program has ended: after so much silence the rest of its output is given up. Processes that it left behind hold the pipe
/// open, and may never say another word.
const LAST_OUTPUT: Duration = Duration::from_millis(200);
/// Frames between a session and whoever carries them.
pub const FRAMES_MAX: usize = 16;

/// A program that was started, with our ends of its streams. When it is dropped, the program goes on.
pub struct Program {
    /// The write end of its standard input; with a terminal, the terminal.
    pub stdin: Option<OwnedFd>,
    /// The read end of its standard output; with a terminal, the terminal.
    pub stdout: OwnedFd,
    /// The read end of its standard error; `None` with a terminal.
    pub stderr: Option<OwnedFd>,
    /// Whether `stdin` and `stdout` are a terminal.
    pub has_terminal: bool,
    /// Comes when it has ended; `None` when nobody can tell any more.
    pub ended: Pin<Box<dyn Future<Output = Option<Exit>> + Send>>,
    /// The program itself, as a pidfd.
    pub process: Arc<OwnedFd>,
}

/// Carries the program's input and output until it has ended, or the other end is gone.
pub async fn serve(program: Program, mut incoming: mpsc::Receiver<Frame>, outgoing: mpsc::Sender<Frame>) {
    let mut ended = program.ended;
    let session = Session::new(program.stdin, program.stdout, program.stderr, program.has_terminal, program.process);
    // Only a descriptor that cannot be waited for is an error: there is nothing that could be said of it to the other end but silence.
    let Ok(mut session) = session.inspect_err(|error| tracing::warn!(%error, "cannot serve a program's streams")) else { return };
    let mut exit = None;
    loop {
        let is_over = exit.is_some();
        tokio::select! {
            // What must go out goes first, and nothing more is read before it has.
            permit = outgoing.reserve(), if !session.to_send.is_empty() => {
                let Ok(permit) = permit else { return };
                if let Some(frame) = session.to_send.pop_front() {
                    permit.send(frame);
                }
            }
            frame = incoming.recv() => match frame {
                Some(frame) => if session.take(frame).is_err() { return },
                None => return,
            },
            how = &mut ended, if !is_over => match how {
                Some(how) => exit = Some(how),
                None => return,
            },
            output = session.read(), if session.may_read() => session.read_is_done(output),
            written = session.write(), if !session.input.is_empty() => session.wrote(written),
            () = tokio::time::sleep(LAST_OUTPUT), if is_over && session.may_read() => session.close_outputs(),
        }
        if let Some(how) = exit
            && session.is_drained()
        {
            let _ = outgoing.send(Frame::Exit(how)).await;
            return;
        }
    }
}

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

struct Session {
    stdin: Option<AsyncFd<OwnedFd>>,
    stdout: Option<AsyncFd<OwnedFd>>,
    stderr: Option<AsyncFd<OwnedFd>>,
    terminal: Option<OwnedFd>,
    process: Arc<OwnedFd>,
    /// Input that the program has not taken yet.
    input: VecDeque<u8>,
    /// Its input ends once that is empty.
    input_has_ended: bool,
    /// At most one piece of output, and the small frames beside it.
    to_send: VecDeque<Frame>,
    send: SendWindow,
    receive: ReceiveWindow,
}

/// The other end does not keep to the rules, and is not served any longer.
struct Broken;

impl Session {
    fn new(
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: Option<OwnedFd>,
        has_terminal: bool,
        process: Arc<OwnedFd>,
    ) -> io::Result<Self> {
        Ok(Self {
            terminal: has_terminal.then(|| stdout.try_clone()).transpose()?,
            stdin: stdin.map(waitable).transpose()?,
            stdout: Some(waitable(stdout)?),
            stderr: stderr.map(waitable).transpose()?,
            process,
            input: VecDeque::new(),
            input_has_ended: false,
            to_send: VecDeque::new(),
            send: SendWindow::default(),
            receive: ReceiveWindow::default(),
        })
    }

    /// Takes in one frame of the other end.
    fn take(&mut self, frame: Frame) -> Result<(), Broken> {
        match frame {
            Frame::Stdin(data) if data.is_empty() => {
                self.input_has_ended = true;
                self.close_stdin();
            }
            Frame::Stdin(data) => {
                self.receive.received(data.len()).map_err(|_| Broken)?;
                match &self.stdin {
                    Some(_) if !self.input_has_ended => self.input.extend(data),
                    // Nobody reads it.
                    Some(_) | None => self.passed_on(data.len()),
                }
            }
            Frame::Resize { rows, columns } => {
                if let Some(terminal) = &self.terminal {
                    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                    // A terminal whose program has ended has no size worth mentioning.
                    let _ = tcsetwinsize(terminal, size);
                }
            }
            Frame::Signal(number) => {
                if let Some(signal) = Signal::from_named_raw(number) {
                    // Gone already is fine.
                    let _ = pidfd_send_signal(self.process.as_fd(), signal);
                }
            }
            Frame::Credit(bytes) => self.send.credited(bytes),
            // Only we say these.
            Frame::Stdout(_) | Frame::Stderr(_) | Frame::Exit(_) | Frame::Error(_) => return Err(Broken),
        }
        Ok(())
    }

    fn may_read(&self) -> bool {
        self.to_send.is_empty() && self.send.left_bytes() > 0 && (self.stdout.is_some() || self.stderr.is_some())
    }

    /// Whether all output was read, and is on its way.
    fn is_drained(&self) -> bool {
        self.to_send.is_empty() && self.stdout.is_none() && self.stderr.is_none()
    }

    /// The next piece of output; empty: that stream has ended.
    async fn read(&self) -> (Stream, Vec<u8>) {
        let most = self.send.left_bytes().min(FRAME_DATA_MAX_BYTES);
        tokio::select! {
            data = read_some(self.stdout.as_ref(), most) => (Stream::Out, data),
            data = read_some(self.stderr.as_ref(), most) => (Stream::Err, data),
        }
    }

    fn read_is_done(&mut self, (stream, data): (Stream, Vec<u8>)) {
        self.send.sent(data.len());
        let fd = match stream {
            Stream::Out => &mut self.stdout,
            Stream::Err => &mut self.stderr,
        };
        if data.is_empty() {
            *fd = None;
        }
        self.to_send.push_back(match stream {
            Stream::Out => Frame::Stdout(data),
            Stream::Err => Frame::Stderr(data),
        });
    }

    fn close_outputs(&mut self) {
        self.stdout = None;
        self.stderr = None;
    }

    /// Writes what the program takes; how much that was.
    async fn write(&self) -> usize {
        let Some(stdin) = &self.stdin else { return self.input.len() };
        let (front, _) = self.input.as_slices();
        loop {
            let Ok(mut ready) = stdin.writable().await else { return self.input.len() };
            match ready.try_io(|fd| Ok(rustix::io::write(fd, front)?)) {
                Ok(Ok(count)) => return count,
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // It reads no more: what is left for it is nobody's.
                Ok(Err(_)) => return self.input.len(),
                Err(_would_block) => {}
            }
        }
    }

    fn wrote(&mut self, count: usize) {
        self.input.drain(..count.min(self.input.len()));
        self.passed_on(count);
        self.close_stdin();
    }

    fn passed_on(&mut self, count: usize) {
        if let Some(credit) = self.receive.passed_on(count) {
            self.to_send.push_back(Frame::Credit(credit));
        }
    }

    /// Once all of it was written. A terminal has no end: there it is a character, which whoever types sends.
    fn close_stdin(&mut self) {
        if self.input_has_ended && self.input.is_empty() && self.terminal.is_none() {
            self.stdin = None;
        }
    }
}

fn waitable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = fcntl_getfl(&fd)?;
    fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
    AsyncFd::new(fd)
}

/// A piece of what there is to read; empty at the end. A stream that is not there says nothing, ever.
async fn read_some(fd: Option<&AsyncFd<OwnedFd>>, most: usize) -> Vec<u8> {
    let Some(fd) = fd else { return std::future::pending().await };
    let mut data = vec![0; most];
    loop {
        let Ok(mut ready) = fd.readable().await else { return Vec::new() };
        match ready.try_io(|fd| Ok(rustix::io::read(fd, &mut data)?)) {
            Ok(Ok(count)) => {
                data.truncate(count);
                return data;
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            // A terminal that no process has open any more answers EIO: that is its end.
            Ok(Err(_)) => return Vec::new(),
            Err(_would_block) => {}
        }
    }
}

#[cfg(test)]
mod tests;
