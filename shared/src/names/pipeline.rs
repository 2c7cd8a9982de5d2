//! Names around pipelines: the pipeline, one run of it, the commit that it is about, a secret, a repository of the image centre.

use super::{NameError, check_file_name, check_one_label, string_newtype};
use std::fmt;

/// Longest repository path, in bytes (OCI distribution spec 1.1, "Pull", with room for the registry's host).
const REPOSITORY_MAX_BYTES: usize = 255;

/// The name of a pipeline: the stem of its file. One DNS label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PipelineName(String);
string_newtype!(PipelineName);

impl PipelineName {
    fn check(text: &str) -> Result<(), NameError> {
        check_one_label("pipeline name", text)
    }
}

/// One run of a pipeline, written `shop.12`. Numbers grow and are never used twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId {
    /// Of which pipeline.
    pub pipeline: PipelineName,
    /// Which one, from 1.
    pub number: u64,
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.pipeline, self.number)
    }
}

impl std::str::FromStr for RunId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let fail = || NameError::new("run", text, "is not PIPELINE.NUMBER, for example shop.12");
        let (pipeline, number) = text.rsplit_once('.').ok_or_else(fail)?;
        let is_canonical = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
        let number = number.parse().ok().filter(|_| is_canonical).ok_or_else(fail)?;
        Ok(Self { pipeline: pipeline.parse()?, number })
    }
}

impl TryFrom<String> for RunId {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> String {
        id.to_string()
    }
}

/// What a repository of sources held at one moment: a git object name (40 or 64 hex digits, lower case) or a Subversion revision (`r1234`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Commit(String);
string_newtype!(Commit);

impl Commit {
    /// Characters of a git object name that people are shown.
    const SHORT_CHARS: usize = 12;

    fn check(text: &str) -> Result<(), NameError> {
        let is_git = matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = text.strip_prefix('r').unwrap_or_default();
        let is_svn = matches!(number.len(), 1..=19) && number.bytes().all(|b| b.is_ascii_digit());
        if is_git || is_svn {
            return Ok(());
        }
        Err(NameError::new(
            "commit",
            text,
            "is neither a git object name (40 or 64 hex digits) nor a Subversion revision (r1234)",
        ))
    }

    /// As people are shown it: the first 12 digits of a git object name, a Subversion revision whole.
    pub fn short(&self) -> &str {
        &self.0[..self.0.len().min(Self::SHORT_CHARS)]
    }
}

/// The name of a secret that the coordinator keeps: letters, digits, `.`, `_` and `-`, the first one a letter or digit. It is the name of
/// a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);
string_newtype!(SecretName);

impl SecretName {
    fn check(text: &str) -> Result<(), NameError> {
        check_file_name("secret name", text)
    }
}

/// A repository of a registry, `shop/web`: lower-case components as the OCI distribution spec 1.1 has them ("Pull", `<name>`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repository(String);
string_newtype!(Repository);

impl Repository {
    fn check(text: &str) -> Result<(), NameError> {
        let fail = |problem: &str| Err(NameError::new("repository", text, problem));
        if text.is_empty() {
            return fail("is empty");
        }
        if text.len() > REPOSITORY_MAX_BYTES {
            return fail("is longer than 255 characters");
        }
        if !text.split('/').all(is_component) {
            return fail("must be components such as shop/web: a-z, 0-9, and inside . _ __ or - between them");
        }
        Ok(())
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends = text.starts_with(is_letter) && text.ends_with(is_letter);
    let separators = text.split(is_letter).filter(|between| !between.is_empty());
    ends && separators.into_iter().all(|between| matches!(between, "." | "_" | "__") || between.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: std::str::FromStr<Err = NameError>>(text: &str, is_good: bool) {
        assert_eq!(text.parse::<T>().is_ok(), is_good, "{text:?}");
    }

    #[test]
    fn runs_have_one_spelling() {
        check::<RunId>("shop.12", true);
        check::<RunId>("shop.0", false);
        check::<RunId>("shop.012", false);
        check::<RunId>("shop.+1", false);
        check::<RunId>("shop", false);
        check::<RunId>("Shop.1", false);
        assert_eq!("shop.12".parse::<RunId>().unwrap().to_string(), "shop.12");
    }

    #[test]
    fn a_commit_is_of_git_or_of_subversion() {
        check::<Commit>(&"a1".repeat(20), true);
        check::<Commit>(&"a1".repeat(32), true);
        check::<Commit>("r17", true);
        check::<Commit>(&"A1".repeat(20), false);
        check::<Commit>("a1", false);
        check::<Commit>("r", false);
        check::<Commit>("--upload-pack=x", false);
        assert_eq!("a1".repeat(20).parse::<Commit>().unwrap().short(), "a1a1a1a1a1a1");
        assert_eq!("r17".parse::<Commit>().unwrap().short(), "r17");
    }

    #[test]
    fn repositories_are_as_the_spec_has_them() {
        for good in ["shop", "shop/web", "a.b/c_d/e__f/g---h", "0/1"] {
            check::<Repository>(good, true);
        }
        for bad in ["", "/shop", "shop/", "shop//web", "Shop", "a..b", "a___b", "-a", "a-", "a/../b", "a b"] {
            check::<Repository>(bad, false);
        }
    }

    #[test]
    fn a_secret_is_the_name_of_a_file() {
        check::<SecretName>("git-token", true);
        check::<SecretName>("../token", false);
        check::<SecretName>(".hidden", false);
        check::<SecretName>("", false);
    }
}
