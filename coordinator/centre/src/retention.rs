//! Retention rules: which tags of a repository may go. Pure.
//!
//! A repository that no rule covers keeps all its tags. Of the rules that cover it the first counts, and a tag stays if anything in that
//! rule keeps it. A tag whose manifest a document uses stays whatever the rules say. Only tags go by rules: a manifest goes when nothing
//! needs it, which a tag does.

use crate::names::Tag;
use coord_shared::names::{Digest, Repository, RepositoryPattern, TagPattern};
use coord_shared::quantity::Span;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One `[[centre.retention]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    /// The repositories that it is for.
    pub repository: RepositoryPattern,
    /// Tags that stay for ever.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep_tags: Vec<TagPattern>,
    /// How many of a repository's newest tags stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<u32>,
    /// How long each tag stays at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_for: Option<Span>,
}

impl RetentionRule {
    /// What is wrong with it, with the cure.
    pub fn problem(&self) -> Option<String> {
        let keeps_nothing = self.keep_tags.is_empty() && self.keep_last.is_none() && self.keep_for.is_none();
        keeps_nothing.then(|| {
            format!(
                "[[centre.retention]] repository = {:?} keeps nothing; say what stays: keep_tags, keep_last or keep_for",
                self.repository.as_str()
            )
        })
    }

    fn keeps(&self, tag: &TagOf<'_>, newer: usize, now: Timestamp) -> bool {
        let is_young = |keep_for: Span| {
            let keep_for = SignedDuration::try_from(keep_for.0).unwrap_or(SignedDuration::MAX);
            now.duration_since(tag.at) < keep_for
        };
        self.keep_tags.iter().any(|pattern| pattern.matches(tag.name.as_str()))
            || self.keep_last.is_some_and(|last| u32::try_from(newer).is_ok_and(|newer| newer < last))
            || self.keep_for.is_some_and(is_young)
    }
}

/// A tag, as the decision looks at it.
#[derive(Debug, Clone, Copy)]
pub struct TagOf<'a> {
    /// Its name.
    pub name: &'a Tag,
    /// What it names.
    pub digest: &'a Digest,
    /// When it was set.
    pub at: Timestamp,
}

/// The tags of one repository that may go.
pub fn expired<'a>(
    repository: &Repository,
    tags: &[TagOf<'a>],
    rules: &[RetentionRule],
    used: &BTreeSet<Digest>,
    now: Timestamp,
) -> Vec<&'a Tag> {
    let Some(rule) = rules.iter().find(|rule| rule.repository.matches(repository)) else { return Vec::new() };
    let mut newest_first = tags.to_vec();
    newest_first.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.name.cmp(b.name)));
    let numbered = newest_first.iter().enumerate();
    let gone = numbered.filter(|(newer, tag)| !used.contains(tag.digest) && !rule.keeps(tag, *newer, now));
    gone.map(|(_, tag)| tag.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-22T20:00:00Z";

    /// Tags `name days-ago`; the rule as a configuration has it. Answers those that go.
    fn check(repository: &str, rule: &str, tags: &[(&str, i64)], used: &[&str], expect: &[&str]) {
        let rules: Vec<RetentionRule> = toml::from_str::<std::collections::BTreeMap<String, Vec<RetentionRule>>>(rule)
            .expect("rules")
            .remove("retention")
            .unwrap_or_default();
        let now: Timestamp = NOW.parse().expect("a time");
        let names: Vec<(Tag, Digest, Timestamp)> = tags
            .iter()
            .map(|(name, days)| {
                let at = now - SignedDuration::from_hours(days * 24);
                (name.parse().expect("a tag"), Digest::of(name.as_bytes()), at)
            })
            .collect();
        let tags: Vec<TagOf<'_>> = names.iter().map(|(name, digest, at)| TagOf { name, digest, at: *at }).collect();
        let used = used.iter().map(|name| Digest::of(name.as_bytes())).collect();
        let repository = repository.parse().expect("a repository");
        let mut gone: Vec<&str> = expired(&repository, &tags, &rules, &used, now).iter().map(|tag| tag.as_str()).collect();
        gone.sort_unstable();
        assert_eq!(gone, expect, "{repository} {rule}");
    }

    #[test]
    fn a_tag_stays_if_anything_keeps_it() {
        let tags = &[("v1", 90), ("a", 40), ("b", 30), ("c", 2), ("latest", 50)];
        check("shop/web", "", tags, &[], &[]);
        let rule = "[[retention]]\nrepository = \"shop/*\"\n";
        check("shop/web", &format!("{rule}keep_last = 2"), tags, &[], &["a", "latest", "v1"]);
        check("shop/web", &format!("{rule}keep_last = 2\nkeep_tags = [\"v*\", \"latest\"]"), tags, &[], &["a"]);
        check("shop/web", &format!("{rule}keep_for = \"35d\""), tags, &[], &["a", "latest", "v1"]);
        check("shop/web", &format!("{rule}keep_for = \"30d\""), tags, &[], &["a", "b", "latest", "v1"]);
        check("shop/web", &format!("{rule}keep_for = \"1d\"\nkeep_last = 1"), tags, &[], &["a", "b", "latest", "v1"]);
        check("shop/web", &format!("{rule}keep_last = 0"), tags, &[], &["a", "b", "c", "latest", "v1"]);
        check("other", &format!("{rule}keep_last = 0"), tags, &[], &[]);
    }

    #[test]
    fn what_a_document_uses_stays() {
        let rule = "[[retention]]\nrepository = \"*\"\nkeep_last = 1";
        check("shop", rule, &[("a", 9), ("b", 8), ("c", 1)], &["a"], &["b"]);
    }

    #[test]
    fn the_first_rule_that_covers_a_repository_counts() {
        let rules =
            "[[retention]]\nrepository = \"shop/base\"\nkeep_tags = [\"*\"]\n[[retention]]\nrepository = \"*\"\nkeep_last = 1";
        check("shop/base", rules, &[("a", 9), ("b", 8)], &[], &[]);
        check("shop/web", rules, &[("a", 9), ("b", 8)], &[], &["a"]);
    }

    #[test]
    fn times_to_come_and_equal_times_are_no_trouble() {
        let rule = "[[retention]]\nrepository = \"*\"\nkeep_last = 1";
        check("shop", rule, &[("b", 1), ("a", 1), ("c", 2)], &[], &["b", "c"]);
        check("shop", "[[retention]]\nrepository = \"*\"\nkeep_for = \"1d\"", &[("a", -5), ("b", 2)], &[], &["b"]);
    }

    #[test]
    fn a_rule_that_keeps_nothing_is_a_mistake() {
        let rule: RetentionRule = toml::from_str("repository = \"shop/*\"").expect("a rule");
        assert!(rule.problem().is_some_and(|problem| problem.contains("keep_last")));
        let rule: RetentionRule = toml::from_str("repository = \"shop/*\"\nkeep_last = 0").expect("a rule");
        assert_eq!(rule.problem(), None);
    }
}
