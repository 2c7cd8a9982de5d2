//! Prometheus's text format, version 0.0.4: a family at a time, each with its help and its kind, all its samples together.

use std::fmt::Write as _;

/// What a family's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, until what it counts is gone.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A number, exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Count(u64),
    /// Shown in seconds.
    Nanoseconds(u64),
    Signed(i64),
}

/// The text on its way.
pub(super) struct Text(String);

impl Text {
    pub(super) fn new() -> Self {
        Self(String::new())
    }

    /// Writes a family; nothing where it has no samples. Labels are as [`label`] makes them, joined by commas.
    pub(super) fn family<'a, L: AsRef<str>>(
        &mut self,
        (name, kind, help): (&'a str, Kind, &'a str),
        samples: impl IntoIterator<Item = (L, Number)>,
    ) {
        let mut is_begun = false;
        for (labels, number) in samples {
            if !is_begun {
                is_begun = true;
                let kind = match kind {
                    Kind::Counter => "counter",
                    Kind::Gauge => "gauge",
                };
                // Writing to a string does not fail.
                let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
            }
            self.0.push_str(name);
            if !labels.as_ref().is_empty() {
                let _ = write!(self.0, "{{{}}}", labels.as_ref());
            }
            let _ = match number {
                Number::Count(count) => writeln!(self.0, " {count}"),
                Number::Nanoseconds(ns) => writeln!(self.0, " {}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000),
                Number::Signed(number) => writeln!(self.0, " {number}"),
            };
        }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// `name="value"`, what must be escaped escaped.
pub(super) fn label(name: &str, value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{escaped}\"")
}
