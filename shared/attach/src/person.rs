//! The end where somebody types and reads.

use crate::Frames;
use coord_shared::wire::{ErrorBody, Exit, FRAME_DATA_MAX_BYTES, Frame, ReceiveWindow, SendWindow};
use std::io::{self, Write};
use tokio::sync::mpsc;

/// What happens at the person's own terminal, beside what is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Its new size.
    Resized {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// A signal that is meant for the program.
    Signal(i32),
}

/// How it came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The program ended.
    Exit(Exit),
    /// It did not run, or is not heard of any more; in the words of the other end.
    Error(ErrorBody),
    /// The connection was cut. The program may go on.
    Cut,
}

/// Passes on what is typed and what is written, until the program ends. `input` ends where there is no more of it; `None`: there is none
/// at all.
///
/// # Errors
/// When `out` or `err` cannot be written to.
pub async fn attach(
    frames: Frames,
    input: Option<mpsc::Receiver<Vec<u8>>>,
    mut news: mpsc::Receiver<News>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Ended> {
    let Frames { sender, mut receiver } = frames;
    let (mut room, mut window) = (ReceiveWindow::default(), SendWindow::default());
    let mut typed = Typed { input, pending: Vec::new(), is_told: false };
    loop {
        let left = window.left_bytes();
        let next = tokio::select! {
            frame = receiver.recv() => frame,
            Some(news) = news.recv() => {
                let frame = match news {
                    News::Resized { rows, columns } => Frame::Resize { rows, columns },
                    News::Signal(number) => Frame::Signal(number),
                };
                let _ = sender.send(frame).await;
                continue;
            }
            data = typed.next(left), if left > 0 => {
                window.sent(data.len());
                let _ = sender.send(Frame::Stdin(data)).await;
                continue;
            }
        };
        let (to, data): (&mut dyn Write, _) = match next {
            None => return Ok(Ended::Cut),
            Some(Frame::Exit(exit)) => return Ok(Ended::Exit(exit)),
            Some(Frame::Error(error)) => return Ok(Ended::Error(error)),
            Some(Frame::Credit(bytes)) => {
                window.credited(bytes);
                continue;
            }
            Some(Frame::Stdout(data)) => (&mut *out, data),
            Some(Frame::Stderr(data)) => (&mut *err, data),
            Some(Frame::Stdin(_) | Frame::Resize { .. } | Frame::Signal(_)) => continue,
        };
        room.received(data.len()).map_err(io::Error::other)?;
        to.write_all(&data)?;
        to.flush()?;
        if let Some(credit) = room.passed_on(data.len()) {
            let _ = sender.send(Frame::Credit(credit)).await;
        }
    }
}

/// What was typed and is not sent yet.
struct Typed {
    input: Option<mpsc::Receiver<Vec<u8>>>,
    pending: Vec<u8>,
    /// Whether the other end knows that there is no more.
    is_told: bool,
}

impl Typed {
    /// The next piece, at most so long; an empty one, once, at the end.
    async fn next(&mut self, most: usize) -> Vec<u8> {
        if self.pending.is_empty() {
            let typed = match &mut self.input {
                Some(input) => input.recv().await,
                None => None,
            };
            match typed {
                Some(data) => self.pending = data,
                None if self.is_told => std::future::pending().await,
                None => {
                    self.is_told = true;
                    self.input = None;
                    return Vec::new();
                }
            }
        }
        let rest = self.pending.split_off(self.pending.len().min(most).min(FRAME_DATA_MAX_BYTES));
        std::mem::replace(&mut self.pending, rest)
    }
}
