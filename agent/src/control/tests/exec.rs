//! Programs through the socket. Those of this machine stand in for those of containers: their streams are the same.

use super::check;
use crate::programs::Starts;
use coord_attach::{Ended, person};
use coord_runtime::{Exec, ExecSpec, Exit, RuntimeError};
use coord_shared::wire::{ErrorBody, ExecRequest};
use std::os::unix::process::ExitStatusExt as _;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A "container" that is this machine.
pub(super) struct ThisMachine;

impl Starts for ThisMachine {
    fn exec(&self, id: String, spec: ExecSpec) -> Pin<Box<dyn Future<Output = Result<Exec, RuntimeError>> + Send>> {
        Box::pin(async move { start(&spec).ok_or(RuntimeError::NotFound { id }) })
    }
}

fn start(spec: &ExecSpec) -> Option<Exec> {
    let mut child = Command::new(&spec.args[0])
        .args(&spec.args[1..])
        .envs(spec.env.clone())
        .current_dir(spec.cwd.as_deref().unwrap_or("/"))
        .stdin(if spec.stdin { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let pid = rustix::process::Pid::from_child(&child);
    let process = Arc::new(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("a pidfd"));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (end, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let status = child.wait().expect("its end");
        let at = jiff::Timestamp::UNIX_EPOCH;
        let _ = end.send(Exit { code: status.code(), signal: status.signal(), oom_killed: false, at, unknown: false });
    });
    Some(Exec {
        pid: pid.as_raw_nonzero().get(),
        stdin: stdin.map(Into::into),
        stdout: stdout.expect("stdout").into(),
        stderr: stderr.map(Into::into),
        ended,
        process,
    })
}

fn asked(container: &str, command: &[&str]) -> ExecRequest {
    ExecRequest {
        container: container.to_owned(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        stdin: true,
        ..ExecRequest::default()
    }
}

/// Runs `script` with `input`; what it wrote to both streams, and how it ended.
async fn run(script: &str, input: &[u8]) -> (Vec<u8>, Vec<u8>, Ended) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let ended = check(async |client, _| {
        let request = ExecRequest {
            environment: vec![("NAME".to_owned(), "value".to_owned())],
            working_dir: Some("/tmp".to_owned()),
            ..asked("web.0", &["sh", "-c", script])
        };
        let frames = client.exec(&request).await.expect("a program");
        let (typed, keys) = mpsc::channel(4);
        let pieces: Vec<Vec<u8>> = input.chunks(1000).map(<[u8]>::to_vec).collect();
        tokio::task::spawn_local(async move {
            for piece in pieces {
                let _ = typed.send(piece).await;
            }
        });
        let (_news, news) = mpsc::channel(1);
        let attached = person::attach(frames, Some(keys), news, &mut out, &mut err);
        tokio::time::timeout(Duration::from_secs(20), attached).await.expect("it stands still").expect("written")
    })
    .await;
    (out, err, ended)
}

fn code(ended: &Ended) -> Option<i32> {
    match ended {
        Ended::Exit(exit) => exit.code,
        Ended::Error(_) | Ended::Cut => None,
    }
}

#[tokio::test]
async fn a_program_has_its_streams_its_environment_and_its_exit_code() {
    let (out, err, ended) = run("pwd; echo $NAME; cat; echo no >&2; exit 7", b"typed").await;
    assert_eq!(String::from_utf8_lossy(&out), "/tmp\nvalue\ntyped");
    assert_eq!((err.as_slice(), code(&ended)), (&b"no\n"[..], Some(7)));
}

#[tokio::test]
async fn a_megabyte_goes_both_ways() {
    let input: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let (out, _, ended) = run("cat", &input).await;
    assert_eq!((out.len(), code(&ended)), (input.len(), Some(0)), "{ended:?}");
    assert!(out == input, "the bytes differ");
    assert_eq!(code(&ended), Some(0));
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_in_words() {
    check(async |client, _| {
        let refused = async |container: &str, command: &[&str]| -> ErrorBody {
            client.exec(&asked(container, command)).await.err().unwrap_or_else(|| panic!("{container} {command:?} runs"))
        };
        assert_eq!(refused("web.1", &["true"]).await.code, "no_such_instance");
        assert_eq!(refused("web.0", &[]).await.code, "invalid_request");
        assert_eq!(refused("web.0", &["/there/is/no/such"]).await.code, "not_started");
        let plain = client.post::<serde_json::Value>("/v1/exec", &asked("web.0", &["true"])).await.expect_err("no upgrade");
        assert_eq!(plain.code, "upgrade_required");
    })
    .await;
}

#[tokio::test]
async fn one_who_goes_away_leaves_the_agent_as_it_was() {
    check(async |client, _| {
        for _ in 0..40 {
            drop(client.exec(&asked("web.0-r1-1", &["cat"])).await.expect("a program"));
        }
        client.info().await.expect("it still answers");
    })
    .await;
}
