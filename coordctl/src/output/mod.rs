//! The only place that prints.
//!
//! Data goes to stdout, everything said about it to stderr. Deliberately absent: any knowledge of what is printed; texts come from
//! the commands, ready but for the decision whether colours and a width apply.

mod progress;

pub(crate) use coord_shared::text::{
    Align, Cell, Column, Palette, Shrink, Table, Tone, age, ago, printable, printable_log_line, until,
};

use crate::failure::Failure;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Narrowest terminal that tables are fitted to, in columns: below that, lines had better wrap.
const WIDTH_MIN: usize = 60;

/// The two streams and what they are connected to.
#[derive(Debug)]
pub(crate) struct Output {
    /// Colours of stdout.
    pub(crate) palette: Palette,
    err_palette: Palette,
    out_is_terminal: bool,
    err_is_terminal: bool,
}

impl Output {
    /// Looks at the streams and at NO_COLOR (no-color.org: present and not empty) and TERM.
    pub(crate) fn new() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let colours = !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let (out_is_terminal, err_is_terminal) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            palette: Palette { on: colours && out_is_terminal },
            err_palette: Palette { on: colours && err_is_terminal },
            out_is_terminal,
            err_is_terminal,
        }
    }

    /// Whether a person looks at stdout as it is written.
    pub(crate) fn is_terminal(&self) -> bool {
        self.out_is_terminal
    }

    /// Columns that tables on stdout should fit; `None` where nothing is to be cut, because it is not for a screen.
    pub(crate) fn width(&self) -> Option<usize> {
        self.size().map(|(columns, _)| columns.max(WIDTH_MIN))
    }

    /// Lines of the screen; `None` where there is no screen.
    pub(crate) fn height(&self) -> Option<usize> {
        self.size().map(|(_, lines)| lines)
    }

    fn size(&self) -> Option<(usize, usize)> {
        if !self.out_is_terminal {
            return None;
        }
        let (width, height) = terminal_size::terminal_size_of(io::stdout())?;
        Some((usize::from(width.0), usize::from(height.0)))
    }

    /// Data, as it is; ends with a newline of its own.
    pub(crate) fn data(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Standard output and error, for a program elsewhere that writes to them as it pleases.
    pub(crate) fn streams(&self) -> (impl Write, impl Write) {
        (io::stdout(), io::stderr())
    }

    /// Data for programs: one indented document.
    pub(crate) fn json(&self, body: &impl Serialize) -> io::Result<()> {
        self.data(&format!("{}\n", serde_json::to_string_pretty(body)?))
    }

    /// Data for programs: one line of many.
    pub(crate) fn json_line(&self, body: &impl Serialize) -> io::Result<()> {
        self.data(&format!("{}\n", serde_json::to_string(body)?))
    }

    /// Something that a person should know.
    pub(crate) fn message(&self, text: &str) {
        self.say(&format!("{text}\n"));
    }

    /// Something that is not as it should be, and does not end the command.
    pub(crate) fn warning(&self, text: &str) {
        self.say(&format!("{} {text}\n", self.err_palette.paint(Tone::Warn, "warning:")));
    }

    /// What went wrong, with its detail before it and its cure after it.
    pub(crate) fn failure(&self, failure: &Failure) {
        if let Some(detail) = &failure.detail {
            self.say(&format!("{}\n", detail.trim_end()));
        }
        self.say(&format!("{} {}\n", self.err_palette.paint(Tone::Bad, "error:"), failure.message));
        if let Some(hint) = &failure.hint {
            self.say(&format!("{} {hint}\n", self.err_palette.paint(Tone::Good, "hint:")));
        }
    }

    /// Colours of stderr, for texts that are rendered elsewhere.
    pub(crate) fn err_palette(&self) -> Palette {
        self.err_palette
    }

    /// A closed stderr is nobody's failure: the exit code still tells.
    fn say(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}
