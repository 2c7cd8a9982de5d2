//! Monitors, agents and containers are killed in any order: the log has neither a hole nor a line twice, and the exit status is known
//! wherever the kernel can tell it.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::lab::{Lab, log_text, until};
use crate::{ExecSpec, LogDriver, RecoveredState, Runtime};

fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok()).expect("a parent")
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("a number"), Signal::KILL).expect("to be killed");
}

/// The monitor that a container has now, by its state.
fn monitor(lab: &Lab, id: &str) -> i32 {
    let state = fs::read(lab.path(&format!("run/c/{id}/state.json"))).expect("state.json");
    let state = serde_json::from_slice::<serde_json::Value>(&state).expect("JSON");
    state["monitor"]["pid"].as_i64().and_then(|pid| pid.try_into().ok()).expect("a number")
}

/// All files of a log, the oldest first.
fn whole_log(path: &Path) -> String {
    let files =
        (1..).map(|number| format!("{}.{number}", path.display()).into()).take_while(|path: &std::path::PathBuf| path.exists());
    let mut files = files.collect::<Vec<_>>();
    files.reverse();
    files.push(path.to_owned());
    files.iter().map(|file| log_text(file)).collect()
}

/// Kernels from 6.15 on tell anybody who holds a pidfd how somebody else's child has ended.
fn kernel_tells() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15)
}

#[tokio::test]
async fn root_no_line_is_lost_or_told_twice() {
    let mut lab = Lab::new();
    const LINES: usize = 150_000;
    let mut spec = lab.spec("fast", &format!("seq 1 {LINES}; echo end; usleep 50000; exit 5"));
    spec.log.max_bytes = 2 << 20;
    spec.log.max_files = 30;
    let log = spec.log.path.clone();
    let running = lab.runtime.start(spec).await.expect("a start");
    let mut last = parent(running.pid);
    // At whatever it is doing; the second one is the first that is not the container's parent.
    for _ in 0..2 {
        until("the log to grow", || log.exists()).await;
        kill(last);
        until("another monitor", || monitor(&lab, "fast") != last).await;
        last = monitor(&lab, "fast");
    }
    let exit = lab.exit("fast").await;
    assert!(exit.code == Some(5) || exit.unknown && !kernel_tells(), "{exit:?}");
    let text = whole_log(&log);
    let expected = (1..=LINES).map(|number| number.to_string()).chain(["end".to_owned()]);
    if let Some((told, expected)) = text.lines().zip(expected.clone()).find(|(told, expected)| told != expected) {
        panic!("told {told:?} instead of {expected:?}, {} lines", text.lines().count());
    }
    assert_eq!(text.lines().count(), LINES + 1);
    assert!(text.ends_with("end\n"));
    lab.runtime.remove("fast").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_container_and_monitor_end_together() {
    let mut lab = Lab::new();
    // The beginning of a line is read by the monitor, and not yet written.
    let script = "printf 'first\\nno end'; sleep 1000";
    let read = |lab: &Lab, id: &str| {
        let state = fs::read(lab.path(&format!("run/c/{id}/log.state"))).unwrap_or_default();
        state.windows(6).any(|window| window == b"no end")
    };
    let spec = lab.spec("watched", script);
    let log = spec.log.path.clone();
    let running = lab.runtime.start(spec).await.expect("a start");
    until("it to be read", || read(&lab, "watched")).await;
    kill(parent(running.pid));
    kill(running.pid);
    let exit = lab.exit("watched").await;
    assert!(exit.signal == Some(9) || exit.unknown && !kernel_tells(), "{exit:?}");
    assert_eq!(log_text(&log), "first\nno end\n");
    lab.runtime.remove("watched").await.expect("a removal");

    // The same while there is no agent.
    let spec = lab.spec("alone", script);
    let log = spec.log.path.clone();
    let running = lab.runtime.start(spec).await.expect("a start");
    until("it to be read", || read(&lab, "alone")).await;
    let (state, path) = (lab.path("run/c/alone/state.json"), lab.path("run/c/alone/exit.json"));
    let kept = fs::read(&state).expect("state.json");
    lab.restart();
    kill(parent(running.pid));
    kill(running.pid);
    until("both to be gone", || !Path::new(&format!("/proc/{}", running.pid)).exists()).await;
    // The first agent is still there in this test, and may have been quicker.
    fs::write(&state, kept).expect("state.json");
    let _ = fs::remove_file(&path);
    let recovered = lab.runtime.recover().expect("a recovery");
    match &recovered[0].state {
        RecoveredState::Unknown => {}
        RecoveredState::Exited(exit) => assert!(exit.signal == Some(9) || exit.unknown, "{exit:?}"),
        RecoveredState::Running(running) => panic!("{running:?}"),
    }
    until("the rest of the log", || log_text(&log) == "first\nno end\n").await;
    lab.runtime.remove("alone").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// What the first release left: no number of its protocol, no word of drivers, and nothing of ours in the run folder.
fn as_of_the_first_release(lab: &Lab, id: &str) {
    let path = lab.path(&format!("run/c/{id}/state.json"));
    let mut state = serde_json::from_slice::<serde_json::Value>(&fs::read(&path).expect("state.json")).expect("JSON");
    let known =
        ["generation", "boot_id", "phase", "shim", "monitor", "init", "started_at_ms", "cgroup", "monitor_config", "meta"];
    let keep = |value: &mut serde_json::Value, known: &[&str]| {
        value.as_object_mut().expect("an object").retain(|key, _| known.contains(&key.as_str()));
    };
    keep(&mut state, &known);
    keep(&mut state["monitor_config"], &["program", "log", "log_max_bytes", "log_max_files", "oom_events"]);
    keep(&mut state["cgroup"], &["unified", "v1", "oom_events", "scope"]);
    // That release lay elsewhere.
    state["monitor_config"]["program"] = "/nowhere/coord-monitor".into();
    fs::write(&path, state.to_string()).expect("state.json");
    let known = ["state.json", "out.fifo", "err.fifo", "shim.err"];
    for entry in fs::read_dir(lab.path(&format!("run/c/{id}"))).expect("a folder").flatten() {
        if !known.contains(&entry.file_name().to_string_lossy().as_ref()) {
            fs::remove_file(entry.path()).expect("to be removed");
        }
    }
}

#[tokio::test]
async fn root_a_container_of_the_first_release_is_taken_over() {
    let mut lab = Lab::new();
    let spec = lab.spec("old", "trap 'exit 4' TERM; i=0; while true; do echo $i; i=$((i+1)); usleep 5000; done");
    let log = spec.log.path.clone();
    let running = lab.runtime.start(spec).await.expect("a start");
    until("the log to begin", || log_text(&log).lines().count() > 3).await;
    as_of_the_first_release(&lab, "old");
    lab.restart();
    let recovered = lab.runtime.recover().expect("a recovery");
    let RecoveredState::Running(found) = &recovered[0].state else { panic!("{recovered:?}") };
    assert_eq!((found.pid, found.started_at), (running.pid, running.started_at));
    // Programs can be run in it.
    let spec = ExecSpec {
        args: ["/bin/sh", "-c", "grep Seccomp: /proc/self/status | grep -q 2"].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    let exec = lab.runtime.exec("old", spec).await.expect("it to run");
    assert_eq!(exec.ended.await.expect("its end").code, Some(0));
    // It can lose its monitor.
    let first = monitor(&lab, "old");
    kill(first);
    until("another monitor", || monitor(&lab, "old") != first).await;
    let before = log_text(&log).lines().count();
    until("the log to go on", || log_text(&log).lines().count() > before + 10).await;
    assert!(log_text(&log).lines().map(|line| line.parse::<usize>().expect("a number")).eq(0..log_text(&log).lines().count()));
    lab.runtime.signal("old", libc::SIGTERM).expect("a signal");
    let exit = lab.exit("old").await;
    assert!(exit.code == Some(4) || exit.unknown && !kernel_tells(), "{exit:?}");
    lab.runtime.remove("old").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_output_is_limited_and_what_is_left_out_is_counted() {
    let mut lab = Lab::new();
    let mut spec = lab.spec("rate", "seq 1 30000");
    spec.log.rate_bytes_per_s = Some(40_000);
    let (text, exit) = lab.output(spec).await;
    assert_eq!(exit.code, Some(0));
    let numbers = text.lines().filter(|line| line.parse::<usize>().is_ok()).count();
    let left_out = text.lines().filter_map(|line| line.strip_prefix("coord: ")?.split(' ').next()?.parse::<usize>().ok());
    assert_eq!(numbers + left_out.sum::<usize>(), 30_000, "{text}");
    assert!(numbers < 20_000, "{numbers}");
    assert!(text.contains("bytes) are left out here: more than 40000 bytes in a second"), "{text}");

    let mut spec = lab.spec("none", "yes | head -c 1000000; exit 3");
    spec.log.driver = LogDriver::None;
    let log = spec.log.path.clone();
    assert_eq!(lab.output(spec).await.1.code, Some(3));
    assert!(!log.exists());
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}
