//! Programs of this machine stand in for those of containers: their streams are the same.

use super::*;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use tokio::sync::oneshot;

/// Ends of a session whose program is run by `sh`.
struct Ends {
    to: mpsc::Sender<Frame>,
    from: mpsc::Receiver<Frame>,
}

fn start(script: &str) -> Ends {
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let pid = rustix::process::Pid::from_child(&child);
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("a pidfd");
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (end, ended) = oneshot::channel();
    std::thread::spawn(move || {
        use std::os::unix::process::ExitStatusExt as _;
        let status = child.wait().expect("its end");
        let exit = Exit { code: status.code(), signal: status.signal(), oom_killed: false, at: jiff::Timestamp::UNIX_EPOCH };
        let _ = end.send(exit);
    });
    let program = Program {
        stdin: stdin.map(Into::into),
        stdout: stdout.expect("stdout").into(),
        stderr: stderr.map(Into::into),
        has_terminal: false,
        ended: Box::pin(async { ended.await.ok() }),
        process: Arc::new(process),
    };
    let (to, incoming) = mpsc::channel(FRAMES_MAX);
    let (outgoing, from) = mpsc::channel(FRAMES_MAX);
    tokio::spawn(serve(program, incoming, outgoing));
    Ends { to, from }
}

/// Everything that comes until the end, credit given for all of it: stdout, stderr, exit.
async fn rest(mut ends: Ends) -> (Vec<u8>, Vec<u8>, Option<Exit>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(frame) = ends.from.recv().await {
        match frame {
            Frame::Stdout(data) => {
                let credit = u32::try_from(data.len()).expect("a frame");
                out.extend(data);
                let _ = ends.to.send(Frame::Credit(credit)).await;
            }
            Frame::Stderr(data) => err.extend(data),
            Frame::Exit(exit) => return (out, err, Some(exit)),
            Frame::Credit(_) => {}
            other => panic!("{other:?}"),
        }
    }
    (out, err, None)
}

/// Runs it all within a deadline: a session that hangs is a failure.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("the session stands still")
}

#[tokio::test]
async fn output_and_exit_code_arrive_whole() {
    let (out, err, exit) = within(rest(start("printf out; printf err >&2; exit 7"))).await;
    assert_eq!((out.as_slice(), err.as_slice()), (&b"out"[..], &b"err"[..]));
    assert_eq!(exit.and_then(|exit| exit.code), Some(7));
}

#[tokio::test]
async fn more_than_a_window_flows_both_ways() {
    const PIECES: usize = 100;
    let ends = start("cat");
    let to = ends.to.clone();
    // No more than a window is on its way: what comes back gives the credit.
    let feed = async move {
        for n in 0..PIECES {
            to.send(Frame::Stdin(vec![u8::try_from(n).expect("small"); 20_000])).await.expect("sent");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        to.send(Frame::Stdin(Vec::new())).await.expect("sent");
    };
    let ((), (out, _, exit)) = within(async { tokio::join!(feed, rest(ends)) }).await;
    assert_eq!(out.len(), PIECES * 20_000);
    assert!(out.chunks(20_000).enumerate().all(|(n, piece)| piece.iter().all(|byte| usize::from(*byte) == n)));
    assert_eq!(exit.and_then(|exit| exit.code), Some(0));
}

#[tokio::test]
async fn a_reader_who_stands_still_stops_the_program() {
    let mut ends = start("exec yes");
    let mut got = 0;
    while let Ok(Some(frame)) = tokio::time::timeout(Duration::from_millis(500), ends.from.recv()).await {
        if let Frame::Stdout(data) = frame {
            got += data.len();
        }
    }
    assert_eq!(got, usize::try_from(coord_shared::wire::STREAM_WINDOW_BYTES).expect("small"), "a window and no more");
    ends.to.send(Frame::Signal(libc::SIGTERM)).await.expect("sent");
    let (_, _, exit) = within(rest_with_credit(ends)).await;
    assert_eq!(exit.and_then(|exit| exit.signal), Some(libc::SIGTERM));
}

async fn rest_with_credit(ends: Ends) -> (Vec<u8>, Vec<u8>, Option<Exit>) {
    ends.to.send(Frame::Credit(u32::MAX)).await.expect("sent");
    rest(ends).await
}

#[tokio::test]
async fn what_is_left_behind_does_not_hold_the_session_open() {
    let (out, _, exit) = within(rest(start("sleep 100 & echo $!"))).await;
    assert_eq!(exit.and_then(|exit| exit.code), Some(0));
    let pid = String::from_utf8_lossy(&out).trim().parse().ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("ended");
}

#[tokio::test]
async fn whoever_sends_too_much_or_what_only_we_say_is_not_served() {
    for frame in
        [Frame::Stdout(vec![1]), Frame::Exit(Exit { code: None, signal: None, oom_killed: false, at: jiff::Timestamp::MIN })]
    {
        let ends = start("sleep 100");
        ends.to.send(frame).await.expect("sent");
        ends.to.send(Frame::Signal(libc::SIGKILL)).await.ok();
        assert_eq!(within(rest(ends)).await.2, None);
    }
    let ends = start("sleep 1");
    for _ in 0..20 {
        let _ = ends.to.send(Frame::Stdin(vec![0; 30_000])).await;
    }
    assert_eq!(within(rest(ends)).await.2, None, "more than a window");
}

#[tokio::test]
async fn a_terminal_has_a_size_and_ends_with_its_program() {
    let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).expect("a terminal");
    rustix::pty::grantpt(&master).expect("granted");
    rustix::pty::unlockpt(&master).expect("unlocked");
    let name = rustix::pty::ptsname(&master, Vec::new()).expect("a name").into_string().expect("text");
    let side = || std::fs::File::options().read(true).write(true).open(&name).expect("its other side");
    let mut child = Command::new("sh")
        .args(["-c", "read line; stty size"])
        .stdin(side())
        .stdout(side())
        .stderr(side())
        .spawn()
        .expect("a shell");
    let pid = rustix::process::Pid::from_child(&child);
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("a pidfd");
    let (end, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let code = child.wait().expect("its end").code();
        let _ = end.send(Exit { code, signal: None, oom_killed: false, at: jiff::Timestamp::UNIX_EPOCH });
    });
    assert!(master.as_raw_fd() > 2);
    let program = Program {
        stdin: Some(master.try_clone().expect("a copy")),
        stdout: master,
        stderr: None,
        has_terminal: true,
        ended: Box::pin(async { ended.await.ok() }),
        process: Arc::new(process),
    };
    let (to, incoming) = mpsc::channel(FRAMES_MAX);
    let (outgoing, from) = mpsc::channel(FRAMES_MAX);
    tokio::spawn(serve(program, incoming, outgoing));
    to.send(Frame::Resize { rows: 33, columns: 77 }).await.expect("sent");
    to.send(Frame::Stdin(b"go\n".to_vec())).await.expect("sent");
    let (out, _, exit) = within(rest(Ends { to, from })).await;
    assert!(String::from_utf8_lossy(&out).contains("33 77"), "{out:?}");
    assert_eq!(exit.and_then(|exit| exit.code), Some(0));
}
