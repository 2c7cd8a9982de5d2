//! Has an OCI runtime (crun, runc) make the container's first process, in the place of libcontainer.
//!
//! All around it stays as it is: the root with its mounts, the network, the standard files, the cgroups and their limits are
//! made by the agent and this process, which becomes the container's parent and then its monitor. The runtime is told of them
//! in a `config.json` of its own, is run twice (`create`, `start`), and is gone with all that it has kept.
//!
//! ```text
//! shim ── PROGRAM create ─▶ init (waits) ── v1 groups ── PROGRAM start ─▶ init: this program, sealed ── execve ─▶ the command
//!      ◀────────────── why the command could not be executed: a pipe that init has inherited ──────────────
//! ```
//! The runtime executes a copy of this program, which executes the command: so it is known when the command really runs, or why
//! not, in the same words as ever; and the container may have our init. `runsc` can do neither and executes the command itself.
//! A runtime sees the cgroup v2 tree only, whatever the host has: crun refuses hosts that have both.
//! Deliberately absent: limits (the groups have them already), the runtime's own `exec`, `kill` and `delete`.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitOptions, set_child_subreaper, set_parent_process_death_signal, waitpid};

use crate::agent::{Agent, STDIO};
use crate::assemble::Assembled;
use crate::executor::{ContainerExecutor, Prepared, candidates};
use crate::request::{Failure, FailureKind, Network, ProcessId, Request};
use crate::start::{c_strings, open_program, read_failure};
use crate::{host_failure, sys};

/// The first argument of this program inside a container; what follows is the command.
const COMMAND_ARGUMENT: &str = "--command";
/// The same below our init.
const COMMAND_BELOW_INIT_ARGUMENT: &str = "--command-below-init";

/// Descriptors that a container's first process has, until it executes the command: this program, the pipe for a failure, and
/// the init if there is to be one.
const PROGRAM_NUMBER: i32 = 3;
const PIPE_NUMBER: i32 = 4;
const INIT_NUMBER: i32 = 5;

/// Descriptors are put out of the way of those numbers first.
const OUT_OF_THE_WAY: i32 = 16;

/// The version that all runtimes in use take: crun before 1.12 refuses others.
const OCI_VERSION: &str = "1.0.2";

/// Of what a runtime says when it fails, this much is looked at.
const LOG_MAX_BYTES: u64 = 64 * 1024;

/// Where cgroups are mounted.
const CGROUP_MOUNT: &str = "/sys/fs/cgroup";

/// For the runtime itself, which looks for no programs.
const RUNTIME_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One container on its way.
struct External<'a> {
    request: &'a Request,
    program: &'a Path,
    /// The runtime's folder, in memory.
    work: PathBuf,
}

/// Has the runtime create and start the container, and waits until its command has been executed.
pub(crate) fn run(
    request: &Request,
    program: &Path,
    made: &Assembled,
    stdio: [OwnedFd; STDIO],
    agent: &mut Agent,
) -> Result<ProcessId, Failure> {
    let external = External { request, program, work: request.run.join("external") };
    let (failures, failure_pipe) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| host_failure("making a pipe", error))?;
    let v1_groups = open_v1_groups(request)?;
    show_v2_only(request)?;
    if request.network == Network::Connected {
        // Before the runtime is called: runsc looks at its interfaces when it creates.
        agent.wait_until_connected()?;
    }
    let passes_files = external.passes_files();
    external.write_config(&made.spec, passes_files)?;
    // The container's first process is to become the child of this one when the runtime has gone.
    subreaper(true)?;
    let init = external.create(stdio, failure_pipe, passes_files)?;
    for (path, group) in v1_groups {
        let number = init.pid.to_string();
        rustix::io::write(&group, number.as_bytes()).map_err(|error| host_failure(&path.to_string_lossy(), error))?;
    }
    let started = external.call(&["start", &request.id], None);
    // Ends when the container's first process has executed its command or is gone: nobody else has the pipe.
    let told = read_failure(File::from(failures));
    subreaper(false)?;
    let outcome = match (told, started) {
        (Some(failure), _) | (None, Err(failure)) => Err(failure),
        (None, Ok(())) => Ok(init),
    };
    // Its state is of no use to us: we keep our own.
    let _ = fs::remove_dir_all(&external.work);
    outcome
}

fn subreaper(is_one: bool) -> Result<(), Failure> {
    let pid = if is_one { Some(rustix::process::getpid()) } else { None };
    set_child_subreaper(pid).map_err(|error| host_failure("becoming the parent of the container", error))
}

/// Opened while they can be seen.
fn open_v1_groups(request: &Request) -> Result<Vec<(PathBuf, OwnedFd)>, Failure> {
    let open_one = |tasks: &PathBuf| {
        // The whole process: a runtime's may have threads.
        let path = tasks.with_file_name("cgroup.procs");
        let file = open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        file.map(|file| (path.clone(), file)).map_err(|error| host_failure(&path.to_string_lossy(), error))
    };
    request.cgroup.v1_tasks.iter().map(open_one).collect()
}

/// On hosts that have v1 trees too, leaves the v2 tree alone, in this process's mounts.
fn show_v2_only(request: &Request) -> Result<(), Failure> {
    if request.cgroup.unified.is_none() {
        let detail = "an OCI runtime needs the cgroup v2 tree, and this host has none mounted".to_owned();
        return Err(Failure { kind: FailureKind::Host, object: "cgroups".to_owned(), detail });
    }
    if request.cgroup.unified_mount == Path::new(CGROUP_MOUNT) {
        return Ok(());
    }
    let failed = |error: io::Error| host_failure(CGROUP_MOUNT, error);
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
    for point in v1_mounts(&mounts) {
        unmount(point, UnmountFlags::DETACH).map_err(|error| failed(error.into()))?;
    }
    mount_bind(&request.cgroup.unified_mount, CGROUP_MOUNT).map_err(|error| failed(error.into()))
}

/// The mount points of v1 trees, in the text of `/proc/self/mountinfo`.
fn v1_mounts(mountinfo: &str) -> Vec<&str> {
    let point = |line| {
        let (left, right): (&str, &str) = str::split_once(line, " - ")?;
        left.split(' ').nth(4).filter(|_| right.starts_with("cgroup "))
    };
    mountinfo.lines().filter_map(point).collect()
}

impl External<'_> {
    /// Whether the container's first process inherits files: gVisor's does not.
    fn passes_files(&self) -> bool {
        self.program.file_name() != Some(OsStr::new("runsc"))
    }

    /// `config.json` as the runtime is to see it.
    fn write_config(&self, spec: &Spec, passes_files: bool) -> Result<(), Failure> {
        let mut spec = spec.clone();
        spec.set_version(OCI_VERSION.to_owned());
        if passes_files && let Some(process) = spec.process_mut() {
            let mode = if self.request.init.is_some() { COMMAND_BELOW_INIT_ARGUMENT } else { COMMAND_ARGUMENT };
            let mut arguments = vec![format!("/proc/self/fd/{PROGRAM_NUMBER}"), mode.to_owned()];
            arguments.extend(process.args().iter().flatten().cloned());
            process.set_args(Some(arguments));
        }
        // Of this process, which the runtime is not.
        let own = format!("/proc/{}/fd/", std::process::id());
        let namespaces = spec.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut());
        for namespace in namespaces.into_iter().flatten() {
            let number = namespace.path().as_ref().and_then(|path| path.strip_prefix("/proc/self/fd").ok());
            let path = number.map(|number| PathBuf::from(&own).join(number));
            if path.is_some() {
                namespace.set_path(path);
            }
        }
        let path = self.work.join("config.json");
        fs::create_dir(&self.work).map_err(|error| host_failure(&self.work.to_string_lossy(), error))?;
        spec.save(&path).map_err(|error| Failure::new(FailureKind::Host, path.to_string_lossy(), &error))
    }

    /// Returns the first process, which waits for the start.
    fn create(&self, stdio: [OwnedFd; STDIO], pipe: OwnedFd, passes_files: bool) -> Result<ProcessId, Failure> {
        let pid_file = self.work.join("pid");
        let (bundle, pid_path) = (self.work.to_string_lossy(), pid_file.to_string_lossy());
        let mut files = Vec::from(stdio);
        if passes_files {
            files.push(open_program(Path::new("/proc/self/exe"))?);
            files.push(pipe);
            files.extend(self.request.init.as_deref().map(open_program).transpose()?);
        }
        let count = (files.len() - STDIO).to_string();
        let mut arguments = vec!["create", "--bundle", &bundle, "--pid-file", &pid_path];
        if passes_files {
            arguments.extend(["--preserve-fds", &count]);
        }
        arguments.push(&self.request.id);
        self.call(&arguments, Some(&files))?;
        let text = fs::read_to_string(&pid_file).map_err(|error| host_failure(&pid_path, error))?;
        text.trim().parse().ok().and_then(ProcessId::of).ok_or_else(|| Failure {
            kind: FailureKind::Host,
            object: "the container's first process".to_owned(),
            detail: "it was gone before it could be looked at".to_owned(),
        })
    }

    /// Runs the runtime to its end. `files` become its descriptors from 0 on; without, it has none worth a name.
    fn call(&self, arguments: &[&str], files: Option<&[OwnedFd]>) -> Result<(), Failure> {
        let name = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let failed = |error: io::Error| host_failure(&name, error);
        let (state, log) = (self.work.join("state"), self.work.join("log"));
        let (state, log) = (state.to_string_lossy().into_owned(), log.to_string_lossy().into_owned());
        let mut words = vec![name.clone(), "--root".into(), state, "--log".into(), log, "--log-format".into(), "json".into()];
        words.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let (arguments, environment) = (c_strings(&words)?, c_strings(&[RUNTIME_PATH.to_owned()])?);
        let path = CString::new(self.program.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
        let null = File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from).map_err(failed)?;
        let files = files.unwrap_or_default();
        let child = sys::fork_child(|| {
            // It must not outlive a start that was given up.
            let bound = set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from);
            let error = match bound.and_then(|()| place(files, &null)) {
                Ok(()) => {
                    sys::reset_signals();
                    sys::execute(&path, &arguments, &environment)
                }
                Err(error) => error,
            };
            error.raw_os_error().unwrap_or(libc::EIO)
        });
        let ended = waitpid(Some(child.map_err(failed)?), WaitOptions::empty()).map_err(|error| failed(error.into()))?;
        match ended {
            Some((_, status)) if status.exit_status() == Some(0) => Ok(()),
            _ => Err(Failure { kind: FailureKind::Host, object: name, detail: self.complaint() }),
        }
    }

    /// The last thing that the runtime has complained of.
    fn complaint(&self) -> String {
        let mut text = Vec::new();
        let log = File::open(self.work.join("log"));
        // Without a log there is nothing to be told.
        let _ = log.and_then(|log| log.take(LOG_MAX_BYTES).read_to_end(&mut text));
        let said = last_error(&String::from_utf8_lossy(&text));
        said.unwrap_or_else(|| format!("it failed and said nothing; is {} an OCI runtime?", self.program.display()))
    }
}

/// In lines of JSON with `level` and `msg`.
fn last_error(log: &str) -> Option<String> {
    let message = |line: &str| {
        let line = serde_json::from_str::<serde_json::Value>(line).ok()?;
        (line["level"] == "error" || line["level"] == "fatal").then(|| line["msg"].as_str().map(str::to_owned))?
    };
    log.lines().filter_map(message).next_back()
}

/// Makes `files` the descriptors from 0 on, and `null` the standard ones that are missing; all others are closed by `execve`.
fn place(files: &[OwnedFd], null: &OwnedFd) -> io::Result<()> {
    sys::close_all_on_exec()?;
    let standard = files.iter().chain(std::iter::repeat(null)).take(files.len().max(STDIO));
    let moved = standard.map(|file| rustix::io::fcntl_dupfd_cloexec(file, OUT_OF_THE_WAY)).collect::<Result<Vec<_>, _>>()?;
    for (number, file) in moved.iter().enumerate() {
        let number = i32::try_from(number).map_err(io::Error::other)?;
        sys::duplicate_to(file.as_fd(), number)?;
    }
    Ok(())
}

/// Whether this argument makes this program the one that executes a container's command.
pub(crate) fn is_mode(argument: &OsStr) -> bool {
    argument == COMMAND_ARGUMENT || argument == COMMAND_BELOW_INIT_ARGUMENT
}

/// What this program does inside a container that an OCI runtime has made: executes the command, or tells why it cannot.
pub(crate) fn become_command(mode: &OsStr, arguments: impl Iterator<Item = std::ffi::OsString>) -> io::Error {
    let arguments = arguments.filter_map(|argument| CString::new(argument.into_encoded_bytes()).ok()).collect::<Vec<_>>();
    let environment =
        std::env::vars_os().filter_map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok());
    let environment = environment.collect::<Vec<_>>();
    let texts = environment.iter().map(|variable| variable.to_string_lossy().into_owned()).collect::<Vec<_>>();
    let command = arguments.first().map(|command| command.to_string_lossy().into_owned()).unwrap_or_default();
    let init = if mode == COMMAND_BELOW_INIT_ARGUMENT {
        match sys::borrow(INIT_NUMBER).and_then(|init| init.try_clone_to_owned()) {
            Ok(init) => Some(init),
            Err(error) => return error,
        }
    } else {
        None
    };
    if let Err(error) = sys::close_all_on_exec() {
        return error;
    }
    let candidates = candidates(&command, &texts).into_iter().filter_map(|path| CString::new(path).ok()).collect();
    let terminal = rustix::termios::isatty(io::stdin());
    let executor = ContainerExecutor::new(Prepared {
        arguments,
        environment,
        candidates,
        v1_tasks: Vec::new(),
        filters: Vec::new(),
        rights: None,
        init,
        terminal,
        introduction: None,
        failure_pipe: PIPE_NUMBER,
    });
    io::Error::other(executor.become_command())
}

#[cfg(test)]
mod tests {
    use super::{last_error, v1_mounts};

    #[test]
    fn v1_trees_are_told_from_the_other() {
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw shared:3 - cgroup2 cgroup2 rw\n\
            33 31 0:30 / /sys/fs/cgroup/pids rw shared:4 - cgroup cgroup rw,pids\n";
        assert_eq!(v1_mounts(mounts), ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/pids"]);
    }

    #[test]
    fn the_last_complaint_is_found() {
        let check = |log: &str, expect: Option<&str>| assert_eq!(last_error(log).as_deref(), expect, "{log}");
        let warning = "{\"level\":\"warning\",\"msg\":\"old\"}\n";
        check("", None);
        check(warning, None);
        check(&format!("{warning}{{\"msg\":\"first\",\"level\":\"error\"}}\nno JSON\n"), Some("first"));
        check("{\"level\":\"error\",\"msg\":\"a\"}\n{\"level\":\"error\",\"msg\":\"b\",\"time\":\"now\"}\n", Some("b"));
    }
}
