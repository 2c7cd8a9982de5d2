//! The command line: definitions only.
//!
//! What a person or a script can type, and the words that explain it; `docs/coord-cli.md` is made from here. Deliberately absent: any
//! behaviour.

mod run;

pub(crate) use run::{RunArgs, Variable};

use clap::{Args, Parser, Subcommand, ValueEnum};
use coord_shared::names::{CacheName, ChildName};
use coord_shared::quantity::{ByteSize, Signal, Span};
use coord_shared::wire::nested::TtlFrom;
use std::path::PathBuf;

/// Widest help text, in columns.
const HELP_MAX_COLUMNS: usize = 100;

const LONG_ABOUT: &str = "\
Starts containers within this container, and hands them files.

It speaks to the door of a container that coord-agent runs and whose document has the key `nested`. Where there is no such door, as on a \
laptop, it does the same with Docker or Podman, and says so.";

const AFTER_HELP: &str = "\
Exit codes:
  0        done; for `run` and `exec`: that of the command
  1        for `cache verify`: something differs from the list
  125      an error, a refusal, or a command line that cannot be understood
  126      for `run` and `exec`: the command cannot be executed
  127      for `run` and `exec`: there is no such command
  128 + N  for `run` and `exec`: signal N ended it

Data goes to stdout, messages go to stderr. Colours are used on terminals only, and not where NO_COLOR is set.

COORD_SOCKET names a door elsewhere than at /run/coord/nested.sock; DOCKER_HOST=unix://... an engine elsewhere than at its usual places.";

/// Starts containers within this container, and hands them files.
#[derive(Debug, Parser)]
#[command(name = "coord", version, long_about = LONG_ABOUT, after_long_help = AFTER_HELP)]
#[command(max_term_width = HELP_MAX_COLUMNS, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make file caches, put files into them, check and delete them
    #[command(
        long_about = "Make file caches, put files into them, check and delete them. A cache is a named store of files that \
second containers mount. It belongs to the container that made it, and ends with it."
    )]
    Cache {
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// Run a second container; its exit code becomes this command's
    #[command(
        long_about = "Run a second container. Attached (without -d), its output comes here, signals are passed on (the third one that \
asks it to end kills it), and its exit code becomes this command's; an agent that restarts meanwhile cuts nothing. Before its command is \
executed, what it sees of each cache is compared with the cache's list; the first path that differs is told, and the command does not \
run."
    )]
    Run(Box<RunArgs>),
    /// List second containers: those that live, or with -a also those that ended
    #[command(visible_alias = "list")]
    Ps {
        /// Also those that ended
        #[arg(short, long)]
        all: bool,
        #[command(flatten)]
        form: Form,
    },
    /// Show what a second container writes; of one that ran detached
    Logs {
        /// The container
        name: ChildName,
        /// Go on with new lines as they are written, until it ends
        #[arg(short, long)]
        follow: bool,
        /// Begin with so many of the newest lines [default: all]
        #[arg(short = 'n', long, value_name = "LINES")]
        tail: Option<u32>,
    },
    /// Wait until second containers have ended; their exit codes go to stdout, a line each
    Wait {
        /// The containers
        #[arg(required = true, value_name = "NAME")]
        names: Vec<ChildName>,
    },
    /// Ask second containers to end, and kill those that have not when the time is over
    Stop {
        /// How long each may take, such as 10s [default: 10s]
        #[arg(short, long, value_name = "TIME", value_parser = time)]
        time: Option<Span>,
        /// What it is asked with [default: the image's own, else SIGTERM]
        #[arg(short, long)]
        signal: Option<Signal>,
        /// The containers
        #[arg(required = true, value_name = "NAME")]
        names: Vec<ChildName>,
    },
    /// Send a signal to the first process of second containers
    Kill {
        /// Which
        #[arg(short, long, default_value = "SIGKILL")]
        signal: Signal,
        /// The containers
        #[arg(required = true, value_name = "NAME")]
        names: Vec<ChildName>,
    },
    /// Run a program in a second container that runs; its exit code becomes this command's
    Exec(ExecArgs),
    /// Show everything about a second container; JSON
    Inspect {
        /// The container
        name: ChildName,
    },
    /// Show what this container may start and store, and what is in use
    Info {
        #[command(flatten)]
        form: Form,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Make a cache
    #[command(
        long_about = "Make a cache. With --from, a folder of this container is published instead of files that are put: live, without a \
copy, where that can be done; else as a copy, and the answer says why."
    )]
    Create(CreateArgs),
    /// Put files into a cache: all of them, or after an error none
    #[command(
        long_about = "Put files into a cache: all of them are visible at once or, after an error, none. Of a folder, what is in it is \
put, with modes and symbolic links as they are; sockets, pipes and devices are passed over, and said to be."
    )]
    Put {
        /// The cache
        name: CacheName,
        /// A folder, a file, or - for a tar archive on standard input
        #[arg(value_name = "PATH")]
        source: PathBuf,
        /// Where in the cache: the folder for a folder or an archive; for a file its path, or with a final / its folder
        #[arg(long, value_name = "PATH")]
        to: Option<String>,
        #[command(flatten)]
        form: Form,
    },
    /// List the caches
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        form: Form,
    },
    /// Show a cache and the list of its files
    Show {
        /// The cache
        name: CacheName,
        #[command(flatten)]
        form: Form,
    },
    /// Compare what a cache holds with its list; exit 1 and the first path if something differs
    Verify {
        /// The cache
        name: CacheName,
        #[command(flatten)]
        form: Form,
    },
    /// Delete caches that no container mounts
    Rm {
        /// The caches
        #[arg(required = true, value_name = "NAME")]
        names: Vec<CacheName>,
        /// Pass over those that there are not
        #[arg(short, long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name
    pub(crate) name: CacheName,
    /// The open path: where containers see it, unless they say otherwise
    #[arg(long, value_name = "PATH")]
    pub(crate) path: String,
    /// How long it lives, such as 30m [default: as long as this container]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) ttl: Option<Span>,
    /// Since when that counts; from last use, it does not run out while a container mounts it
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = LivesFrom::Creation, requires = "ttl")]
    pub(crate) ttl_from: LivesFrom,
    /// Publish this folder of this container
    #[arg(long, value_name = "FOLDER")]
    pub(crate) from: Option<PathBuf>,
    /// The most that it may hold, such as 100MiB [default: all that this container's caches may]
    #[arg(long)]
    pub(crate) size: Option<ByteSize>,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// Since when a time to live counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LivesFrom {
    /// Since it was made.
    Creation,
    /// Since it was last used.
    LastUse,
}

impl From<LivesFrom> for TtlFrom {
    fn from(from: LivesFrom) -> Self {
        match from {
            LivesFrom::Creation => Self::Creation,
            LivesFrom::LastUse => Self::LastUse,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Pass on what is typed, or comes on standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Set a variable of its environment; without =VALUE, to what it is here
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE")]
    pub(crate) environment: Vec<Variable>,
    /// The working directory [default: the container's own]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// The user, name or number, with :GROUP where wanted [default: the container's own]
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// The container
    pub(crate) name: ChildName,
    /// The program and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// The form of the data on stdout.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Form {
    /// JSON instead of words for people
    #[arg(long)]
    pub(crate) json: bool,
}

/// A length of time; a plain number is seconds, as with `docker stop --time 5`.
fn time(text: &str) -> Result<Span, String> {
    match text.parse::<u32>() {
        Ok(seconds) => Ok(Span::seconds(u64::from(seconds))),
        Err(_) => text.parse().map_err(|e: coord_shared::quantity::QuantityError| e.to_string()),
    }
}

#[cfg(test)]
mod tests;
