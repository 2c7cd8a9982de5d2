//! What a host that builds needs besides: the programs of the repositories that it looks at.

use super::Check;
use crate::config::Config;
use crate::execute::find_program;

/// A program, and what is not to be had without it.
const PROGRAMS: [(&str, &str, &str); 2] = [
    ("git", "pipelines whose source is git cannot be looked at or built here", "install it (Debian: apt install git)"),
    (
        "svn",
        "pipelines whose source is Subversion cannot be looked at or built here",
        "install it (Debian: apt install subversion)",
    ),
];

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let Some(builder) = &config.builder else { return Vec::new() };
    let path = std::env::var("PATH").unwrap_or_default();
    let program = |(name, cost, cure): (&str, &str, &str)| {
        let what = format!("builder {name}");
        match find_program(name, &path) {
            Some(found) => Check::ok(what, found.display().to_string()),
            None => Check::note(what, format!("there is no program of this name in {path}"), cost).cure(cure),
        }
    };
    let mut checks: Vec<Check> = PROGRAMS.into_iter().map(program).collect();
    if config.coordinators.is_empty() {
        let cost = "nothing is built here: orders come from a coordinator";
        checks.push(
            Check::problem("builder", "agent.toml names no coordinator", cost).cure("set coordinator, or leave [builder] out"),
        );
    } else {
        checks.push(Check::ok("builder", format!("{} runs at a time", builder.runs)));
    }
    checks
}
