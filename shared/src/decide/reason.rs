//! Reasons: every "not yet, because ..." that a person can be shown.
//!
//! A closed set with one sentence each. The agent and the coordinator attach them to instances and workloads; `coordctl status`
//! prints them. A reason of a newer peer reads as [`Reason::Unknown`] instead of failing the whole body.

use super::health::brief;
use crate::document::Protocol;
use crate::names::{HostName, Revision};
use crate::quantity::ByteSize;
use crate::wire::Exit;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why something is not as desired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// The image is on its way.
    Pulling {
        /// Bytes fetched so far.
        done_bytes: u64,
        /// Bytes in all, 0 while unknown.
        total_bytes: u64,
        /// Bytes in a second, on average since the pull began; 0 while unknown.
        #[serde(default)]
        bytes_per_s: u64,
    },
    /// The last pull failed; another try follows.
    PullFailed {
        /// The error, with its cure.
        error: String,
        /// Tries so far.
        attempts: u32,
        /// When the next one is due.
        retry_at: Timestamp,
    },
    /// The container is being made.
    Starting,
    /// The container could not be started; another try follows.
    StartFailed {
        /// The error, with its cure.
        error: String,
        /// Tries so far.
        attempts: u32,
        /// When the next one is due.
        retry_at: Timestamp,
    },
    /// The container could not be started, and no other try follows.
    NotStarted {
        /// The error, with its cure.
        error: String,
        /// Tries so far.
        attempts: u32,
        /// What asks for no more, as the document says it.
        policy: String,
    },
    /// Its command runs, and its health check has not said yet that it is well.
    WaitingForHealth {
        /// What the last failed check said; empty if none failed.
        #[serde(default)]
        output: String,
    },
    /// Its health check says that it is ill.
    Unhealthy {
        /// Failed checks in a row.
        failures: u32,
        /// What the last of them said.
        #[serde(default)]
        output: String,
        /// What follows.
        then: AfterUnhealthy,
    },
    /// It ended by itself and will be started again.
    RestartBackoff {
        /// How it ended.
        exit: Exit,
        /// Restarts so far.
        restarts: u32,
        /// When the next one is due.
        retry_at: Timestamp,
    },
    /// It ended with success, and its policy leaves it so.
    Completed,
    /// It ended with failure, and its policy leaves it so.
    NotRestarted {
        /// How it ended.
        exit: Exit,
        /// What asks for no more, as the document says it.
        policy: String,
    },
    /// Somebody else has a port of the host that it is to be reached by.
    PortTaken {
        /// The port.
        port: u16,
        /// Of which protocol.
        protocol: Protocol,
        /// Who has it: an instance, or a program of the host.
        by: String,
    },
    /// The new container serves, and the previous one runs on for whoever is still connected to it.
    Draining {
        /// When it is asked to end, whoever is connected; absent until the published ports lead to the new one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// TCP connections that were open when it was looked last; absent where that is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        connections: Option<u32>,
    },
    /// The previous container is being stopped first.
    StoppingPrevious {
        /// When it will be killed if it has not ended.
        kill_at: Timestamp,
    },
    /// No longer wanted here; being stopped.
    Stopping {
        /// When it will be killed if it has not ended.
        kill_at: Timestamp,
    },
    /// No longer wanted here, and ended; the last of it is being removed.
    Removing,
    /// No longer wanted here, and ended; the last of it could not be removed, and another try follows.
    RemoveFailed {
        /// Tries so far.
        attempts: u32,
        /// When the next one is due.
        retry_at: Timestamp,
    },
    /// The agent cannot honour the document (an older agent, as a rule).
    DocumentRejected {
        /// The first mistake, with its cure.
        error: String,
    },
    /// The host keeps the previous revision until others are through.
    WaitingForTurn {
        /// The revision it waits for.
        revision: Revision,
        /// Hosts that have their turn now.
        after: Vec<HostName>,
    },
    /// The host was told, and has not yet said that it is ready.
    WaitingForHost {
        /// The revision it was told to run.
        revision: Revision,
    },
    /// The new instance is ready and is being watched before the next host's turn.
    Monitoring {
        /// Until when.
        until: Timestamp,
    },
    /// The host has not been heard of for long.
    HostLost {
        /// When it was last heard of.
        last_seen: Timestamp,
    },
    /// The host has not been heard of since the coordinator started.
    HostUnknown,
    /// No known host matches the document's `hosts`.
    NoHostMatches,
    /// The document names this host, and no such host is known.
    HostNotKnown {
        /// The name.
        host: HostName,
    },
    /// The registry could not say what the image stands for; the previous revision stays.
    ImageUnresolved {
        /// The error, with its cure.
        error: String,
        /// When the next try is due.
        retry_at: Timestamp,
    },
    /// A reason of a newer peer.
    #[serde(other)]
    Unknown,
}

/// What follows when a container is ill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum AfterUnhealthy {
    /// It is being stopped, to be started again.
    Stopping {
        /// When it will be killed if it has not ended.
        kill_at: Timestamp,
    },
    /// It was stopped, and will be started again.
    Restarted {
        /// Restarts so far.
        restarts: u32,
        /// When the next one is due.
        retry_at: Timestamp,
    },
    /// It runs on.
    Left {
        /// What asks for no restart, as the document says it.
        policy: String,
    },
    /// It was stopped, and stays so.
    NotRestarted {
        /// What asks for no restart, as the document says it.
        policy: String,
    },
    /// Something that a newer peer does.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for AfterUnhealthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopping { .. } => f.write_str(", stopping it"),
            Self::Restarted { restarts, .. } => write!(f, ", restarted {} so far", times(*restarts)),
            Self::Left { policy } => write!(f, ", left running ({policy})"),
            Self::NotRestarted { policy } => write!(f, ", not restarted ({policy})"),
            Self::Unknown => Ok(()),
        }
    }
}

impl Reason {
    /// Whether all is as it should be in spite of it: a job that did its work.
    pub fn is_content(&self) -> bool {
        matches!(self, Self::Completed)
    }
}

impl fmt::Display for Reason {
    /// One line, without a time of day: ages and countdowns are for whoever knows what time it is (see [`Reason::due`]).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pulling { total_bytes: 0, .. } => f.write_str("pulling the image"),
            Self::Pulling { done_bytes, total_bytes, bytes_per_s } => {
                write!(f, "pulling the image, {}", ByteSize(*done_bytes).of(ByteSize(*total_bytes)))?;
                match bytes_per_s {
                    0 => Ok(()),
                    rate => write!(f, ", {}/s", ByteSize(*rate).human()),
                }
            }
            Self::PullFailed { error, attempts, .. } => write!(f, "pull failed ({}): {error}", times(*attempts)),
            Self::Starting => f.write_str("starting"),
            Self::StartFailed { error, attempts, .. } => write!(f, "start failed ({}): {error}", times(*attempts)),
            Self::NotStarted { error, attempts, policy } => {
                write!(f, "start failed ({}), not tried again ({policy}): {error}", times(*attempts))
            }
            Self::WaitingForHealth { output } if output.is_empty() => f.write_str("waits for its health check"),
            Self::WaitingForHealth { output } => write!(f, "waits for its health check, which said: {}", brief(output)),
            Self::Unhealthy { failures, output, then } => {
                write!(f, "unhealthy ({} in a row){then}", failed_checks(*failures))?;
                if output.is_empty() { Ok(()) } else { write!(f, ": {}", brief(output)) }
            }
            Self::RestartBackoff { exit, restarts, .. } => write!(f, "{exit}; restarted {} so far", times(*restarts)),
            Self::Completed => f.write_str("completed"),
            Self::NotRestarted { exit, policy } => write!(f, "{exit}; not restarted ({policy})"),
            Self::PortTaken { port, protocol, by } => {
                let protocol = match protocol {
                    Protocol::Tcp => "tcp",
                    Protocol::Udp => "udp",
                };
                write!(f, "port {port}/{protocol} of the host is taken by {by}; stop that, or publish another port")
            }
            Self::Draining { until: None, .. } => f.write_str("moving its ports from the previous container"),
            Self::Draining { connections: Some(1), .. } => f.write_str("draining the previous container, 1 connection is open"),
            Self::Draining { connections: Some(open), .. } if *open > 0 => {
                write!(f, "draining the previous container, {open} connections are open")
            }
            Self::Draining { .. } => f.write_str("draining the previous container"),
            Self::StoppingPrevious { .. } => f.write_str("stopping the previous container"),
            Self::Stopping { .. } => f.write_str("stopping"),
            Self::Removing => f.write_str("removing what is left of it"),
            Self::RemoveFailed { attempts, .. } => write!(f, "removal failed ({})", times(*attempts)),
            Self::DocumentRejected { error } => write!(f, "the agent rejects the document: {error}"),
            Self::WaitingForTurn { revision, after } => match after.as_slice() {
                [] => write!(f, "waits for its turn for revision {revision}"),
                [host] => write!(f, "waits for its turn for revision {revision}, after {host}"),
                [host, rest @ ..] => {
                    write!(f, "waits for its turn for revision {revision}, after {host} and {} more", rest.len())
                }
            },
            Self::WaitingForHost { revision } => write!(f, "waits for the host to run revision {revision}"),
            Self::Monitoring { .. } => f.write_str("ready; watched before the next host's turn"),
            Self::HostLost { .. } => f.write_str("host is lost; what it runs is not known"),
            Self::HostUnknown => f.write_str("host has not been heard of since the coordinator started"),
            Self::NoHostMatches => f.write_str("no known host matches its `hosts`"),
            Self::HostNotKnown { host } => write!(f, "host {host} is not known; add it with `coordctl hosts add {host}`"),
            Self::ImageUnresolved { error, .. } => write!(f, "not published, {error}"),
            Self::Unknown => f.write_str("a reason that this version does not know"),
        }
    }
}

impl Reason {
    /// The time at which the reason will have passed or be tried again, where it has one.
    pub fn due(&self) -> Option<Timestamp> {
        match self {
            Self::PullFailed { retry_at, .. }
            | Self::StartFailed { retry_at, .. }
            | Self::RestartBackoff { retry_at, .. }
            | Self::RemoveFailed { retry_at, .. }
            | Self::ImageUnresolved { retry_at, .. } => Some(*retry_at),
            Self::StoppingPrevious { kill_at } | Self::Stopping { kill_at } => Some(*kill_at),
            Self::Unhealthy { then: AfterUnhealthy::Stopping { kill_at }, .. } => Some(*kill_at),
            Self::Unhealthy { then: AfterUnhealthy::Restarted { retry_at, .. }, .. } => Some(*retry_at),
            Self::Monitoring { until } => Some(*until),
            Self::Draining { until, .. } => *until,
            Self::Pulling { .. }
            | Self::Starting
            | Self::PortTaken { .. }
            | Self::NotStarted { .. }
            | Self::WaitingForHealth { .. }
            | Self::Unhealthy { .. }
            | Self::Completed
            | Self::NotRestarted { .. }
            | Self::Removing
            | Self::DocumentRejected { .. }
            | Self::WaitingForTurn { .. }
            | Self::WaitingForHost { .. }
            | Self::HostLost { .. }
            | Self::HostUnknown
            | Self::NoHostMatches
            | Self::HostNotKnown { .. }
            | Self::Unknown => None,
        }
    }
}

fn failed_checks(n: u32) -> String {
    match n {
        1 => "1 failed check".to_owned(),
        n => format!("{n} failed checks"),
    }
}

fn times(n: u32) -> String {
    match n {
        1 => "once".to_owned(),
        n => format!("{n} times"),
    }
}
