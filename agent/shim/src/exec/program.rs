//! What is to be executed, and with which rights: the container's `config.json`, changed by what the request says.

use std::fs;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use crate::exec_request::ExecRequest;
use crate::request::{Failure, FailureKind};
use crate::{host_failure, start, sys};

/// A larger `config.json` is not ours. The environment is its largest part; the kernel takes 2 MiB of it.
const CONFIG_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// For a terminal, where neither image nor request name its kind.
const TERM: &str = "TERM=xterm";

/// What programs expect to find, and what container engines give them.
const UMASK: u32 = 0o022;

/// See the module's description.
pub(super) struct Program {
    /// The process that the container was given, which is the measure of this one.
    pub(super) process: Process,
    pub(super) args: Vec<String>,
    /// Without the `HOME` of a user who is not the container's own.
    pub(super) env: Vec<String>,
    pub(super) cwd: String,
    /// Who it is to be, when not the container's own user.
    pub(super) user: Option<String>,
    /// The request names a home.
    pub(super) home_is_given: bool,
    pub(super) terminal: Option<(u16, u16)>,
    pub(super) stdin: bool,
    /// To be loaded in this order.
    pub(super) filters: Vec<Vec<sys::Instruction>>,
}

/// `process` of `config.json`, as far as it matters here (github.com/opencontainers/runtime-spec, config.md).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process {
    pub(super) user: Account,
    #[serde(default)]
    env: Vec<String>,
    cwd: String,
    /// None at all where absent.
    #[serde(default)]
    pub(super) capabilities: Capabilities,
    #[serde(default)]
    pub(super) rlimits: Vec<Rlimit>,
    #[serde(default)]
    pub(super) no_new_privileges: bool,
    oom_score_adj: Option<i32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Account {
    #[serde(default)]
    pub(super) uid: u32,
    #[serde(default)]
    pub(super) gid: u32,
    #[serde(default = "default_umask")]
    pub(super) umask: u32,
    #[serde(default)]
    pub(super) additional_gids: Vec<u32>,
}

fn default_umask() -> u32 {
    UMASK
}

/// Names like `CAP_CHOWN`. Ambient ones are given to none but the container's own command.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Capabilities {
    pub(super) bounding: Vec<String>,
    pub(super) effective: Vec<String>,
    pub(super) permitted: Vec<String>,
    pub(super) inheritable: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Rlimit {
    /// `RLIMIT_NOFILE`.
    #[serde(rename = "type")]
    pub(super) name: String,
    pub(super) soft: u64,
    pub(super) hard: u64,
}

#[derive(Deserialize)]
struct Config {
    process: Process,
}

impl Program {
    /// Reads what the host has of it.
    pub(super) fn load(request: &ExecRequest) -> Result<Program, Failure> {
        let Config { process } = read_config(&request.bundle.join("config.json"))?;
        let filters = match &request.seccomp {
            Some(path) => start::read_filters(path).map_err(|error| host_failure(&path.to_string_lossy(), error))?,
            None => Vec::new(),
        };
        Ok(Program {
            args: request.args.clone(),
            env: environment(&process.env, &request.env, request.terminal.is_some()),
            cwd: request.cwd.clone().unwrap_or_else(|| process.cwd.clone()),
            user: request.user.clone(),
            home_is_given: request.env.iter().any(|(name, _)| name == "HOME"),
            terminal: request.terminal,
            stdin: request.stdin,
            filters,
            process,
        })
    }

    /// How soon the kernel ends it for want of memory: inherited by the program. To lower it needs CAP_SYS_RESOURCE on the host.
    pub(super) fn set_oom_score_adjustment(&self) -> Result<(), Failure> {
        let path = "/proc/self/oom_score_adj";
        let now = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i32>().ok());
        match self.process.oom_score_adj {
            Some(wanted) if now != Some(wanted) => fs::write(path, wanted.to_string()).map_err(|error| host_failure(path, error)),
            _ => Ok(()),
        }
    }
}

fn read_config(path: &Path) -> Result<Config, Failure> {
    let read = || -> std::io::Result<Config> {
        let mut text = Vec::new();
        fs::File::open(path)?.take(CONFIG_MAX_BYTES).read_to_end(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    };
    read().map_err(|error| Failure::new(FailureKind::Host, path.to_string_lossy(), &error))
}

/// The container's environment with the request's variables in the place of those of the same name.
fn environment(container: &[String], request: &[(String, String)], terminal: bool) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let replaced = |variable: &&String| request.iter().any(|(given, _)| *given == name(variable));
    let mut all = container.iter().filter(|variable| !replaced(variable)).cloned().collect::<Vec<_>>();
    all.extend(request.iter().map(|(name, value)| format!("{name}={value}")));
    if terminal && !all.iter().any(|variable| name(variable) == "TERM") {
        all.push(TERM.to_owned());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{Config, environment};

    #[test]
    fn variables_of_the_request_replace_those_of_the_container() {
        let check = |container: &[&str], request: &[(&str, &str)], terminal: bool, expect: &[&str]| {
            let container = container.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
            let request = request.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>();
            assert_eq!(environment(&container, &request, terminal), expect);
        };
        check(&["A=1", "B=2"], &[], false, &["A=1", "B=2"]);
        check(&["A=1", "B=2"], &[("A", "x=y"), ("C", "")], false, &["B=2", "A=x=y", "C="]);
        check(&["A=1"], &[], true, &["A=1", "TERM=xterm"]);
        check(&["TERM=dumb"], &[], true, &["TERM=dumb"]);
        check(&["TERM=dumb"], &[("TERM", "vt100")], true, &["TERM=vt100"]);
    }

    #[test]
    fn a_configuration_may_leave_out_what_is_not_required() {
        let config = r#"{"process":{"user":{"uid":0,"gid":0},"cwd":"/","args":["sh"]},"hooks":{}}"#;
        let config = serde_json::from_str::<Config>(config).expect("a configuration");
        assert_eq!(config.process.user.umask, 0o022);
        assert!(config.process.capabilities.bounding.is_empty() && !config.process.no_new_privileges);
    }
}
