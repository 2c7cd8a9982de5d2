//! Pull-through: repositories that are copies of an upstream registry's, made when somebody pulls.
//!
//! ```text
//!   host ─ GET /v2/docker.io/library/nginx/... ─▶ centre ── has it ─▶ answers
//!                                                   │ has not, or its tag is old
//!                                                   ▼
//!                                      upstream ─ manifest: fetched, verified, kept
//!                                               ─ blob: one flight for all who ask; they read the file while it is written
//! ```
//!
//! What a tag stands for is asked upstream again once it is older than its time to live; where upstream does not answer, what is kept
//! counts. A manifest's blobs come when they are asked for, so a copy may have a manifest without its blobs: nothing else in the centre
//! may. Nobody pushes here. Deliberately absent: listing upstream's tags and referrers.

mod evict;
mod flight;
mod manifests;
#[cfg(test)]
mod tests;

pub use evict::evicted;

use crate::error::CentreError;
use coord_registry::{Registry, RegistryError};
use coord_shared::names::{Digest, ImageReference, Repository};
use coord_shared::quantity::Span;
use flight::Flights;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a tag is believed where nothing else is said.
const TTL_DEFAULT: Duration = Duration::from_secs(600);
/// How long an upstream that failed is not asked again while there is something kept to answer with.
const PAUSE: Duration = Duration::from_secs(30);

/// One `[[centre.through]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThroughRule {
    /// What the repositories of the copies start with: `docker.io`.
    pub prefix: Repository,
    /// Where the originals are, `registry.lan:5000` or `registry.lan/team`; the prefix itself where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// How long a tag is believed before upstream is asked again.
    #[serde(default = "ttl_default")]
    pub ttl: Span,
}

fn ttl_default() -> Span {
    Span(TTL_DEFAULT)
}

impl ThroughRule {
    /// Where the originals are.
    pub fn upstream(&self) -> &str {
        self.upstream.as_deref().unwrap_or(self.prefix.as_str())
    }

    /// What is wrong with it, with the cure.
    pub fn problem(&self) -> Option<String> {
        let probe: Result<ImageReference, _> = format!("{}/probe/probe", self.upstream()).parse();
        match probe {
            Ok(image) if self.upstream().split('/').next() == Some(image.registry()) => None,
            _ => Some(format!(
                "[[centre.through]] prefix = {:?}: {:?} is no registry; write a host such as docker.io or registry.lan:5000 as `upstream`",
                self.prefix.as_str(),
                self.upstream()
            )),
        }
    }

    /// What lies below the prefix, with its slash.
    fn rest<'a>(&self, repository: &'a Repository) -> Option<&'a str> {
        repository.as_str().strip_prefix(self.prefix.as_str()).filter(|rest| rest.starts_with('/'))
    }
}

/// Gives the client that upstreams are asked with; another one when the configuration of registries changes.
pub type Upstreams = Arc<dyn Fn() -> Registry + Send + Sync>;

/// The copies of a centre, and how they are made.
pub struct Through {
    rules: Vec<ThroughRule>,
    upstreams: Upstreams,
    flights: Flights,
    /// One question at a time for each repository, so that many who ask for the same tag are one request upstream.
    asking: Mutex<BTreeMap<Repository, Arc<tokio::sync::Mutex<()>>>>,
    /// Upstreams that failed, by prefix, and when.
    failed: Mutex<BTreeMap<Repository, Timestamp>>,
}

impl Through {
    /// Copies by these rules; `upstreams` says how to reach the originals.
    pub fn new(rules: Vec<ThroughRule>, upstreams: Upstreams) -> Self {
        let (flights, asking, failed) = (Flights::default(), Mutex::default(), Mutex::default());
        Self { rules, upstreams, flights, asking, failed }
    }

    /// The rule for a repository; the longest prefix counts. `None`: it is no copy.
    pub fn rule(&self, repository: &Repository) -> Option<&ThroughRule> {
        let covering = self.rules.iter().filter(|rule| rule.rest(repository).is_some());
        covering.max_by_key(|rule| rule.prefix.as_str().len())
    }

    /// Where the original of a repository is, with a tag or a digest.
    fn original(&self, repository: &Repository, suffix: &str) -> Result<ImageReference, CentreError> {
        let none = || CentreError::NoRepository(repository.clone());
        let rule = self.rule(repository).ok_or_else(none)?;
        let rest = rule.rest(repository).ok_or_else(none)?;
        format!("{}{rest}{suffix}", rule.upstream()).parse().map_err(|_| none())
    }

    fn by_digest(&self, repository: &Repository, digest: &Digest) -> Result<ImageReference, CentreError> {
        self.original(repository, &format!("@{digest}"))
    }

    /// The lock of a repository's questions.
    fn turn(&self, repository: &Repository) -> Arc<tokio::sync::Mutex<()>> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(asking.entry(repository.clone()).or_default())
    }

    /// Whether an upstream failed a moment ago.
    fn rests(&self, rule: &ThroughRule, now: Timestamp) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get(&rule.prefix).is_some_and(|at| now.duration_since(*at).unsigned_abs() < PAUSE)
    }

    fn note(&self, rule: &ThroughRule, failed_at: Option<Timestamp>) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match failed_at {
            Some(at) => drop(failed.insert(rule.prefix.clone(), at)),
            None => drop(failed.remove(&rule.prefix)),
        }
    }
}

/// What upstream said, as the centre's own errors.
fn refused(repository: &Repository, reference: &str, error: RegistryError) -> CentreError {
    if matches!(error, RegistryError::NotFound { .. }) {
        CentreError::NoManifest { repository: repository.clone(), reference: reference.to_owned() }
    } else {
        CentreError::Upstream(Box::new(error))
    }
}
