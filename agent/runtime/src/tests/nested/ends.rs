//! How a container within another one ends: by itself, by the agent, with its parent; and what an agent that comes later finds.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::super::lab::{Lab, log_text, until};
use super::{child_spec, namespace, parent_spec, start_parent, within};
use crate::{ExecSpec, RecoveredState, Runtime, RuntimeError};

fn is_gone(pid: i32) -> bool {
    // A zombie is gone: it only waits for its monitor.
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[tokio::test]
async fn root_nested_ends_by_itself_and_its_parent_lives() {
    let mut lab = Lab::new();
    let parent = start_parent(&lab, parent_spec(&lab, "")).await;
    let (log, exit) = lab.output(child_spec(&lab, "child", "echo said; exit 7")).await;
    assert_eq!((log.as_str(), exit.code), ("said\n", Some(7)));
    // Signals, and programs beside its command, are as for any container.
    let trap = "trap 'echo stopped; exit 3' TERM; echo up; while :; do usleep 20000; done";
    let child = lab.runtime.start(child_spec(&lab, "trap", trap)).await.expect("a start");
    let log = lab.path("log/trap.jsonl");
    until("it to be up", || log_text(&log).contains("up")).await;
    let script = "for kind in user pid net mnt cgroup; do readlink /proc/self/ns/$kind; done; id -u
        grep -E 'NoNewPrivs|Seccomp:|CapEff' /proc/self/status | tr '\\t\\n' ' ;'; exit 5";
    let args = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let exec = lab.runtime.exec("trap", ExecSpec { args, ..ExecSpec::default() }).await.expect("an exec");
    let mut said = String::new();
    std::io::Read::read_to_string(&mut fs::File::from(exec.stdout), &mut said).expect("output");
    assert_eq!(exec.ended.await.expect("its end").code, Some(5));
    let own = ["user", "pid", "net", "mnt", "cgroup"].map(|kind| namespace(child.pid, kind) + "\n").concat();
    assert_eq!(said, format!("{own}0\nCapEff: 00000000800405fb;NoNewPrivs: 1;Seccomp: 2;"));
    lab.runtime.signal("trap", libc::SIGTERM).expect("a signal");
    assert_eq!(lab.exit("trap").await.code, Some(3));
    lab.runtime.start(child_spec(&lab, "killed", "sleep 1000")).await.expect("a start");
    lab.runtime.kill("killed").expect("a kill");
    assert_eq!(lab.exit("killed").await.signal, Some(libc::SIGKILL));
    assert!(!is_gone(parent.pid));
    for id in ["trap", "killed", "parent"] {
        lab.runtime.remove(id).await.expect("a removal");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// Killed by somebody else, while there is nobody to do anything about it: the kernel does.
#[tokio::test]
async fn root_nested_ends_with_its_parent_without_an_agent() {
    let mut lab = Lab::new();
    let parent = start_parent(&lab, parent_spec(&lab, "")).await;
    let child = lab.runtime.start(child_spec(&lab, "child", "sleep 1000 & sleep 1000")).await.expect("a start");
    // A runtime that is asked nothing: what ends them cannot be it.
    kill_process(Pid::from_raw(parent.pid).expect("a number"), Signal::KILL).expect("a kill");
    let ended = (0..5000).any(|_| {
        std::thread::sleep(Duration::from_millis(2));
        is_gone(parent.pid) && is_gone(child.pid)
    });
    assert!(ended, "the kernel did not end it");
    let mut exits = [lab.any_exit().await, lab.any_exit().await];
    exits.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert!(exits.iter().all(|(_, exit)| exit.signal == Some(libc::SIGKILL) && !exit.unknown), "{exits:?}");
    assert_eq!([&exits[0].0, &exits[1].0], ["child", "parent"]);
    // The way back does not matter: groups of the parent are removed with those in them.
    for id in ["parent", "child"] {
        lab.runtime.remove(id).await.expect("a removal");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// Eight that are started at the same time.
#[tokio::test]
async fn root_nested_is_removed_with_its_parent() {
    let mut lab = Lab::new();
    start_parent(&lab, parent_spec(&lab, "")).await;
    let ids = (0..8).map(|number| format!("child-{number}")).collect::<Vec<_>>();
    let start = |id: &String| {
        let (runtime, mut spec) = (lab.runtime.clone(), child_spec(&lab, id, "sleep 1000"));
        spec.resources.memory_bytes = Some(8 << 20);
        tokio::spawn(async move { runtime.start(spec).await })
    };
    for started in ids.iter().map(start).collect::<Vec<_>>() {
        started.await.expect("no panic").expect("a start");
    }
    lab.runtime.remove("parent").await.expect("a removal");
    for _ in 0..9 {
        assert_eq!(lab.any_exit().await.1.signal, Some(libc::SIGKILL));
    }
    for id in ids {
        lab.runtime.remove(&id).await.expect("a removal");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// A later agent finds children that run, goes on starting others, and finds those that ended with their parent.
#[tokio::test]
async fn root_nested_is_taken_over() {
    let mut lab = Lab::new();
    start_parent(&lab, parent_spec(&lab, "")).await;
    let first = lab.runtime.start(child_spec(&lab, "first", "sleep 1000")).await.expect("a start");
    // A start that was cut off has left groups, in which nothing runs.
    let parent = lab.runtime.0.containers().get("parent").cloned().expect("it runs");
    let halves = parent.cgroup.unified.iter().map(|base| base.join("ct/nested/half/ct"));
    let halves = halves.chain(parent.cgroup.v1.iter().map(|group| group.join("nested/half"))).collect::<Vec<_>>();
    halves.iter().for_each(|half| fs::create_dir_all(half).expect("a group"));

    lab.restart();
    let recovered = lab.runtime.recover().expect("a recovery");
    assert_eq!(recovered.len(), 2);
    for found in &recovered {
        let RecoveredState::Running(running) = &found.state else { panic!("{found:?}") };
        assert!(found.id == "parent" || running.pid == first.pid);
    }
    assert!(halves.iter().all(|half| !half.exists()), "{halves:?}");
    let (log, _) = lab.output(child_spec(&lab, "second", "echo $$")).await;
    assert_eq!(log, "1\n");
    let args = ["/bin/true"].map(str::to_owned).to_vec();
    let exec = lab.runtime.exec("first", ExecSpec { args, ..ExecSpec::default() }).await.expect("an exec");
    assert_eq!(exec.ended.await.expect("its end").code, Some(0));

    let pid = lab.runtime.0.containers().get("parent").map(|parent| parent.init.pid).expect("it runs");
    kill_process(Pid::from_raw(pid).expect("a number"), Signal::KILL).expect("a kill");
    until("both to end", || is_gone(pid) && is_gone(first.pid)).await;
    lab.restart();
    let recovered = lab.runtime.recover().expect("a recovery");
    let states = recovered.iter().map(|found| &found.state).collect::<Vec<_>>();
    assert!(states.iter().all(|state| matches!(state, RecoveredState::Exited(exit) if exit.signal == Some(9))), "{states:?}");
    for id in ["first", "parent"] {
        lab.runtime.remove(id).await.expect("a removal");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// The parent ends while a container is being started in it, at whatever moment: one error, or a container that ends.
#[tokio::test]
async fn root_nested_starts_while_its_parent_ends() {
    let mut lab = Lab::new();
    for round in 0..12_u64 {
        let parent = start_parent(&lab, parent_spec(&lab, "")).await;
        let spec = child_spec(&lab, "child", "sleep 1000");
        let runtime = lab.runtime.clone();
        let start = tokio::spawn(async move { runtime.start(spec).await });
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        kill_process(Pid::from_raw(parent.pid).expect("a number"), Signal::KILL).expect("a kill");
        match start.await.expect("no panic") {
            Ok(_) => drop([lab.any_exit().await, lab.any_exit().await]),
            Err(error) => {
                assert!(matches!(&error, RuntimeError::ParentEnded { parent, .. } if parent == "parent"), "{round}: {error}");
                lab.exit("parent").await;
            }
        }
        for id in ["child", "parent"] {
            lab.runtime.remove(id).await.expect("a removal");
        }
        fs::remove_file(lab.path("log/parent.jsonl")).expect("the log");
        assert_eq!(lab.leftovers(), Vec::<String>::new(), "{round}");
    }
    // And long after: there is no such parent.
    assert!(matches!(lab.runtime.parent("parent", &within()), Err(RuntimeError::NotFound { .. })));
}
