//! Which hosts run a workload: five of them in namespaces of their own, over TLS, chosen by a label.

use std::time::Duration;

use anyhow::{Context, Result};
use coord_tests::fleet::{FLEET_LIMIT, Fleet, Plan};
use coord_tests::process::describe;
use coord_tests::wait::{stays, wait_until};

const HOSTS: usize = 5;
const PORT: u16 = 8080;

/// Which hosts serve the page, asked from the switch.
fn serving(fleet: &mut Fleet) -> Result<Vec<usize>> {
    let addresses: Vec<String> = fleet.lab()?.hosts().iter().map(|host| host.address().to_owned()).collect();
    let place = fleet.place();
    let asks = |address: &String| {
        let url = format!("http://{address}:{PORT}/");
        let answer = place.run(&["curl", "-s", "--noproxy", "*", "-m", "5", &url])?;
        Ok(answer.status.success() && answer.stdout.starts_with(b"Hello from web 1"))
    };
    let served = addresses.iter().map(asks).collect::<Result<Vec<bool>>>()?;
    Ok(served.into_iter().enumerate().filter_map(|(number, served)| served.then_some(number)).collect())
}

fn wait_serving(fleet: &mut Fleet, expect: &[usize]) -> Result<()> {
    let mut last = Vec::new();
    let waited = wait_until(FLEET_LIMIT, &format!("exactly hosts {expect:?} serve the page"), || {
        last = serving(fleet).unwrap_or_default();
        last == expect
    });
    waited.with_context(|| format!("at last, hosts {last:?} did"))
}

#[test]
fn exactly_the_hosts_with_the_label_run_it() -> Result<()> {
    let mut plan = Plan::hosts(HOSTS);
    for number in 0..3 {
        plan = plan.label(number, "role", "web");
    }
    let mut fleet = plan.start()?;
    fleet.push_web(&["1"])?;
    fleet.write_document("web", &format!("image = {:?}\nhosts = [\"role=web\"]\nnetwork = \"host\"\n", fleet.web("1")))?;
    fleet.wait_ready("web", &["h0", "h1", "h2"])?;
    wait_serving(&mut fleet, &[0, 1, 2])?;
    stays(Duration::from_secs(2), "no other host starts it", || serving(&mut fleet).is_ok_and(|s| s == [0, 1, 2]))?;

    // The agent notices an edit of its own file.
    fleet.agent_mut(3).labels.push(("role".to_owned(), "web".to_owned()));
    fleet.configure_agent(3)?;
    fleet.wait_ready("web", &["h0", "h1", "h2", "h3"])?;
    wait_serving(&mut fleet, &[0, 1, 2, 3])?;
    fleet.agent_mut(0).labels.clear();
    fleet.configure_agent(0)?;
    fleet.wait_ready("web", &["h1", "h2", "h3"])?;
    wait_serving(&mut fleet, &[1, 2, 3])?;

    fleet.delete_document("web")?;
    fleet.wait_gone("web")?;
    wait_serving(&mut fleet, &[])?;
    for number in 0..HOSTS {
        assert_eq!(fleet.containers(number), [""; 0], "h{number} has removed them");
    }
    Ok(())
}

#[test]
fn a_host_that_loses_its_cable_or_its_power_comes_back() -> Result<()> {
    let mut fleet = Plan::hosts(2).start()?;
    fleet.push_web(&["1", "2"])?;
    let document = |fleet: &Fleet, version: &str| {
        format!("image = {:?}\nhosts = [\"h*\"]\nnetwork = \"host\"\n[rollout]\nmonitor = \"0s\"\n", fleet.web(version))
    };
    fleet.write_document("web", &document(&fleet, "1"))?;
    fleet.wait_ready("web", &["h0", "h1"])?;

    // Power: everything on it is gone, and started again from its disk, with nobody to ask.
    fleet.kill_coordinator()?;
    fleet.lab()?.host_mut(0).power_off()?;
    wait_serving(&mut fleet, &[1])?;
    fleet.lab()?.host_mut(0).boot()?;
    fleet.restart_agent(0)?;
    wait_serving(&mut fleet, &[0, 1])?;

    // Cable: what it missed, it catches up.
    fleet.start_coordinator()?;
    fleet.wait_ready("web", &["h0", "h1"])?;
    fleet.lab()?.cable(1, false)?;
    fleet.write_document("web", &document(&fleet, "2"))?;
    fleet.wait_status("the host that is there has the new revision", |status| {
        let ready = status.workloads.iter().flat_map(|web| &web.instances);
        ready.filter(|i| i.host.to_string() == "h0").any(|i| {
            i.report.as_ref().is_some_and(|report| report.ready && report.revision.is_some_and(|revision| revision.0 == 2))
        })
    })?;
    fleet.lab()?.cable(1, true)?;
    fleet.wait_revision("web", 2)?;
    Ok(())
}

#[test]
fn who_does_not_trust_the_authority_is_told_so() -> Result<()> {
    let fleet = Plan::hosts(1).start()?;
    let output = fleet.coordctl_without_authority(&["status"])?;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("certificate") && said.contains("hint:"), "{}", describe(&output));
    Ok(())
}
