//! Names around the image centre: a token that people and CI log in with, and patterns over repositories and tags.

use super::selector::glob_matches;
use super::{NameError, Repository, check_one_label, string_newtype};

/// Longest pattern, in bytes: as long as the longest repository.
const PATTERN_MAX_BYTES: usize = 255;

/// The name of a token, by which it is listed and ended. One DNS label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenName(String);
string_newtype!(TokenName);

impl TokenName {
    fn check(text: &str) -> Result<(), NameError> {
        check_one_label("token name", text)
    }
}

/// Repositories by a pattern: `shop/web` is itself, `shop/*` is everything below `shop`, `*` is everything. `*` stands for any run of
/// characters, slashes included, and `?` for one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryPattern(String);
string_newtype!(RepositoryPattern);

impl RepositoryPattern {
    /// Whether the pattern covers this repository.
    pub fn matches(&self, repository: &Repository) -> bool {
        glob_matches(&self.0, repository.as_str())
    }

    fn check(text: &str) -> Result<(), NameError> {
        let fail = |problem: &str| Err(NameError::new("repository pattern", text, problem));
        if text.is_empty() {
            return fail("is empty; write a repository such as shop/web, or a pattern such as shop/*");
        }
        if text.len() > PATTERN_MAX_BYTES {
            return fail("is longer than 255 characters");
        }
        let is_fine = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/' | b'*' | b'?');
        if !text.bytes().all(is_fine) {
            return fail("must hold only what repositories hold (a-z, 0-9, . _ - /) and * and ?");
        }
        if text.starts_with('/') || text.ends_with('/') || text.contains("//") {
            return fail("has a slash too many; repositories are paths such as shop/web");
        }
        Ok(())
    }
}

/// Tags by a pattern: `v*`, `latest`. `*` stands for any run of characters, `?` for one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TagPattern(String);
string_newtype!(TagPattern);

impl TagPattern {
    /// Whether the pattern covers this tag.
    pub fn matches(&self, tag: &str) -> bool {
        glob_matches(&self.0, tag)
    }

    fn check(text: &str) -> Result<(), NameError> {
        let is_fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'*' | b'?');
        if text.is_empty() || text.len() > PATTERN_MAX_BYTES || !text.bytes().all(is_fine) {
            let problem = "must be a tag, or a pattern over tags such as v*: letters, digits, . _ - and * and ?";
            return Err(NameError::new("tag pattern", text, problem));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_it_says() {
        let check = |pattern: &str, repository: &str, expect: bool| {
            let pattern: RepositoryPattern = pattern.parse().expect("a pattern");
            assert_eq!(pattern.matches(&repository.parse().expect("a repository")), expect, "{pattern} {repository}");
        };
        check("shop/web", "shop/web", true);
        check("shop/web", "shop/web/x", false);
        check("shop/*", "shop/web", true);
        check("shop/*", "shop/web/x", true);
        check("shop/*", "shop", false);
        check("shop/*", "shopping/web", false);
        check("shop*", "shopping/web", true);
        check("*", "a/b/c", true);
        check("team-?/web", "team-1/web", true);
    }

    #[test]
    fn what_no_repository_could_be_is_no_pattern() {
        for bad in ["", "/shop", "shop/", "a//b", "Shop", "a b", "shop:latest"] {
            assert!(bad.parse::<RepositoryPattern>().is_err(), "{bad:?}");
        }
        for bad in ["", "a/b", "v 1"] {
            assert!(bad.parse::<TagPattern>().is_err(), "{bad:?}");
        }
        assert!("ci-1".parse::<TokenName>().is_ok());
        assert!("CI".parse::<TokenName>().is_err());
    }
}
