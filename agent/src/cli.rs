//! The command line: definitions only.
//!
//! What a person can type, and the words that explain it; `docs/agent-cli.md` is made from here. Deliberately absent: any behaviour.

mod containers;
mod volumes;

pub(crate) use containers::{EventsArgs, ExecArgs, InspectArgs, Logged, LogsArgs, PsArgs, RunArgs, RunNetwork, TopArgs};
pub(crate) use volumes::{VolumesArgs, VolumesCommand};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Where the configuration is looked for.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/coord/agent.toml";

/// Widest help text, in columns.
const HELP_MAX_COLUMNS: usize = 100;

const LONG_ABOUT: &str = "\
Keeps this host's containers as the coordinator's documents say.

`daemon` is the service. The other commands are for whoever is logged in to the host; they need root, and work whether or not the \
service runs.";

const AFTER_HELP: &str = "\
Exit codes:
  0    done; for `exec` and `run`: that of the program
  1    an error; for `image verify`: something is damaged and not repaired; for `doctor`: there is a problem
  2    a command line that cannot be understood

Data goes to stdout, messages go to stderr. Colours are used on terminals only, and not where NO_COLOR is set.";

/// Keeps this host's containers as the coordinator's documents say.
#[derive(Debug, Parser)]
#[command(name = "coord-agent", version, long_about = LONG_ABOUT, after_long_help = AFTER_HELP)]
#[command(max_term_width = HELP_MAX_COLUMNS, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the service in the foreground
    Daemon {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG, env = "COORD_AGENT_CONFIG")]
        config: PathBuf,
        /// Stand alone: take what to run from this host state, document, or folder of documents, and ask no coordinator
        #[arg(long, value_name = "PATH")]
        state: Option<PathBuf>,
    },
    /// List this host's instances: state, health, addresses, ports, image
    #[command(
        visible_alias = "list",
        long_about = "List this host's instances: state, health, restarts, addresses, published ports, image; and under each the second \
containers and file caches within it. Where the service does not run, this is what the containers' folders say."
    )]
    Ps(PsArgs),
    /// Show what an instance writes, or a second container within it
    #[command(
        long_about = "Show what an instance writes, or a second container within it (INSTANCE/NAME). Reads the log's files: works as well when the service does not run, and for \
instances that are gone."
    )]
    Logs(LogsArgs),
    /// Run a program in an instance's container; its exit code becomes this command's
    #[command(
        long_about = "Run a program in the container of an instance: with everything the container itself has, and nothing more. \
Its exit code becomes this command's; 127: there is no such program, 126: it cannot be executed."
    )]
    Exec(ExecArgs),
    /// Show what each container uses: processor, memory, processes, disks, network
    #[command(
        long_about = "Show what each container uses: share of a processor, memory, processes, and what it read, wrote, received \
and sent since its start. On a terminal, again every two seconds until Ctrl-C; else once."
    )]
    Top(TopArgs),
    /// Run a one-off container in the foreground; its exit code becomes this command's
    #[command(
        long_about = "Run a one-off container in the foreground, with the isolation and the limits that every container has. Needs \
no service and no coordinator. Its exit code becomes this command's; 125: it could not be made, 126: its command cannot be executed, \
127: there is no such command. Nothing is left of it afterwards but what it wrote into volumes. Signals are passed on; the third one \
that asks it to end kills it."
    )]
    Run(RunArgs),
    /// Show everything about an instance: document, limits, mounts, processes, last events; JSON
    Inspect(InspectArgs),
    /// Show the last things that happened to this host's containers
    #[command(long_about = "Show the last 1,000 things that happened to this host's containers since the service started.")]
    Events(EventsArgs),
    /// Show, pull, look into, check and remove this host's images
    #[command(
        long_about = "Show, pull, look into, check and remove this host's images. While the service runs, it does the work; else \
the command opens the image store itself."
    )]
    Image(ImageArgs),
    /// Show and delete this host's volumes
    #[command(
        visible_alias = "volume",
        long_about = "Show and delete this host's volumes. Nothing else ever deletes one, `purge` included: they outlive the \
containers, the documents and the agent."
    )]
    Volumes(VolumesArgs),
    /// Say what this host lacks, what that costs, and the cure; exit 1 if something will not work
    #[command(
        long_about = "Say what this host lacks, what that costs, and the cure: kernel features, cgroups, rights, disk, helpers, \
configuration, coordinator and registries. Changes nothing, and may run beside the service. Exit 1 if there is a problem."
    )]
    Doctor(DoctorArgs),
    /// Stop and remove every container of ours, and all that the agent keeps on this host but volumes; for uninstalling
    Purge {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG, env = "COORD_AGENT_CONFIG")]
        config: PathBuf,
    },
}

/// Which host's.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Host")]
pub(crate) struct HostArgs {
    /// The configuration [default: /etc/coord/agent.toml, where there is one]
    #[arg(long, global = true, value_name = "FILE", env = "COORD_AGENT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Instead of the configuration's state_dir
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// The form of the data on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs: the bodies of the control socket.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct FormatArgs {
    /// The form of the data on stdout
    #[arg(short = 'o', long = "output", global = true, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    #[command(subcommand)]
    pub(crate) command: ImageCommand,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Only what is not as it should be
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List the images: sizes, and which instances need them
    #[command(visible_alias = "list")]
    Ls,
    /// Pull an image, so that a later start finds it here
    Pull {
        /// The image, as in a document: registry/repository:tag, or with @sha256:...
        #[arg(value_name = "REF")]
        image: String,
    },
    /// Show an image's files, read-only, at a folder
    Mount {
        /// The image: its reference, its digest, or the beginning of its digest
        #[arg(value_name = "REF")]
        image: String,
        /// An existing folder
        dir: PathBuf,
    },
    /// Take away what `mount` showed
    #[command(visible_alias = "umount")]
    Unmount {
        /// The folder
        dir: PathBuf,
    },
    /// Show everything about an image
    Inspect {
        /// The image: its reference, its digest, or the beginning of its digest
        #[arg(value_name = "REF")]
        image: String,
    },
    /// Check that images are as they were written; exit 1 if one is not
    Verify {
        /// The image: its reference, its digest, or the beginning of its digest; all of them where absent
        #[arg(value_name = "REF")]
        image: Option<String>,
        /// Remove what is damaged, so that the next pull or start brings it back
        #[arg(long)]
        repair: bool,
    },
    /// Remove the images that nothing has used for longer than `images.keep`
    #[command(long_about = "Remove the images that nothing has used for longer than `images.keep` (24h unless agent.toml says \
otherwise), and more if the disk is above `images.high_water`. The service does the same by itself, now and then.")]
    Prune {
        /// Remove all that nothing uses, however recently something did
        #[arg(short, long)]
        all: bool,
    },
}

#[cfg(test)]
mod tests;
