//! Start, output, exit, signals, removal.

use super::lab::{Lab, log_text, scopes, until};
use std::path::{Path, PathBuf};

use crate::Runtime;

#[tokio::test]
async fn root_a_container_runs_logs_and_ends() {
    let mut lab = Lab::new();
    let spec = lab.spec("hello", "echo out; echo err >&2; exit 7");
    let (log, exit) = lab.output(spec).await;
    assert_eq!((exit.code, exit.signal, exit.oom_killed, exit.unknown), (Some(7), None, false, false));
    let mut lines = log.lines().collect::<Vec<_>>();
    lines.sort_unstable();
    assert_eq!(lines, ["err", "out"]);
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_signals_and_kill_end_it() {
    let mut lab = Lab::new();
    let script = "trap 'echo bye; exit 3' TERM; echo ready; while true; do sleep 0.05; done";
    let spec = lab.spec("term", script);
    let log = spec.log.path.clone();
    lab.runtime.start(spec).await.expect("a start");
    until("ready", || log_text(&log).contains("ready")).await;
    lab.runtime.signal("term", libc::SIGTERM).expect("a signal");
    assert_eq!(lab.exit("term").await.code, Some(3));
    assert!(log_text(&log).contains("bye"));
    // It has ended: there is nobody to be signalled, and that is no error.
    lab.runtime.signal("term", libc::SIGTERM).expect("nothing to do");

    let spec = lab.spec("kill", "trap '' TERM; sleep 1000 & sleep 1000");
    let running = lab.runtime.start(spec).await.expect("a start");
    lab.runtime.kill("kill").expect("a kill");
    let exit = lab.exit("kill").await;
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (None, Some(libc::SIGKILL), false));
    assert!(!std::path::Path::new(&format!("/proc/{}", running.pid)).exists());
    for id in ["term", "kill", "kill", "never"] {
        lab.runtime.remove(id).await.expect("to be removed, however often");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_many_start_at_once() {
    let mut lab = Lab::new();
    let starts = (0..30).map(|number| {
        let (runtime, spec) = (lab.runtime.clone(), lab.spec(&format!("many-{number}"), &format!("echo {number}")));
        tokio::spawn(async move { runtime.start(spec).await })
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.expect("a task").expect("a start");
    }
    for _ in 0..30 {
        assert_eq!(lab.any_exit().await.1.code, Some(0));
    }
    for number in 0..30 {
        let id = format!("many-{number}");
        assert_eq!(log_text(&lab.path(&format!("log/{id}.jsonl"))), format!("{number}\n"));
        lab.runtime.remove(&id).await.expect("a removal");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_long_lines_and_other_bytes_are_logged() {
    let mut lab = Lab::new();
    let spec = lab.spec("lines", "yes x | head -c 40000 | tr -d '\\n'; echo; printf 'a\\377b\\n'; printf 'no end'");
    let path = spec.log.path.clone();
    lab.output(spec).await;
    let lines = log_lines(&path);
    let found = lines.iter().map(|line| (line.message.len(), line.partial)).collect::<Vec<_>>();
    assert_eq!(found, [(16384, true), (3616, false), (5, false), (6, false)]);
    assert_eq!(lines[2].message, "a\u{fffd}b");
}

#[tokio::test]
async fn root_a_log_is_rotated_while_it_is_written() {
    let mut lab = Lab::new();
    let mut spec = lab.spec("rotate", "seq 1 20000");
    spec.log.max_bytes = 100_000;
    spec.log.max_files = 30;
    let path = spec.log.path.clone();
    lab.output(spec).await;
    let lines = log_lines(&path);
    let numbers = lines.iter().map(|line| line.message.parse::<usize>().expect("a number"));
    assert!(numbers.eq(1..=20_000));
    assert!(std::fs::metadata(&path).expect("the log").len() <= 100_000);
}

/// systemd takes a scope for running for ever whose group somebody else has removed.
#[tokio::test]
async fn root_no_scope_is_left() {
    let mut lab = Lab::new();
    // Unique on this machine, where an agent may be at work.
    for round in 0..5 {
        let id = format!("scope{}r{round}", std::process::id());
        lab.output(lab.spec(&id, "true")).await;
        let mut spec = lab.spec(&id, "true");
        spec.user = "nobody".to_owned();
        lab.runtime.start(spec).await.expect_err("there is no such user");
        until("systemd to see the end", || scopes(&id).is_empty()).await;
    }
}

/// One line of a log.
#[derive(serde::Deserialize)]
struct Line {
    #[serde(rename = "m")]
    message: String,
    #[serde(rename = "p", default)]
    partial: bool,
}

/// All lines of a log, the rotated files' first.
fn log_lines(path: &Path) -> Vec<Line> {
    let rotated = (1..).map(|number| PathBuf::from(format!("{}.{number}", path.display()))).take_while(|path| path.exists());
    let mut files = rotated.collect::<Vec<_>>();
    files.reverse();
    files.push(path.to_owned());
    let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("a log"));
    texts.flat_map(|text| text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect::<Vec<_>>()).collect()
}
