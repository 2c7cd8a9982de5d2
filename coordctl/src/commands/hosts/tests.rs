//! What `coordctl hosts` looks like.

use super::*;
use crate::expect::expect;

#[test]
fn hosts_are_listed() {
    let view: HostsView = serde_json::from_str(include_str!("tests/hosts.json")).expect("a hosts view");
    expect("src/commands/hosts/tests/hosts.txt", &render(&view, Some(100), Palette { on: false }));
    expect("src/commands/hosts/tests/hosts-wide.txt", &render(&view, None, Palette { on: false }));
}
