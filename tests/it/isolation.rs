//! Everything that `coord-probe` tries, tried in a container of ours as the agent makes it: each line must be closed.
//!
//! What stays open is listed with its reason. How other engines do on the same lines is in docs/isolation.md.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use coord_tests::cell::host_namespaces;
use coord_tests::lone::LoneHost;
use coord_tests::probe::{self, Finding, HOST_VARIABLE};
use coord_tests::wait::wait_until;

/// A fork bomb of two thousand processes, on a busy machine.
const PROBE_LIMIT: Duration = Duration::from_secs(90);

/// Lines that are not closed, how open they may be, and why.
const OPEN: &[(&str, u64, &str)] = &[
    ("capabilities", 11, "root in a container owns files, changes users and takes low ports, as images expect"),
    ("bounding", 11, "the same, for programs that are started later"),
    ("uid-map", 1, "where the kernel cannot map the owners of the image's files"),
    ("ns-user", 1, "the same"),
];

fn start() -> Result<LoneHost> {
    let mut host = LoneHost::in_cell()?;
    host.start_agent()?;
    Ok(host)
}

/// Runs lines of the probe in a container of their own, with more of a document.
fn try_lines(host: &LoneHost, name: &str, lines: &[&str], extra: &str) -> Result<BTreeMap<String, Finding>> {
    let image = host.push(&probe::image()?, name)?;
    let command = [&["/probe"], lines].concat();
    let environment = format!("environment = {{ {HOST_VARIABLE} = {:?} }}", host_namespaces());
    host.write(name, &format!("image = {image:?}\nrestart = \"no\"\ncommand = {command:?}\n{environment}\n{extra}"))?;
    let last = lines.last().copied().unwrap_or(probe::LAST);
    let found = || probe::findings(&host.messages(&format!("{name}.0")).join("\n"));
    wait_until(PROBE_LIMIT, &format!("the probe has tried {last}"), || found().contains_key(last))
        .with_context(|| host.agent_log())?;
    Ok(found())
}

pub(super) fn check(found: &BTreeMap<String, Finding>) {
    let allowed = |name: &str| OPEN.iter().find(|(known, _, _)| *known == name).map_or(0, |(_, most, _)| *most);
    let wrong: Vec<String> = found
        .values()
        .filter(|line| line.exposure.is_none_or(|exposure| exposure > allowed(&line.name)))
        .map(|line| format!("{}: {}: {}", line.name, line.what, line.detail))
        .collect();
    assert!(wrong.is_empty(), "{} of {} lines are open:\n{}", wrong.len(), found.len(), wrong.join("\n"));
}

#[test]
fn what_a_container_must_not_do_it_cannot() -> Result<()> {
    let host = start()?;
    let found = try_lines(&host, "probe", &[], "[resources]\nmemory = \"256MiB\"\n")?;
    assert!(found.len() > 90, "the probe tried {} lines only", found.len());
    let (bombs, others) = found.into_iter().partition(|(name, _)| name == "memory-bomb");
    check(&others);
    // Its own limit is met in a container of its own, where nothing else has to live through it.
    let bombs: BTreeMap<String, Finding> = bombs;
    assert_eq!(bombs.len(), 1);
    check(&try_lines(&host, "memory", &["memory-bomb"], "[resources]\nmemory = \"64MiB\"\n")?);
    Ok(())
}

/// CVE-2019-5736: while a command is run in a container, the shim is a process in there for a moment.
#[test]
fn programs_of_the_agent_cannot_be_overwritten_from_inside() -> Result<()> {
    const COMMANDS: usize = 6;
    let host = start()?;
    let image = host.push(&probe::image()?, "catch")?;
    host.write("catch", &format!("image = {image:?}\nrestart = \"no\"\ncommand = [\"/probe\", \"catch\", \"4\"]\n"))?;
    host.wait_running("catch.0")?;
    for _ in 0..COMMANDS {
        host.ok(&["exec", "catch.0", "--", "/bin/true"])?;
    }
    let found = || probe::findings(&host.messages("catch.0").join("\n"));
    wait_until(PROBE_LIMIT, "the catcher says what it caught", || !found().is_empty()).with_context(|| host.agent_log())?;
    check(&found());
    Ok(())
}
