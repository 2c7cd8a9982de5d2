//! `coord-monitor`: the tiny process that stays with one container: its log, its exit status.
//!
//! Started by the shim, which it replaces, and then the parent of the container's first process; or by the agent, when
//! the monitor before it was killed. It reads the container's output from two FIFOs, writes the log and rotates it, and
//! when the first process ends it leaves `exit.json` and ends too. The agent may come and go meanwhile. When the monitor is
//! killed, the output waits in the FIFOs for the next one; what it had read and not yet written waits in a file (`kept`).
//!
//! Its second mode, `--init`, is the first process of containers that have a small one (`init`).
//! There is one per container, so every page counts: no allocation after the start, no threads, no serde, a static
//! binary. Deliberately absent: restarts (the agent's), health, signals to the container (by pidfd, without us).

mod arguments;
mod clock;
mod exit;
mod init;
mod journal;
mod json;
mod kept;
mod log;
mod output;
mod rate;
mod sys;

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use arguments::Arguments;
use kept::Kept;
use log::{Log, Missing};
use output::Output;

/// Exit status for a command line that is not one.
const USAGE: u8 = 2;

/// Lines that were left out are told of when nothing has come for so long, or the next line comes.
const SKIPPED_TOLD_AFTER_MS: i32 = 1000;

fn main() -> ExitCode {
    // For whoever checks an installation.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "--version") {
        let said = std::io::stdout().write_all(concat!("coord-monitor ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
        return if said.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if let Some(child) = child_of_init(&mut std::env::args().skip(1)) {
        std::process::exit(init::run(child));
    }
    let Some(arguments) = Arguments::parse(std::env::args_os().skip(1)) else {
        return ExitCode::from(USAGE);
    };
    sys::ignore_stop_signals();
    match watch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE, // The agent sees that there is no exit.json, and looks after the container itself.
    }
}

/// The number in `--init CHILD`: this is the first process of a container then.
fn child_of_init(arguments: &mut impl Iterator<Item = String>) -> Option<i32> {
    (arguments.next()? == "--init").then(|| arguments.next()?.parse().ok())?
}

/// Logs until the container's first process is gone; then says how it ended.
fn watch(arguments: &Arguments) -> std::io::Result<()> {
    // One at a time: two would share the output between them. The lock ends with its holder, however that ends.
    let only = File::open(&arguments.run)?;
    only.lock()?;
    if arguments.run.join("exit.json").exists() {
        return Ok(()); // the one before has seen the end
    }
    let Kept { out, err, block, lost_lines, skipped_lines, skipped_bytes, .. } = Kept::open(&arguments.run.join("log.state"));
    let mut outputs = [
        Output::open(&arguments.run.join("out.fifo"), json::Stream::Out, out)?,
        Output::open(&arguments.run.join("err.fifo"), json::Stream::Err, err)?,
    ];
    let mut log = Log::new(arguments, block, Missing { lost_lines, skipped_lines, skipped_bytes });
    // What the monitor before this one was about to do.
    log.flush();
    for output in &mut outputs {
        output.log_lines(&mut log);
    }
    log.flush();
    let init = sys::ProcessFd::open(arguments.init, arguments.start_ticks);
    if let Some(init) = &init {
        loop {
            let pause = log.has_skipped().then_some(SKIPPED_TOLD_AFTER_MS);
            let ready = sys::wait_readable(init, outputs.each_ref().map(Output::file), pause)?;
            if ready.ended {
                break;
            }
            if ready.nothing {
                log.tell_skipped();
            }
            for output in &mut outputs {
                output.copy(&mut log)?;
            }
            log.flush();
        }
    }
    let exit = exit::Exit::of(arguments, init.as_ref());
    // All other processes of the container ended before its first one counted as ended: what is in the FIFOs is all.
    for output in &mut outputs {
        while output.copy(&mut log)? {}
        output.finish(&mut log);
    }
    log.tell_skipped();
    log.flush();
    exit.write(&arguments.run, log.lost_lines())
}
