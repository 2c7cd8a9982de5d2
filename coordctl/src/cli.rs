//! The command line: definitions only.
//!
//! What a person can type, and the words that explain it; `docs/cli.md` is made from here. Deliberately absent: any behaviour, and
//! clap's own reading of environment variables, because a flag, a variable and the configuration file are three levels of one
//! setting and are weighed against each other in `config`.

mod archive;
mod image;
mod pipeline;
mod secret;
mod tokens;

pub(crate) use archive::{DeployArgs, ImageBuildArgs, ImageOfArchiveArgs};
pub(crate) use image::{ImageArgs, ImageCommand};
pub(crate) use pipeline::{PipelineArgs, PipelineCommand, PipelineLogsArgs, PipelineRunArgs};
pub(crate) use secret::{SecretArgs, SecretCommand};
pub(crate) use tokens::{TokensAddArgs, TokensArgs, TokensCommand};

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use coord_shared::names::{HostName, VolumeName, WorkloadName};
use coord_shared::quantity::Span;
use std::path::PathBuf;

/// Widest help text, in columns.
const HELP_MAX_COLUMNS: usize = 100;

const LONG_ABOUT: &str = "\
Steers the fleet from an admin box.

coordctl speaks to the coordinator. It checks documents, shows what they would change, publishes them, and shows \
where every workload stands and why something is not as desired.";

const AFTER_HELP: &str = "\
Configuration:
  Each setting is taken from its flag, else its environment variable, else ~/.config/coord/config.toml
  ($XDG_CONFIG_HOME/coord/config.toml), whose keys are url, token or token_file, and ca.

Exit codes:
  0    done; for `diff`: nothing would change
  1    an error, bad documents, or `--wait` ran out of time
  2    `diff` found changes; also a command line that cannot be understood
  any  `exec`: the program's own; 128 + the signal's number if a signal ended it
  130  ended by Ctrl-C

Data goes to stdout, messages go to stderr. Colours are used on terminals only, and not where NO_COLOR is set.";

/// Steers the fleet from an admin box.
#[derive(Debug, Parser)]
#[command(name = "coordctl", version, long_about = LONG_ABOUT, after_long_help = AFTER_HELP)]
#[command(max_term_width = HELP_MAX_COLUMNS, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How the coordinator is reached.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// The coordinator's address [env: COORD_URL] [default: http://127.0.0.1:7700]
    ///
    /// Plain http only for this machine itself: the token would cross the network readably.
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) url: Option<String>,
    /// The admin token; other users of this machine can see it, so prefer --token-file [env: COORD_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN", conflicts_with = "token_file")]
    pub(crate) token: Option<String>,
    /// A file with the admin token [env: COORD_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust beside the system's [env: COORD_CA]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ca: Option<PathBuf>,
    /// How long one answer may take [default: 30s]
    #[arg(long, global = true, value_name = "TIME")]
    pub(crate) request_timeout: Option<Span>,
}

/// The form of the data on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs: the bodies of the coordinator's API.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct FormatArgs {
    /// The form of the data on stdout
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Wait until all is as desired; exit 1 with the reasons if that takes too long
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "60s", requires = "wait")]
    pub(crate) timeout: Span,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check documents, pipelines and recipes, without a coordinator
    #[command(
        long_about = "Check documents, pipelines and recipes, without a coordinator. Every mistake of every file is shown in one go, \
with file, line, column and the cure. Exit 1 if there is any.

A file is a pipeline if it has a table [source] or lies in a folder called pipelines; a recipe if it is called image.toml or recipe.toml \
and names no hosts, or lies in a folder called recipes; and a document otherwise."
    )]
    Check(CheckArgs),
    /// Show what publishing documents would change, and on which hosts; exit 2 if anything would
    #[command(
        long_about = "Show what publishing documents would change, and on which hosts. Exit 0 if nothing would change, 2 if \
anything would, 1 for an error. Of a folder, the documents in it are compared; workloads without a document there are left out."
    )]
    Diff(DiffArgs),
    /// Publish documents
    #[command(
        long_about = "Publish documents. All files are checked first: if one is bad, none is published. Prints each workload's \
new revision and the hosts that it changes, and does not wait for them unless --wait is given."
    )]
    Apply(ApplyArgs),
    /// Make an image of an archive, and publish a document with it: one command for any CI
    #[command(
        long_about = "Make an image of an archive, and publish a document with it. The image lies in the coordinator's image centre, and \
takes the place of the document's own; it is deployed by digest. If anything fails, nothing is published. With --wait, exit 1 if the \
hosts are not as desired in time.",
        after_help = "Example, at the end of a job of any CI:\n  coordctl deploy --archive app.tar.gz --recipe image.toml --document \
web.toml --commit $(git rev-parse HEAD) --wait"
    )]
    Deploy(Box<DeployArgs>),
    /// Delete documents: their containers are stopped and removed
    Delete(DeleteArgs),
    /// Show where every workload stands, and why something is not as desired
    #[command(
        long_about = "Show where every workload stands: its revision, image, how many of its targets are ready, restarts and \
age. Under it stands one line for each host that is not as desired, with the reason. With a WORKLOAD: each of its instances."
    )]
    Status(StatusArgs),
    /// Show, add and remove hosts
    Hosts(HostsArgs),
    /// Show the revisions of a workload, newest first
    History(HistoryArgs),
    /// Show what a workload writes to its standard output and error
    #[command(
        long_about = "Show what a workload writes to its standard output and error. The lines travel through the coordinator: \
hosts need no open port. Lines of several instances begin with the instance and its host."
    )]
    Logs(LogsArgs),
    /// Run a program in an instance's container; its exit code becomes coordctl's
    #[command(
        long_about = "Run a program in the container of an instance, wherever its host is: what is typed and written travels \
through the coordinator, and hosts need no open port. The program's exit code becomes coordctl's; 128 and the signal's number if a \
signal ended it.",
        after_help = "Examples:\n  coordctl exec web -- nginx -T\n  coordctl exec -it web --host edge-1 -- sh\n  \
coordctl exec -i db -- psql < dump.sql"
    )]
    Exec(ExecArgs),
    /// Show and remove the volumes of a host
    Volume(VolumeArgs),
    /// Show, run and change pipelines: the way of commits into the fleet
    #[command(visible_alias = "pipelines")]
    Pipeline(PipelineArgs),
    /// Show which secrets pipelines can name
    Secret(SecretArgs),
    /// Show, remove and collect what the image centre holds
    Image(ImageArgs),
    /// Show, make and end tokens: of admins, and of those who use the image centre
    Tokens(TokensArgs),
    /// Print a script that completes coordctl's commands in a shell
    #[command(long_about = "Print a script that completes coordctl's commands in a shell. For bash: \
coordctl completions bash > ~/.local/share/bash-completion/completions/coordctl")]
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Documents, pipelines and recipes (NAME.toml), or folders of them
    #[arg(required = true, value_name = "FILE|DIR", value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Documents (WORKLOAD.toml), or folders of documents
    #[arg(required = true, value_name = "FILE|DIR", value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// Name every host, however many there are
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Documents (WORKLOAD.toml), or folders of documents
    #[arg(required = true, value_name = "FILE|DIR", value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
    /// Publish even if the workload's document comes from another source, which loses it
    #[arg(long)]
    pub(crate) take_over: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Workloads
    #[arg(required = true, value_name = "WORKLOAD")]
    pub(crate) names: Vec<WorkloadName>,
    /// Delete even if the workload's document comes from another source
    #[arg(long)]
    pub(crate) take_over: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Show the instances of this workload
    pub(crate) workload: Option<WorkloadName>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// Show it again whenever it changes, until Ctrl-C
    #[arg(short, long, conflicts_with = "wait")]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// Show all hosts, what runs within their instances, and the whole diagnostics of documents that could not be published
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct HostsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<HostsCommand>,
    #[command(flatten)]
    pub(crate) list: HostsListArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HostsListArgs {
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostsCommand {
    /// Show all hosts (what `coordctl hosts` does)
    List(HostsListArgs),
    /// Make a host known, and print the token for its agent.toml
    #[command(
        long_about = "Make a host known, and print the token for its agent.toml. The token is shown this once; the coordinator \
keeps only its hash."
    )]
    Add(HostsAddArgs),
    /// Forget a host; its token ends at once
    Remove(HostsRemoveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct HostsAddArgs {
    /// The host's name, as in its agent.toml
    #[arg(value_name = "HOST")]
    pub(crate) host: HostName,
    /// Give a host that is already known a new token; its old one ends at once
    #[arg(long)]
    pub(crate) new_token: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HostsRemoveArgs {
    /// The host's name
    #[arg(value_name = "HOST")]
    pub(crate) host: HostName,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The workload; a deleted one has a history too
    pub(crate) workload: WorkloadName,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// Show each changed key with its old and new value
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The workload
    pub(crate) workload: WorkloadName,
    /// Go on with new lines as they are written, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many of each instance's newest lines to begin with [default: 100; with --since: all of them]
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<u32>,
    /// Only lines that are not older: a length of time (10m), or a point in time (2026-11-22T20:00:00Z)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only the instances on this host
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<HostName>,
    /// Only the instance with this number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) index: Option<u32>,
    /// Begin each line with the time at which it was written (UTC)
    #[arg(long)]
    pub(crate) timestamps: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Pass on what comes on standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Who runs it: USER or USER:GROUP, by name or number [default: the container's]
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Where it runs [default: the container's]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// A variable beside the container's own; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// The instance on this host
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<HostName>,
    /// The instance with this number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) index: Option<u32>,
    /// The workload
    pub(crate) workload: WorkloadName,
    /// The program and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VolumeArgs {
    #[command(subcommand)]
    pub(crate) command: VolumeCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// List the volumes of a host
    #[command(visible_alias = "list")]
    Ls {
        /// The host
        host: HostName,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Delete volumes of a host, and all that is in them
    #[command(
        visible_alias = "remove",
        long_about = "Delete volumes of a host, and all that is in them. One that a container uses is refused. Nothing else ever \
deletes a volume: not the end of its instance, nor that of its workload."
    )]
    Rm {
        /// The host
        host: HostName,
        /// The volumes
        #[arg(required = true, value_name = "VOLUME")]
        names: Vec<VolumeName>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

#[cfg(test)]
mod tests;
