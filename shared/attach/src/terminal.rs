//! The person's own terminal: raw while a program elsewhere has it, and as it was afterwards, whatever happens.

use crate::News;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{self, Read as _};
use std::sync::{Mutex, Once, PoisonError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Read from standard input in one piece.
const PIECE_BYTES: usize = 8 * 1024;
/// Pieces and news that may wait for the connection; then the terminal waits.
const WAITING_MAX: usize = 4;
/// SIGHUP, SIGINT, SIGQUIT, SIGTERM (signal(7)).
const PASSED_ON: [i32; 4] = [1, 2, 3, 15];
/// What the terminal was before it became raw, for a panic: it ends the process without dropping anything.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// A terminal that passes on every key as it is typed. Dropping it makes it as it was.
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Takes standard input's terminal.
    ///
    /// # Errors
    /// When standard input is no terminal.
    pub fn enter() -> io::Result<Raw> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        restore_on_panic();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before.clone());
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
            }
            usual(panic);
        }));
    });
}

/// Whether standard input and output are terminals.
pub fn is_terminal() -> bool {
    isatty(io::stdin()) && isatty(io::stdout())
}

/// Rows and columns of standard output's terminal, if it is one.
pub fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// What comes on standard input, from now on; ends with it. Its thread waits for a last key and ends with the process.
pub fn input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(read @ 1..) = io::stdin().read(&mut piece) {
            if sender.blocking_send(piece[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// New sizes of the terminal, if the program has one, and signals that are meant for the program: in a raw terminal keys make none.
///
/// # Errors
/// When signals cannot be waited for.
pub fn news(terminal: bool) -> io::Result<mpsc::Receiver<News>> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    for number in PASSED_ON {
        let mut signals = signal(SignalKind::from_raw(number))?;
        let sender = sender.clone();
        tokio::spawn(async move { while signals.recv().await.is_some() && sender.send(News::Signal(number)).await.is_ok() {} });
    }
    if terminal {
        let mut resizes = signal(SignalKind::window_change())?;
        tokio::spawn(async move {
            while resizes.recv().await.is_some() {
                let Some((rows, columns)) = size() else { continue };
                if sender.send(News::Resized { rows, columns }).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}
