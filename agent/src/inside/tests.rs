//! Programs run to their end: what is kept of them, and that none outlives its limit.
use super::*;
use coord_runtime::{ContainerSpec, Exit, Recovered, Running, RuntimeEvent};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use tokio::sync::{mpsc, oneshot};

/// A runtime whose containers are this machine: only `exec` works, and runs a process of ours.
#[derive(Clone, Default)]
pub(crate) struct Host {
    /// Says that there is no such container.
    pub(crate) is_gone: bool,
}

impl Runtime for Host {
    async fn start(&self, spec: ContainerSpec) -> Result<Running, RuntimeError> {
        Err(RuntimeError::Exists { id: spec.id })
    }

    fn recover(&self) -> Result<Vec<Recovered>, RuntimeError> {
        Ok(Vec::new())
    }

    fn signal(&self, id: &str, _signal: i32) -> Result<(), RuntimeError> {
        Err(RuntimeError::NotFound { id: id.to_owned() })
    }

    fn kill(&self, id: &str) -> Result<(), RuntimeError> {
        Err(RuntimeError::NotFound { id: id.to_owned() })
    }

    async fn exec(&self, id: &str, spec: ExecSpec) -> Result<Exec, RuntimeError> {
        if self.is_gone {
            return Err(RuntimeError::NotFound { id: id.to_owned() });
        }
        let mut command = Command::new(&spec.args[0]);
        command.args(&spec.args[1..]).envs(spec.env).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(|e| RuntimeError::Specification {
            id: id.to_owned(),
            what: format!("cannot execute {}: {e}", spec.args[0]),
        })?;
        let pid = i32::try_from(child.id()).expect("a pid");
        let raw = Pid::from_raw(pid).expect("a pid");
        let process = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()).expect("a pidfd");
        let stdout = child.stdout.take().expect("piped").as_fd().try_clone_to_owned().expect("a copy");
        let stderr = child.stderr.take().expect("piped").as_fd().try_clone_to_owned().expect("a copy");
        let (tell, ended) = oneshot::channel();
        std::thread::spawn(move || {
            use std::os::unix::process::ExitStatusExt as _;
            let status = child.wait().expect("a child of ours");
            let at = crate::clock::now().wall;
            let _ = tell.send(Exit { code: status.code(), signal: status.signal(), oom_killed: false, at, unknown: false });
        });
        Ok(Exec { pid, stdin: None, stdout, stderr: Some(stderr), ended, process: Arc::new(process) })
    }

    async fn remove(&self, _id: &str) -> Result<(), RuntimeError> {
        Ok(())
    }

    fn events(&self) -> Option<mpsc::Receiver<RuntimeEvent>> {
        None
    }
}

/// How the shell's `line` ends, in words.
async fn shell(line: &str, limit: Duration) -> String {
    let args = ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
    let ran = run(&Host::default(), "web.0-r1-1", ExecSpec { args, ..ExecSpec::default() }, limit).await;
    ran.map_or_else(|error| crate::chain(&error), |()| "well".to_owned())
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_end_is_told_with_what_was_said() {
    assert_eq!(shell("exit 0", LONG).await, "well");
    assert_eq!(shell("exit 3", LONG).await, "exit code 3");
    assert_eq!(shell("echo out; echo err >&2; exit 3", LONG).await.len(), "exit code 3: out\nerr".len());
    assert_eq!(shell("kill -SEGV $$", LONG).await, "killed by SIGSEGV (segmentation fault)");
}

#[tokio::test]
async fn what_cannot_be_started_says_so() {
    let spec = ExecSpec { args: vec!["/no/such/program".to_owned()], ..ExecSpec::default() };
    let error = run(&Host::default(), "web.0-r1-1", spec.clone(), LONG).await.expect_err("nothing to run");
    assert!(crate::chain(&error).contains("/no/such/program"), "{error}");
    let gone = run(&Host { is_gone: true }, "web.0-r1-1", spec, LONG).await;
    assert!(matches!(gone, Err(ProgramError::NoContainer)), "{gone:?}");
}

#[tokio::test]
async fn one_that_says_much_is_never_held_up() {
    let said = shell("head -c 3000000 /dev/zero | tr '\\0' x; exit 1", LONG).await;
    assert_eq!(said.len(), "exit code 1: ".len() + OUTPUT_MAX_BYTES);
}

#[tokio::test]
async fn a_child_that_keeps_the_pipe_open_is_not_waited_for() {
    let said = shell("sleep 600 & echo $!; exit 1", LONG).await;
    assert!(said.starts_with("exit code 1: "), "{said}");
    // It is ours to end.
    let pid = said.rsplit(' ').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw).expect("a pid");
    let _ = rustix::process::kill_process(pid, Signal::KILL);
}

#[tokio::test]
async fn nothing_outlives_its_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let pids = folder.path().join("pids");
    let line = format!("sleep 600 & echo $! >{0}; echo $$ >>{0}; echo waiting; wait", pids.display());
    let said = shell(&line, Duration::from_millis(1500)).await;
    assert_eq!(said, "it was killed after 1s500ms: waiting");
    let pids = std::fs::read_to_string(&pids).expect("both pids");
    for pid in pids.lines() {
        let stat = format!("/proc/{pid}/stat");
        let gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        for _ in 0..500 {
            if gone() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(gone(), "process {pid} goes on");
    }
    assert_eq!(pids.lines().count(), 2);
}
