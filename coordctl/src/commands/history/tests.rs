//! What `coordctl history` looks like.

use super::*;
use crate::expect::expect;

#[test]
fn history_is_told() {
    let view: HistoryView = serde_json::from_str(include_str!("tests/history.json")).expect("a history view");
    expect("src/commands/history/tests/short.txt", &render(&view, Some(100), Palette { on: false }));
    expect("src/commands/history/tests/long.txt", &render_long(&view, &TimeZone::UTC, Palette { on: false }));
}
