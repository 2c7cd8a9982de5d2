//! What this host is good for, and what it lacks: `coord-agent doctor`.
//!
//! Each check tries the thing itself where that leaves nothing behind, and says what it found, what that costs, and the cure. Nothing
//! is changed, so it may run at any time, beside a running agent too. Deliberately absent: repairing.

mod builder;
mod firewall;
mod folders;
mod images;
mod kernel;
mod network;
mod programs;
mod runtimes;

use crate::config::{Config, ConfigError};
use serde::{Deserialize, Serialize};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and could be better.
    Note,
    /// Something will not work.
    Problem,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at.
    pub what: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What is lost by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Check {
    /// All is well.
    pub fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { what: what.into(), verdict: Verdict::Ok, found: found.into(), cost: None, cure: None }
    }

    /// It works, at a cost.
    pub fn note(what: impl Into<String>, found: impl Into<String>, cost: impl Into<String>) -> Self {
        Self { verdict: Verdict::Note, cost: Some(cost.into()), ..Self::ok(what, found) }
    }

    /// It does not work.
    pub fn problem(what: impl Into<String>, found: impl Into<String>, cost: impl Into<String>) -> Self {
        Self { verdict: Verdict::Problem, ..Self::note(what, found, cost) }
    }

    /// Adds what to do about it.
    pub fn cure(self, cure: impl Into<String>) -> Self {
        Self { cure: Some(cure.into()), ..self }
    }
}

/// Examines this host.
pub async fn examine(config: &Config) -> Vec<Check> {
    let mut checks = vec![kernel::rights()];
    if !rustix::process::geteuid().is_root() {
        return checks;
    }
    checks.extend(kernel::checks());
    checks.extend(folders::checks(config));
    checks.extend(images::checks(config));
    checks.extend(programs::checks(config));
    checks.extend(runtimes::checks(config));
    checks.extend(builder::checks(config));
    checks.extend(firewall::checks(config));
    checks.extend(network::checks(config).await);
    checks
}

/// What is said of a configuration that cannot be used.
pub fn unusable(error: &ConfigError) -> Check {
    Check::problem("agent.toml", crate::chain(error), "the agent does not start; the rest was examined with the defaults")
        .cure("correct the file")
}
