//! The commands for whoever is logged in to the host: one file each.
//!
//! Each asks for a body, from the store or through the control socket, and says how it is shown. Deliberately absent: the work.

mod access;
mod doctor;
mod events;
mod exec;
mod image;
mod inspect;
mod logs;
mod ps;
mod run;
mod top;
mod volumes;

use crate::cli::{
    DEFAULT_CONFIG, DoctorArgs, EventsArgs, ExecArgs, HostArgs, ImageArgs, InspectArgs, LogsArgs, PsArgs, RunArgs, TopArgs,
    VolumesArgs,
};
use crate::output::Output;
use coord_agent::config::{self, Config, ConfigError};
use coord_shared::wire::ErrorBody;
use std::path::Path;

/// How a command ended, other than by an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is well.
    Done,
    /// It did its work, and found something that is not well.
    Bad,
    /// A program ended with this exit code, which is ours.
    Code(u8),
}

/// Why a command did not do its work.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// What went wrong, for a person.
    Failed(ErrorBody),
    /// Nobody reads our output any more.
    BrokenPipe,
}

/// Runs an `image` command.
pub(crate) async fn image(args: ImageArgs, output: &Output) -> Result<Outcome, CommandError> {
    let config = configuration(&args.host)?;
    image::run(args.command, &config, args.format.format, output).await
}

/// Runs a `volumes` command.
pub(crate) async fn volumes(args: VolumesArgs, output: &Output) -> Result<Outcome, CommandError> {
    volumes::run(args.command, &configuration(&args.host)?, args.format.format, output).await
}

/// Runs `ps`.
pub(crate) async fn ps(args: PsArgs, output: &Output) -> Result<Outcome, CommandError> {
    ps::run(&configuration(&args.host)?, args.format.format, output).await
}

/// Runs `logs`.
pub(crate) async fn logs(args: LogsArgs, output: &Output) -> Result<Outcome, CommandError> {
    logs::run(&args, &configuration(&args.host)?, output).await
}

/// Runs `exec`.
pub(crate) async fn exec(args: ExecArgs, output: &Output) -> Result<Outcome, CommandError> {
    let done = exec::run(&args, &configuration(&args.host)?, output).await;
    match done {
        Err(CommandError::Failed(error)) if shell_code(&error).is_some() => {
            output.failure(&error);
            Ok(Outcome::Code(shell_code(&error).unwrap_or(1)))
        }
        done => done,
    }
}

/// The exit code by which shells tell that there is no such command, or none that can be executed.
fn shell_code(error: &ErrorBody) -> Option<u8> {
    match error.code.as_str() {
        "command_not_found" => Some(127),
        "command_not_executable" => Some(126),
        _ => None,
    }
}

/// Runs `top`.
pub(crate) async fn top(args: TopArgs, output: &Output) -> Result<Outcome, CommandError> {
    top::run(&args, &configuration(&args.host)?, output).await
}

/// Runs `run`.
pub(crate) async fn run(args: RunArgs, output: &Output) -> Result<Outcome, CommandError> {
    run::run(&args, &configuration(&args.host)?, output).await
}

/// Runs `inspect`.
pub(crate) async fn inspect(args: InspectArgs, output: &Output) -> Result<Outcome, CommandError> {
    inspect::run(&args.instance, &configuration(&args.host)?, output).await
}

/// Runs `events`.
pub(crate) async fn events(args: EventsArgs, output: &Output) -> Result<Outcome, CommandError> {
    events::run(&args, &configuration(&args.host)?, output).await
}

/// Runs `doctor`.
pub(crate) async fn doctor(args: DoctorArgs, output: &Output) -> Result<Outcome, CommandError> {
    doctor::run(&args, output).await
}

/// Says that what is shown comes from elsewhere.
fn without_agent(output: &Output) {
    output.note("no agent runs here; this is what its folders say");
}

fn configuration(args: &HostArgs) -> Result<Config, ErrorBody> {
    let config = load(args).map_err(|error| failure("invalid_configuration", coord_agent::chain(&error)))?;
    with_state_dir(config, args)
}

/// What `--config` names, else what lies at the usual place, else the defaults.
fn load(args: &HostArgs) -> Result<Config, ConfigError> {
    let default = Path::new(DEFAULT_CONFIG);
    match &args.config {
        Some(path) => config::load(path),
        None if default.exists() => config::load(default),
        None => config::defaults(),
    }
}

fn with_state_dir(mut config: Config, args: &HostArgs) -> Result<Config, ErrorBody> {
    if let Some(state_dir) = &args.state_dir {
        let absolute = std::path::absolute(state_dir);
        config.state_dir =
            absolute.map_err(|e| failure("invalid_folder", format!("cannot find {}: {e}", state_dir.display())))?;
    }
    Ok(config)
}

fn failure(code: &str, message: String) -> ErrorBody {
    ErrorBody { code: code.to_owned(), message, hint: None, detail: None }
}

impl From<ErrorBody> for CommandError {
    fn from(error: ErrorBody) -> Self {
        Self::Failed(error)
    }
}

/// Only writing to stdout fails with a bare I/O error.
impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::Failed(failure("output", format!("cannot write to stdout: {error}")))
    }
}
