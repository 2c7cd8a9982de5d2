//! The rules that the compiler cannot keep: who may import whom, where the clock is read, what every file begins with.
//!
//! Each rule is a function from a file to its offences, tried on small examples beside it, and then on every file of this
//! repository. An offence names the file, the line and the cure. What clippy can check is in clippy.toml, not here.

mod imports;
mod licences;
mod manifests;
mod source;
mod text;

use source::{Offence, Source};

/// Tries one rule on one made-up file: the lines where it must find something.
fn check(rule: fn(&Source) -> Vec<Offence>, path: &str, text: &str, expect: &[usize]) {
    let lines: Vec<usize> = rule(&Source::new(path, text)).iter().map(|offence| offence.line).collect();
    assert_eq!(lines, expect, "{path}:\n{text}");
}

/// Runs one rule on the whole repository.
fn check_repository(rule: fn(&Source) -> Vec<Offence>) {
    let offences: Vec<String> = source::repository().iter().flat_map(rule).map(|offence| offence.to_string()).collect();
    assert!(offences.is_empty(), "{} offences:\n{}", offences.len(), offences.join("\n"));
}
