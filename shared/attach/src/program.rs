//! The end where the program runs: its descriptors on one side, frames on the other.
//!
//! Output is read only as far as the other end has room for it, so a program that writes to somebody who does not read waits, as it
//! would at a terminal. A connection that goes away closes the program's input and its terminal, and sends it SIGHUP, as a terminal
//! that is closed does; whether it ends is its own matter.

use crate::{Frames, sys};
use coord_shared::wire::{ErrorBody, Exit, FRAME_DATA_MAX_BYTES, Frame, ReceiveWindow, SendWindow};
use rustix::termios::{Winsize, tcsetwinsize};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc, oneshot};

/// What programs of its own have inherited may hold the output open when the program has ended: so long is waited for more of it.
const LAST_OUTPUT: Duration = Duration::from_millis(500);
/// SIGHUP (signal(7)): the terminal is gone.
const HANGUP: i32 = 1;
/// The end of input, as it is typed at a terminal (termios(3), VEOF).
const END_OF_INPUT: [u8; 1] = [4];

/// A program that was started.
pub struct Program {
    /// Where its input is written to, if it has one; with a terminal, the terminal.
    pub stdin: Option<OwnedFd>,
    /// Where its output is read from; with a terminal, the terminal.
    pub stdout: OwnedFd,
    /// Where its error output is read from; `None` with a terminal.
    pub stderr: Option<OwnedFd>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Comes when it has ended.
    pub ended: oneshot::Receiver<Exit>,
    /// Sends it a signal; one that is gone is passed over.
    pub signal: Box<dyn Fn(i32)>,
}

/// Serves a program until it has ended and all it wrote was taken, or the connection is gone.
pub async fn serve(program: Program, frames: Frames) {
    let sender = frames.sender.clone();
    if let Err(error) = run(program, frames).await {
        let message = format!("the program's input and output cannot be carried: {error}");
        let error = ErrorBody { code: "stdio".to_owned(), message, hint: None, detail: None };
        // Nobody may be there any more.
        let _ = sender.send(Frame::Error(error)).await;
    }
}

async fn run(program: Program, mut frames: Frames) -> io::Result<()> {
    let Program { stdin, stdout, stderr, terminal, mut ended, signal } = program;
    let output =
        Output { window: RefCell::default(), credited: Notify::new(), sender: frames.sender.clone(), steps: Cell::new(0) };
    let stdout = sys::waited_for(stdout)?;
    let stderr = stderr.map(sys::waited_for).transpose()?;
    let (inputs, waiting) = mpsc::unbounded_channel();
    let room = RefCell::new(ReceiveWindow::default());

    let outputs = async {
        let out = output.copy(&stdout, Frame::Stdout);
        match &stderr {
            Some(stderr) => drop(tokio::join!(out, output.copy(stderr, Frame::Stderr))),
            None => out.await,
        }
    };
    let input = Input { stdin: stdin.map(sys::waited_for).transpose()?, terminal, room: &room, sender: frames.sender.clone() };
    let input = input.copy(waiting);
    let asked = async {
        while let Some(frame) = frames.receiver.recv().await {
            match frame {
                Frame::Stdin(data) => {
                    // What is waiting is never more than a window.
                    room.borrow_mut().received(data.len()).map_err(io::Error::other)?;
                    let _ = inputs.send(data);
                }
                Frame::Resize { rows, columns } if terminal => {
                    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                    let _ = tcsetwinsize(stdout.get_ref(), size);
                }
                Frame::Signal(number) => signal(number),
                Frame::Credit(bytes) => output.credit(bytes),
                Frame::Resize { .. } | Frame::Stdout(_) | Frame::Stderr(_) | Frame::Exit(_) | Frame::Error(_) => {}
            }
        }
        Ok::<_, io::Error>(())
    };
    tokio::pin!(outputs, input, asked);
    let (mut exit, mut drained, mut written, mut steps) = (None, false, false, 0);
    while exit.is_none() || !drained {
        tokio::select! {
            () = &mut outputs, if !drained => drained = true,
            () = &mut input, if !written => written = true,
            gone = &mut asked => {
                signal(HANGUP);
                return gone;
            }
            end = &mut ended, if exit.is_none() => {
                exit = Some(end.map_err(|_| io::Error::other("nobody knows how it ended"))?);
            }
            () = tokio::time::sleep(LAST_OUTPUT), if exit.is_some() => {
                drained = output.steps.get() == steps && output.has_room();
                steps = output.steps.get();
            }
        }
    }
    if let Some(exit) = exit {
        let _ = frames.sender.send(Frame::Exit(exit)).await;
    }
    Ok(())
}

/// The program's output, both streams of it: they share one window.
struct Output {
    window: RefCell<SendWindow>,
    credited: Notify,
    sender: mpsc::Sender<Frame>,
    /// Counts what was read: output that stands still while there is room for it has come to its end.
    steps: Cell<u64>,
}

impl Output {
    fn credit(&self, bytes: u32) {
        self.window.borrow_mut().credited(bytes);
        self.credited.notify_waiters();
    }

    fn has_room(&self) -> bool {
        self.window.borrow().left_bytes() > 0
    }

    /// Copies until the program, or whoever is to read, has closed its end.
    async fn copy(&self, from: &AsyncFd<OwnedFd>, frame: fn(Vec<u8>) -> Frame) {
        let mut piece = vec![0; FRAME_DATA_MAX_BYTES];
        loop {
            let Ok(mut ready) = from.readable().await else { break };
            while !self.has_room() {
                self.credited.notified().await;
            }
            let most = self.window.borrow().left_bytes().min(FRAME_DATA_MAX_BYTES);
            let read = match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut piece[..most])?)) {
                Ok(Ok(read)) => read,
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A terminal that nobody has open any more answers EIO.
                Ok(Err(_)) => 0,
                Err(_) => continue,
            };
            self.steps.set(self.steps.get() + 1);
            // The other stream may have been faster; then a little more than the window is on its way, by a frame at most.
            self.window.borrow_mut().sent(read);
            if self.sender.send(frame(piece[..read].to_vec())).await.is_err() || read == 0 {
                return;
            }
        }
        let _ = self.sender.send(frame(Vec::new())).await;
    }
}

/// The program's input.
struct Input<'a> {
    stdin: Option<AsyncFd<OwnedFd>>,
    terminal: bool,
    room: &'a RefCell<ReceiveWindow>,
    sender: mpsc::Sender<Frame>,
}

impl Input<'_> {
    async fn copy(mut self, mut waiting: mpsc::UnboundedReceiver<Vec<u8>>) {
        while let Some(data) = waiting.recv().await {
            let bytes: &[u8] = if data.is_empty() && self.terminal { &END_OF_INPUT } else { &data };
            if let Some(stdin) = &self.stdin
                && write_all(stdin, bytes).await.is_err()
            {
                // It reads no more; that it ended is told apart from this.
                self.stdin = None;
            }
            if data.is_empty() {
                self.stdin = None;
            }
            let credit = self.room.borrow_mut().passed_on(data.len());
            if let Some(credit) = credit
                && self.sender.send(Frame::Credit(credit)).await.is_err()
            {
                return;
            }
        }
    }
}

async fn write_all(to: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut ready = to.writable().await?;
        match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
            Ok(Ok(written)) => bytes = &bytes[written..],
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(())
}
