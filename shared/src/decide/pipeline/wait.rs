//! Waits: every "not yet, because ..." of a run, one sentence each with its cure.

use super::super::liveness::Liveness;
use crate::names::{HostName, RunId};
use crate::quantity::ByteSize;
use std::fmt;

/// Why a run does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// No host is labelled for it.
    NoBuilder {
        /// What the pipeline asks for.
        selectors: String,
    },
    /// The host that is selected is not heard of.
    BuilderAway {
        /// Which.
        host: HostName,
        /// How it is.
        liveness: Liveness,
    },
    /// The host that is selected does not build.
    DoesNotBuild {
        /// Which.
        host: HostName,
    },
    /// Other runs come first.
    BuilderBusy {
        /// Whose turn it is to free a place.
        host: HostName,
        /// What it builds.
        run: Option<RunId>,
    },
    /// There is no room for a build.
    DiskFull {
        /// Where.
        host: HostName,
        /// What is left.
        free_bytes: u64,
    },
    /// The host had this very run before, and has not said that nothing of it is left.
    ClearingUp {
        /// Which.
        host: HostName,
    },
    /// The run before it comes first.
    Before {
        /// Which.
        run: RunId,
    },
    /// Its builder is not heard of.
    BuilderSilent {
        /// Which.
        host: HostName,
        /// How it is.
        liveness: Liveness,
    },
    /// Its builder was told, and has not said anything of it yet.
    Told {
        /// Which.
        host: HostName,
    },
    /// Its builder does nothing yet.
    Builder {
        /// Which.
        host: HostName,
        /// What it says.
        problem: String,
    },
    /// Somebody wants it to end, and its builder has not ended it yet.
    Cancelling {
        /// Which.
        host: HostName,
    },
    /// Hosts are not ready.
    Hosts {
        /// How many.
        count: usize,
        /// The first of them and why.
        first: String,
    },
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBuilder { selectors } => write!(
                f,
                "no host matches {selectors}: set that in a builder's agent.toml, under [labels], or name a host in the pipeline's `hosts`"
            ),
            Self::BuilderAway { host, liveness } => write!(f, "builder {host} is {liveness}; see `coordctl hosts`"),
            Self::DoesNotBuild { host } => write!(f, "host {host} does not build: set [builder] in its agent.toml"),
            Self::BuilderBusy { host, run: Some(run) } => write!(f, "builder {host} builds {run} first"),
            Self::BuilderBusy { host, run: None } => {
                write!(f, "builder {host} takes no runs: set `runs` under [builder] in its agent.toml")
            }
            Self::DiskFull { host, free_bytes } => {
                write!(f, "builder {host} has only {} of disk left: free some", ByteSize(*free_bytes).human())
            }
            Self::ClearingUp { host } => write!(f, "builder {host} still clears up what it began of this run before"),
            Self::Before { run } => write!(f, "{run} comes first"),
            Self::BuilderSilent { host, liveness } => write!(f, "builder {host} is {liveness}; it may be building all the same"),
            Self::Told { host } => write!(f, "builder {host} was told"),
            Self::Builder { host, problem } => write!(f, "builder {host}: {problem}"),
            Self::Cancelling { host } => write!(f, "builder {host} was told to end it"),
            Self::Hosts { count: 1, first } => write!(f, "waits for {first}"),
            Self::Hosts { count, first } => write!(f, "waits for {count} hosts, such as {first}"),
        }
    }
}
