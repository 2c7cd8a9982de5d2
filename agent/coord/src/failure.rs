//! What can go wrong, in the one shape that the door has for it, and the exit code that tells it.

use coord_shared::wire::{ErrorBody, Exit};
use std::fmt::Display;
use std::io;

/// An error of `coord` itself, or a refusal (as docker tells it).
pub(crate) const FAILED: u8 = 125;
/// The command cannot be executed (as shells tell it).
const NOT_EXECUTABLE: u8 = 126;
/// There is no such command (as shells tell it).
const NOT_FOUND: u8 = 127;
/// Added to a signal's number where a program was ended by it (POSIX shells).
pub(crate) const SIGNAL_BASE: i32 = 128;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Somebody refused, or something is missing.
    #[error("{}", .0.message)]
    Told(ErrorBody),
    /// Whoever read our output has gone away: no failure of ours.
    #[error("nobody reads the output any more")]
    BrokenPipe,
}

impl From<ErrorBody> for Failure {
    fn from(error: ErrorBody) -> Self {
        Self::Told(error)
    }
}

/// Of writing to stdout or stderr.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::Told(failure("output", format!("cannot write the output: {error}"), None))
    }
}

/// An error of our own.
pub(crate) fn failure(code: &str, message: String, hint: Option<&str>) -> ErrorBody {
    ErrorBody { code: code.to_owned(), message, hint: hint.map(str::to_owned), detail: None }
}

/// Something of this machine that did not work.
pub(crate) fn local(operation: &str, error: impl Display) -> ErrorBody {
    failure("local", format!("cannot {operation}: {error}"), None)
}

/// The exit code by which a refusal is told.
pub(crate) fn code_of(error: &ErrorBody) -> u8 {
    match error.code.as_str() {
        "command_not_found" => NOT_FOUND,
        "command_not_executable" => NOT_EXECUTABLE,
        _ => FAILED,
    }
}

/// The exit code by which a container's end is told, as a shell does; 255 where nobody knows how it ended.
pub(crate) fn code_of_exit(exit: &Exit) -> u8 {
    let code = exit.code.or_else(|| Some(SIGNAL_BASE + exit.signal?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
