//! How a command ends: its exit code, and a failure as a person reads it.
//!
//! Every module has its own error type; here they all become the same three things: what went wrong, the cure, and whatever needs
//! more than a line. Deliberately absent: error numbers. The coordinator's `code` is shown, because its documentation speaks of it.

use std::error::Error;
use std::process::ExitCode;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All was done.
    Done,
    /// Something failed, and was said.
    Error,
    /// `diff` found changes.
    Changes,
    /// A program that was run elsewhere ended so.
    Program(u8),
    /// Ctrl-C, by the shells' convention of 128 + the signal's number.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Error => 1,
            Exit::Changes => 2,
            Exit::Program(code) => code,
            Exit::Interrupted => 130,
        })
    }
}

/// What went wrong, for a person.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The operation, the object, and the innermost cause.
    pub(crate) message: String,
    /// The cure.
    pub(crate) hint: Option<String>,
    /// Rendered diagnostics, a list of reasons: shown before the message.
    pub(crate) detail: Option<String>,
    broken_pipe: bool,
}

impl Failure {
    /// A failure that has no error behind it.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, detail: None, broken_pipe: false }
    }

    /// The error and its innermost cause: what lies between them names layers, not facts.
    pub(crate) fn of(error: &dyn Error) -> Self {
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let (message, cause) = (error.to_string(), innermost.to_string());
        Self::new(if message.contains(&cause) { message } else { format!("{message}: {cause}") })
    }

    /// Adds the cure.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Adds the cure, where there is one.
    pub(crate) fn maybe_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }

    /// Adds what needs more than a line.
    pub(crate) fn detail(self, detail: Option<String>) -> Self {
        Self { detail, ..self }
    }

    /// Puts the object's name before the message.
    pub(crate) fn about(self, object: &str) -> Self {
        Self { message: format!("{object}: {}", self.message), ..self }
    }

    /// Whether nobody reads our output any more.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.broken_pipe
    }
}

/// Only writing to stdout fails with a bare I/O error; everything else has an error type that names its object.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let broken_pipe = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self { broken_pipe, ..Self::new(format!("cannot write to stdout: {error}")) }
    }
}
