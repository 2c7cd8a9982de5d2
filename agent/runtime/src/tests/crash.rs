//! Agents and monitors are killed; containers go on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::lab::{Lab, log_text, open, scopes, spec_in, until};
use crate::{RecoveredState, Runtime};

/// Counts up, so that a hole in the log shows.
const COUNT: &str = "i=0; while true; do echo $i; i=$((i+1)); usleep 2000; done";

fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok()).expect("a parent")
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("a number"), Signal::KILL).expect("to be killed");
}

/// How far the count has come; fails on a hole.
fn counted(text: &str) -> usize {
    let mut expect = 0;
    for line in text.lines() {
        assert_eq!(line.parse(), Ok(expect), "a hole");
        expect += 1;
    }
    expect
}

#[tokio::test]
async fn root_a_container_survives_its_agent() {
    let mut lab = Lab::new();
    let spec = lab.spec("count", COUNT);
    let log = spec.log.path.clone();
    let running = lab.runtime.start(spec).await.expect("a start");
    lab.runtime.start(lab.spec("short", "usleep 100000; exit 4")).await.expect("a start");
    until("the short one to end", || lab.path("run/c/short/exit.json").exists()).await;
    lab.restart();
    let recovered = lab.runtime.recover().expect("a recovery");
    assert_eq!(recovered.iter().map(|container| container.id.as_str()).collect::<Vec<_>>(), ["count", "short"]);
    assert_eq!(recovered[0].state, RecoveredState::Running(running));
    assert_eq!(recovered[0].meta, serde_json::json!({ "made-by": "test" }));
    assert!(matches!(&recovered[1].state, RecoveredState::Exited(exit) if exit.code == Some(4)), "{recovered:?}");
    let before = counted(&log_text(&log));
    until("the log to go on", || counted(&log_text(&log)) > before + 20).await;
    lab.runtime.kill("count").expect("a kill");
    assert_eq!(lab.exit("count").await.signal, Some(9));
    for id in ["count", "short"] {
        lab.runtime.remove(id).await.expect("a removal");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_a_killed_monitor_is_replaced() {
    let mut lab = Lab::new();
    let spec = lab.spec("count", &format!("trap 'exit 5' TERM; {COUNT}"));
    let log = spec.log.path.clone();
    let running = lab.runtime.start(spec).await.expect("a start");
    until("the log to begin", || counted(&log_text(&log)) > 10).await;
    kill(parent(running.pid));
    until("the log to go on", || counted(&log_text(&log)) > 200).await;
    // Found again by the next agent, with the new monitor.
    lab.restart();
    let recovered = lab.runtime.recover().expect("a recovery");
    assert_eq!(recovered[0].state, RecoveredState::Running(running));
    lab.runtime.signal("count", libc::SIGTERM).expect("a signal");
    let exit = lab.exit("count").await;
    // The container is not the new monitor's child; Linux 6.15 tells it the status nevertheless.
    assert!(exit.code == Some(5) || exit.unknown, "{exit:?}");
    counted(&log_text(&log));
    lab.runtime.remove("count").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_monitor_and_agent_are_killed_together() {
    let mut lab = Lab::new();
    let spec = lab.spec("count", COUNT);
    let log = spec.log.path.clone();
    let running = lab.runtime.start(spec).await.expect("a start");
    until("the log to begin", || counted(&log_text(&log)) > 10).await;
    // Not the runtime's own watcher: a new agent finds it.
    let monitor = parent(running.pid);
    lab.restart();
    kill(monitor);
    let recovered = lab.runtime.recover().expect("a recovery");
    assert_eq!(recovered[0].state, RecoveredState::Running(running.clone()));
    let before = counted(&log_text(&log));
    until("the log to go on", || counted(&log_text(&log)) > before + 100).await;
    lab.runtime.remove("count").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_both_dead_is_unknown() {
    let mut lab = Lab::new();
    let running = lab.runtime.start(lab.spec("gone", "sleep 1000")).await.expect("a start");
    let monitor = parent(running.pid);
    let state = fs::read_to_string(lab.path("run/c/gone/state.json")).expect("state.json");
    kill(monitor);
    kill(running.pid);
    let exit = lab.exit("gone").await;
    assert!(exit.unknown || exit.signal == Some(9), "{exit:?}");
    // As if nobody had been there to see it.
    let _ = fs::remove_file(lab.path("run/c/gone/exit.json"));
    fs::write(lab.path("run/c/gone/state.json"), state).expect("state.json");
    lab.restart();
    let recovered = lab.runtime.recover().expect("a recovery");
    // Unless it was reaped only now, and the kernel tells.
    let killed = |state: &RecoveredState| matches!(state, RecoveredState::Exited(exit) if exit.signal == Some(9));
    assert!(recovered[0].state == RecoveredState::Unknown || killed(&recovered[0].state), "{recovered:?}");
    lab.runtime.remove("gone").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_what_is_half_created_or_of_another_boot_is_cleaned() {
    let mut lab = Lab::new();
    lab.runtime.start(lab.spec("kept", "sleep 1000")).await.expect("a start");
    lab.runtime.start(lab.spec("old", "exit 0")).await.expect("a start");
    lab.exit("old").await;
    let path = lab.path("run/c/old/state.json");
    let mut state = serde_json::from_slice::<serde_json::Value>(&fs::read(&path).expect("state")).expect("JSON");
    state["boot_id"] = "another".into();
    fs::write(&path, state.to_string()).expect("state.json");
    for folder in ["run/c/empty", "state/c/empty", "state/c/disk-only", "run/c/torn"] {
        fs::create_dir(lab.path(folder)).expect("a folder");
    }
    fs::write(lab.path("run/c/torn/state.json"), "{\"generation\":").expect("a file");
    lab.restart();
    let recovered = lab.runtime.recover().expect("a recovery");
    assert_eq!(recovered.iter().map(|container| container.id.as_str()).collect::<Vec<_>>(), ["kept"]);
    lab.runtime.remove("kept").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// `systemctl stop` of a scope, and the end of a session, signal every process in it.
#[tokio::test]
async fn root_a_monitor_outlives_a_signal_to_all() {
    let mut lab = Lab::new();
    let spec = lab.spec("stopped", "trap 'exit 6' TERM; echo ready; while true; do usleep 5000; done");
    let log = spec.log.path.clone();
    let running = lab.runtime.start(spec).await.expect("a start");
    until("ready", || log_text(&log).contains("ready")).await;
    for pid in [parent(running.pid), running.pid] {
        kill_process(Pid::from_raw(pid).expect("a number"), Signal::TERM).expect("to be signalled");
    }
    let exit = lab.exit("stopped").await;
    assert_eq!((exit.code, exit.unknown), (Some(6), false));
    lab.runtime.remove("stopped").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// Names the folder in which [`root_victim`] plays the agent that is killed.
const VICTIM: &str = "COORD_TEST_VICTIM";

/// Starts one container after another until it is killed. Alone it is a test of a start and a removal.
#[tokio::test]
async fn root_victim() {
    let Some(folder) = std::env::var_os(VICTIM).map(PathBuf::from) else {
        let lab = Lab::new();
        lab.runtime.start(lab.spec("alone", "sleep 1000")).await.expect("a start");
        lab.runtime.remove("alone").await.expect("a removal");
        return;
    };
    let runtime = open(&folder);
    for number in 0.. {
        let spec = spec_in(&folder, &format!("victim-{number}"), "sleep 1000");
        let _ = runtime.start(spec).await;
    }
}

/// Kills an agent at some moment of its starts, again and again: whatever is left is found, and can be removed.
#[tokio::test]
async fn root_an_agent_may_be_killed_at_any_moment() {
    for round in 0..12_u64 {
        let mut lab = Lab::new();
        let folder = lab.path("");
        let mut victim = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "tests::crash::root_victim"])
            .env(VICTIM, &folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("an agent");
        let begun = lab.path("run/c/victim-0");
        until("the first start", || begun.exists()).await;
        // Not luck but variety: each round another moment of the start.
        tokio::time::sleep(Duration::from_millis(3 * round)).await;
        victim.kill().expect("to be killed");
        victim.wait().expect("to be gone");
        lab.restart();
        for container in lab.runtime.recover().expect("a recovery") {
            assert!(matches!(container.state, RecoveredState::Running(_)), "round {round}: {container:?}");
            let monitor = fs::read_to_string(lab.path("run/c").join(&container.id).join("state.json")).expect("state");
            assert!(monitor.contains("\"phase\":\"running\""), "{monitor}");
            lab.runtime.remove(&container.id).await.expect("a removal");
        }
        assert_eq!(lab.leftovers(), Vec::<String>::new(), "round {round}");
        assert!(!processes_in(&folder), "round {round}: a process is left");
        until("systemd to have no scope of it", || scopes("victim").is_empty()).await;
    }
}

/// Whether a helper that works in this folder is still there.
fn processes_in(folder: &Path) -> bool {
    let folder = folder.display().to_string();
    fs::read_dir("/proc").expect("/proc").flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.starts_with("coord-") && line.contains(&folder)
    })
}

#[tokio::test]
async fn root_a_killed_shim_is_noticed_at_once() {
    let lab = Lab::new();
    let ours = std::process::id();
    let mut noticed = false;
    for round in 0..20 {
        let start = tokio::spawn({
            let (runtime, spec) = (lab.runtime.clone(), lab.spec(&format!("short{round}"), "sleep 100"));
            async move { runtime.start(spec).await }
        });
        let killer = tokio::task::spawn_blocking(move || kill_shim_of(ours, Duration::from_millis(1 + round % 8)));
        let outcome = tokio::time::timeout(Duration::from_secs(20), start).await.expect("in time").expect("a task");
        let was_killed = killer.await.expect("a task");
        match outcome {
            Ok(_) => lab.runtime.remove(&format!("short{round}")).await.expect("a removal"),
            Err(error) => {
                assert!(was_killed, "{error}");
                noticed = true;
            }
        }
    }
    assert!(noticed, "no round hit a shim");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// Kills a shim that this process has started, so long after it appeared. Whether there was one.
fn kill_shim_of(parent_pid: u32, after: Duration) -> bool {
    for _ in 0..2000 {
        let shim = fs::read_dir("/proc").expect("proc").flatten().find_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent: u32 = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
            let is_shim = parent == parent_pid && !stat.contains("(coord-monitor)") && !stat.contains(") Z");
            is_shim.then_some(pid)
        });
        if let Some(pid) = shim {
            std::thread::sleep(after);
            return Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    false
}

#[tokio::test]
async fn root_a_run_folder_that_somebody_removed_leaves_no_cgroup() {
    let mut lab = Lab::new();
    lab.runtime.start(lab.spec("tidied", "sleep 100")).await.expect("a start");
    // The last file that its monitor makes.
    until("the monitor to be at work", || lab.path("run/c/tidied/log.state").exists()).await;
    fs::remove_dir_all(lab.path("run/c/tidied")).expect("removed");
    lab.runtime.kill("tidied").expect("a kill");
    lab.exit("tidied").await;
    lab.runtime.remove("tidied").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}
