//! `coord-agent exec`: a program in a container that runs, as if it ran here.

use super::{CommandError, Outcome, failure};
use crate::cli::ExecArgs;
use crate::output::Output;
use coord_agent::config::Config;
use coord_agent::control::Client;
use coord_attach::{Ended, Frames, person, terminal};
use coord_shared::wire::{ErrorBody, ExecRequest, Exit};

/// Rows and columns of a terminal that does not say (a VT100's).
const SIZE_DEFAULT: (u16, u16) = (24, 80);
/// Added to a signal's number where a program was ended by it (POSIX shells).
const SIGNAL_BASE: i32 = 128;

pub(super) async fn run(args: &ExecArgs, config: &Config, output: &Output) -> Result<Outcome, CommandError> {
    let asked = ExecRequest {
        container: args.instance.clone(),
        command: args.command.clone(),
        environment: args.environment.iter().map(|pair| pair.resolve()).collect(),
        working_dir: args.workdir.clone(),
        user: args.user.clone(),
        terminal: wanted_terminal(args.tty)?,
        stdin: args.interactive,
    };
    match Client::new(&config.run_dir).exec(&asked).await {
        Ok(frames) => attend(frames, args.interactive, args.tty, output).await,
        Err(error) => Err(error.into()),
    }
}

/// The size of the person's terminal, where the program is to have one.
pub(super) fn wanted_terminal(tty: bool) -> Result<Option<(u16, u16)>, ErrorBody> {
    if tty && !terminal::is_terminal() {
        let hint = Some("leave out -t".to_owned());
        return Err(ErrorBody { hint, ..failure("no_terminal", "standard input and output are no terminal".to_owned()) });
    }
    Ok(tty.then(|| terminal::size().unwrap_or(SIZE_DEFAULT)))
}

/// Sits at a program's streams until it ends; its exit code becomes ours.
pub(super) async fn attend(frames: Frames, stdin: bool, tty: bool, output: &Output) -> Result<Outcome, CommandError> {
    let signals = |e| CommandError::from(failure("signals", format!("cannot wait for signals: {e}")));
    let news = terminal::news(tty).map_err(signals)?;
    let raw = |e| CommandError::from(failure("no_terminal", format!("cannot use the terminal: {e}")));
    // While this lives, keys are the program's; dropped, the terminal is as it was.
    let raw = if tty && stdin { Some(terminal::Raw::enter().map_err(raw)?) } else { None };
    let input = stdin.then(terminal::input);
    let (mut out, mut err) = output.streams();
    let ended = person::attach(frames, input, news, &mut out, &mut err).await;
    drop(raw);
    match ended? {
        Ended::Exit(exit) => Ok(Outcome::Code(exit_code(&exit))),
        Ended::Error(error) => Err(error.into()),
        Ended::Cut => {
            let hint = Some("the program may go on; `coord-agent ps` shows the container".to_owned());
            Err(ErrorBody { hint, ..failure("cut", "the agent went away".to_owned()) }.into())
        }
    }
}

/// As a shell tells it.
pub(super) fn exit_code(exit: &Exit) -> u8 {
    let code = exit.code.or_else(|| Some(SIGNAL_BASE + exit.signal?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
