//! `coord exec`: a program in a second container that runs, as if it ran here.

use crate::cli::ExecArgs;
use crate::engine::Engine;
use crate::failure::{Failure, code_of_exit, failure, local};
use crate::output::Output;
use coord_attach::terminal::{self, Raw};
use coord_attach::{Ended, Frames, person};
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::ExecAsked;

/// Rows and columns of a terminal that does not say (a VT100's).
const SIZE_DEFAULT: (u16, u16) = (24, 80);

pub(super) async fn run(engine: &Engine, args: ExecArgs, output: &Output) -> Result<u8, Failure> {
    check_terminal(args.tty, args.interactive)?;
    let asked = ExecAsked {
        command: args.command,
        environment: args.environment.iter().filter_map(|variable| variable.resolve()).collect(),
        working_dir: args.workdir,
        user: args.user,
        terminal: args.tty.then(|| terminal::size().unwrap_or(SIZE_DEFAULT)),
        stdin: args.interactive,
    };
    match engine {
        Engine::Door(door) => attend(door.exec(&args.name, &asked).await?, args.interactive, args.tty, output).await,
        Engine::Laptop(laptop) => {
            let raw = raw(args.tty, args.interactive)?;
            let code = laptop.exec(&args.name, &asked).await;
            drop(raw);
            Ok(u8::try_from(code?).unwrap_or(u8::MAX))
        }
    }
}

/// Who wants to type into a terminal must have one.
pub(super) fn check_terminal(tty: bool, interactive: bool) -> Result<(), ErrorBody> {
    if tty && interactive && !rustix::termios::isatty(std::io::stdin()) {
        return Err(failure("no_terminal", "standard input is no terminal".to_owned(), Some("leave out -t")));
    }
    Ok(())
}

/// While this lives, keys are the program's; dropped, the terminal is as it was.
pub(super) fn raw(tty: bool, interactive: bool) -> Result<Option<Raw>, ErrorBody> {
    if tty && interactive { Raw::enter().map(Some).map_err(|e| local("use the terminal", e)) } else { Ok(None) }
}

/// Sits at a program's streams until it ends; its exit code becomes ours.
async fn attend(frames: Frames, stdin: bool, tty: bool, output: &Output) -> Result<u8, Failure> {
    let news = terminal::news(tty).map_err(|e| local("wait for signals", e))?;
    let raw = raw(tty, stdin)?;
    let input = stdin.then(terminal::input);
    let (mut out, mut err) = output.streams();
    let ended = person::attach(frames, input, news, &mut out, &mut err).await;
    drop(raw);
    match ended? {
        Ended::Exit(exit) => Ok(code_of_exit(&exit)),
        Ended::Error(error) => Err(error.into()),
        Ended::Cut => {
            let hint = Some("the program may go on; `coord ps` shows the container");
            Err(failure("cut", "the agent went away".to_owned(), hint).into())
        }
    }
}
