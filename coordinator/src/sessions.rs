//! Sessions: an admin's request and the agent that dials in to answer it.
//!
//! ```text
//!  admin: GET .../logs --> open(host) --> the host's long poll ends early with the session's id
//!  agent: POST .../sessions/ID, body streams --> joined here, line by line --> admin's answer streams
//!
//!  admin: GET .../exec, WebSocket <--> joined here, message by message <--> agent: GET .../sessions/ID, WebSocket
//! ```
//!
//! A session that no agent answers in time is withdrawn. An admin who goes away ends the agents' streams, and the other way round.
//! Deliberately absent: a look into what travels. The two ends talk to each other; a reader who stands still stops the writer,
//! because nothing is taken from one side before the other has room.

use crate::hosts::Hosts;
use crate::identity::{IdentityError, random_id};
use bytes::Bytes;
use coord_shared::names::HostName;
use coord_shared::wire::{ExecRequest, LogsRequest, RunLogsRequest, Session, VolumesRequest};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long an agent may take to dial in: one that polls does it at once, one that reconnects needs its backoff.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Sessions that wait for an agent at a time, over all hosts.
const OPEN_MAX: usize = 1000;
/// Lines between an agent and an admin who reads slowly; then the agent's stream waits.
const LINES_MAX: usize = 64;
/// Messages each way between an agent and an admin who reads slowly.
const MESSAGES_MAX: usize = 4;

/// Lines on their way to the admin.
pub type Lines = mpsc::Receiver<Bytes>;

/// One end of a session that carries messages both ways.
#[derive(Debug)]
pub struct Duplex {
    /// Towards the other end. Closed when that one is gone.
    pub sender: mpsc::Sender<Bytes>,
    /// From the other end. Ends when that one is gone.
    pub receiver: mpsc::Receiver<Bytes>,
}

/// How an agent answers.
enum Answer {
    /// With lines.
    Lines(Lines),
    /// With messages both ways.
    Duplex(Duplex),
    /// It cannot, and says why.
    Refused(String),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Too many wait already.
    #[error("too many sessions wait for host {0}; try again")]
    TooMany(HostName),
    /// The agent did not dial in.
    #[error("the agent of host {0} did not answer in time; see whether it is heard of: coordctl hosts")]
    NoAnswer(HostName),
    /// The agent cannot answer.
    #[error("host {host}: {message}")]
    Refused {
        /// The host.
        host: HostName,
        /// What its agent says.
        message: String,
    },
    /// The agent answers with something else.
    #[error("the agent of host {0} answered with something else than what was asked; upgrade coord-agent")]
    Other(HostName),
    /// No unguessable name could be made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Sessions that wait for their agents.
#[derive(Default)]
pub struct Sessions {
    open: Mutex<HashMap<String, Open>>,
}

struct Open {
    host: HostName,
    answer: oneshot::Sender<Answer>,
}

/// Withdraws a session that is no longer waited for.
struct Guard<'a> {
    sessions: &'a Sessions,
    hosts: &'a Hosts,
    host: &'a HostName,
    id: String,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.id);
        self.hosts.withdraw_session(self.host, &self.id);
    }
}

impl Sessions {
    /// Asks a host's agent for an instance's log and waits until it dials in.
    pub async fn logs(&self, hosts: &Arc<Hosts>, host: &HostName, asked: LogsRequest) -> Result<Lines, SessionError> {
        match self.ask(hosts, host, Session { logs: Some(asked), ..Session::default() }).await? {
            Answer::Lines(lines) => Ok(lines),
            Answer::Duplex(_) | Answer::Refused(_) => Err(SessionError::Other(host.clone())),
        }
    }

    /// Asks a builder's agent for the log of a run and waits until it dials in.
    pub async fn run_logs(&self, hosts: &Arc<Hosts>, host: &HostName, asked: RunLogsRequest) -> Result<Lines, SessionError> {
        match self.ask(hosts, host, Session { run_logs: Some(asked), ..Session::default() }).await? {
            Answer::Lines(lines) => Ok(lines),
            Answer::Duplex(_) | Answer::Refused(_) => Err(SessionError::Other(host.clone())),
        }
    }

    /// Asks a host's agent about its volumes. The answer is one JSON body.
    pub async fn volumes(&self, hosts: &Arc<Hosts>, host: &HostName, asked: VolumesRequest) -> Result<Bytes, SessionError> {
        match self.ask(hosts, host, Session { volumes: Some(asked), ..Session::default() }).await? {
            Answer::Lines(mut lines) => lines.recv().await.ok_or_else(|| SessionError::Other(host.clone())),
            Answer::Duplex(_) | Answer::Refused(_) => Err(SessionError::Other(host.clone())),
        }
    }

    /// Asks a host's agent to run a program in a container, and waits until it dials in.
    pub async fn exec(&self, hosts: &Arc<Hosts>, host: &HostName, asked: ExecRequest) -> Result<Duplex, SessionError> {
        match self.ask(hosts, host, Session { exec: Some(asked), ..Session::default() }).await? {
            Answer::Duplex(duplex) => Ok(duplex),
            Answer::Lines(_) | Answer::Refused(_) => Err(SessionError::Other(host.clone())),
        }
    }

    /// Opens a session and waits for the answer, which is no refusal.
    async fn ask(&self, hosts: &Arc<Hosts>, host: &HostName, session: Session) -> Result<Answer, SessionError> {
        let id = random_id()?;
        let (answer, answered) = oneshot::channel();
        {
            let mut open = self.lock();
            if open.len() >= OPEN_MAX {
                return Err(SessionError::TooMany(host.clone()));
            }
            open.insert(id.clone(), Open { host: host.clone(), answer });
        }
        let guard = Guard { sessions: self, hosts, host, id: id.clone() };
        if !hosts.open_session(host, Session { id, ..session }) {
            return Err(SessionError::TooMany(host.clone()));
        }
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, answered).await;
        drop(guard);
        match answer {
            Ok(Ok(Answer::Refused(message))) => Err(SessionError::Refused { host: host.clone(), message }),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(SessionError::NoAnswer(host.clone())),
        }
    }

    /// The agent of `host` dials in: where its lines go. `None`: no such session (any more).
    pub fn answer(&self, host: &HostName, id: &str) -> Option<mpsc::Sender<Bytes>> {
        let (lines, receiver) = mpsc::channel(LINES_MAX);
        self.take(host, id)?.send(Answer::Lines(receiver)).ok()?;
        Some(lines)
    }

    /// The agent of `host` dials in with a socket: its end of the session. `None`: no such session (any more).
    pub fn join(&self, host: &HostName, id: &str) -> Option<Duplex> {
        let (to_admin, from_agent) = mpsc::channel(MESSAGES_MAX);
        let (to_agent, from_admin) = mpsc::channel(MESSAGES_MAX);
        self.take(host, id)?.send(Answer::Duplex(Duplex { sender: to_agent, receiver: from_agent })).ok()?;
        Some(Duplex { sender: to_admin, receiver: from_admin })
    }

    /// The agent of `host` dials in to say that it cannot. `false`: no such session (any more).
    pub fn refuse(&self, host: &HostName, id: &str, message: String) -> bool {
        self.take(host, id).is_some_and(|answer| answer.send(Answer::Refused(message)).is_ok())
    }

    /// Another host's agent finds nothing under the id, and takes nothing away.
    fn take(&self, host: &HostName, id: &str) -> Option<oneshot::Sender<Answer>> {
        let mut open = self.lock();
        open.get(id).filter(|session| session.host == *host)?;
        open.remove(id).map(|session| session.answer)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        // Every change is one call on the map: a poisoned lock guards a whole map.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
