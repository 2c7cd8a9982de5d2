//! The users of containers: each gets a range of the host's users for its own, out of one pool, so that nobody in one
//! container is anybody in another one or on the host.
//!
//! A range is free again when its container has been removed: nothing on disk belongs to it any more, because volumes hold
//! users as containers number them. Deliberately absent: `/etc/subuid`, which says what unprivileged users may do.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::request::{UserRange, Users};
use super::{Backend, ContainerSpec, Isolation, NetworkMode, UserNamespaces};

/// Users of one container: numbers of 16 bits, as images use them.
pub(super) const USERS_PER_CONTAINER: u32 = 65_536;

/// See the module's description.
pub(super) struct UserPool {
    isolation: Isolation,
    /// The containers that have a range, by the number of the range.
    taken: Mutex<BTreeMap<u32, String>>,
}

impl UserPool {
    pub(super) fn new(isolation: Isolation) -> UserPool {
        UserPool { isolation, taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<u32, String>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The users of a new container: its parent's, or the lowest range that is free. The error is in words for the operator.
    pub(super) fn assign(&self, spec: &ContainerSpec) -> Result<Users, String> {
        if let Some(parent) = &spec.parent {
            return Ok(parent.users().map_or(Users::Host, |range| Users::Parents { range }));
        }
        let required = self.isolation.user_namespaces == UserNamespaces::Require;
        if let Some(users) = without_range(spec, self.isolation.user_namespaces)? {
            return Ok(users);
        }
        let count = self.isolation.user_count / USERS_PER_CONTAINER;
        let mut taken = self.taken();
        match (0..count).find(|number| !taken.contains_key(number)) {
            Some(number) => {
                taken.insert(number, spec.id.clone());
                let first = self.isolation.first_user + number * USERS_PER_CONTAINER;
                Ok(Users::Own { range: UserRange { first, count: USERS_PER_CONTAINER }, required })
            }
            None if required => Err(format!("all {count} ranges of users are in use; enlarge `user_range` in agent.toml")),
            None => Ok(Users::HostBecause(format!("all {count} ranges of users are in use"))),
        }
    }

    /// A container of an earlier agent has this range.
    pub(super) fn keep(&self, id: &str, range: UserRange) {
        // One of another pool cannot be given away by this one.
        if let Some(offset) = range.first.checked_sub(self.isolation.first_user) {
            self.taken().insert(offset / USERS_PER_CONTAINER, id.to_owned());
        }
    }

    /// A container is gone.
    pub(super) fn release(&self, id: &str) {
        self.taken().retain(|_, owner| owner != id);
    }
}

/// What a container has that gets no range; `None` for all others.
fn without_range(spec: &ContainerSpec, policy: UserNamespaces) -> Result<Option<Users>, String> {
    if spec.security.host_users || spec.security.privileged {
        return Ok(Some(Users::Host));
    }
    let shares = match &spec.backend {
        Backend::External(_) => Some("an OCI runtime is not given one"),
        Backend::Embedded if spec.security.host_pid => Some("it shares the host's processes"),
        Backend::Embedded if spec.security.host_ipc => Some("it shares the host's IPC"),
        Backend::Embedded => None,
    };
    match (policy, shares) {
        (UserNamespaces::Off, _) => Ok(Some(Users::HostBecause("switched off in agent.toml".to_owned()))),
        (UserNamespaces::Require, Some(shares)) => Err(format!("{shares}, which takes host_users = true on this host")),
        (UserNamespaces::Auto, Some(shares)) => Ok(Some(Users::HostBecause(shares.to_owned()))),
        // Its root could bind no low port and send no ping there: those rights are the host's users' alone.
        (UserNamespaces::Auto, None) if matches!(spec.network, NetworkMode::Host) => {
            Ok(Some(Users::HostBecause("it shares the host's network".to_owned())))
        }
        (UserNamespaces::Auto | UserNamespaces::Require, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
