//! The command line of `run`, which has many words.

use clap::{Args, ValueEnum};
use coord_shared::document::NestedNetwork;
use coord_shared::names::{CacheName, ChildName};
use coord_shared::quantity::{ByteSize, MilliCpus};
use coord_shared::wire::nested::CacheMount;
use std::str::FromStr;

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The image: registry/repository:tag, or with @sha256:...
    #[arg(long)]
    pub(crate) image: String,
    /// Its name [default: one is chosen]
    #[arg(long)]
    pub(crate) name: Option<ChildName>,
    /// Mount a cache: at its open path or at PATH; with :ro it refuses writes
    #[arg(long = "cache", value_name = "NAME[:ro][:PATH]")]
    pub(crate) caches: Vec<CacheAt>,
    /// Set a variable of its environment; without =VALUE, to what it is here
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE")]
    pub(crate) environment: Vec<Variable>,
    /// Run this instead of the image's entrypoint; empty: none
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// The working directory [default: the image's own]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// The user, name or number, with :GROUP where wanted [default: the image's own]
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Most memory, such as 512MiB
    #[arg(short, long, value_name = "SIZE")]
    pub(crate) memory: Option<ByteSize>,
    /// Processors, such as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = cpus)]
    pub(crate) cpus: Option<MilliCpus>,
    /// Most processes and threads
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pids: Option<u32>,
    /// Its root file system refuses writes
    #[arg(long)]
    pub(crate) read_only: bool,
    /// A small init is its process 1
    #[arg(long)]
    pub(crate) init: bool,
    /// The network that it sees [default: the widest that is allowed]
    #[arg(long, value_enum)]
    pub(crate) network: Option<NetworkChoice>,
    /// Take a capability from it, such as NET_RAW, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_drop: Vec<String>,
    /// Leave it running, and print its name
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    pub(crate) detach: bool,
    /// Pass on what is typed, or comes on standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// First, a container of the same image lists what it sees of the caches, and its log is compared
    #[arg(long, requires = "caches")]
    pub(crate) verify_by_log: bool,
    /// The command and its arguments [default: the image's own]
    #[arg(value_name = "COMMAND", last = true)]
    pub(crate) command: Vec<String>,
}

/// The network that a second container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkChoice {
    /// That of this container.
    Parent,
    /// A loopback interface and nothing else.
    None,
}

impl From<NetworkChoice> for NestedNetwork {
    fn from(choice: NetworkChoice) -> Self {
        match choice {
            NetworkChoice::Parent => Self::Parent,
            NetworkChoice::None => Self::None,
        }
    }
}

/// A cache to be mounted: `NAME`, `NAME:ro`, `NAME:/path`, `NAME:/path:ro`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheAt(pub(crate) CacheMount);

impl FromStr for CacheAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let name: CacheName =
            parts.next().unwrap_or_default().parse().map_err(|e: coord_shared::names::NameError| e.to_string())?;
        let mut mount = CacheMount { name, path: None, read_only: false };
        let mut is_told = false;
        for part in parts {
            match part {
                "ro" | "rw" if !is_told => {
                    mount.read_only = part == "ro";
                    is_told = true;
                }
                path if path.starts_with('/') && mount.path.is_none() => mount.path = Some(path.to_owned()),
                other => {
                    return Err(format!(
                        "{other:?} is neither ro, rw nor an absolute path; write for example data:ro or data:/in:ro"
                    ));
                }
            }
        }
        Ok(Self(mount))
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
    /// Name and value; nothing for one that is to be as it is here and is not set here.
    pub(crate) fn resolve(&self) -> Option<(String, String)> {
        let value = self.value.clone().or_else(|| std::env::var(&self.name).ok())?;
        Some((self.name.clone(), value))
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

fn cpus(text: &str) -> Result<MilliCpus, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number of processors; write for example 1.5"))?;
    MilliCpus::from_cpus(number).map_err(|e| e.to_string())
}
