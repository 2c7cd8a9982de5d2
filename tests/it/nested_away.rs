//! Second containers while others are away: they need no coordinator, which hears of them when it is back, and outlive any number of agents.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use coord_tests::fleet::view::pid_on;
use coord_tests::fleet::{FLEET_LIMIT, Plan};
use coord_tests::image::runner::{self, FILES};
use coord_tests::nested::Nest;
use coord_tests::process::describe;
use coord_tests::wait::wait_until;
use serde_json::Value;

const SCRIPT: &str = r#"
until [ -e /tmp/go ]; do usleep 20000; done
coord cache create work --path /files && coord cache put work /source || exit 1
for n in 1 2 3; do coord run --name c$n --image "$IMAGE" --cache work:ro -- check /files $n; echo "c$n: $?"; done
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

/// Makes caches, fills them, runs somebody with them and deletes them, until it is told to stop; whatever fails, it goes on.
const BUSY: &str = r#"
n=0
while [ ! -e /tmp/stop ]; do
    n=$((n+1))
    coord cache create w$n --path /files && coord cache put w$n /source && coord run --image $IMAGE --cache w$n:ro -- check /files 0
    coord run -d --name d$n --image $IMAGE --cache w$n -- sh -c 'sleep 1; echo x >/files/new'
    coord cache rm w$n || coord stop d$n
    usleep 20000
done >/tmp/log 2>&1
echo stopped
exec sleep 100000
"#;

#[test]
fn an_agent_that_is_killed_at_any_moment_leaves_nothing_half_there() -> Result<()> {
    const KILLS: u64 = 10;
    let mut nest = Nest::start()?;
    let init = nest.running("runner", "containers = 4, caches = \"64MiB\"", BUSY)?.init;
    let log = PathBuf::from(format!("/proc/{init}/root/tmp/log"));
    let done = || fs::read_to_string(&log).unwrap_or_default().lines().count();
    for number in 0..KILLS {
        let before = done();
        wait_until(FLEET_LIMIT, "something is done", || done() > before)?;
        // Moments that differ: in the middle of a put, of a start, of a deletion. None is waited for.
        std::thread::sleep(Duration::from_millis(number * 37 % 150));
        nest.host.kill_agent()?;
        nest.host.start_agent()?;
    }
    let parent = nest.parent("runner")?;
    parent.wait_door()?;
    fs::write(parent.path("/tmp/stop"), "")?;
    parent.wait_says("stopped")?;
    assert_eq!(parent.init, init, "the parent runs on");
    // The door is as good as new: all that is there can be used, or deleted.
    parent.ok(
        "for n in $(coord ps --json | sed -n 's/.*\"name\":\"\\([^\"]*\\)\".*/\\1/p'); do coord stop --time 0 $n; done; true",
    )?;
    let caches = parent.door().granted("GET", "/v1/caches", &Value::Null)?;
    for cache in caches["caches"].as_array().into_iter().flatten().filter_map(|cache| cache["name"].as_str()) {
        parent.door().granted("POST", &format!("/v1/caches/{cache}/verify"), &Value::Null)?;
    }
    parent.ok("coord cache create last --path /files && coord cache put last /source")?;
    parent.ok("coord run --image $IMAGE --cache last:ro -- check /files 0")?;
    let log = fs::read_to_string(nest.host.path("agent.log"))?;
    assert!(!log.contains("panicked"), "{log}");
    nest.end(&["runner"])
}
