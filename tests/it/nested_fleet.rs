//! Second containers on a host of a fleet: they need no coordinator, and it hears of them when it is back.

use std::fs;

use anyhow::{Context as _, Result};
use coord_tests::fleet::view::pid_on;
use coord_tests::fleet::{FLEET_LIMIT, Plan};
use coord_tests::image::runner::{self, FILES};
use coord_tests::process::describe;
use coord_tests::wait::wait_until;

const SCRIPT: &str = r#"
until [ -e /tmp/go ]; do usleep 20000; done
coord cache create work --path /work && coord cache put work /source || exit 1
for n in 1 2 3; do coord run --name c$n --image "$IMAGE" --cache work:ro -- check /work $n; echo "c$n: $?"; done
coord run -d --name stays --image "$IMAGE" --cache work:ro -- sleep 100000
exec sleep 100000
"#;

#[test]
fn a_runner_needs_no_coordinator() -> Result<()> {
    let mut fleet = Plan::processes(1).start()?;
    let image = fleet.registry.push(&runner::image()?, "runner", "1")?;
    let keys =
        format!("image = {image:?}\nhosts = [\"h0\"]\nenvironment = {{ IMAGE = {image:?} }}\nnested = {{ containers = 4 }}\n");
    fleet.write_document("runner", &format!("{keys}command = [\"sh\", \"-c\", '''{SCRIPT}''']\n"))?;
    let init = pid_on(&fleet.wait_ready("runner", &["h0"])?, "h0")?;

    fleet.kill_coordinator()?;
    fs::write(format!("/proc/{init}/root/tmp/go"), "")?;
    let said = || -> Vec<String> {
        let lines = fleet.log_lines(0, "runner.0").unwrap_or_default();
        lines.into_iter().map(|line| line.m).collect()
    };
    let all = ["c1: 1", "c2: 2", "c3: 3"];
    wait_until(FLEET_LIMIT, "all have ended as they should", || all.iter().all(|line| said().iter().any(|said| said == line)))
        .with_context(|| format!("{:?}", said()))?;
    assert_eq!(said().iter().filter(|line| **line == format!("checked {}", FILES - 1)).count(), 3);

    // What they were is told when somebody is there to hear it.
    fleet.start_coordinator()?;
    let shown = || fleet.coordctl(&["status", "runner", "-v"]).map(|output| describe(&output)).unwrap_or_default();
    let whole = || ["stays", "running", "c2", "exit code 2", "work", "verified"].iter().all(|word| shown().contains(word));
    wait_until(FLEET_LIMIT, "the status shows them", whole).with_context(shown)?;
    fleet.delete_document("runner")?;
    fleet.wait_gone("runner").map(drop)
}
