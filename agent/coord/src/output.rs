//! The only place of this crate that prints.
//!
//! Data goes to stdout, everything said about it to stderr. Deliberately absent: any knowledge of what is printed.

use coord_shared::text::{Palette, Tone, printable, printable_log_line};
use coord_shared::wire::ErrorBody;
use serde::Serialize;
use std::io::{self, IsTerminal as _, Write as _};

/// Narrowest terminal that tables are fitted to, in columns: below that, lines had better wrap.
const WIDTH_MIN: usize = 60;

/// The two streams and what they are connected to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Colours of stdout.
    pub(crate) palette: Palette,
    err_palette: Palette,
    out_is_terminal: bool,
}

impl Output {
    /// Looks at the streams and at NO_COLOR (no-color.org: present and not empty) and TERM.
    pub(crate) fn new() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let colours = !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let out_is_terminal = io::stdout().is_terminal();
        Self {
            palette: Palette { on: colours && out_is_terminal },
            err_palette: Palette { on: colours && io::stderr().is_terminal() },
            out_is_terminal,
        }
    }

    /// Whether somebody looks at stdout, who must be protected from what containers log.
    pub(crate) fn is_terminal(&self) -> bool {
        self.out_is_terminal
    }

    /// Columns that tables on stdout should fit; `None` where it is not a screen.
    pub(crate) fn width(&self) -> Option<usize> {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        Some(usize::from(size.ws_col).max(WIDTH_MIN))
    }

    /// Data, as it is; ends with a newline of its own.
    pub(crate) fn data(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Data for programs: one indented document.
    pub(crate) fn json(&self, body: &impl Serialize) -> io::Result<()> {
        self.data(&format!("{}\n", serde_json::to_string_pretty(body)?))
    }

    /// Data that somebody else wrote to his standard error, and that belongs to ours.
    pub(crate) fn error_data(&self, text: &str) -> io::Result<()> {
        io::stderr().lock().write_all(text.as_bytes())
    }

    /// What somebody else wrote, to the stream of ours that it was written to; to a person's terminal, without what would steer it.
    pub(crate) fn copy(&self, is_error: bool, bytes: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(bytes);
        let text = if self.out_is_terminal {
            let lines: Vec<String> = text.split('\n').map(printable_log_line).collect();
            lines.join("\n").into_bytes()
        } else {
            bytes.to_vec()
        };
        if is_error { io::stderr().lock().write_all(&text) } else { io::stdout().lock().write_all(&text) }
    }

    /// Both streams, for a program whose output is ours.
    pub(crate) fn streams(&self) -> (io::Stdout, io::Stderr) {
        (io::stdout(), io::stderr())
    }

    /// What the person should know beside the result: where it comes from, why it is as it is.
    pub(crate) fn note(&self, text: &str) {
        self.say(&format!("{} {}\n", self.err_palette.paint(Tone::Warn, "coord:"), printable(text)));
    }

    /// What went wrong, with its cure after it.
    pub(crate) fn failure(&self, error: &ErrorBody) {
        self.say(&format!("{} {}\n", self.err_palette.paint(Tone::Bad, "error:"), printable(&error.message)));
        if let Some(detail) = &error.detail {
            self.say(&format!("{}\n", detail.lines().map(printable).collect::<Vec<_>>().join("\n")));
        }
        if let Some(hint) = &error.hint {
            self.say(&format!("{} {}\n", self.err_palette.paint(Tone::Good, "hint:"), printable(hint)));
        }
    }

    /// Words of the command line's parser, which paints them itself.
    pub(crate) fn usage(&self, error: &clap::Error) {
        // A closed stream is nobody's failure: the exit code still tells.
        let _ = error.print();
    }

    /// A closed stderr is nobody's failure: the exit code still tells.
    fn say(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}
