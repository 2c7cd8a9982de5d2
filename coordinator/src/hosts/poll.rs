//! The long poll: an agent sleeps here until its host state changes or somebody asks for it.
//!
//! A sleeping poll costs one waiter on its host's bell. Compiled states are shared bytes, so a thousand polls copy nothing.

use super::{Hosts, SESSIONS_PER_HOST_MAX, UnknownHost};
use crate::clock;
use bytes::Bytes;
use coord_shared::names::{Generation, HostName};
use coord_shared::wire::Session;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// One host's state, as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Its generation.
    pub generation: Generation,
    /// Names these bytes: `"GENERATION-HASH"`, quotes included.
    pub etag: String,
    /// The TOML.
    pub body: Bytes,
}

/// How a poll ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Poll {
    /// The state differs from what the agent has, or sessions wait for it.
    State(Arc<Compiled>, Vec<Session>),
    /// Nothing changed in time.
    Unchanged,
    /// The state could not be compiled yet; to be asked for again.
    NotYet,
}

/// Counts one waiting poll for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hosts {
    /// Polls that sleep right now.
    pub fn waiting_polls(&self) -> usize {
        self.polls.load(Ordering::Relaxed)
    }

    /// Answers at once if the host's state is not the one named by `known`, or if a session waits; else sleeps for up to `wait`.
    pub async fn poll(&self, host: &HostName, known: Option<&str>, wait: Duration) -> Result<Poll, UnknownHost> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.polls);
        let deadline = clock::moment() + wait;
        loop {
            let bell = {
                let hosts = self.lock();
                let entry = hosts.get(host).ok_or_else(|| UnknownHost(host.clone()))?;
                Arc::clone(&entry.bell)
            };
            // Listening begins before looking, so that no ring falls between the two.
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            if let Some(answer) = self.look(host, known)? {
                return Ok(answer);
            }
            if tokio::time::timeout_at(deadline, rung).await.is_err() {
                return Ok(if self.has_state(host) { Poll::Unchanged } else { Poll::NotYet });
            }
        }
    }

    /// Gives a host a new state; wakes its polls, and only those.
    pub fn set_state(&self, host: &HostName, state: Arc<Compiled>) {
        if let Some(entry) = self.lock().get_mut(host)
            && entry.state.as_ref() != Some(&state)
        {
            entry.state = Some(state);
            entry.bell.notify_waiters();
        }
    }

    /// Leaves a session for the host's agent, which its poll delivers. Refused if too many wait there already.
    pub fn open_session(&self, host: &HostName, session: Session) -> bool {
        let mut hosts = self.lock();
        let Some(entry) = hosts.get_mut(host).filter(|entry| entry.sessions.len() < SESSIONS_PER_HOST_MAX) else {
            return false;
        };
        entry.sessions.push(session);
        entry.bell.notify_waiters();
        true
    }

    /// Withdraws a session that no agent has fetched.
    pub fn withdraw_session(&self, host: &HostName, id: &str) {
        if let Some(entry) = self.lock().get_mut(host) {
            entry.sessions.retain(|session| session.id != id);
        }
    }

    fn look(&self, host: &HostName, known: Option<&str>) -> Result<Option<Poll>, UnknownHost> {
        let mut hosts = self.lock();
        let entry = hosts.get_mut(host).ok_or_else(|| UnknownHost(host.clone()))?;
        let Some(state) = entry.state.clone() else { return Ok(None) };
        if known == Some(state.etag.as_str()) && entry.sessions.is_empty() {
            return Ok(None);
        }
        Ok(Some(Poll::State(state, std::mem::take(&mut entry.sessions))))
    }

    pub(crate) fn has_state(&self, host: &HostName) -> bool {
        self.lock().get(host).is_some_and(|entry| entry.state.is_some())
    }
}
