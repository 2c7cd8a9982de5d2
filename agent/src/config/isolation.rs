//! `[isolation]` of `agent.toml`: what runs this host's containers, and which numbers their users have.

use coord_runtime::{Isolation, UserNamespaces};
use coord_shared::document::RuntimeName;
use serde::Deserialize;

/// Users of one container: as many as any image expects.
const USERS_PER_CONTAINER: u32 = 65536;

/// Users of the host itself lie below (systemd's dynamic users end at 65519, and 65535 is nobody).
const FIRST_USER_MIN: u32 = 65536;

/// What holds for the isolation of this host's containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsolationConfig {
    /// What runs a container whose document does not say.
    pub runtime: RuntimeName,
    /// Whether each container has users of its own.
    pub user_namespaces: UserNamespaces,
    /// The numbers that these have on the host.
    pub user_range: UserRange,
}

/// Numbers of users and groups; at least those of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserRange {
    /// The first.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl Default for IsolationConfig {
    fn default() -> Self {
        let Isolation { user_namespaces, first_user: first, user_count: count } = Isolation::default();
        Self { runtime: RuntimeName::Embedded, user_namespaces, user_range: UserRange { first, count } }
    }
}

impl IsolationConfig {
    /// What the runtime is opened with.
    pub fn of_containers(&self) -> Isolation {
        let UserRange { first, count } = self.user_range;
        Isolation { user_namespaces: self.user_namespaces, first_user: first, user_count: count }
    }

    /// The same for the one-off container of process `pid`: users from the other end of the range, so that it has none in common with
    /// the service's containers, which take the first free ones.
    pub fn of_one_off(&self, pid: u32) -> Isolation {
        let Isolation { user_namespaces, first_user, user_count } = self.of_containers();
        let places = user_count / USERS_OF_ONE;
        let place = places.saturating_sub(1 + pid % ONE_OFF_PLACES).min(places.saturating_sub(1));
        Isolation { user_namespaces, first_user: first_user + place * USERS_OF_ONE, user_count: USERS_OF_ONE }
    }
}

/// Users of one container.
const USERS_OF_ONE: u32 = 1 << 16;
/// So many one-off containers have users of their own for certain.
const ONE_OFF_PLACES: u32 = 256;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIsolation {
    runtime: Option<RuntimeName>,
    user_namespaces: Option<UserNamespaces>,
    user_range: Option<String>,
}

impl RawIsolation {
    /// The checked values, with the defaults for what is not said. The error names the key and the cure.
    pub(super) fn check(self) -> Result<IsolationConfig, String> {
        let default = IsolationConfig::default();
        Ok(IsolationConfig {
            runtime: self.runtime.unwrap_or(default.runtime),
            user_namespaces: self.user_namespaces.unwrap_or(default.user_namespaces),
            user_range: self.user_range.as_deref().map_or(Ok(default.user_range), parse_range)?,
        })
    }
}

/// `FIRST-LAST`.
fn parse_range(text: &str) -> Result<UserRange, String> {
    let wrong = |what: String| format!("isolation.user_range = {text:?} {what}");
    let numbers = text.split_once('-').and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    let Some((first, last)) = numbers.filter(|(first, last): &(u32, u32)| first <= last && *last < u32::MAX) else {
        return Err(wrong("is not a range of user numbers; write it like \"1879048192-2141192191\"".to_owned()));
    };
    if first < FIRST_USER_MIN {
        return Err(wrong(format!("holds users of the host; begin at {FIRST_USER_MIN} or later")));
    }
    let count = last - first + 1;
    if count < USERS_PER_CONTAINER {
        return Err(wrong(format!("holds {count} users, and each container has {USERS_PER_CONTAINER}; make it larger")));
    }
    Ok(UserRange { first, count })
}
