//! Health: how often a container is asked whether it is well, and what its answers mean.
//!
//! The rules are Docker's (moby, daemon/health.go), so that a check that works there works here: failures in the start period do not
//! count, the first success ends it, and so many failures in a row make a container ill. One thing is kinder. Docker asks a container
//! without a start period for the first time when a whole interval is over; here it is asked soon, and often, until then: a success
//! makes it ready at once, and a failure counts no sooner than with Docker.
//!
//! Deliberately absent: how a container is asked (the agent's probers), and what follows when it is ill (the planner).

use super::Mono;
use crate::document::{Healthcheck, Probe};
use crate::quantity::Span;
use crate::wire::{HealthReport, HealthStatus};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Compose's defaults (compose-spec, 05-services.md, healthcheck).
const INTERVAL_DEFAULT: Span = Span::seconds(30);
const TIMEOUT_DEFAULT: Span = Span::seconds(30);
const START_INTERVAL_DEFAULT: Span = Span::seconds(5);
const RETRIES_DEFAULT: u32 = 3;
/// Images name their intervals in nanoseconds: one that asks more often than this would do little else.
const INTERVAL_MIN: Span = Span(Duration::from_millis(100));
/// The first check after a start comes within this: soon, and not with that of every other container that starts now.
const FIRST_CHECK_WITHIN: Duration = Duration::from_secs(1);

/// Most of a failed check's output that is kept (Docker's).
pub const OUTPUT_MAX_BYTES: usize = 4096;
/// Most of it that is reported.
const REPORTED_MAX_CHARS: usize = 1000;
/// Most of it within a sentence.
const BRIEF_MAX_CHARS: usize = 160;

/// How one container is asked, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// How.
    pub probe: Probe,
    /// Between two checks.
    pub interval: Span,
    /// After which a check counts as failed.
    pub timeout: Span,
    /// From the start on, in which failures do not count.
    pub start_period: Span,
    /// Between two checks in that time.
    pub start_interval: Span,
    /// Failures in a row that make it ill; at least 1.
    pub retries: u32,
}

impl Check {
    /// What document and image make together, key by key; `None`: there is nobody to ask, or nothing to ask by.
    pub fn merge(document: Option<&Healthcheck>, image: Option<&Healthcheck>) -> Option<Self> {
        let layers = || document.into_iter().chain(image);
        if document.is_some_and(|document| document.disable) {
            return None;
        }
        let span = |key: fn(&Healthcheck) -> Option<Span>, default: Span| layers().find_map(key).unwrap_or(default);
        let interval = span(|layer| layer.interval, INTERVAL_DEFAULT).max(INTERVAL_MIN);
        Some(Self {
            probe: layers().find_map(|layer| layer.probe.clone())?,
            interval,
            timeout: span(|layer| layer.timeout, TIMEOUT_DEFAULT).max(INTERVAL_MIN),
            start_period: span(|layer| layer.start_period, Span(Duration::ZERO)),
            start_interval: span(|layer| layer.start_interval, START_INTERVAL_DEFAULT.min(interval)).max(INTERVAL_MIN),
            retries: layers().find_map(|layer| layer.retries).unwrap_or(RETRIES_DEFAULT).max(1),
        })
    }

    /// From the start on, in which failures do not count: Docker's first check comes after its first interval.
    fn grace(&self) -> Duration {
        if self.start_period.0.is_zero() { self.interval.0 } else { self.start_period.0 }
    }

    /// How long after one check the next one follows.
    pub fn pause(&self, health: &Health, started_at: Mono, now: Mono) -> Duration {
        let is_young = health.status == Status::Starting && now.since(started_at) < self.grace();
        if is_young { self.start_interval.0 } else { self.interval.0 }
    }

    /// How long after the start, or after an agent found the container, the first check follows. `dice` is a number from 0 to 1.
    pub fn first_pause(&self, health: &Health, dice: f64) -> Duration {
        let within = match health.status {
            Status::Starting => self.start_interval.0.min(FIRST_CHECK_WITHIN),
            Status::Healthy | Status::Unhealthy => self.interval.0,
        };
        within.mul_f64(dice.clamp(0.0, 1.0))
    }
}

/// What the answers so far say of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// In one word.
    pub status: Status,
    /// Since when it has been that.
    pub since: Mono,
    /// Failures in a row, of those that count.
    pub failures: u32,
    /// What the last failed check said, at most [`OUTPUT_MAX_BYTES`]; empty as long as none failed.
    pub output: String,
    /// How long it had been healthy when it became ill; zero if it never was.
    pub well_for: Duration,
}

/// Health in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not known yet.
    Starting,
    /// Well.
    Healthy,
    /// Ill.
    Unhealthy,
}

/// How one check came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Well,
    /// Ill, and what was said.
    Ill(String),
    /// It could not be asked, for no fault of its own. That is neither.
    Unknown,
}

impl Health {
    /// Nothing is known.
    pub fn starting(since: Mono) -> Self {
        Self { status: Status::Starting, since, failures: 0, output: String::new(), well_for: Duration::ZERO }
    }

    /// It was healthy when the agent before looked last.
    pub fn healthy(since: Mono) -> Self {
        Self { status: Status::Healthy, ..Self::starting(since) }
    }

    /// Judges a check that began at `asked_at`.
    pub fn judge(&self, check: &Check, started_at: Mono, asked_at: Mono, outcome: Outcome) -> Self {
        match outcome {
            Outcome::Unknown => self.clone(),
            Outcome::Well if self.status == Status::Healthy => Self { failures: 0, ..self.clone() },
            Outcome::Well => Self { output: self.output.clone(), ..Self::healthy(asked_at) },
            Outcome::Ill(output) => {
                let counts = self.status != Status::Starting || asked_at.since(started_at) >= check.grace();
                let failures = self.failures.saturating_add(u32::from(counts));
                let before = Self { failures, output, ..self.clone() };
                if failures < check.retries || self.status == Status::Unhealthy {
                    return before;
                }
                let well_for = if self.status == Status::Healthy { asked_at.since(self.since) } else { self.well_for };
                Self { status: Status::Unhealthy, since: asked_at, well_for, ..before }
            }
        }
    }

    /// Whether `self` is worth telling to whoever was told `before`: another word, or the first hint why it is not the better one.
    pub fn is_news(&self, before: &Self) -> bool {
        self.status != before.status || (self.status == Status::Starting && before.output.is_empty() && !self.output.is_empty())
    }

    /// How long it has shown that it works.
    pub(crate) fn shown_well_for(&self, now: Mono) -> Duration {
        match self.status {
            Status::Healthy => now.since(self.since),
            Status::Starting | Status::Unhealthy => self.well_for,
        }
    }

    /// As it travels.
    pub fn report(&self) -> HealthReport {
        let status = match self.status {
            Status::Starting => HealthStatus::Starting,
            Status::Healthy => HealthStatus::Healthy,
            Status::Unhealthy => HealthStatus::Unhealthy,
        };
        let output = if self.status == Status::Healthy { "" } else { self.output.as_str() };
        HealthReport { status, failures: self.failures, output: shorten(output, REPORTED_MAX_CHARS) }
    }
}

/// What a check said, as part of a sentence: one line.
pub fn brief(output: &str) -> String {
    let line = output.split_whitespace().collect::<Vec<_>>().join(" ");
    shorten(&line, BRIEF_MAX_CHARS)
}

fn shorten(text: &str, max_chars: usize) -> String {
    let text = text.trim();
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
