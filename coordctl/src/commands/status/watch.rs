//! Showing the status again whenever it changes, until Ctrl-C.
//!
//! On a terminal the last picture is drawn over; elsewhere each change is a new picture (or, as JSON, a new line). An unreachable
//! coordinator is said and waited for.

use super::{chosen, text};
use crate::cli::{Format, StatusArgs};
use crate::client::Client;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, age};
use coord_shared::wire::StatusView;
use jiff::Timestamp;
use std::time::Duration;

/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn watch(args: &StatusArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let looking = look_on(args, client, output);
    tokio::select! {
        failure = looking => Err(failure),
        _ = tokio::signal::ctrl_c() => {
            // Terminals echo ^C on the last line; the prompt is to start on its own.
            if output.is_terminal() {
                output.message("");
            }
            Ok(Exit::Interrupted)
        }
    }
}

/// Ends only by an error that time does not mend.
async fn look_on(args: &StatusArgs, client: &Client, output: &Output) -> Failure {
    let mut screen = Screen { output, drawn_lines: 0 };
    let mut last: Option<(StatusView, Timestamp)> = None;
    let mut was_away = false;
    loop {
        let drawn = match client.status().await {
            Ok(status) => {
                let status = chosen(status, args.workload.as_ref());
                let changed = last.as_ref().is_none_or(|(before, _)| !is_same(before, &status));
                let drawn = screen.show(args, &status, changed || was_away);
                last = Some((status, clock::wall()));
                was_away = false;
                drawn
            }
            Err(error) if error.is_passing() => {
                let drawn = screen.away(args, last.as_ref(), &Failure::from(error).message, !was_away);
                was_away = true;
                drawn
            }
            Err(error) => return error.into(),
        };
        if let Err(error) = drawn {
            return error.into();
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Whether only the clock moved on.
fn is_same(before: &StatusView, after: &StatusView) -> bool {
    StatusView { now: after.now, ..before.clone() } == *after
}

/// What was drawn last, so that it can be drawn over.
struct Screen<'a> {
    output: &'a Output,
    drawn_lines: usize,
}

impl Screen<'_> {
    fn show(&mut self, args: &StatusArgs, status: &StatusView, changed: bool) -> std::io::Result<()> {
        if args.format.format == Format::Json {
            return if changed { self.output.json_line(status) } else { Ok(()) };
        }
        let text = text(args, status, self.output);
        let text = if text.is_empty() { "no workload is published\n".to_owned() } else { text };
        match self.output.is_terminal() {
            true => self.redraw(&text),
            false if changed => self.output.data(&format!("{text}\n")),
            false => Ok(()),
        }
    }

    /// The last picture, and that it is old.
    fn away(
        &mut self,
        args: &StatusArgs,
        last: Option<&(StatusView, Timestamp)>,
        problem: &str,
        news: bool,
    ) -> std::io::Result<()> {
        if !self.output.is_terminal() || args.format.format == Format::Json {
            if news {
                self.output.warning(&format!("{problem}; trying on"));
            }
            return Ok(());
        }
        let line = match last {
            Some((_, at)) => format!("seen {} ago; {problem}; trying on", age(clock::wall(), *at)),
            None => format!("{problem}; trying on"),
        };
        let picture = last.map_or_else(String::new, |(status, _)| text(args, status, self.output));
        self.redraw(&format!("{picture}{}\n", self.output.palette.paint(Tone::Warn, &line)))
    }

    /// Moves up over the last picture, clears from there, draws. What does not fit the screen is left out, because one cannot move
    /// up beyond its first line.
    fn redraw(&mut self, text: &str) -> std::io::Result<()> {
        let (columns, lines) = (self.output.width().unwrap_or(usize::MAX), self.output.height().unwrap_or(usize::MAX));
        let (mut picture, drawn_lines) = fit(text, columns, lines);
        if self.drawn_lines > 0 {
            picture.insert_str(0, &format!("\x1b[{}A\x1b[J", self.drawn_lines));
        }
        self.drawn_lines = drawn_lines;
        self.output.data(&picture)
    }
}

/// As much of the text as a screen of that size shows with the cursor below it, and how many lines of the screen that takes.
fn fit(text: &str, columns: usize, lines: usize) -> (String, usize) {
    let rows = |line: &str| visible_chars(line).div_ceil(columns).max(1);
    let room = lines.saturating_sub(1).max(2);
    let total: usize = text.lines().map(rows).sum();
    if total <= room {
        return (text.to_owned(), total);
    }
    let (mut picture, mut used, mut left) = (String::new(), 0, text.lines().count());
    for line in text.lines() {
        if used + rows(line) > room - 1 {
            break;
        }
        picture.extend([line, "\n"]);
        used += rows(line);
        left -= 1;
    }
    (format!("{picture}... and {left} more lines\n"), used + 1)
}

/// Characters that take a place on the screen: all but colour sequences (`ESC [ ... m`).
fn visible_chars(line: &str) -> usize {
    let mut parts = line.split("\x1b[");
    let first = parts.next().map_or(0, |part| part.chars().count());
    first + parts.map(|part| part.split_once('m').map_or(0, |(_, shown)| shown.chars().count())).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_fit_the_screen() {
        let check = |text: &str, columns, lines, expect: (&str, usize)| {
            assert_eq!(fit(text, columns, lines), (expect.0.to_owned(), expect.1));
        };
        check("a\nb\n", 10, 4, ("a\nb\n", 2));
        check("a\nb\nc\nd\n", 10, 4, ("a\nb\n... and 2 more lines\n", 3));
        // A line that wraps takes two.
        check("0123456789ab\nb\n", 10, 10, ("0123456789ab\nb\n", 3));
        // Colours take no place.
        check("\x1b[31m0123456789\x1b[0m\n", 10, 10, ("\x1b[31m0123456789\x1b[0m\n", 1));
    }
}
