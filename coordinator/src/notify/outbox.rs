//! The outbox: what is to be told, kept in the store until it was.
//!
//! ```text
//! notify/PIPELINE/NUMBER/TARGET    Notice    TARGET: the first digits of the SHA-256 of who is told
//! ```

use super::Message;
use crate::records;
use coord_shared::names::{Digest, PipelineName, RunId};
use coord_shared::pipeline::NotifyTarget;
use coord_store::{Changes, StoreRevision};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Prefix of notices.
pub(super) const NOTICE: &str = "notify/";

/// Where a notice lies. Numbers are padded, so that keys sort as numbers do.
pub(super) fn notice_key(run: &RunId, target: &NotifyTarget) -> String {
    let digest = Digest::of(written(target).as_bytes());
    format!("{NOTICE}{}/{:020}/{}", run.pipeline, run.number, digest.short())
}

/// The name of a delivery, the same for each attempt: `shop.12.0123456789ab`.
pub(super) fn delivery(key: &str) -> String {
    let mut parts = key.strip_prefix(NOTICE).unwrap_or(key).split('/');
    let (pipeline, number, target) = (parts.next(), parts.next(), parts.next());
    let number = number.map(|number| number.trim_start_matches('0'));
    [pipeline, number, target].into_iter().flatten().collect::<Vec<_>>().join(".")
}

/// Somebody who is to be told something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notice {
    /// `webhook:URL` or `email:ADDRESS`.
    target: String,
    /// What.
    pub(super) message: Message,
    /// Since when.
    pub(super) made_at: Timestamp,
    /// Failed attempts.
    #[serde(default)]
    pub(super) attempts: u32,
    /// Before then nothing is tried.
    pub(super) next_at: Timestamp,
    /// Why the last attempt failed.
    #[serde(default)]
    pub(super) problem: Option<String>,
    /// How it ended.
    #[serde(default)]
    pub(super) ended: Option<Ended>,
}

/// How telling somebody ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) at: Timestamp,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// He took it.
    Delivered,
    /// He did not take it for a day.
    GivenUp,
}

impl Notice {
    pub(super) fn new(target: NotifyTarget, message: Message, now: Timestamp) -> Self {
        Self { target: written(&target), message, made_at: now, attempts: 0, next_at: now, problem: None, ended: None }
    }

    /// Who is told; `None` for a kind of a newer coordinator.
    pub(super) fn target(&self) -> Option<NotifyTarget> {
        match self.target.split_once(':')? {
            ("webhook", url) => Some(NotifyTarget::Webhook(url.to_owned())),
            ("email", address) => Some(NotifyTarget::Email(address.to_owned())),
            _ => None,
        }
    }

    /// Names whoever is told.
    pub(super) fn target_text(&self) -> String {
        self.target.clone()
    }

    /// Who is told, as people are shown it: a webhook without its path, which is often a secret.
    pub(super) fn shown(&self) -> String {
        let Some((scheme, rest)) = self.target.split_once("://") else { return self.target.clone() };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        if host.len() == rest.len() { format!("{scheme}://{host}") } else { format!("{scheme}://{host}/...") }
    }

    /// Nothing more is tried; what was told is not kept.
    pub(super) fn end(&mut self, outcome: Outcome, at: Timestamp) {
        self.ended = Some(Ended { at, outcome });
        self.message = Message { subject: self.message.subject.clone(), text: String::new(), json: String::new() };
    }
}

fn written(target: &NotifyTarget) -> String {
    match target {
        NotifyTarget::Webhook(url) => format!("webhook:{url}"),
        NotifyTarget::Email(address) => format!("email:{address}"),
    }
}

/// All notices, as the store had them last.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) at: StoreRevision,
    notices: BTreeMap<String, Notice>,
}

impl Outbox {
    /// Takes over what changed. `is_whole`: what is not among it is gone.
    pub(super) fn apply(&mut self, changes: Changes, is_whole: bool) {
        if is_whole {
            self.notices.clear();
        }
        for change in changes.changes {
            match change.value.map(|value| records::decode::<Notice>(&change.key, &value)) {
                Some(Ok(notice)) => drop(self.notices.insert(change.key, notice)),
                Some(Err(error)) => tracing::error!("{}", coord_registry::chain(&error)),
                None => drop(self.notices.remove(&change.key)),
            }
        }
        self.at = changes.revision;
    }

    /// What is not over, the oldest first for each target.
    pub(super) fn open(&self) -> impl Iterator<Item = (&String, &Notice)> {
        let mut open: Vec<_> = self.notices.iter().filter(|(_, notice)| notice.ended.is_none()).collect();
        open.sort_by_key(|(_, notice)| notice.made_at);
        open.into_iter()
    }

    /// What is over.
    pub(super) fn ended(&self) -> impl Iterator<Item = (&String, &Ended)> {
        self.notices.iter().filter_map(|(key, notice)| Some((key, notice.ended.as_ref()?)))
    }

    /// Why people were not told, the newest first.
    pub(super) fn problems(&self, pipeline: &PipelineName) -> impl Iterator<Item = String> {
        let prefix = format!("{NOTICE}{pipeline}/");
        let notices = self.notices.range(prefix.clone()..).take_while(move |(key, _)| key.starts_with(&prefix));
        let problems = notices.filter_map(|(key, notice)| {
            let problem = notice.problem.as_ref()?;
            let run = delivery(key);
            let run = run.rsplit_once('.').map_or(run.as_str(), |(run, _)| run);
            let end = match notice.ended.map(|ended| ended.outcome) {
                Some(Outcome::Delivered) => return None,
                Some(Outcome::GivenUp) => "given up",
                None => "trying again",
            };
            Some(format!("{} cannot be told of run {run}: {problem} ({end})", notice.shown()))
        });
        problems.collect::<Vec<_>>().into_iter().rev()
    }
}
