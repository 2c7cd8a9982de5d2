//! Documents good and bad.
//!
//! Every rule has at least one bad document in `tests/bad`, named by its code (`unknown-key.toml`, `unknown-key-2.toml`), with
//! what a person is shown in the `.txt` beside it. `UPDATE_EXPECT=1` rewrites those, to be read before they are committed.

#![expect(clippy::disallowed_methods, reason = "the expected outputs are files, and tests read them")]

pub(crate) mod bad;
mod differences;
mod good;
mod parts;
mod reference;
pub(crate) mod robust;

use std::path::Path;

/// The smallest document.
const LEAST: &str = "image = \"web\"\nhosts = [\"web-1\"]\n";

/// Fails unless the file at `path` holds `actual`; rewrites it where UPDATE_EXPECT is set.
pub(crate) fn expect_file(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, actual).expect("write what is expected");
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs (UPDATE_EXPECT=1 rewrites it)\n--- expected\n{expected}\n--- actual\n{actual}",
        path.display()
    );
}

#[test]
fn a_misspelt_key_is_told_before_the_one_that_it_leaves_missing() {
    let text = "image = \"r.lan/web\"\nhosst = [\"a\"]\n";
    let mistakes = super::parse(text).expect_err("two mistakes");
    assert_eq!(mistakes.summary(text), "2:1: unknown key `hosst` (and 1 more)");
}
