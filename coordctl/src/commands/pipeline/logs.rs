//! `coordctl pipeline logs`: what the steps of a run print.
//!
//! The lines come from the builder through the coordinator, which keeps them. When following, the stream is opened again whenever it
//! ends before the run does, and no line is shown twice; the command's exit code is the run's result.

use super::follow::{self, Wanted, find};
use super::took::of_run;
use crate::cli::{Format, PipelineLogsArgs};
use crate::client::{Client, ClientError};
use crate::commands::logs::{Resume, Verdict};
use crate::failure::{Exit, Failure};
use crate::output::{Output, Palette, Tone, printable, printable_log_line};
use coord_shared::names::PipelineName;
use coord_shared::wire::{RunLogLine, RunState, RunView};
use std::time::Duration;

/// Longest silence of a stream that is followed: the coordinator sends a heartbeat every 15 s.
const IDLE_MAX: Duration = Duration::from_secs(45);
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Most lines that cannot be read which are each spoken of.
const BAD_LINES_SAID_MAX: u32 = 3;
/// The stream of the builder's own words.
const COORD: &str = "coord";

pub(super) async fn run(args: &PipelineLogsArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let wanted = match args.run {
        Some(number) => Wanted::Exactly(number),
        None if args.next => Wanted::Next,
        None => Wanted::Newest,
    };
    let run = find(&args.name, wanted, args.follow, client, output).await?;
    let mut printer = Printer::new(args.format.format, args.timestamps, output);
    if args.follow {
        return follow_run(run, &mut printer, client, output).await;
    }
    match stream_once(&run, None, &mut printer, client).await {
        Ok(()) => Ok(Exit::Done),
        Err(StreamError::Print(error)) => Err(error.into()),
        Err(StreamError::Client(error)) => Err(super::of_run(&run.run, error)),
    }
}

/// Follows a run that was asked for.
pub(super) async fn follow(
    name: &PipelineName,
    wanted: Wanted,
    format: Format,
    client: &Client,
    output: &Output,
) -> Result<Exit, Failure> {
    let run = find(name, wanted, true, client, output).await?;
    follow_run(run, &mut Printer::new(format, false, output), client, output).await
}

async fn follow_run(mut run: RunView, printer: &mut Printer<'_>, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let mut pause = PAUSE_FIRST;
    let mut said = None;
    loop {
        if said != Some(run.state) && !run.state.is_over() {
            output.message(&format!("run {} of {}: {}", run.run, run.commit.short(), progress(&run)));
            said = Some(run.state);
        }
        let was_over = run.state.is_over();
        let lines_before = printer.lines;
        match stream_once(&run, Some(IDLE_MAX), printer, client).await {
            Ok(()) if was_over => return Ok(result(&run, output)),
            Ok(()) => {}
            Err(StreamError::Print(error)) => return Err(error.into()),
            // Of a run that no builder has yet there may be no log; whether there is the run, the next question tells.
            Err(StreamError::Client(error)) if error.is_not_found() && !was_over => {}
            Err(StreamError::Client(error)) if !error.is_passing() => return Err(super::of_run(&run.run, error)),
            Err(StreamError::Client(error)) => follow::warn(error, output),
        }
        printer.resume.reconnected();
        pause = if printer.lines > lines_before { PAUSE_FIRST } else { (pause * 2).min(PAUSE_MAX) };
        match client.pipeline_run(&run.run).await {
            // The stream is read once more after the end, so that no last line is missed.
            Ok(seen) if seen.state.is_over() => run = seen,
            Ok(seen) => {
                run = seen;
                // Jitter, so that a restarted coordinator is not met by all its watchers at once.
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            }
            Err(error) if !error.is_passing() => return Err(super::of_run(&run.run, error)),
            Err(error) => {
                follow::warn(error, output);
                tokio::time::sleep(pause).await;
            }
        }
    }
}

fn progress(run: &RunView) -> String {
    match (&run.builder, &run.problem) {
        (_, Some(problem)) => format!("{}: {}", run.state, printable(problem)),
        (Some(builder), None) => format!("{} on {builder}", run.state),
        (None, None) => run.state.to_string(),
    }
}

/// Says how a run ended; that is the exit code, too.
fn result(run: &RunView, output: &Output) -> Exit {
    let took = of_run(run, run.ended_at.unwrap_or(run.since));
    let deployed = run.deployed.as_ref().map(|deployed| format!("; {} is revision {}", deployed.workload, deployed.revision));
    match run.state {
        RunState::Succeeded => {
            output.message(&format!("run {} succeeded in {took}{}", run.run, deployed.unwrap_or_default()));
            Exit::Done
        }
        RunState::Skipped => {
            output.message(&format!("run {} had nothing to do: the commit changes nothing that is built", run.run));
            Exit::Done
        }
        RunState::Queued
        | RunState::Building
        | RunState::Assembling
        | RunState::Deploying
        | RunState::Failed
        | RunState::Cancelled
        | RunState::Superseded
        | RunState::Unknown => {
            let detail = run.problem.as_deref().map(str::to_owned);
            let failure = Failure::new(format!("run {} {} after {took}", run.run, ended(run.state))).detail(detail);
            let hint = format!("`coordctl pipeline show {} {}` shows where", run.run.pipeline, run.run.number);
            output.failure(&if run.state == RunState::Failed { failure.hint(hint) } else { failure });
            Exit::Error
        }
    }
}

fn ended(state: RunState) -> &'static str {
    match state {
        RunState::Failed => "failed",
        RunState::Cancelled => "was cancelled",
        RunState::Superseded => "gave way to a newer commit",
        RunState::Queued
        | RunState::Building
        | RunState::Assembling
        | RunState::Deploying
        | RunState::Succeeded
        | RunState::Skipped
        | RunState::Unknown => "ended",
    }
}

#[derive(Debug)]
enum StreamError {
    Client(ClientError),
    Print(std::io::Error),
}

/// Prints until the stream ends.
async fn stream_once(
    run: &RunView,
    follow: Option<Duration>,
    printer: &mut Printer<'_>,
    client: &Client,
) -> Result<(), StreamError> {
    printer.expect(run);
    let mut stream = client.run_logs(&run.run, follow).await.map_err(StreamError::Client)?;
    while let Some(line) = stream.next().await.map_err(StreamError::Client)? {
        printer.print(&line).map_err(StreamError::Print)?;
    }
    Ok(())
}

/// Prints lines, and remembers of which steps they were.
struct Printer<'a> {
    output: &'a Output,
    palette: Palette,
    json: bool,
    timestamps: bool,
    steps: Vec<String>,
    prefix_width: usize,
    resume: Resume<String>,
    /// New ones, so far.
    lines: u64,
    bad_lines: u32,
}

impl<'a> Printer<'a> {
    fn new(format: Format, timestamps: bool, output: &'a Output) -> Self {
        Self {
            output,
            palette: output.palette,
            json: format == Format::Json,
            timestamps,
            steps: Vec::new(),
            prefix_width: 0,
            resume: Resume::new(),
            lines: 0,
            bad_lines: 0,
        }
    }

    /// Steps that lines will come from: only the width of their names depends on it.
    fn expect(&mut self, run: &RunView) {
        for step in &run.steps {
            self.number_of(&step.name());
        }
    }

    /// The step's place among all, which is its colour.
    fn number_of(&mut self, step: &str) -> usize {
        if let Some(at) = self.steps.iter().position(|known| known == step) {
            return at;
        }
        self.prefix_width = self.prefix_width.max(step.chars().count());
        self.steps.push(step.to_owned());
        self.steps.len() - 1
    }

    fn print(&mut self, raw: &[u8]) -> std::io::Result<()> {
        let line: RunLogLine = match serde_json::from_slice(raw) {
            Ok(line) => line,
            Err(_) => {
                self.say_bad(raw);
                return Ok(());
            }
        };
        let step = printable(&line.step);
        match self.resume.judge(&step, Some(line.time)) {
            Verdict::Seen => return Ok(()),
            Verdict::New => {}
            Verdict::NewAfterGap => self.output.warning(&format!("lines of {step} may be missing here")),
        }
        self.lines += 1;
        if self.json {
            return self.output.json_line(&line);
        }
        let number = self.number_of(&step);
        let prefix = format!("{step:width$} |", width = self.prefix_width);
        let mut text = format!("{} ", self.palette.neighbour(number, &prefix));
        if self.timestamps {
            text.push_str(&format!("{} ", line.time));
        }
        // Into a file or a pipe goes what the step wrote; a terminal is protected from it.
        let message = if self.output.is_terminal() { printable_log_line(&line.line) } else { line.line };
        text.push_str(&if line.stream == COORD { self.palette.paint(Tone::Faint, &message) } else { message });
        text.push('\n');
        self.output.data(&text)
    }

    /// A line that is none, as from a newer coordinator: said a few times, then skipped.
    fn say_bad(&mut self, raw: &[u8]) {
        self.bad_lines += 1;
        if self.bad_lines <= BAD_LINES_SAID_MAX {
            let start: String = String::from_utf8_lossy(raw).chars().take(80).collect();
            self.output.warning(&format!("skipped a line that is not a log line: {}", printable(&start)));
        }
    }
}
