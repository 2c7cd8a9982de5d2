//! OCI runtimes that containers may be run by instead of the agent's own: which there are, and whether they are too old.

use super::Check;
use crate::config::Config;
use crate::execute::find_program;
use coord_shared::document::RuntimeName;
use std::path::Path;
use std::process::{Command, Stdio};

/// What `--version` says is read up to here.
const VERSION_MAX_BYTES: usize = 4096;

/// A program, and from which versions on it has all fixes of escapes that are known: the last of each series that gets some.
const PROGRAMS: [(RuntimeName, &str, &[Version]); 3] = [
    (RuntimeName::Crun, "crun", &[(1, 28, 0)]),
    (RuntimeName::Runc, "runc", &[(1, 3, 6), (1, 4, 3)]),
    (RuntimeName::Runsc, "runsc", &[]),
];

type Version = (u32, u32, u32);

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let path = std::env::var("PATH").unwrap_or_default();
    let check = |(kind, name, fixed): (RuntimeName, &str, &[Version])| {
        let what = format!("runtime {name}");
        match find_program(name, &path) {
            Some(program) => Some(judge(what, &program, fixed)),
            None if config.isolation.runtime == kind => {
                let cost = "containers whose documents name no runtime do not start";
                let cure = "install it, or leave isolation.runtime in agent.toml out";
                Some(Check::problem(what, format!("there is no program of this name in {path}"), cost).cure(cure))
            }
            None => None,
        }
    };
    PROGRAMS.into_iter().filter_map(check).collect()
}

fn judge(what: String, program: &Path, fixed: &[Version]) -> Check {
    let shown = program.display();
    let said = match Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout[..output.stdout.len().min(VERSION_MAX_BYTES)]).into_owned(),
        Err(error) => {
            return Check::problem(
                what,
                format!("{shown} cannot be run: {error}"),
                "containers whose documents name it do not start",
            );
        }
    };
    let Some(version) = version_in(&said) else {
        return Check::note(what, format!("{shown}, of a version that cannot be told"), "whether it is too old is unknown");
    };
    let (major, minor, patch) = version;
    let found = format!("{major}.{minor}.{patch} in {shown}");
    if is_fixed(version, fixed) {
        return Check::ok(what, found);
    }
    let wanted = fixed.iter().map(|(major, minor, patch)| format!("{major}.{minor}.{patch}")).collect::<Vec<_>>().join(" or ");
    let cost =
        "unless its distributor has fixed it, containers can break out of it (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881)";
    Check::note(what, found, cost).cure(format!("install {wanted} or later, or use the agent's own"))
}

/// A version of a series (the first two numbers) that gets fixes is judged by that one; others by the newest.
fn is_fixed(version: Version, fixed: &[Version]) -> bool {
    let of_series = fixed.iter().find(|fixed| (fixed.0, fixed.1) == (version.0, version.1));
    of_series.or(fixed.last()).is_none_or(|fixed| version >= *fixed)
}

/// The first word of the first line that looks like `1.2.3`, whatever follows the numbers: `runc version 1.1.5+ds1`.
fn version_in(said: &str) -> Option<Version> {
    let parse = |word: &str| {
        let mut numbers = word.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
        Some((numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0)))
    };
    said.lines()
        .next()?
        .split_ascii_whitespace()
        .find_map(|word| parse(word.trim_start_matches("release-").trim_start_matches('v')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let check = |said: &str, expect: Option<Version>| assert_eq!(version_in(said), expect, "{said}");
        check("crun version 1.8.1\ncommit: f8a0\n", Some((1, 8, 1)));
        check("runc version 1.1.5+ds1\ncommit: 1.1.5\n", Some((1, 1, 5)));
        check("runc version 1.4.0-rc.3\n", Some((1, 4, 0)));
        check("crun version 1.28\n", Some((1, 28, 0)));
        check("runsc version release-20240212.0\n", Some((20_240_212, 0, 0)));
        check("", None);
        check("no version here\n", None);
    }

    #[test]
    fn old_ones_are_told_from_fixed_ones() {
        let check = |name: &str, version: Version, expect: bool| {
            let (_, _, fixed) = PROGRAMS.into_iter().find(|(_, known, _)| *known == name).expect("a program");
            assert_eq!(is_fixed(version, fixed), expect, "{name} {version:?}");
        };
        check("crun", (1, 8, 1), false);
        check("crun", (1, 28, 0), true);
        check("runc", (1, 1, 5), false);
        check("runc", (1, 3, 5), false);
        check("runc", (1, 3, 6), true);
        check("runc", (1, 4, 0), false);
        check("runc", (1, 4, 3), true);
        check("runc", (1, 5, 0), true);
        check("runsc", (20_240_212, 0, 0), true);
    }
}
