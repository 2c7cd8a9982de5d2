//! The harness's own hosts: that they are apart from each other, reachable, and gone afterwards.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use coord_tests::hosts::NetLab;
use coord_tests::need_root;
use coord_tests::process::{Place, Process, describe, runs};
use coord_tests::wait::wait_until;

fn ok(place: &Place, argv: &[&str]) -> Result<String> {
    let output = place.run(argv)?;
    assert!(output.status.success(), "{argv:?}: {}", describe(&output));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn hosts_have_names_processes_and_cables_of_their_own() -> Result<()> {
    need_root();
    let lab = NetLab::start(2)?;
    let (one, two) = (lab.host(0).place()?, lab.host(1).place()?);

    assert_eq!(ok(&one, &["hostname"])?, "h0");
    assert_eq!(ok(&two, &["hostname"])?, "h1");
    assert_eq!(ok(&one, &["readlink", "/proc/1/exe"])?, ok(&one, &["readlink", "-f", "/usr/bin/tini"])?);
    let own = ok(&one, &["cat", "/proc/self/cgroup"])?;
    assert!(own.lines().all(|line| line.ends_with(":/")), "the host sees its group as the root:\n{own}");

    let two_address = lab.host(1).address();
    let ping = ["busybox", "ping", "-c", "1", "-W", "2", two_address];
    ok(&one, &ping)?;
    ok(&lab.switch(), &ping)?;
    lab.cable(1, false)?;
    assert!(!one.run(&ping)?.status.success());
    lab.cable(1, true)?;
    wait_until(Duration::from_secs(10), "the cable carries again", || one.run(&ping).is_ok_and(|output| output.status.success()))
}

#[test]
fn a_power_cut_ends_everything_and_keeps_the_disk() -> Result<()> {
    need_root();
    let mut lab = NetLab::start(1)?;
    let host = lab.host_mut(0);
    let file = host.disk().join("kept");
    std::fs::write(&file, "kept")?;
    let log = host.disk().join("sleeper.log");
    let sleeper = Process::start("sleeper", &["sleep", "1000"], &host.place()?, &log)?;
    let pid = sleeper.pid();
    assert!(runs(pid));

    host.power_off()?;
    assert!(!runs(pid));
    assert!(host.place().is_err());
    host.boot()?;
    assert_eq!(ok(&host.place()?, &["cat", &file.to_string_lossy()])?, "kept");
    Ok(())
}

#[test]
fn a_lab_leaves_nothing() -> Result<()> {
    need_root();
    let lab = NetLab::start(1)?;
    let dirs: Vec<PathBuf> = lab.host(0).group().dirs().to_vec();
    let disk = lab.host(0).disk().to_owned();
    let pids = lab.host(0).group().pids();
    assert!(!pids.is_empty() && dirs.iter().all(|dir| dir.exists()));

    drop(lab);
    assert!(!pids.into_iter().any(runs));
    assert!(!dirs.iter().any(|dir| dir.exists()));
    assert!(!disk.exists());
    let own = format!("ct-{}-", std::process::id());
    let left = std::fs::read_dir("/run/netns")?.flatten();
    assert!(!left.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(&own)));
    Ok(())
}
