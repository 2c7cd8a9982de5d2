//! From one revision to the next over several hosts: never more of them down than agreed, and no further than the first that fails.

use std::time::Duration;

use anyhow::{Context, Result};
use coord_shared::wire::WorkloadView;
use coord_tests::fleet::view::{on, pid_on, view};
use coord_tests::fleet::{Fleet, Plan};
use coord_tests::process::runs;
use coord_tests::wait::stays;
use jiff::Timestamp;

const HOSTS: [&str; 3] = ["h0", "h1", "h2"];
/// How long each host is watched before the next one's turn.
const MONITOR: Duration = Duration::from_secs(1);

fn document(fleet: &Fleet, version: &str, more: &str) -> String {
    format!(
        "image = {:?}\nhosts = [\"h*\"]\nnetwork = \"none\"\n{more}\n[rollout]\nparallelism = 1\nmonitor = \"{}s\"\n",
        fleet.web(version),
        MONITOR.as_secs()
    )
}

/// From the old container's last word, by the host's own log, to the new one's beginning, by its report.
fn gap(fleet: &Fleet, web: &WorkloadView, number: usize) -> Result<(Timestamp, Timestamp)> {
    let host = HOSTS[number];
    let lines = fleet.log_lines(number, "web.0")?;
    let end =
        lines.iter().rfind(|line| line.m == "web stops").with_context(|| format!("{host} says that it stops: {lines:#?}"))?;
    let report = on(web, host)?.report.as_ref().with_context(|| format!("{host} has reported"))?;
    Ok((end.t.parse()?, report.since))
}

#[test]
fn one_host_after_the_other() -> Result<()> {
    let fleet = Plan::processes(HOSTS.len()).start()?;
    fleet.push_web(&["1", "2"])?;
    fleet.write_document("web", &document(&fleet, "1", ""))?;
    fleet.wait_ready("web", &HOSTS)?;
    fleet.write_document("web", &document(&fleet, "2", ""))?;
    let web = fleet.wait_revision("web", 2)?;

    let mut gaps = (0..HOSTS.len()).map(|number| gap(&fleet, &web, number)).collect::<Result<Vec<_>>>()?;
    gaps.sort();
    assert!(gaps.iter().all(|(down, up)| down < up), "the old one ends before the new one begins: {gaps:?}");
    for pair in gaps.windows(2) {
        let (up_again, next_down) = (pair[0].1, pair[1].0);
        let watched = next_down.duration_since(up_again);
        assert!(
            watched.unsigned_abs() >= MONITOR && watched.is_positive(),
            "the next host's turn came {watched} later: {gaps:?}"
        );
    }
    Ok(())
}

#[test]
fn a_bad_image_stops_at_the_first_host() -> Result<()> {
    let fleet = Plan::processes(HOSTS.len()).start()?;
    fleet.push_web(&["1", "2"])?;
    fleet.write_document("web", &document(&fleet, "1", ""))?;
    let before = fleet.wait_ready("web", &HOSTS)?;

    fleet.write_document("web", &document(&fleet, "2", "command = [\"false\"]"))?;
    let told = |web: &WorkloadView| -> Vec<String> {
        let told = web.instances.iter().filter(|instance| instance.assigned.is_some_and(|revision| revision.0 == 2));
        told.map(|instance| instance.host.to_string()).collect()
    };
    let status = fleet.wait_status("the first host fails", |status| {
        view(status, "web").is_ok_and(|web| {
            let failing = web.instances.iter().filter_map(|instance| instance.report.as_ref());
            failing.filter(|report| report.last_exit.is_some_and(|exit| exit.code == Some(1)) && report.restarts >= 2).count()
                == 1
        })
    })?;
    let first = told(&view(&status, "web")?);
    assert_eq!(first.len(), 1, "{status:#?}");
    let untouched: Vec<&str> = HOSTS.into_iter().filter(|host| *host != first[0]).collect();
    stays(Duration::from_secs(4), "the others keep what they have", || {
        fleet.status().and_then(|status| view(&status, "web")).is_ok_and(|web| {
            told(&web) == first
                && untouched.iter().all(|host| {
                    let pid = pid_on(&web, host);
                    pid.is_ok_and(|pid| runs(pid) && pid_on(&before, host).is_ok_and(|old| old == pid))
                })
        })
    })?;
    let status = fleet.status()?;
    let web = view(&status, "web")?;
    for host in untouched {
        let reason = on(&web, host)?.reason.as_ref().map(ToString::to_string).unwrap_or_default();
        assert!(reason.contains("waits for its turn") && reason.contains(&first[0]), "{host}: {reason:?}");
    }

    // The cure is an edit, like everything.
    fleet.write_document("web", &document(&fleet, "2", ""))?;
    fleet.wait_revision("web", 3)?;
    Ok(())
}
