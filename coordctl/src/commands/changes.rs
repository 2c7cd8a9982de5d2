//! What a publication changes, as `diff` foretells it and `apply`, `delete` and `history` tell it.

use super::words;
use crate::clock;
use crate::output::{Palette, Tone, printable, until};
use coord_shared::wire::{ChangeView, DiffView};
use jiff::Timestamp;

/// Whether publishing would do anything.
pub(super) fn is_change(view: &DiffView) -> bool {
    !(view.changes.is_empty() && view.starts_on.is_empty() && view.replaces_on.is_empty() && view.stops_on.is_empty())
}

/// One line a key: `+` new, `-` gone, `~` different; keys aligned. Where something runs already, also which keys leave it alone.
pub(super) fn lines(changes: &[ChangeView], runs_already: bool, palette: Palette) -> String {
    let width = changes.iter().map(|change| change.key.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for change in changes {
        let (mark, tone, value) = match (&change.old, &change.new) {
            (None, Some(new)) => ("+", Tone::Good, printable(new)),
            (Some(old), None) => ("-", Tone::Bad, printable(old)),
            (Some(old), Some(new)) => ("~", Tone::Warn, format!("{} -> {}", printable(old), printable(new))),
            (None, None) => ("~", Tone::Warn, String::new()),
        };
        let note = if runs_already && !change.replaces { "  (no restart)" } else { "" };
        let key = printable(&change.key);
        text.push_str(format!("  {} {key:width$}  {value}{note}", palette.paint(tone, mark)).trim_end());
        text.push('\n');
    }
    text
}

/// `starts on a, b; replaces on c`; empty where no host is touched.
pub(super) fn hosts(view: &DiffView, all: bool) -> String {
    let parts = [("starts on", &view.starts_on), ("replaces on", &view.replaces_on), ("stops on", &view.stops_on)];
    let named = parts.into_iter().filter(|(_, hosts)| !hosts.is_empty());
    named.map(|(verb, hosts)| format!("{verb} {}", words::hosts(hosts, all))).collect::<Vec<_>>().join("; ")
}

/// What a person should know about it, a line each. These times are judged by this machine's clock: the body carries no other.
pub(super) fn notes(view: &DiffView) -> Vec<String> {
    let now = clock::wall();
    let due = |at: Timestamp| until(now, at).map_or_else(String::new, |left| format!(", again in {left}"));
    view.reasons
        .iter()
        .map(|reason| format!("{}{}", printable(&reason.to_string()), reason.due().map_or_else(String::new, due)))
        .collect()
}
