//! `coord-agent run`: a one-off container in the foreground.
//!
//! ```text
//!   flags ─▶ a document ─▶ image ready ─▶ container spec ─▶ the runtime, in folders of this process's own
//!   our streams ◀─ person ◀─ frames ─▶ program ─▶ pipes, or a terminal ─▶ the container
//! ```
//! Needs no agent: the image store is opened for a moment, or asked for through the control socket where an agent holds it.

mod document;
mod network;
mod stdio;

use super::access::Access;
use super::exec::{attend, wanted_terminal};
use super::image::pull;
use super::{CommandError, Outcome, failure};
use crate::cli::{RunArgs, RunNetwork};
use crate::output::Output;
use coord_agent::config::Config;
use coord_agent::execute::{OneOff, one_off_spec};
use coord_agent::images::ReadyImage;
use coord_agent::one_off::{Place, sweep};
use coord_agent::programs;
use coord_attach::{Frames, Program, program};
use coord_image::Image;
use coord_runtime::{ContainerSpec, EmbeddedRuntime, Runtime as _, RuntimeEvent, Stdio};
use coord_shared::document::Document;
use coord_shared::names::Digest;
use coord_shared::wire::{ErrorBody, Exit};
use network::Bridge;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use stdio::{Streams, streams};
use tokio::sync::{mpsc, oneshot};

/// As docker tells that a container could not be made.
const NOT_MADE: u8 = 125;
/// Signals that ask it to end, after which it is not asked any more: process 1 of a container ignores what it does not expect.
const ASKED_MAX: u32 = 3;

pub(super) async fn run(args: &RunArgs, config: &Config, output: &Output) -> Result<Outcome, CommandError> {
    match prepare(args, config, output).await {
        Ok(ready) => ready.run(args, output).await,
        Err(error) => {
            output.failure(&error);
            Ok(Outcome::Code(NOT_MADE))
        }
    }
}

/// A container that is ready to be started.
struct Ready {
    place: Place,
    bridge: Option<Bridge>,
    runtime: EmbeddedRuntime,
    spec: ContainerSpec,
    streams: Streams,
}

/// Checks all that can be checked before anything is made; then makes it, or leaves nothing.
async fn prepare(args: &RunArgs, config: &Config, output: &Output) -> Result<Ready, ErrorBody> {
    let terminal = wanted_terminal(args.tty)?;
    let text = document::text(args)?;
    let document = document::parse(&text)?;
    sweep(&config.state_dir, &config.run_dir, &config.helpers_dir).await?;
    let place = Place::make(&config.state_dir, &config.run_dir)?;
    let bridge = match args.network {
        RunNetwork::Bridge => Some(Bridge::open(config).await?),
        RunNetwork::None | RunNetwork::Host => None,
    };
    let streams = streams(args.interactive, terminal)
        .map_err(|e| failure("stdio", format!("cannot make the container's input and output: {e}")))?;
    match make(args, document, (&place, bridge.as_ref()), streams.0, config, output).await {
        Ok((runtime, spec)) => Ok(Ready { place, bridge, runtime, spec, streams: streams.1 }),
        Err(error) => {
            if let Some(bridge) = &bridge {
                bridge.release(place.container()).await;
            }
            place.give_up();
            Err(error)
        }
    }
}

async fn make(
    args: &RunArgs,
    document: Document,
    (place, bridge): (&Place, Option<&Bridge>),
    stdio: Arc<[OwnedFd; 3]>,
    config: &Config,
    output: &Output,
) -> Result<(EmbeddedRuntime, ContainerSpec), ErrorBody> {
    let image = ready_image(&args.image, place, config, output).await?;
    let spec = document::spec(document, &image.digest);
    let bridge = match bridge {
        Some(bridge) => Some(bridge.lease(place.container(), config).await?),
        None => None,
    };
    let lowers = image.lowers;
    let image = Image { digest: image.digest, config: image.config, healthcheck: None, annotations: BTreeMap::new() };
    let one = OneOff { container: place.container(), spec: &spec, image: &image, lowers, bridge, stdio: Stdio::Given(stdio) };
    let spec = one_off_spec(one, config).map_err(|problem| failure("invalid_container", problem))?;
    Ok((place.runtime(&config.helpers_dir, &config.isolation)?, spec))
}

/// The image, pulled where it is not here. Nobody removes it before the place is gone.
async fn ready_image(wanted: &str, place: &Place, config: &Config, output: &Output) -> Result<ReadyImage, ErrorBody> {
    let images = Access::open(config).await?;
    let digest: Digest = match images.inspect(wanted).await {
        Ok(details) => details.row.digest,
        Err(error) if error.code == "no_such_image" => pull(&images, wanted.to_owned(), output).await?.digest,
        Err(error) => return Err(error),
    };
    place.note_image(&digest)?;
    images.ready(digest.to_string()).await
}

impl Ready {
    async fn run(self, args: &RunArgs, output: &Output) -> Result<Outcome, CommandError> {
        let Self { place, bridge, runtime, spec, streams } = self;
        let id = spec.id.clone();
        let done = match runtime.start(spec).await {
            Ok(running) => {
                for weak in &running.weakened {
                    output.note(weak);
                }
                foreground(&runtime, id, streams, args, output).await
            }
            Err(error) => {
                output.failure(&programs::refusal(&error));
                Ok(Outcome::Code(error.exit_status()))
            }
        };
        let container = place.container().clone();
        place.remove(&runtime).await.map_err(ErrorBody::from)?;
        if let Some(bridge) = &bridge {
            bridge.release(&container).await;
        }
        done
    }
}

/// Sits at the container's streams until it ends.
async fn foreground(
    runtime: &EmbeddedRuntime,
    id: String,
    streams: Streams,
    args: &RunArgs,
    output: &Output,
) -> Result<Outcome, CommandError> {
    let (end, ended) = oneshot::channel();
    if let Some(events) = runtime.events() {
        tokio::spawn(tell_end(events, end));
    }
    let Streams { stdin, stdout, stderr } = streams;
    let (runtime, asked) = (runtime.clone(), Cell::new(0));
    let signal = move |number: i32| {
        let ends = [libc::SIGTERM, libc::SIGINT].contains(&number);
        asked.set(asked.get() + u32::from(ends));
        // One that is gone is passed over.
        let _ = if asked.get() >= ASKED_MAX { runtime.kill(&id) } else { runtime.signal(&id, number) };
    };
    let program = Program { stdin, stdout, stderr, terminal: args.tty, ended, signal: Box::new(signal) };
    let (ours, theirs) = Frames::pair();
    tokio::task::spawn_local(program::serve(program, theirs));
    attend(ours, args.interactive, args.tty, output).await
}

async fn tell_end(mut events: mpsc::Receiver<RuntimeEvent>, end: oneshot::Sender<Exit>) {
    if let Some(RuntimeEvent::Exited { exit, .. }) = events.recv().await {
        let _ =
            end.send(Exit { code: exit.code, signal: exit.signal, oom_killed: exit.oom_killed, at: exit.at, memory_limit: None });
    }
}
