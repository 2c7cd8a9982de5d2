//! What runs within a container, as a tree under it: second containers, and the file caches that hand them files.
//!
//! Both command lines show it; each puts its lines under the row of the instance.

use super::{Tone, age, ago, until};
use crate::names::ImageReference;
use crate::quantity::ByteSize;
use crate::wire::nested::{CacheKind, CacheView, ChildState, ChildView, MountView, NestedReport};
use jiff::Timestamp;

/// Names of containers that one line lists.
const NAMES_MAX: usize = 3;

/// A line of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The twig and a name: `├ lint`.
    pub head: String,
    /// What is to be said of it.
    pub text: String,
    /// How it is.
    pub tone: Tone,
}

/// The tree: containers, the oldest first, then caches by name. Of those that ended, the last `ended_max`; the others are counted.
pub fn branches(report: &NestedReport, now: Timestamp, ended_max: usize) -> Vec<Branch> {
    let ended = report.containers.iter().filter(|child| is_over(child)).count();
    let mut passed_over = ended.saturating_sub(ended_max);
    let mut lines: Vec<(String, String, Tone)> = Vec::new();
    if passed_over > 0 {
        let more = if passed_over == 1 { "one more has ended".to_owned() } else { format!("{passed_over} more have ended") };
        lines.push(("…".to_owned(), more, Tone::Faint));
    }
    for child in &report.containers {
        if passed_over > 0 && is_over(child) {
            passed_over -= 1;
            continue;
        }
        let (text, tone) = child_text(child, now);
        lines.push((child.name.to_string(), text, tone));
    }
    lines.extend(report.caches.iter().map(|cache| (cache.name.to_string(), cache_text(cache, now), Tone::Plain)));
    if report.left_out > 0 {
        lines.push(("…".to_owned(), format!("{} more are not told of: there are very many", report.left_out), Tone::Faint));
    }
    let last = lines.len().saturating_sub(1);
    let branch = |(at, (name, text, tone)): (usize, (String, String, Tone))| {
        let twig = if at == last { '└' } else { '├' };
        Branch { head: format!("{twig} {name}"), text, tone }
    };
    lines.into_iter().enumerate().map(branch).collect()
}

/// All of it in a few words: `2 containers run, 5 have ended; 1 cache, 4.2 MiB`. Empty where there is nothing.
pub fn summary(report: &NestedReport) -> String {
    let ended = report.containers.iter().filter(|child| is_over(child)).count();
    let living = report.containers.len() - ended;
    let mut parts = Vec::new();
    if living > 0 {
        parts.push(format!("{living} {}", if living == 1 { "container runs" } else { "containers run" }));
    }
    if ended > 0 {
        parts.push(format!("{ended} {} ended", if ended == 1 { "has" } else { "have" }));
    }
    let mut text = parts.join(", ");
    let bytes = report.caches.iter().map(|cache| cache.bytes).fold(0, u64::saturating_add);
    if !report.caches.is_empty() {
        let gap = if text.is_empty() { "" } else { "; " };
        let count = report.caches.len();
        text.push_str(&format!("{gap}{count} {}, {}", if count == 1 { "cache" } else { "caches" }, ByteSize(bytes).human()));
    }
    text
}

fn is_over(child: &ChildView) -> bool {
    match child.state {
        ChildState::Exited | ChildState::Failed => true,
        ChildState::Starting | ChildState::Running | ChildState::Unknown => false,
    }
}

fn child_text(child: &ChildView, now: Timestamp) -> (String, Tone) {
    let reason = |gap: &str| child.reason.as_ref().map(|reason| format!("{gap}{reason}")).unwrap_or_default();
    let (mut text, tone) = match child.state {
        ChildState::Starting => (format!("starting for {}", age(now, child.created_at)), Tone::Plain),
        ChildState::Running => (format!("running for {}", age(now, child.started_at.unwrap_or(child.created_at))), Tone::Good),
        ChildState::Exited => match &child.exit {
            Some(exit) => {
                let tone = if exit.is_success() { Tone::Faint } else { Tone::Warn };
                (format!("{exit}, {}{}", ago(now, exit.at), reason("; ")), tone)
            }
            None => (format!("ended{}", reason(": ")), Tone::Warn),
        },
        ChildState::Failed => (format!("never ran{}", reason(": ")), Tone::Bad),
        ChildState::Unknown => ("in a state that this version does not know".to_owned(), Tone::Plain),
    };
    text.push_str(&format!("; {}", short(&child.image)));
    for mount in &child.caches {
        text.push_str(&format!("; {}", mount_text(mount)));
    }
    (text, tone)
}

fn mount_text(mount: &MountView) -> String {
    let MountView { name, path, read_only, verified, verified_by_log } = mount;
    let read_only = if *read_only { ", read-only" } else { "" };
    let verified = match (verified, verified_by_log) {
        (Some(verified), None) => format!(", {} verified", files(verified.files)),
        (Some(verified), Some(_)) => format!(", {} verified, by its log, too", files(verified.files)),
        (None, Some(count)) => format!(", {} verified by its log", files(*count)),
        (None, None) => String::new(),
    };
    format!("cache {name} at {path}{read_only}{verified}")
}

fn cache_text(cache: &CacheView, now: Timestamp) -> String {
    let kind = match (cache.kind, &cache.from) {
        (CacheKind::Store, None) => "cache".to_owned(),
        (CacheKind::Store, Some(from)) => format!("cache, a copy of {from}"),
        (CacheKind::Live, Some(from)) => format!("cache, live from {from}"),
        (CacheKind::Live, None) => "cache, live".to_owned(),
    };
    let mut text = format!("{kind} at {}, {}, {}", cache.path, files(cache.files), ByteSize(cache.bytes).human());
    if let Some(because) = &cache.because {
        text.push_str(&format!(" ({because})"));
    }
    if let Some(at) = cache.expires_at {
        text.push_str(&until(now, at).map_or(", its time is over".to_owned(), |left| format!(", expires in {left}")));
    }
    if !cache.used_by.is_empty() {
        let shown: Vec<&str> = cache.used_by.iter().take(NAMES_MAX).map(AsRef::as_ref).collect();
        let more = match cache.used_by.len().saturating_sub(NAMES_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        text.push_str(&format!(", mounted by {}{more}", shown.join(", ")));
    }
    text
}

fn files(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

fn short(image: &str) -> String {
    image.parse::<ImageReference>().map_or_else(|_| image.to_owned(), |image| short_image(&image))
}

/// The image without its registry, and without `library/`: what tells it from its neighbours. A digest that was written is cut.
pub fn short_image(image: &ImageReference) -> String {
    let repository = image.repository().strip_prefix("library/").filter(|_| image.registry() == "docker.io");
    let mut text = repository.unwrap_or(image.repository()).to_owned();
    if let Some(tag) = image.tag() {
        text.push_str(&format!(":{tag}"));
    }
    if let Some(digest) = image.digest() {
        text.push_str(&format!("@{}", digest.short()));
    }
    text
}

#[cfg(test)]
mod tests;
