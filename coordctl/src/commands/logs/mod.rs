//! `coordctl logs`: what a workload writes.
//!
//! The stream comes from the agents through the coordinator. When following, it is opened again whenever it is cut, and `resume`
//! sees to it that no line is shown twice.

mod line;
mod resume;

use crate::cli::{Format, LogsArgs};
use crate::client::{Client, ClientError, LogsQuery};
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Palette, printable, printable_log_line};
use coord_shared::quantity::Span;
use jiff::Timestamp;
use line::{Line, Origin};
pub(super) use resume::{Resume, Verdict};
use std::time::Duration;

/// Longest silence of a stream that is followed: the coordinator sends a heartbeat every 15 s.
const IDLE_MAX: Duration = Duration::from_secs(45);
/// Lines of each instance to begin with where nobody says how many, or since when.
const TAIL_DEFAULT_LINES: u32 = 100;
/// Lines of each instance to ask for again after a cut, to bridge what was written meanwhile.
const RESUME_TAIL_LINES: u32 = 1000;
const RECONNECT_FIRST: Duration = Duration::from_millis(250);
const RECONNECT_MAX: Duration = Duration::from_secs(10);
/// A stream that lasted this long was no failed try.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// Most lines that cannot be read which are each spoken of.
const BAD_LINES_SAID_MAX: u32 = 3;

pub(super) async fn run(args: &LogsArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let mut printer = Printer::new(args, output);
    printer.expect(&expected(args, client, output).await);
    let mut query = LogsQuery {
        workload: args.workload.clone(),
        host: args.host.clone(),
        index: args.index,
        tail: args.tail.or(args.since.is_none().then_some(TAIL_DEFAULT_LINES)),
        follow: args.follow,
        since: args.since.as_deref().map(|text| since(text, clock::wall())).transpose()?,
    };
    let mut pause = RECONNECT_FIRST;
    loop {
        let started = clock::instant();
        let end = stream_once(client, &query, &mut printer).await;
        let reason = match end {
            Ok(()) if !args.follow => return Ok(Exit::Done),
            Ok(()) => "the coordinator ended the stream".to_owned(),
            Err(StreamError::Print(error)) => return Err(error.into()),
            // Before the first stream stood, the person is to know at once; after it, the world is known to be there.
            Err(StreamError::Client(error)) if !args.follow || !printer.connected || !error.is_passing() => {
                return Err(error.into());
            }
            Err(StreamError::Client(error)) => Failure::from(error).message,
        };
        if started.elapsed() >= STABLE_AFTER {
            pause = RECONNECT_FIRST;
        }
        output.warning(&format!("{reason}; connecting again"));
        // Jitter, so that a restarted coordinator is not met by all its watchers at once.
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(RECONNECT_MAX);
        query.tail = Some(RESUME_TAIL_LINES);
        query.since = None;
        printer.resume.reconnected();
    }
}

/// A point in time: so long ago, or as it is written.
fn since(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(age) = text.parse::<Span>() {
        return Ok(now.checked_sub(age.0).unwrap_or(Timestamp::MIN));
    }
    text.parse::<Timestamp>().map_err(|_| {
        Failure::new(format!("--since {text:?} is neither a length of time nor a point in time"))
            .hint("write for example 10m, or 2026-11-22T20:00:00Z")
    })
}

/// The instances that the logs will come from, as far as the status knows. Only the looks depend on it, so an error is none here:
/// the request for the logs itself will say it better.
async fn expected(args: &LogsArgs, client: &Client, output: &Output) -> Vec<Origin> {
    let Ok(status) = output.waiting("reading the status", client.status()).await else { return Vec::new() };
    let workload = status.workloads.into_iter().find(|workload| workload.name == args.workload);
    let instances = workload.map(|workload| workload.instances).unwrap_or_default();
    let origins = instances.into_iter().map(|instance| {
        let id = instance.report.map_or_else(|| format!("{}.0", args.workload), |report| report.instance.to_string());
        Origin { host: instance.host.to_string(), instance: id }
    });
    let index = args.index.map(|index| format!("{}.{index}", args.workload));
    origins
        .filter(|origin| args.host.as_ref().is_none_or(|host| host.as_str() == origin.host))
        .filter(|origin| index.as_ref().is_none_or(|id| *id == origin.instance))
        .collect()
}

#[derive(Debug)]
enum StreamError {
    Client(ClientError),
    Print(std::io::Error),
}

/// Prints until the stream ends.
async fn stream_once(client: &Client, query: &LogsQuery, printer: &mut Printer<'_>) -> Result<(), StreamError> {
    let opening = client.logs(query, IDLE_MAX);
    let stream =
        if printer.connected { opening.await } else { printer.output.waiting("waiting for the hosts to answer", opening).await };
    let mut stream = stream.map_err(StreamError::Client)?;
    printer.connected = true;
    while let Some(line) = stream.next().await.map_err(StreamError::Client)? {
        printer.print(&line).map_err(StreamError::Print)?;
    }
    Ok(())
}

/// Prints lines, and remembers from where they came.
struct Printer<'a> {
    output: &'a Output,
    palette: Palette,
    json: bool,
    timestamps: bool,
    /// Whether a stream stood at least once.
    connected: bool,
    origins: Vec<Origin>,
    prefix_width: usize,
    resume: Resume<Origin>,
    bad_lines: u32,
}

impl<'a> Printer<'a> {
    fn new(args: &LogsArgs, output: &'a Output) -> Self {
        Self {
            output,
            palette: output.palette,
            json: args.format.format == Format::Json,
            timestamps: args.timestamps,
            connected: false,
            origins: Vec::new(),
            prefix_width: 0,
            resume: Resume::new(),
            bad_lines: 0,
        }
    }

    fn expect(&mut self, origins: &[Origin]) {
        for origin in origins {
            self.number_of(origin);
        }
    }

    /// The origin's place among all, which is its colour.
    fn number_of(&mut self, origin: &Origin) -> usize {
        if let Some(at) = self.origins.iter().position(|known| known == origin) {
            return at;
        }
        self.prefix_width = self.prefix_width.max(origin.to_string().chars().count());
        self.origins.push(origin.clone());
        self.origins.len() - 1
    }

    fn print(&mut self, raw: &[u8]) -> std::io::Result<()> {
        let line: Line = match serde_json::from_slice(raw) {
            Ok(line) => line,
            Err(_) => return self.print_bad(raw),
        };
        match self.resume.judge(&line.origin, line.time) {
            Verdict::Seen => return Ok(()),
            Verdict::New => {}
            Verdict::NewAfterGap => self.output.warning(&format!("lines of {} may be missing here", line.origin)),
        }
        if self.json {
            return self.output.json_line(&line);
        }
        if let Some(error) = &line.error {
            self.output.warning(&format!("no logs of {}: {}", line.origin, printable(error)));
            return Ok(());
        }
        let number = self.number_of(&line.origin);
        let mut text = String::new();
        if self.origins.len() > 1 {
            let prefix = format!("{:width$} |", line.origin.to_string(), width = self.prefix_width);
            text = format!("{} ", self.palette.neighbour(number, &prefix));
        }
        if self.timestamps {
            text.push_str(&line.time.map_or_else(String::new, |time| format!("{time} ")));
        }
        // Into a file or a pipe goes what the container wrote; a terminal is protected from it.
        let message = line.message.unwrap_or_default();
        text.push_str(&if self.output.is_terminal() { printable_log_line(&message) } else { message });
        text.push('\n');
        self.output.data(&text)
    }

    /// A line that is none, as from a newer coordinator: said a few times, then skipped.
    fn print_bad(&mut self, raw: &[u8]) -> std::io::Result<()> {
        self.bad_lines += 1;
        if self.bad_lines <= BAD_LINES_SAID_MAX {
            let start: String = String::from_utf8_lossy(raw).chars().take(80).collect();
            self.output.warning(&format!("skipped a line that is not a log line: {}", printable(&start)));
        }
        Ok(())
    }
}
