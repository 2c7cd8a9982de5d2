//! From an image to the places that may serve it: the mirrors of the entry that covers it, and its location.
//!
//! A place is reached as the entry says that covers *its* name, so that a mirror has its own authority and login; what an entry says
//! of itself is for its location. A mirror lies where the entry for its name says (its `location`); mirrors of mirrors are not followed.
//!
//! A place that failed is passed over for a while, which only means that it is asked last: nothing is ever left untried.

use crate::clock::{self, Instant};
use crate::{RegistryConfig, RegistryError};
use coord_shared::names::ImageReference;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where Docker Hub's references are really served.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";
/// Long enough that a pull of many layers does not try a dead mirror for each, short enough that a repaired one is soon in use.
const PASS_OVER_S: u64 = 60;
/// Places remembered as ill; beyond, nothing new is remembered.
const ILL_MAX: usize = 256;

/// A place that may serve an image's repository.
#[derive(Clone)]
pub(crate) struct Place {
    /// `cache.lan:5000/proxy/library/nginx`.
    pub(crate) name: String,
    /// Where in `name` the registry ends.
    host_length: usize,
    /// The entry that says how to reach it.
    pub(crate) entry: Option<Arc<RegistryConfig>>,
    pub(crate) is_mirror: bool,
}

impl Place {
    fn new(name: String, entry: Option<Arc<RegistryConfig>>, is_mirror: bool) -> Result<Place, RegistryError> {
        let host_length = name.find('/').ok_or_else(|| RegistryError::Config {
            problem: format!("{name:?} has no path left for a repository; check location and mirror of the [[registry]] entry"),
        })?;
        Ok(Place { name, host_length, entry, is_mirror })
    }

    /// As people write it: `docker.io`, `registry.lan:5000`.
    pub(crate) fn registry(&self) -> &str {
        &self.name[..self.host_length]
    }

    pub(crate) fn repository(&self) -> &str {
        &self.name[self.host_length + 1..]
    }

    pub(crate) fn is_insecure(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.insecure)
    }

    /// `https://HOST[:PORT]`, without a final slash.
    pub(crate) fn base_url(&self) -> String {
        let scheme = if self.is_insecure() { "http" } else { "https" };
        let host = if self.registry() == "docker.io" { DOCKER_HUB_HOST } else { self.registry() };
        format!("{scheme}://{host}")
    }
}

/// Every entry there is: the host's own, and those that a coordinator hands out.
#[derive(Default)]
pub(crate) struct Entries {
    local: Vec<Arc<RegistryConfig>>,
    delivered: Mutex<Vec<Arc<RegistryConfig>>>,
}

impl Entries {
    /// Refuses entries that could only surprise, alone or together.
    pub(crate) fn new(local: Vec<RegistryConfig>) -> Result<Entries, RegistryError> {
        for (at, config) in local.iter().enumerate() {
            config.check()?;
            if local[..at].iter().any(|other| other.prefix == config.prefix) {
                let problem = format!("two [[registry]] entries have the prefix {:?}; make them one", config.prefix);
                return Err(RegistryError::Config { problem });
            }
        }
        Ok(Entries { local: local.into_iter().map(Arc::new).collect(), delivered: Mutex::default() })
    }

    /// Replaces what was delivered. Whether anything changed.
    pub(crate) fn deliver(&self, entries: Vec<RegistryConfig>) -> bool {
        let entries: Vec<_> = entries.into_iter().map(Arc::new).collect();
        let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *delivered != entries;
        *delivered = entries;
        is_new
    }

    /// The entry for a registry and path: the longest prefix of the host's own; else of those delivered.
    fn find(&self, name: &str) -> Option<Arc<RegistryConfig>> {
        longest(&self.local, name).or_else(|| self.find_delivered(name))
    }

    /// Whether this very entry was delivered.
    pub(crate) fn is_delivered(&self, entry: &Arc<RegistryConfig>) -> bool {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|other| Arc::ptr_eq(other, entry))
    }

    /// What was delivered for a registry and path.
    pub(crate) fn find_delivered(&self, name: &str) -> Option<Arc<RegistryConfig>> {
        longest(&self.delivered.lock().unwrap_or_else(PoisonError::into_inner), name)
    }

    /// Where the image may be had, best first: mirrors, then the location.
    pub(crate) fn places(&self, image: &ImageReference) -> Result<Vec<Place>, RegistryError> {
        let name = format!("{}/{}", image.registry(), image.repository());
        let Some(entry) = self.find(&name) else { return Ok(vec![Place::new(name, None, false)?]) };
        let rest = &name[entry.prefix.len()..];
        let mut places = Vec::with_capacity(entry.mirror.len() + 1);
        for mirror in &entry.mirror {
            let name = format!("{mirror}{rest}");
            let how = self.find(&name);
            let (name, how) = self.really(name, how);
            places.push(Place::new(name, how, true)?);
        }
        let (name, how) = self.really(name, Some(entry));
        places.push(Place::new(name, how, false)?);
        Ok(places)
    }

    /// Where a name that `entry` covers lies, and the entry that says how to get there.
    fn really(&self, name: String, entry: Option<Arc<RegistryConfig>>) -> (String, Option<Arc<RegistryConfig>>) {
        let Some(entry) = entry else { return (name, None) };
        let Some(location) = &entry.location else { return (name, Some(entry)) };
        let name = format!("{location}{}", &name[entry.prefix.len()..]);
        let how = if entry.says_how() { None } else { self.find(&name) };
        (name, how.or(Some(entry)))
    }
}

fn longest(entries: &[Arc<RegistryConfig>], name: &str) -> Option<Arc<RegistryConfig>> {
    entries.iter().filter(|entry| entry.covers(name)).max_by_key(|entry| entry.prefix.len()).cloned()
}

/// Places that failed lately, whole registries and single repositories.
#[derive(Default)]
pub(crate) struct Ill {
    until: Mutex<BTreeMap<String, Instant>>,
}

impl Ill {
    /// Those that are well first; otherwise in the order given.
    pub(crate) fn last(&self, mut places: Vec<Place>) -> Vec<Place> {
        let now = clock::now();
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ill = |key: &str| until.get(key).is_some_and(|until| *until > now);
        places.sort_by_key(|place| is_ill(place.registry()) || is_ill(&place.name));
        places
    }

    /// Remembers a failure: of the whole registry, or of one repository in it where the registry itself is fine. For how long.
    pub(crate) fn pass_over(&self, place: &Place, error: &RegistryError) -> Duration {
        let key = match error {
            RegistryError::NotFound { .. } | RegistryError::Unauthorized { .. } => &place.name,
            RegistryError::Config { .. }
            | RegistryError::RateLimited { .. }
            | RegistryError::Server { .. }
            | RegistryError::Unreachable { .. }
            | RegistryError::BadAnswer { .. } => place.registry(),
        };
        let life = Duration::from_secs(PASS_OVER_S).max(error.retry_after().unwrap_or_default());
        let now = clock::now();
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.retain(|_, until| *until > now);
        if until.len() < ILL_MAX {
            until.insert(key.to_owned(), now + life);
        }
        life
    }
}
