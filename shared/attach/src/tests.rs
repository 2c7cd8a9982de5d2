//! Both ends against each other, with real pipes and a real terminal.

use crate::program::{Program, serve};
use crate::{Ended, Frames, News, bytes, person};
use coord_shared::wire::{ErrorBody, Exit, Frame, STREAM_WINDOW_BYTES};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

const PATIENCE: Duration = Duration::from_secs(20);

/// A program of this machine, with pipes.
fn program(script: &str) -> Program {
    let mut child = Command::new("/bin/sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let fds = (child.stdin.take().map(OwnedFd::from), child.stdout.take(), child.stderr.take());
    let pid = rustix::process::Pid::from_child(&child);
    Program {
        stdin: fds.0,
        stdout: fds.1.expect("a pipe").into(),
        stderr: fds.2.map(OwnedFd::from),
        terminal: false,
        ended: ended(child),
        signal: Box::new(move |number| {
            let signal = rustix::process::Signal::from_named_raw(number).expect("a signal");
            let _ = rustix::process::kill_process(pid, signal);
        }),
    }
}

fn ended(mut child: Child) -> oneshot::Receiver<Exit> {
    use std::os::unix::process::ExitStatusExt as _;
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let status = child.wait().expect("an end");
        let at = jiff::Timestamp::UNIX_EPOCH;
        let _ = sender.send(Exit { code: status.code(), signal: status.signal(), oom_killed: false, memory_limit: None, at });
    });
    receiver
}

/// Somebody who types all of `typed`, and what they have read in the end.
async fn person(frames: Frames, typed: &[u8], news: Vec<News>) -> (Ended, Vec<u8>, Vec<u8>) {
    let (keys, input) = mpsc::channel(4);
    let (told, heard) = mpsc::channel(4);
    let typed = typed.to_vec();
    tokio::task::spawn_local(async move {
        for one in news {
            let _ = told.send(one).await;
        }
        for piece in typed.chunks(70_000) {
            let _ = keys.send(piece.to_vec()).await;
        }
    });
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let attached = person::attach(frames, Some(input), heard, &mut out, &mut err);
    let ended = tokio::time::timeout(PATIENCE, attached).await.expect("in time").expect("written");
    (ended, out, err)
}

/// Runs `script` with `typed` as its input.
async fn run(script: &str, typed: &[u8]) -> (Ended, Vec<u8>, Vec<u8>) {
    let (ours, theirs) = Frames::pair();
    let local = tokio::task::LocalSet::new();
    local.spawn_local(serve(program(script), theirs));
    local.run_until(person(ours, typed, Vec::new())).await
}

fn code(ended: &Ended) -> Option<i32> {
    match ended {
        Ended::Exit(exit) => exit.code,
        Ended::Error(_) | Ended::Cut => None,
    }
}

#[tokio::test]
async fn output_and_exit_code_arrive() {
    let (ended, out, err) = run("echo out; echo err >&2; exit 7", b"").await;
    assert_eq!((code(&ended), out.as_slice(), err.as_slice()), (Some(7), &b"out\n"[..], &b"err\n"[..]));
}

/// Much more than a window, both ways at once.
#[tokio::test]
async fn input_comes_back_whole() {
    let typed: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).take(5_000_000).collect();
    assert!(typed.len() > 10 * STREAM_WINDOW_BYTES as usize);
    let (ended, out, _) = run("cat", &typed).await;
    assert_eq!(code(&ended), Some(0));
    assert!(out == typed);
}

#[tokio::test]
async fn the_end_of_input_is_told() {
    let (ended, out, _) = run("wc -c; echo after", b"12345").await;
    assert_eq!(
        (code(&ended), String::from_utf8_lossy(&out).split_whitespace().collect::<Vec<_>>()),
        (Some(0), vec!["5", "after"])
    );
}

#[tokio::test]
async fn a_program_that_reads_nothing_is_not_waited_for() {
    let (ended, out, _) = run("exec <&-; echo done", &vec![b'x'; 2_000_000]).await;
    assert_eq!((code(&ended), out.as_slice()), (Some(0), &b"done\n"[..]));
}

/// A program that was left behind has the output open for ever.
#[tokio::test]
async fn what_holds_the_output_open_does_not_hold_up_the_end() {
    let (ended, out, _) = run("sleep 5 & echo $!", b"").await;
    assert_eq!(code(&ended), Some(0));
    let left = String::from_utf8_lossy(&out).trim().parse::<i32>().expect("a number");
    let left = rustix::process::Pid::from_raw(left).expect("a process");
    rustix::process::kill_process(left, rustix::process::Signal::KILL).expect("it was there");
}

#[tokio::test]
async fn signals_reach_the_program_and_a_cut_hangs_it_up() {
    let (mut ours, theirs) = Frames::pair();
    let local = tokio::task::LocalSet::new();
    local.spawn_local(serve(program("trap 'exit 42' TERM; echo ready; while :; do sleep 0.01; done"), theirs));
    let talk = async {
        loop {
            match ours.receiver.recv().await.expect("a frame") {
                Frame::Stdout(data) if data == b"ready\n" => ours.sender.send(Frame::Signal(15)).await.expect("sent"),
                Frame::Exit(exit) => return exit,
                Frame::Stdout(_) | Frame::Stderr(_) | Frame::Credit(_) => {}
                other @ (Frame::Stdin(_) | Frame::Resize { .. } | Frame::Signal(_) | Frame::Error(_)) => panic!("{other:?}"),
            }
        }
    };
    let exit = tokio::time::timeout(PATIENCE, local.run_until(talk)).await.expect("in time");
    assert_eq!(exit.code, Some(42));

    let (ours, theirs) = Frames::pair();
    let mut cut = program("trap 'exit 1' HUP; while :; do sleep 0.01; done");
    let last = std::rc::Rc::new(std::cell::Cell::new(0));
    let (note, signal) = (last.clone(), cut.signal);
    cut.signal = Box::new(move |number| {
        note.set(number);
        signal(number);
    });
    drop(ours);
    tokio::time::timeout(PATIENCE, serve(cut, theirs)).await.expect("an end");
    assert_eq!(last.get(), 1);
}

#[tokio::test]
async fn a_terminal_has_a_size_and_an_end_of_input() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("unlocked");
    let name = ptsname(&master, Vec::new()).expect("a name").into_string().expect("text");
    let slave = || std::fs::File::options().read(true).write(true).open(&name).expect("a terminal");
    let child = Command::new("/bin/sh")
        .args(["-c", "while [ \"$(stty size)\" != '33 99' ]; do sleep 0.01; done; stty size; cat; echo over"])
        .stdin(slave())
        .stdout(slave())
        .stderr(slave())
        .spawn()
        .expect("a shell");
    let stdin = master.try_clone().expect("a copy");
    let program = Program {
        stdin: Some(stdin),
        stdout: master,
        stderr: None,
        terminal: true,
        ended: ended(child),
        signal: Box::new(|_| {}),
    };
    let (ours, theirs) = Frames::pair();
    let local = tokio::task::LocalSet::new();
    local.spawn_local(serve(program, theirs));
    let (ended, out, _) = local.run_until(person(ours, b"hello\n", vec![News::Resized { rows: 33, columns: 99 }])).await;
    let out = String::from_utf8_lossy(&out).into_owned();
    assert_eq!(code(&ended), Some(0), "{out}");
    for part in ["33 99", "hello", "over"] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[tokio::test]
async fn frames_travel_over_bytes() {
    let (near, far) = tokio::io::duplex(1000);
    let (person_end, near_end) = Frames::pair();
    let (program_end, far_end) = Frames::pair();
    let local = tokio::task::LocalSet::new();
    local.spawn_local(async move { bytes::carry(near, near_end).await });
    local.spawn_local(async move { bytes::carry(far, far_end).await });
    local.spawn_local(serve(program("cat"), program_end));
    let typed = vec![b'a'; 1_000_000];
    let (ended, out, _) = local.run_until(person(person_end, &typed, Vec::new())).await;
    assert_eq!(code(&ended), Some(0));
    assert!(out == typed);
}

#[tokio::test]
async fn an_error_and_a_cut_are_told_apart() {
    let local = tokio::task::LocalSet::new();
    let (ours, theirs) = Frames::pair();
    let error = ErrorBody { code: "c".to_owned(), message: "m".to_owned(), hint: None, detail: None };
    theirs.sender.send(Frame::Error(error.clone())).await.expect("sent");
    let (ended, ..) = local.run_until(person(ours, b"", Vec::new())).await;
    assert_eq!(ended, Ended::Error(error));
    let (ours, theirs) = Frames::pair();
    drop(theirs);
    let (ended, ..) = local.run_until(person(ours, b"", Vec::new())).await;
    assert_eq!(ended, Ended::Cut);
}
