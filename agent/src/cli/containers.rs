//! The command line's part about containers.

use super::{FormatArgs, HostArgs};
use clap::Args;
use coord_shared::names::{ChildName, InstanceId, NameError};
use coord_shared::quantity::Span;
use jiff::Timestamp;
use std::str::FromStr;

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) host: HostArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// The instance, `web.0`, or the ID of one of its containers
    #[arg(value_name = "INSTANCE")]
    pub(crate) instance: String,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Go on with what happens, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// End after so many tables
    #[arg(short = 'n', long, value_name = "TABLES", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tables: Option<u32>,
}

/// Whose log is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Logged {
    Instance(InstanceId),
    /// A second container, within an instance, a step, or the container of such by its ID.
    Child {
        parent: String,
        child: ChildName,
    },
}

impl FromStr for Logged {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            None => text.parse().map(Self::Instance),
            Some((parent, child)) => Ok(Self::Child { parent: parent.to_owned(), child: child.parse()? }),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// The instance, such as web.0; or a second container within it, such as web.0/lint
    pub(crate) instance: Logged,
    /// Go on with new lines as they are written, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many of the newest lines to begin with [default: 100; with --since: 10000]
    #[arg(short = 'n', long, value_name = "LINES")]
    pub(crate) tail: Option<u32>,
    /// Only lines that are not older: a time (2026-11-22T20:00:00Z), or how long ago (10m)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Since>,
    /// Only what was written to standard output
    #[arg(long, conflicts_with = "stderr")]
    pub(crate) stdout: bool,
    /// Only what was written to standard error
    #[arg(long)]
    pub(crate) stderr: bool,
    /// Begin each line with the time at which it was written (UTC)
    #[arg(long)]
    pub(crate) timestamps: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Pass on what is typed, or comes on standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// The user, as in a document: name or number, with :GROUP where wanted [default: the container's own]
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The working directory [default: the container's own]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Set a variable of its environment; without =VALUE, to what it is here
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE")]
    pub(crate) environment: Vec<Variable>,
    /// The instance, such as web.0, or the ID of its container
    #[arg(value_name = "INSTANCE")]
    pub(crate) instance: String,
    /// The program and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Pass on what is typed, or comes on standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// The network that it sees
    #[arg(long, value_enum, default_value_t = RunNetwork::None)]
    pub(crate) network: RunNetwork,
    /// Set a variable of its environment; without =VALUE, to what it is here
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE")]
    pub(crate) environment: Vec<Variable>,
    /// Mount a volume, or a file or folder of this host: SOURCE:TARGET, with :ro where it is not to be written to
    #[arg(short = 'v', long = "volume", value_name = "SOURCE:TARGET")]
    pub(crate) volumes: Vec<String>,
    /// The working directory [default: the image's own]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// The user, as in a document: name or number, with :GROUP where wanted [default: the image's own]
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Its root file system refuses writes
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Most memory, such as 512MiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Processors, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cpus: Option<f64>,
    /// The image, as in a document: registry/repository:tag, or with @sha256:...
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The command and its arguments [default: the image's own]
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// The network that a one-off container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RunNetwork {
    /// A loopback interface and nothing else.
    None,
    /// The host's own.
    Host,
    /// That of the host's containers.
    Bridge,
}

impl RunNetwork {
    /// As a document says it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Host => "host",
            Self::Bridge => "bridge",
        }
    }
}

/// A variable of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    name: String,
    /// What it is in our own environment, where absent.
    value: Option<String>,
}

impl Variable {
    /// Name and value; one that is not set here is empty.
    pub(crate) fn resolve(&self) -> (String, String) {
        let value = self.value.clone().or_else(|| std::env::var(&self.name).ok());
        (self.name.clone(), value.unwrap_or_default())
    }
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value.to_owned())));
        if name.is_empty() {
            return Err(format!("{text:?} has no name; write NAME=VALUE"));
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

/// A point in time, as people say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// So long ago.
    Ago(Span),
    /// Then.
    At(Timestamp),
}

impl Since {
    pub(crate) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => now.checked_sub(span.0).unwrap_or(Timestamp::MIN),
            Self::At(at) => at,
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ago = text.parse().map(Self::Ago);
        let wrong = format!("{text:?} is no time; write for example 10m, or 2026-11-22T20:00:00Z");
        ago.or_else(|_| text.parse().map(Self::At)).map_err(|_| wrong)
    }
}
