//! `coord run`: a second container, left running or sat at until it ends.
//!
//! Its standard files are pipes (or a terminal) whose other ends we hold: the agent is not between it and us, so one that is replaced
//! meanwhile cuts nothing; we only ask the next one for the end.

use super::containers::{exit_code, has_ended};
use super::exec::{check_terminal, raw};
use crate::cli::RunArgs;
use crate::door::letters;
use crate::engine::Engine;
use crate::failure::{Failure, SIGNAL_BASE, failure, local};
use crate::laptop::{Attached, Wanted};
use crate::output::Output;
use crate::stdio::{Carriers, Streams, streams};
use coord_shared::names::ChildName;
use coord_shared::quantity::{Signal, Span};
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{ChildView, NewChild, Stop};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Letters that make a chosen name one that nobody has chosen before: 40 bits.
const NAME_LETTERS: usize = 8;
/// SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGCONT (signal(7)): what is passed on.
const PASSED_ON: [i32; 7] = [1, 2, 3, 10, 12, 15, 18];
/// SIGINT, SIGTERM: ask it to end.
const ASKS: [i32; 2] = [2, 15];
/// Signals that ask it to end, after which it is not asked any more: process 1 of a container ignores what it does not expect.
const ASKED_MAX: u32 = 3;
/// SIGWINCH (signal(7)).
const RESIZED: i32 = 28;
/// Whoever gives up does not wait for an agent that is away.
const GIVE_UP_MAX: Duration = Duration::from_secs(2);
/// News that may wait.
const NEWS_MAX: usize = 8;

pub(super) async fn run(engine: &Engine, args: RunArgs, output: &Output) -> Result<u8, Failure> {
    check_terminal(args.tty, args.interactive)?;
    let (detach, wanted) = (args.detach, Wanted { stdin: args.interactive, tty: args.tty });
    let asked = asked(args)?;
    if detach {
        let child = engine.start(&asked).await?;
        output.data(&format!("{}\n", child.name))?;
        return Ok(0);
    }
    let mut news = news(wanted.tty).map_err(|e| local("wait for signals", e))?;
    let starting = start(engine, &asked, wanted);
    tokio::pin!(starting);
    let started = loop {
        let number = tokio::select! {
            started = &mut starting => break started,
            number = terminated(&mut news) => number,
        };
        if !pass_on_early(engine, &asked, number).await {
            return Ok(give_up(engine, &asked, number).await);
        }
    };
    let (child, sitting) = started?;
    let raw = raw(wanted.tty, wanted.stdin)?;
    let sitting = sitting.begin()?;
    let ended = until_end(engine, child, news, &sitting, output).await;
    if ended.is_ok() {
        sitting.drain().await;
    }
    drop(raw);
    let ended = ended?;
    if let Engine::Laptop(laptop) = engine {
        laptop.close(&ended).await?;
    }
    if let Some(reason) = &ended.reason {
        output.note(&format!("{}: {reason}", ended.name));
    } else if let Some(exit) = ended.exit.filter(|exit| exit.oom_killed) {
        output.note(&format!("{}: {exit}", ended.name));
    }
    Ok(exit_code(&ended))
}

/// Where somebody sits.
enum Sitting {
    /// At pipes whose other ends the container has.
    Pipes(Carriers),
    /// At a connection to an engine.
    Connection(Attached),
}

/// The same, before anything is carried.
enum Ready {
    Pipes(Streams),
    Connection(Attached),
}

impl Ready {
    fn begin(self) -> Result<Sitting, ErrorBody> {
        Ok(match self {
            Self::Pipes(streams) => {
                Sitting::Pipes(streams.carry().map_err(|e| local("carry the container's input and output", e))?)
            }
            Self::Connection(attached) => Sitting::Connection(attached),
        })
    }
}

impl Sitting {
    async fn resize(&self) {
        match self {
            Self::Pipes(carriers) => carriers.resize(),
            Self::Connection(attached) => attached.resize().await,
        }
    }

    async fn drain(&self) {
        match self {
            Self::Pipes(carriers) => carriers.drain().await,
            Self::Connection(attached) => attached.drain().await,
        }
    }
}

async fn start(engine: &Engine, asked: &NewChild, wanted: Wanted) -> Result<(ChildView, Ready), ErrorBody> {
    match engine {
        Engine::Door(door) => {
            let made = streams(wanted.stdin, wanted.tty);
            let (theirs, ours) = made.map_err(|e| local("make the container's input and output", e))?;
            Ok((door.start(asked, Some(&theirs)).await?, Ready::Pipes(ours)))
        }
        Engine::Laptop(laptop) => {
            let (child, attached) = laptop.start_attached(asked, wanted).await?;
            Ok((child, Ready::Connection(attached)))
        }
    }
}

/// What was typed, as the door wants it. It has a name before it is asked for: so it can be found whatever becomes of the answer.
fn asked(args: RunArgs) -> Result<NewChild, ErrorBody> {
    let name = match args.name {
        Some(name) => name,
        None => chosen_name()?,
    };
    let mut environment: Vec<(String, String)> = args.environment.iter().filter_map(|variable| variable.resolve()).collect();
    if args.tty && !environment.iter().any(|(name, _)| name == "TERM") {
        // As every engine says it; programs that know better are told with -e TERM.
        environment.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    Ok(NewChild {
        image: args.image,
        name: Some(name),
        command: (!args.command.is_empty()).then_some(args.command),
        entrypoint: args.entrypoint.map(|program| if program.is_empty() { Vec::new() } else { vec![program] }),
        environment,
        working_dir: args.workdir,
        user: args.user,
        caches: args.caches.into_iter().map(|cache| cache.0).collect(),
        memory: args.memory,
        cpus: args.cpus,
        pids: args.pids,
        read_only: args.read_only,
        init: args.init,
        network: args.network.map(Into::into),
        cap_drop: args.cap_drop,
        stdio: None,
        verify_by_log: args.verify_by_log,
    })
}

fn chosen_name() -> Result<ChildName, ErrorBody> {
    let letters = letters(NAME_LETTERS).map_err(|e| local("get random numbers", e))?;
    format!("run-{letters}").parse().map_err(|e| failure("local", format!("{e}"), None))
}

/// Passes on signals and sizes until it ends.
async fn until_end(
    engine: &Engine,
    child: ChildView,
    mut news: mpsc::Receiver<i32>,
    sitting: &Sitting,
    output: &Output,
) -> Result<ChildView, ErrorBody> {
    if has_ended(&child) {
        return Ok(child);
    }
    let waited = engine.wait(&child.name);
    tokio::pin!(waited);
    let mut asked = 0;
    loop {
        let number = tokio::select! {
            ended = &mut waited => return ended,
            Some(number) = news.recv() => number,
        };
        if number == RESIZED {
            sitting.resize().await;
            continue;
        }
        asked += u32::from(ASKS.contains(&number));
        let signal = if asked >= ASKED_MAX { Signal::KILL } else { Signal(number) };
        let passed_on = tokio::select! {
            ended = &mut waited => return ended,
            passed_on = engine.signal(&child.name, signal) => passed_on,
        };
        if let Err(error) = passed_on
            && error.code != "not_running"
        {
            output.failure(&error);
        }
    }
}

/// The first signal that asks us to end.
async fn terminated(news: &mut mpsc::Receiver<i32>) -> i32 {
    loop {
        match news.recv().await {
            Some(number) if number <= 3 || ASKS.contains(&number) => return number,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// It may run already, although we have not heard so yet: then the signal is its own. Whether it was passed on.
async fn pass_on_early(engine: &Engine, asked: &NewChild, number: i32) -> bool {
    let Some(name) = &asked.name else { return false };
    let passed_on = tokio::time::timeout(GIVE_UP_MAX, engine.signal(name, Signal(number))).await;
    passed_on.is_ok_and(|passed_on| passed_on.is_ok())
}

/// Nobody wants it any more before it runs.
async fn give_up(engine: &Engine, asked: &NewChild, number: i32) -> u8 {
    if let Some(name) = &asked.name {
        let stop = Stop { signal: Some(Signal::KILL), grace: Some(Span::seconds(0)) };
        let stopped = async {
            match engine {
                Engine::Door(door) => door.stop(name, &stop).await.map(drop),
                Engine::Laptop(laptop) => laptop.discard(name).await,
            }
        };
        // It may not be there yet, and then never is: the question for it was taken back.
        let _ = tokio::time::timeout(GIVE_UP_MAX, stopped).await;
    }
    u8::try_from(SIGNAL_BASE + number).unwrap_or(u8::MAX)
}

/// Signals that are meant for it, and new sizes of our terminal if it has one.
fn news(tty: bool) -> std::io::Result<mpsc::Receiver<i32>> {
    let (sender, receiver) = mpsc::channel(NEWS_MAX);
    for number in PASSED_ON.into_iter().chain(tty.then_some(RESIZED)) {
        let mut signals = signal(SignalKind::from_raw(number))?;
        let sender = sender.clone();
        tokio::spawn(async move { while signals.recv().await.is_some() && sender.send(number).await.is_ok() {} });
    }
    Ok(receiver)
}
