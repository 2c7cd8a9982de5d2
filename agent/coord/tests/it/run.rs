//! `coord run` and `coord exec`: streams, signals, ends.

use crate::door::{Break, FakeDoor};
use crate::lab::{coord, coord_at, done, fed, start, until};
use rustix::process::Signal;
use serde_json::json;
use std::time::Duration;

const RUN: &str = "POST /v1/containers";

#[test]
fn what_was_typed_is_asked() {
    let door = FakeDoor::new();
    let line = "run --image r.lan/a:1 --name one --cache data:ro --cache more:/other -e A=1 -e B=x=y --entrypoint true -w /tmp \
                -u 7:8 --memory 64MiB --cpus 1.5 --pids 9 --read-only --init --network none --cap-drop ALL -- true a -b";
    let done = done(&door, &line.split_whitespace().collect::<Vec<_>>());
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    let mut asked = door.body(RUN);
    assert!(asked["stdio"].take().is_string());
    let expect = json!({
        "image": "r.lan/a:1", "name": "one", "command": ["true", "a", "-b"], "entrypoint": ["true"],
        "environment": [["A", "1"], ["B", "x=y"]], "working_dir": "/tmp", "user": "7:8",
        "caches": [{"name": "data", "read_only": true}, {"name": "more", "path": "/other", "read_only": false}],
        "memory": "64MiB", "cpus": asked["cpus"], "pids": 9, "read_only": true, "init": true, "network": "none",
        "cap_drop": ["ALL"], "stdio": null, "verify_by_log": false,
    });
    assert_eq!(asked, expect);
}

#[test]
fn output_and_exit_code_are_its_own() {
    let door = FakeDoor::new();
    let check = |script: &str, code: i32, out: &str, err: &str| {
        let done = done(&door, &["run", "--image", "r.lan/a:1", "--", "sh", "-c", script]);
        assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (Some(code), out, err), "{script}");
    };
    check("echo out; echo err >&2; exit 7", 7, "out\n", "err\n");
    check("kill -KILL $$", 128 + 9, "", "");
    check("kill -TERM $$", 128 + 15, "", "");
    // Nobody types: it reads nothing, and does not wait for it.
    check("cat; echo over", 0, "over\n", "");
}

#[test]
fn input_comes_in_and_comes_to_its_end() {
    let door = FakeDoor::new();
    let input: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let done = fed(&door, &["run", "-i", "--image", "r.lan/a:1", "--", "sh", "-c", "cat | cksum; echo over"], &input);
    let sum = fed(&door, &["run", "-i", "--image", "r.lan/a:1", "--", "cksum"], &input);
    assert_eq!((done.code, done.out), (Some(0), format!("{}over\n", sum.out)));
    assert!(sum.out.contains(" 4000000"), "{}", sum.out);
}

#[test]
fn much_output_comes_whole() {
    let door = FakeDoor::new();
    let done = done(&door, &["run", "--image", "r.lan/a:1", "--", "sh", "-c", "seq 1 300000; echo end >&2"]);
    assert_eq!(done.code, Some(0));
    assert_eq!((done.out.lines().count(), done.out.lines().last(), done.err.as_str()), (300_000, Some("300000"), "end\n"));
}

/// Whoever reads has read enough: it hears so as in any pipeline.
#[test]
fn a_reader_that_goes_away_ends_it() {
    let door = FakeDoor::new();
    let script = format!("{} run --image r.lan/a:1 -- yes | head -1", env!("CARGO_BIN_EXE_coord"));
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &format!("{script}; echo ${{PIPESTATUS[0]}}")]).env("COORD_SOCKET", door.socket());
    let output = command.output().expect("a shell");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("y\n{}\n", 128 + 13));
}

#[test]
fn signals_are_passed_on() {
    let door = FakeDoor::new();
    let check = |signal: Signal, name: &str| {
        let file = door.path(name);
        let script = format!("trap 'exit 42' {name}; echo >{}; while :; do sleep 0.01; done", file.display());
        let running = start(&mut coord(&door, &["run", "--image", "r.lan/a:1", "--", "sh", "-c", &script]));
        until("it traps", || file.exists());
        running.signal(signal);
        let done = running.done();
        assert_eq!(done.code, Some(42), "{name}: {done:?}");
    };
    check(Signal::INT, "INT");
    check(Signal::TERM, "TERM");
    check(Signal::HUP, "HUP");
    check(Signal::USR1, "USR1");
}

#[test]
fn the_third_request_to_end_is_none_any_more() {
    let door = FakeDoor::new();
    let file = door.path("traps");
    let script = format!("trap 'echo asked' TERM; echo >{}; while :; do sleep 0.01; done", file.display());
    let running = start(&mut coord(&door, &["run", "--image", "r.lan/a:1", "--", "sh", "-c", &script]));
    until("it traps", || file.exists());
    for asked in 1..=3 {
        running.signal(Signal::TERM);
        until("it is passed on", || door.lines().iter().filter(|line| line.ends_with("/signal")).count() == asked);
    }
    let done = running.done();
    assert_eq!(done.code, Some(128 + 9), "{done:?}");
}

#[test]
fn an_agent_that_is_replaced_cuts_nothing() {
    let mut door = FakeDoor::new();
    let (before, after) = (door.path("before"), door.path("after"));
    let script = format!("echo one; while ! [ -e {} ]; do sleep 0.01; done; echo two; exit 3", after.display());
    let running = start(&mut coord(&door, &["run", "--image", "r.lan/a:1", "--name", "a", "--", "sh", "-c", &script]));
    until("it is waited for", || door.lines().iter().any(|line| line.ends_with("/wait")));
    door.close();
    std::fs::write(&after, b"").expect("written");
    // It writes and ends while there is no agent.
    until("it has ended", || !std::path::Path::new("/proc").join(pid(&door)).join("exe").exists());
    std::fs::write(&before, b"").expect("written");
    door.open();
    let done = running.done();
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (Some(3), "one\ntwo\n", ""));
    assert!(door.lines().iter().filter(|line| line.ends_with("/wait")).count() >= 2);
}

fn pid(door: &FakeDoor) -> String {
    door.store().children["a"].1.expect("it runs").to_string()
}

/// The container was started, and the answer was lost.
#[test]
fn a_start_is_not_done_twice() {
    let door = FakeDoor::new();
    door.store().breaks.insert(RUN.to_owned(), Break::After);
    let done = done(&door, &["run", "--image", "r.lan/a:1", "--", "sh", "-c", "echo once"]);
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (Some(0), "once\n", ""));
    assert_eq!(door.lines().iter().filter(|line| *line == RUN).count(), 1);
}

/// The agent was killed before it heard: the next one is asked, with the same files.
#[test]
fn a_start_that_was_not_heard_is_asked_again() {
    let door = FakeDoor::new();
    door.store().breaks.insert(RUN.to_owned(), Break::Before);
    let done = done(&door, &["run", "--image", "r.lan/a:1", "--", "sh", "-c", "echo once"]);
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (Some(0), "once\n", ""));
    assert_eq!(door.lines().iter().filter(|line| *line == RUN).count(), 2);
}

/// The agent was replaced between the files and the question.
#[test]
fn files_that_nobody_knows_are_handed_over_again() {
    let door = FakeDoor::new();
    let check = |code: &str, asked: usize| {
        door.refuse(RUN, code, "not now");
        let before = door.lines().iter().filter(|line| *line == RUN).count();
        let done = done(&door, &["run", "--image", "r.lan/a:1", "--", "sh", "-c", "echo once"]);
        assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (Some(0), "once\n", ""), "{code}");
        assert_eq!(door.lines().iter().filter(|line| *line == RUN).count() - before, asked, "{code}");
    };
    check("no_such_stdio", 2);
    check("ending", 2);
}

#[test]
fn a_refusal_is_told_with_its_cure() {
    let door = FakeDoor::new();
    let check = |code: &str, exit: i32| {
        door.refuse(RUN, code, "cache data: lib/a.so differs: other content");
        let done = done(&door, &["run", "--image", "r.lan/a:1", "--", "true"]);
        assert_eq!((done.code, done.out.as_str()), (Some(exit), ""));
        assert_eq!(done.err, "error: cache data: lib/a.so differs: other content\nhint: the cure\n", "{code}");
    };
    check("altered", 125);
    check("too_many_containers", 125);
    check("command_not_found", 127);
    check("command_not_executable", 126);
}

#[test]
fn detached_it_goes_on() {
    let door = FakeDoor::new();
    let detached = done(&door, &["run", "-d", "--image", "r.lan/a:1", "--name", "d", "--", "sleep", "1000"]);
    assert_eq!((detached.code, detached.out.as_str()), (Some(0), "d\n"));
    assert!(door.body(RUN).get("stdio").is_none());
    let chosen = done(&door, &["run", "-d", "--image", "r.lan/a:1", "--", "true"]);
    assert!(chosen.out.starts_with("run-") && chosen.out.len() == "run-".len() + 9, "{}", chosen.out);
    let stopped = done(&door, &["stop", "--time", "3", "d"]);
    assert_eq!((stopped.code, stopped.out.as_str()), (Some(0), "d\n"));
    assert_eq!(door.body("POST /v1/containers/d/stop"), json!({"grace": "3s"}));
    let waited = done(&door, &["wait", "d", chosen.out.trim()]);
    assert_eq!((waited.code, waited.out.as_str()), (Some(0), "143\n0\n"));
}

#[test]
fn a_program_runs_in_one_that_runs() {
    let door = FakeDoor::new();
    done(&door, &["run", "-d", "--image", "r.lan/a:1", "--name", "d", "--", "sleep", "1000"]);
    let ran = done(&door, &["exec", "-e", "A=5", "d", "--", "sh", "-c", "echo out; echo err >&2; exit $A"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(5), "out\n", "err\n"));
    let fed = fed(&door, &["exec", "-i", "d", "cat"], b"typed");
    assert_eq!((fed.code, fed.out.as_str()), (Some(0), "typed"));
    let missing = done(&door, &["exec", "nobody", "true"]);
    assert_eq!((missing.code, missing.err.as_str()), (Some(125), "error: there is no container nobody\nhint: the cure\n"));
}

#[test]
fn who_types_into_a_terminal_must_have_one() {
    let door = FakeDoor::new();
    let done = done(&door, &["run", "-it", "--image", "r.lan/a:1", "--", "true"]);
    assert_eq!((done.code, door.lines().len()), (Some(125), 0));
    assert!(done.err.contains("no terminal"), "{}", done.err);
}

#[test]
fn a_terminal_is_given() {
    let door = FakeDoor::new();
    let done =
        done(&door, &["run", "-t", "--image", "r.lan/a:1", "--", "sh", "-c", "test -t 0 && test -t 1 && stty size; echo $TERM"]);
    assert_eq!((done.code, done.out.as_str()), (Some(0), "24 80\r\nxterm\r\n"), "{done:?}");
}

/// Something else than a door answers, or nothing does; told at once where no agent can be on its way back.
#[test]
fn no_door_is_told() {
    let door = FakeDoor::new();
    let file = door.path("file");
    std::fs::write(&file, b"").expect("written");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o000)).expect("set");
    let output = coord_at(&file.join("nested.sock"), &["ps"]).output().expect("coord runs");
    assert_eq!(output.status.code(), Some(125));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("error: no agent answers at "), "{said}");
}

/// Before it runs, whoever waits may lose patience.
#[test]
fn a_start_can_be_given_up() {
    let mut door = FakeDoor::new();
    door.close();
    let running = start(&mut coord(&door, &["run", "--image", "r.lan/a:1", "--", "true"]));
    std::thread::sleep(Duration::from_millis(300));
    running.signal(Signal::INT);
    door.open();
    let done = running.done();
    assert_eq!(done.code, Some(128 + 2), "{done:?}");
    assert!(!door.lines().iter().any(|line| line == RUN), "{:?}", door.lines());
}
