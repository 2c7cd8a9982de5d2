//! What the child does: enters the container, becomes its user, and executes the program.
//!
//! The order is the point. Limits that need the host's rights come first; then all namespaces at once; then everything that is looked up
//! by a name, which can now only be the container's; rights are given away last, and the filter comes right before the program.

use std::convert::Infallible;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, fchdir, getcwd, setrlimit, setsid, umask};
use rustix::thread::move_into_thread_name_spaces;

use super::program::Program;
use super::stdio::Stdio;
use super::{Container, rights};
use crate::executor::{candidates, execute_first, not_found};
use crate::request::{Failure, FailureKind};
use crate::user::{self, User};
use crate::{host_failure, start, sys};

/// `/etc/passwd` and `/etc/group` are read up to here; more is refused.
const ACCOUNTS_MAX_BYTES: u64 = 1024 * 1024;

/// Runs the program in the place of this process. Returns only when that failed. `placed`: the process is in its v2 group.
pub(super) fn enter(agent: &UnixStream, container: &Container, program: &Program, placed: bool) -> Failure {
    match try_enter(agent, container, program, placed) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

fn try_enter(agent: &UnixStream, container: &Container, program: &Program, placed: bool) -> Result<Infallible, Failure> {
    enter_container(container, program, placed)?;
    let user = find_user(program)?;
    connect(agent, container, program, &user)?;
    change_folder(&program.cwd)?;
    rights::give_away(program, &user)?;
    execute(program, &user)
}

fn enter_container(container: &Container, program: &Program, placed: bool) -> Result<(), Failure> {
    for tasks in &container.v1_tasks {
        rustix::io::write(tasks, b"0").map_err(|error| host_failure("entering the container's cgroup", error))?;
    }
    if !placed {
        enter_group(container).map_err(|error| host_failure("entering the container's cgroup", error))?;
    }
    // To raise a limit needs a right of the host.
    for limit in &program.process.rlimits {
        set_limit(&limit.name, limit.soft, limit.hard)?;
    }
    // Keys of the agent are not for containers.
    sys::new_session_keyring();
    move_into_thread_name_spaces(container.init.as_fd(), container.namespaces)
        .map_err(|error| host_failure("entering the container", error))?;
    rights::become_root()
}

/// In the first of the groups that takes it. A host without cgroup v2 has none.
fn enter_group(container: &Container) -> Result<(), Errno> {
    let mut result = Ok(());
    for group in &container.unified {
        let entered = openat(group, "cgroup.procs", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|procs| rustix::io::write(procs, b"0"));
        match entered {
            Ok(_) => return Ok(()),
            Err(error) => result = Err(error),
        }
    }
    result
}

fn set_limit(name: &str, soft: u64, hard: u64) -> Result<(), Failure> {
    let failed = |error: Errno| host_failure(name, error);
    let resource = resource(name).ok_or_else(|| failed(Errno::INVAL))?;
    let value = |value: u64| Some(value).filter(|&value| value != u64::MAX);
    setrlimit(resource, Rlimit { current: value(soft), maximum: value(hard) }).map_err(failed)
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_STACK" => Resource::Stack,
        _ => return None,
    })
}

/// The user's numbers in the container.
fn find_user(program: &Program) -> Result<User, Failure> {
    let own = &program.process.user;
    let passwd = read_accounts("/etc/passwd")?;
    let Some(wanted) = &program.user else {
        let home = user::lookup(&own.uid.to_string(), &[], &passwd, "").map_or_else(|_| "/".to_owned(), |user| user.home);
        return Ok(User { uid: own.uid, gid: own.gid, groups: own.additional_gids.clone(), home });
    };
    user::lookup(wanted, &[], &passwd, &read_accounts("/etc/group")?)
}

/// Empty when there is none. Links of `/proc` would lead to files of this process.
fn read_accounts(path: &str) -> Result<String, Failure> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(file) = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) else { return Ok(String::new()) };
    let read = || -> std::io::Result<Vec<u8>> {
        let file = std::fs::File::from(file);
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("not a plain file"));
        }
        let mut text = Vec::new();
        file.take(ACCOUNTS_MAX_BYTES + 1).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error| Failure::new(FailureKind::User, path, &error))?;
    if text.len() as u64 > ACCOUNTS_MAX_BYTES {
        let detail = format!("larger than {ACCOUNTS_MAX_BYTES} bytes");
        return Err(Failure { kind: FailureKind::User, object: path.to_owned(), detail });
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Makes the program's standard input, output and error, and sends the agent its ends.
fn connect(agent: &UnixStream, container: &Container, program: &Program, user: &User) -> Result<(), Failure> {
    let stdio = match program.terminal {
        Some(size) => Stdio::terminal(size, user),
        None => Stdio::pipes(program.stdin, &container.null, user),
    }?;
    stdio.send(agent).map_err(|error| host_failure("sending the program's output to the agent", error))?;
    // Its own session: the agent's terminal, if it has one, is not the container's.
    setsid().map_err(|error| host_failure("making a session", error))?;
    stdio.install().map_err(|error| host_failure("connecting the program's input and output", error))
}

/// A folder of the container: one that is reached otherwise (CVE-2024-21626) has no name that begins with a slash.
fn change_folder(path: &str) -> Result<(), Failure> {
    let failed = |error: Errno| Failure::new(FailureKind::WorkingDirectory, path, &std::io::Error::from(error));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS).map_err(failed)?;
    fchdir(folder).map_err(failed)?;
    match getcwd(Vec::new()) {
        Ok(name) if name.as_bytes().first() == Some(&b'/') => Ok(()),
        Ok(_) => Err(failed(Errno::NOENT)),
        Err(error) => Err(failed(error)),
    }
}

fn execute(program: &Program, user: &User) -> Result<Infallible, Failure> {
    let environment = with_home(program, user);
    let command = program.args.first().map(String::as_str).unwrap_or_default();
    let paths = start::c_strings(&candidates(command, &environment))?;
    let (arguments, environment) = (start::c_strings(&program.args)?, start::c_strings(&environment)?);
    umask(Mode::from_raw_mode(program.process.user.umask));
    sys::close_all_on_exec().map_err(|error| host_failure("closing what is not for the container", error))?;
    sys::reset_signals();
    if program.process.no_new_privileges {
        rights::load_filters(program)?;
    }
    Err(execute_first(&paths, &arguments, &environment).unwrap_or_else(|| not_found(command)))
}

/// Another user has another home, unless the request names one.
fn with_home(program: &Program, user: &User) -> Vec<String> {
    let is_home = |variable: &&String| variable.starts_with("HOME=");
    let has_home = program.env.iter().any(|variable| is_home(&variable));
    if has_home && (program.user.is_none() || program.home_is_given) {
        return program.env.clone();
    }
    let others = program.env.iter().filter(|variable| !is_home(variable)).cloned();
    others.chain([format!("HOME={}", user.home)]).collect()
}
