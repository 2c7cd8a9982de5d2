//! Programs run in a container besides its command: as confined as that, and gone without a trace.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use super::lab::{Lab, RUNTIME, until};
use crate::{Exec, ExecSpec, Exit, Runtime, RuntimeError, resize_terminal, signal_process};

/// Nothing here takes longer, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

fn shell(script: &str) -> ExecSpec {
    ExecSpec { args: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(), ..ExecSpec::default() }
}

async fn read(end: OwnedFd) -> String {
    let reading = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        // A terminal says EIO when the last program has left it.
        let _ = File::from(end).read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    tokio::time::timeout(DEADLINE, reading).await.expect("its output to end").expect("to be read")
}

async fn exit(exec: &mut Exec) -> Exit {
    tokio::time::timeout(DEADLINE, &mut exec.ended).await.expect("it to end").expect("its end to be told")
}

/// Runs it to its end: standard output, standard error, how it ended.
async fn output(lab: &Lab, id: &str, spec: ExecSpec) -> (String, String, Exit) {
    let mut exec = lab.runtime.exec(id, spec).await.expect("it to run");
    drop(exec.stdin.take());
    let exit = exit(&mut exec).await;
    let stderr = match exec.stderr {
        Some(stderr) => read(stderr).await,
        None => String::new(),
    };
    (read(exec.stdout).await, stderr, exit)
}

/// Descriptors and children of this process that an exec could have left.
fn held() -> (usize, Vec<String>) {
    let own = std::process::id().to_string();
    let stat = |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_child = |pid: &String| stat(pid).rsplit(')').next().is_some_and(|rest| rest.split(' ').nth(2) == Some(own.as_str()));
    let names = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut children = names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).filter(is_child).collect::<Vec<_>>();
    children.sort();
    (fs::read_dir("/proc/self/fd").expect("descriptors").count(), children)
}

/// What a process is, may and has: two processes of one container must not differ in it.
const IDENTITY: &str = "for kind in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$kind; done
    grep -E 'Cap|NoNewPrivs|Seccomp:|Sig(Blk|Ign)|^Groups|^Uid|^Gid|^Umask' /proc/self/status
    cat /proc/self/cgroup /proc/self/oom_score_adj /proc/self/limits /proc/self/uid_map
    hostname; pwd; echo $PATH $HOME $HOSTNAME; ls -l /proc/self/fd | wc -l; readlink /proc/self/exe";

#[tokio::test]
async fn root_it_is_what_the_command_is() {
    let mut lab = Lab::new();
    // An OCI runtime makes containers of the host's users only.
    if std::env::var_os(RUNTIME).is_none() {
        lab.require_users();
    }
    for user in ["", "app", "4711:4712"] {
        let id = format!("same-{}", user.replace(':', "-"));
        let mut spec = lab.spec(&id, &format!("{{ {IDENTITY}; }} 2>&1; echo end; sleep 1000"));
        spec.user = user.to_owned();
        spec.cwd = "/tmp".to_owned();
        let log = spec.log.path.clone();
        lab.runtime.start(spec).await.expect("a start");
        until("the command to tell", || super::lab::log_text(&log).ends_with("end\n")).await;
        let (told, _, exit) = output(&lab, &id, shell(&format!("{{ {IDENTITY}; }} 2>&1; echo end"))).await;
        assert_eq!(told, super::lab::log_text(&log), "{user:?}");
        assert_eq!(exit.code, Some(0));
        lab.runtime.remove(&id).await.expect("a removal");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_input_output_and_status_are_its_own() {
    let lab = Lab::new();
    lab.runtime.start(lab.spec("io", "sleep 1000")).await.expect("a start");
    let spec = ExecSpec { stdin: true, ..shell("cat; echo sorry >&2; echo again >/dev/stdout; exit 7") };
    let mut exec = lab.runtime.exec("io", spec).await.expect("it to run");
    let mut stdin = File::from(exec.stdin.take().expect("its input"));
    stdin.write_all(b"hello\n").expect("to be written");
    drop(stdin);
    let exit = exit(&mut exec).await;
    assert_eq!((exit.code, exit.signal, exit.unknown), (Some(7), None, false));
    assert_eq!(read(exec.stdout).await, "hello\nagain\n");
    assert_eq!(read(exec.stderr.expect("its errors")).await, "sorry\n");

    // Without input there is none to wait for.
    let (out, _, _) = output(&lab, "io", shell("cat; readlink /proc/self/fd/0")).await;
    assert_eq!(out, "/dev/null\n");
    let spec = ExecSpec {
        env: vec![("A".to_owned(), "b c".to_owned()), ("HOSTNAME".to_owned(), "other".to_owned())],
        cwd: Some("/home".to_owned()),
        user: Some("app".to_owned()),
        ..shell("echo $A $HOSTNAME $PATH $HOME; pwd; id")
    };
    let (out, _, _) = output(&lab, "io", spec).await;
    assert_eq!(out, "b c other /bin /home/app\n/home\nuid=1000(app) gid=1000(app) groups=50(staff)\n");
    let mut exec = lab.runtime.exec("io", shell("sleep 1000")).await.expect("it to run");
    signal_process(exec.process.as_fd(), libc::SIGUSR1).expect("a signal");
    assert_eq!(self::exit(&mut exec).await.signal, Some(libc::SIGUSR1));
    signal_process(exec.process.as_fd(), libc::SIGUSR1).expect("one that has ended gets none");
}

#[tokio::test]
async fn root_it_can_have_a_terminal() {
    let lab = Lab::new();
    let mut spec = lab.spec("tty", "sleep 1000");
    spec.user = "app".to_owned();
    lab.runtime.start(spec).await.expect("a start");
    let script = "trap 'stty size; exit 3' WINCH; tty; stty size; echo $TERM; stat -c %u /dev/pts/0; cat /proc/self/stat >/dev/tty; \
                  echo ready; while true; do usleep 5000; done";
    let spec = ExecSpec { terminal: Some((24, 80)), stdin: true, ..shell(script) };
    let mut exec = lab.runtime.exec("tty", spec).await.expect("it to run");
    assert!(exec.stderr.is_none());
    let terminal = exec.stdin.take().expect("the terminal");
    let mut told = String::new();
    let mut stdout = File::from(exec.stdout.try_clone().expect("another descriptor"));
    let told = tokio::task::spawn_blocking(move || {
        let mut block = [0; 4096];
        while !told.contains("ready\r\n") {
            let read = stdout.read(&mut block).expect("output");
            told.push_str(&String::from_utf8_lossy(&block[..read]));
        }
        told
    });
    let told = tokio::time::timeout(DEADLINE, told).await.expect("a word").expect("to be read");
    assert!(told.starts_with("/dev/pts/0\r\n24 80\r\nxterm\r\n1000\r\n"), "{told}");
    resize_terminal(terminal.as_fd(), 50, 132).expect("a new size");
    assert_eq!(exit(&mut exec).await.code, Some(3));
    drop(terminal);
    assert_eq!(read(exec.stdout).await, "50 132\r\n");

    // The one who hangs up ends the session.
    let spec = ExecSpec { terminal: Some((24, 80)), ..shell("sleep 1000") };
    let Exec { stdin, stdout, mut ended, process, .. } = lab.runtime.exec("tty", spec).await.expect("it to run");
    drop((stdin, stdout));
    let exit = tokio::time::timeout(DEADLINE, &mut ended).await.expect("it to end").expect("its end");
    assert_eq!(exit.signal, Some(libc::SIGHUP));
    drop(process);
}

#[tokio::test]
async fn root_every_failure_says_why() {
    let lab = Lab::new();
    fs::write(lab.path("image/bin/text"), "no program").expect("a file");
    fs::write(lab.path("image/bin/foreign"), [0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0]).expect("a file");
    fs::set_permissions(lab.path("image/bin/foreign"), fs::Permissions::from_mode(0o755)).expect("a mode");
    lab.runtime.start(lab.spec("fails", "sleep 1000")).await.expect("a start");
    let before = held();
    let check = async |spec: ExecSpec, expect: &str, hint: &str, status: u8| {
        let error = lab.runtime.exec("fails", spec).await.expect_err(expect);
        assert!(error.to_string().contains(expect), "{error} ... expected: {expect}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{:?} ... expected: {hint}", error.hint());
        assert_eq!(error.exit_status(), status, "{error}");
    };
    let command = |name: &str| ExecSpec { args: vec![name.to_owned()], ..ExecSpec::default() };
    check(command("bash"), "command \"bash\" is not in the image", "no shell", 127).await;
    check(command("/bin/none"), "command \"/bin/none\" is not in the image", "PATH", 127).await;
    check(command("text"), "command \"/bin/text\" cannot be executed: Permission denied", "another", 126).await;
    check(command("foreign"), "command \"/bin/foreign\" is no program for this machine", "another", 126).await;
    check(ExecSpec::default(), "there is no command", "", 125).await;
    let with = |change: &dyn Fn(&mut ExecSpec)| {
        let mut spec = shell("true");
        change(&mut spec);
        spec
    };
    check(with(&|spec| spec.user = Some("nobody".to_owned())), "user \"nobody\": there is no user", "numbers", 125).await;
    check(with(&|spec| spec.cwd = Some("/none".to_owned())), "working directory \"/none\": No such", "folder", 125).await;
    check(with(&|spec| spec.cwd = Some("here".to_owned())), "is not an absolute path", "", 125).await;
    // The way of CVE-2024-21626: a folder of the host through a descriptor of ours.
    for fd in 0..12 {
        let path = format!("/proc/self/fd/{fd}");
        check(with(&|spec| spec.cwd = Some(path.clone())), "working directory \"/proc/self/fd/", "folder", 125).await;
    }
    let huge = "x".repeat(200_000);
    check(with(&|spec| spec.args.push(huge.clone())), "Argument list too long", "", 125).await;
    let error = lab.runtime.exec("none", shell("true")).await.expect_err("there is no such container");
    assert!(matches!(error, RuntimeError::NotFound { .. }), "{error}");
    assert_eq!(held(), before);
}

#[tokio::test]
async fn root_many_run_at_once_and_leave_nothing() {
    let mut lab = Lab::new();
    lab.runtime.start(lab.spec("many", "sleep 1000")).await.expect("a start");
    output(&lab, "many", shell("true")).await;
    let before = held();
    let execs = (0..20).map(|number| {
        let (runtime, huge) = (lab.runtime.clone(), "y".repeat(100_000));
        let spec = ExecSpec { env: vec![("HUGE".to_owned(), huge)], ..shell(&format!("echo {number} ${{#HUGE}}")) };
        tokio::spawn(async move { runtime.exec("many", spec).await })
    });
    for (number, exec) in execs.collect::<Vec<_>>().into_iter().enumerate() {
        let mut exec = exec.await.expect("a task").expect("it to run");
        assert_eq!(exit(&mut exec).await.code, Some(0));
        assert_eq!(read(exec.stdout).await, format!("{number} 100000\n"));
    }
    // Dropped ones go on, and somebody takes note of their end.
    for _ in 0..5 {
        drop(lab.runtime.exec("many", shell("usleep 20000; touch /tmp/went-on")).await.expect("it to run"));
    }
    until("all of them to be gone", || held() == before).await;
    let (_, _, exit) = output(&lab, "many", shell("test -e /tmp/went-on")).await;
    assert_eq!(exit.code, Some(0));
    // One that runs ends with its container, and does not keep it.
    let mut last = lab.runtime.exec("many", shell("sleep 1000")).await.expect("it to run");
    lab.runtime.kill("many").expect("a kill");
    assert_eq!(self::exit(&mut last).await.signal, Some(libc::SIGKILL));
    lab.exit("many").await;
    let error = lab.runtime.exec("many", shell("true")).await.expect_err("it has ended");
    assert!(matches!(error, RuntimeError::NotRunning { .. }), "{error}");
    lab.runtime.remove("many").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// Containers end at any moment, also while a program is on its way into them.
#[tokio::test]
async fn root_a_container_that_ends_takes_programs_along() {
    let mut lab = Lab::new();
    for round in 0..10_u64 {
        let id = format!("race-{round}");
        lab.runtime.start(lab.spec(&id, "sleep 1000")).await.expect("a start");
        let execs = (0..4).map(|_| {
            let (runtime, id) = (lab.runtime.clone(), id.clone());
            tokio::spawn(async move { runtime.exec(&id, shell("sleep 1000")).await })
        });
        let execs = execs.collect::<Vec<_>>();
        tokio::time::sleep(Duration::from_millis(round)).await;
        lab.runtime.kill(&id).expect("a kill");
        assert_eq!(lab.exit(&id).await.signal, Some(libc::SIGKILL));
        for exec in execs {
            match tokio::time::timeout(DEADLINE, exec).await.expect("an answer").expect("a task") {
                Ok(mut exec) => assert_eq!(self::exit(&mut exec).await.signal, Some(libc::SIGKILL)),
                Err(error) => assert!(matches!(error, RuntimeError::NotRunning { .. }), "{error}"),
            }
        }
        lab.runtime.remove(&id).await.expect("a removal");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// Somebody looks into a container that cannot make processes any more.
#[tokio::test]
async fn root_it_comes_into_a_container_that_is_full() {
    let lab = Lab::new();
    let mut spec = lab.spec("full", "(for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done); exec sleep 1000");
    spec.resources.pids = Some(5);
    let log = spec.log.path.clone();
    lab.runtime.start(spec).await.expect("a start");
    until("it to be full", || super::lab::log_text(&log).contains("can't fork")).await;
    let (out, _, exit) =
        output(&lab, "full", ExecSpec { args: vec!["/bin/echo".to_owned(), "in".to_owned()], ..ExecSpec::default() }).await;
    assert_eq!((out.as_str(), exit.code), ("in\n", Some(0)));
    lab.runtime.remove("full").await.expect("a removal");
}

/// What an image may have prepared for whoever comes by name.
#[tokio::test]
async fn root_traps_of_the_image_are_not_walked_into() {
    let lab = Lab::new();
    fs::remove_file(lab.path("image/etc/passwd")).expect("to be removed");
    symlink("/proc/self/fd/3", lab.path("image/etc/passwd")).expect("a link");
    lab.runtime.start(lab.spec("trap", "sleep 1000")).await.expect("a start");
    let (out, _, _) = output(&lab, "trap", ExecSpec { user: Some("7".to_owned()), ..shell("id -u") }).await;
    assert_eq!(out, "7\n");
    let error = lab.runtime.exec("trap", ExecSpec { user: Some("app".to_owned()), ..shell("id") }).await;
    assert!(error.expect_err("there is no passwd").to_string().contains("no user of this name"));
    // Links of its own at the place of terminals.
    let (_, _, exit) = output(&lab, "trap", shell("rm /dev/ptmx; ln -s /proc/self/fd/0 /dev/ptmx")).await;
    assert_eq!(exit.code, Some(0));
    let (out, _, _) = output(&lab, "trap", ExecSpec { terminal: Some((1, 1)), ..shell("tty") }).await;
    assert_eq!(out, "/dev/pts/0\r\n");
}

/// Another agent, of the same or a later release, runs programs in containers that it has not started.
#[tokio::test]
async fn root_a_later_agent_can_run_programs() {
    let mut lab = Lab::new();
    lab.runtime.start(lab.spec("later", "sleep 1000")).await.expect("a start");
    lab.restart();
    lab.runtime.recover().expect("a recovery");
    let (out, _, _) = output(&lab, "later", shell("echo $$ $HOSTNAME")).await;
    assert!(out.ends_with(" box\n"), "{out}");
    lab.runtime.remove("later").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}
