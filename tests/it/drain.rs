//! What a container is in the middle of when another one takes its place: a request that it has accepted is answered, whole, through a
//! rollout and an agent's death; and one that never ends holds nothing up for long.

use std::path::PathBuf;

use anyhow::{Context, Result};
use coord_tests::cell::INSIDE;
use coord_tests::image::{Image, Layer, web};
use coord_tests::lone::{LONE_LIMIT, LoneHost, Seen};
use coord_tests::process::{Place, Process, runs};
use coord_tests::wait::wait_until;
use nix::unistd::Pid;

/// Answers once there is a file in the folder that the host shares with it.
const HELD: &str = r#"#!/bin/sh
echo "a request is held" >&2
while [ ! -e /gate/open ]; do sleep 0.05; done
printf 'Content-Type: text/plain\r\n\r\n'
echo "$GREETING, held"
"#;

struct Lab {
    host: LoneHost,
    outside: Place,
    image: String,
}

fn image() -> Result<Image> {
    web::builder("1")?.layer(Layer::default().file("www/cgi-bin/held.cgi", 0o755, HELD.as_bytes())?)?.build()
}

impl Lab {
    /// A host on which the first container serves.
    fn start(rollout: &str) -> Result<Lab> {
        let mut host = LoneHost::in_cell()?;
        let outside = host.cell().context("it has a cell")?.plug_in()?;
        std::fs::create_dir(host.path("gate"))?;
        host.start_agent()?;
        let image = host.push(&image()?, "web")?;
        let lab = Lab { host, outside, image };
        lab.publish("one", rollout)?;
        lab.says("one")?;
        Ok(lab)
    }

    fn publish(&self, greeting: &str, rollout: &str) -> Result<()> {
        let gate = self.host.path("gate");
        let text = format!(
            "image = {:?}\nenvironment = {{ GREETING = {greeting:?} }}\nports = [\"80:8080\"]\nvolumes = [\"{}:/gate:ro\"]\n\
             stop_grace_period = \"2s\"\n[rollout]\norder = \"start-first\"\n{rollout}\n\
             [healthcheck]\nhttp = \"http://:8080/healthz\"\nstart_period = \"30s\"\nstart_interval = \"100ms\"\n",
            self.image,
            gate.display()
        );
        self.host.write("web", &text)
    }

    fn says(&self, greeting: &str) -> Result<()> {
        let url = format!("http://{INSIDE}:80/");
        let ask = || self.outside.run(&["curl", "-s", "--max-time", "5", &url]);
        let said = || ask().is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(&format!("{greeting} from web")));
        wait_until(LONE_LIMIT, &format!("the port leads to {greeting}"), said).with_context(|| self.host.agent_log())
    }

    /// Asks for something that is not answered yet.
    fn hold(&self) -> Result<Process> {
        let log: PathBuf = self.host.path("held.log");
        let url = format!("http://{INSIDE}:80/cgi-bin/held.cgi");
        let request = Process::start("curl", &["curl", "-sS", "--max-time", "100", &url], &self.outside, &log)?;
        let is_held = || self.host.messages("web.0").iter().any(|line| line.contains("a request is held"));
        wait_until(LONE_LIMIT, "the first container has the request", is_held).with_context(|| self.host.agent_log())?;
        Ok(request)
    }

    fn open_gate(&self) -> Result<()> {
        Ok(std::fs::write(self.host.path("gate/open"), "")?)
    }

    fn wait_shown(&self, words: &str) -> Result<()> {
        let shown = || self.host.ok(&["ps"]).unwrap_or_default();
        wait_until(LONE_LIMIT, &format!("it is shown that {words}"), || shown().contains(words))
            .with_context(|| format!("{}\n{}", shown(), self.host.agent_log()))
    }

    fn wait_alone(&self, first: &Seen) -> Result<()> {
        wait_until(LONE_LIMIT, "the first container has ended", || !lives(first)).with_context(|| self.host.agent_log())
    }
}

fn lives(container: &Seen) -> bool {
    container.init.is_some_and(|pid| runs(Pid::from_raw(pid)))
}

#[test]
fn a_request_that_was_accepted_is_answered_through_a_rollout_and_an_agents_death() -> Result<()> {
    let drain = "drain = \"100s\"";
    let mut lab = Lab::start(drain)?;
    let first = lab.host.wait_running("web.0")?;
    let mut request = lab.hold()?;

    lab.publish("two", drain)?;
    lab.says("two")?;
    lab.wait_shown("1 connection is open")?;
    lab.host.kill_agent()?;
    lab.host.start_agent()?;
    lab.wait_shown("1 connection is open")?;
    assert!(lives(&first), "it was not asked to end\n{}", lab.host.agent_log());
    assert!(request.ended().is_none(), "nor has it answered: {}", request.log());

    lab.open_gate()?;
    wait_until(LONE_LIMIT, "the request is answered", || request.ended().is_some())?;
    assert_eq!(request.log(), "one, held\n");
    lab.wait_alone(&first)?;
    lab.says("two")
}

#[test]
fn a_request_that_does_not_end_holds_a_rollout_up_for_so_long_only() -> Result<()> {
    let lab = Lab::start("drain = \"1s\"")?;
    let first = lab.host.wait_running("web.0")?;
    let mut request = lab.hold()?;
    lab.publish("two", "drain = \"1s\"")?;
    lab.says("two")?;
    lab.wait_alone(&first)?;
    wait_until(LONE_LIMIT, "the request has failed", || request.ended().is_some())?;
    assert!(!request.log().contains("held\n"), "{}", request.log());
    Ok(())
}
