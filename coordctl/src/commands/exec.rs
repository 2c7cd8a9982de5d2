//! `coordctl exec`: runs a program in a container, with this terminal as its own.

use crate::cli::ExecArgs;
use crate::client::{Client, InstanceQuery};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use coord_attach::{Ended, Frames, person, socket, terminal};
use coord_shared::wire::{self, ExecRequest};

/// What a shell adds to a signal's number.
const SIGNALLED: i32 = 128;

pub(super) async fn run(args: &ExecArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    if args.tty && !terminal::is_terminal() {
        return Err(Failure::new("standard input and output are no terminal").hint("leave out --tty (-t)"));
    }
    let asked = ExecRequest {
        container: String::new(), // the coordinator's to fill in
        command: args.command.clone(),
        environment: args.env.iter().map(|pair| variable(pair)).collect::<Result<_, _>>()?,
        working_dir: args.workdir.clone(),
        user: args.user.clone(),
        terminal: args.tty.then(|| terminal::size().unwrap_or((24, 80))),
        stdin: args.interactive,
    };
    let place = InstanceQuery { workload: args.workload.clone(), host: args.host.clone(), index: args.index };
    let connection = output.waiting("waiting for the host to answer", client.exec(&place, &asked)).await?;

    let (ours, theirs) = Frames::pair();
    let carried = tokio::spawn(socket::carry(connection, theirs));
    let cannot = |error: std::io::Error| Failure::of(&error).about("this terminal");
    let news = terminal::news(args.tty).map_err(cannot)?;
    let raw = if args.tty { Some(terminal::Raw::enter().map_err(cannot)?) } else { None };
    let input = args.interactive.then(terminal::input);
    let (mut out, mut err) = output.streams();
    let ended = person::attach(ours, input, news, &mut out, &mut err).await;
    drop(raw);
    match ended? {
        Ended::Exit(exit) => Ok(Exit::Program(code(&exit))),
        Ended::Error(error) => Err(Failure::new(error.message).maybe_hint(error.hint)),
        Ended::Cut => {
            let why = match carried.await {
                Ok(Err(error)) => Failure::of(&error).message,
                Ok(Ok(())) | Err(_) => "the coordinator ended it".to_owned(),
            };
            let cut = format!("the connection was cut: {why}");
            Err(Failure::new(cut)
                .hint("the program was told by SIGHUP; whether it ended, `coordctl exec` into the container shows"))
        }
    }
}

fn variable(pair: &str) -> Result<(String, String), Failure> {
    match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::new(format!("--env {pair:?} is not NAME=VALUE"))),
    }
}

/// As a shell tells it.
fn code(exit: &wire::Exit) -> u8 {
    let code = exit.code.or(exit.signal.map(|signal| SIGNALLED + signal)).unwrap_or(255);
    u8::try_from(code & 0xFF).unwrap_or(u8::MAX)
}
