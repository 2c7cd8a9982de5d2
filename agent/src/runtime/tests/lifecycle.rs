//! Start, output, exit, signals, removal.

use super::lab::{Lab, log_text, until};
use crate::runtime::Runtime;

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
