//! `coord-agent logs`: what an instance writes, from the files themselves.

use super::{CommandError, Outcome, failure};
use crate::cli::{Format, Logged, LogsArgs};
use crate::output::Output;
use coord_agent::clock;
use coord_agent::config::Config;
use coord_agent::containers::child_log;
use coord_agent::execute::log_path;
use coord_agent::logs::{LogLine, LogStream};
use coord_agent::sessions;
use coord_shared::text::printable_log_line;
use coord_shared::wire::ErrorBody;
use jiff::Timestamp;
use std::io;
use std::path::{Path, PathBuf};

/// Lines to begin with where nothing is said, and where only a time is.
const TAIL_DEFAULT: u32 = 100;
const TAIL_SINCE_MAX: u32 = 10_000;

pub(super) async fn run(args: &LogsArgs, config: &Config, output: &Output) -> Result<Outcome, CommandError> {
    let path = find(&args.instance, config)?;
    let tail = args.tail.unwrap_or(if args.since.is_some() { TAIL_SINCE_MAX } else { TAIL_DEFAULT });
    let tail = usize::try_from(tail).unwrap_or(usize::MAX);
    let since = args.since.map(|since| since.at(clock::now().wall));
    let (old, follow) = sessions::begin(&path, tail, since, args.follow).map_err(|error| unreadable(&path, &error))?;
    let mut printer = Printer::new(args, output);
    printer.print(&old)?;
    let Some(mut follow) = follow else { return Ok(Outcome::Done) };
    loop {
        let lines = follow.next().await.map_err(|error| unreadable(&path, &error))?;
        printer.print(&lines)?;
    }
}

fn find(wanted: &Logged, config: &Config) -> Result<PathBuf, ErrorBody> {
    let (found, message) = match wanted {
        Logged::Instance(instance) => {
            let path = log_path(&config.state_dir.join("log"), instance);
            let message = format!("instance {instance} has no log on this host; it has not run here");
            (Some(path).filter(|path| path.exists()), message)
        }
        Logged::Child { parent, child } => {
            let message = format!(
                "{parent} has no log of a container {child} within it; the output of one that is attached goes to whoever started it"
            );
            (child_log(&config.state_dir, parent, child), message)
        }
    };
    let hint = Some("`coord-agent ps` lists the instances, and what runs within them".to_owned());
    found.ok_or_else(|| ErrorBody { hint, ..failure("no_log", message) })
}

fn unreadable(path: &Path, error: &io::Error) -> ErrorBody {
    let hint = Some("use sudo".to_owned()).filter(|_| error.kind() == io::ErrorKind::PermissionDenied);
    ErrorBody { hint, ..failure("log", format!("cannot read {}: {error}", path.display())) }
}

/// Chooses and prints lines.
struct Printer<'a> {
    args: &'a LogsArgs,
    output: &'a Output,
    since: Option<Timestamp>,
    /// Whether the last line of stdout, and that of stderr, goes on in the next one.
    goes_on: [bool; 2],
}

impl<'a> Printer<'a> {
    fn new(args: &'a LogsArgs, output: &'a Output) -> Self {
        Self { args, output, since: args.since.map(|since| since.at(clock::now().wall)), goes_on: [false; 2] }
    }

    fn print(&mut self, lines: &[LogLine]) -> io::Result<()> {
        for line in lines {
            match self.args.format.format {
                _ if !self.is_wanted(line) => {}
                Format::Json => self.output.json_line(line)?,
                Format::Table => self.print_text(line)?,
            }
        }
        Ok(())
    }

    fn is_wanted(&self, line: &LogLine) -> bool {
        let stream = match line.stream {
            LogStream::Out => !self.args.stderr,
            LogStream::Err => !self.args.stdout,
        };
        // A line whose time cannot be read is better shown than lost.
        let is_old = |since: Timestamp| line.time.parse::<Timestamp>().is_ok_and(|time| time < since);
        stream && !self.since.is_some_and(is_old)
    }

    /// Into a file or a pipe goes what the container wrote; a terminal is protected from it.
    fn print_text(&mut self, line: &LogLine) -> io::Result<()> {
        let is_error = line.stream == LogStream::Err;
        let goes_on = &mut self.goes_on[usize::from(is_error)];
        let is_beginning = !std::mem::replace(goes_on, line.partial);
        let mut text = String::new();
        if self.args.timestamps && is_beginning {
            text = format!("{} ", line.time);
        }
        text.push_str(&if self.output.is_terminal() { printable_log_line(&line.message) } else { line.message.clone() });
        if !line.partial {
            text.push('\n');
        }
        if is_error { self.output.error_data(&text) } else { self.output.data(&text) }
    }
}
