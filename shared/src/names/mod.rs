//! Names: parsed once, then trusted.
//!
//! Each type here can only be made by parsing, so code that holds one never asks again whether it is well-formed. All of them
//! travel as plain strings. Errors say which rule was broken, in words for the person who typed the name.

mod centre;
mod digest;
mod image;
mod instance;
mod labels;
mod nested;
mod pipeline;
mod selector;
#[cfg(test)]
mod tests;

pub use centre::{RepositoryPattern, TagPattern, TokenName};
pub use digest::Digest;
pub(crate) use image::check_tag;
pub use image::{CENTRE, ImageReference, PinnedImage};
pub use instance::{ContainerId, InstanceId};
pub use labels::{Labels, check_label_key, check_label_value};
pub use nested::{CacheName, ChildName, ImagePattern};
pub use pipeline::{Commit, PipelineName, Repository, RunId, SecretName};
pub use selector::HostSelector;

use std::fmt;

/// Longest workload name, in bytes: one DNS label (RFC 1123), because instances will be reachable by it.
pub const WORKLOAD_NAME_MAX_BYTES: usize = 63;
/// Longest volume name, in bytes: room for an instance's name and a hash, and a name of a folder with every file system.
pub const VOLUME_NAME_MAX_BYTES: usize = 128;
/// Longest host name, in bytes (RFC 1123 section 2.1).
const HOST_NAME_MAX_BYTES: usize = 253;

/// Why a text is not the name that it should be. Displays as `KIND "TEXT" PROBLEM`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} {problem}")]
pub struct NameError {
    /// What the text was meant to be, for example "host name".
    pub kind: &'static str,
    /// The text as it was given, cut to a printable length.
    pub text: String,
    /// The broken rule.
    pub problem: String,
}

impl NameError {
    /// Most characters of a bad text that an error repeats: enough to recognise it, too few to flood a log.
    const SHOWN_MAX_CHARS: usize = 120;

    pub(crate) fn new(kind: &'static str, text: &str, problem: impl Into<String>) -> Self {
        let text = text.chars().take(Self::SHOWN_MAX_CHARS).collect();
        Self { kind, text, problem: problem.into() }
    }
}

/// Gives a string newtype its conversions; the type itself provides `fn check(&str) -> Result<(), NameError>`.
macro_rules! string_newtype {
    ($name:ident) => {
        impl std::str::FromStr for $name {
            type Err = $crate::names::NameError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::check(text)?;
                Ok(Self(text.to_owned()))
            }
        }
        impl TryFrom<String> for $name {
            type Error = $crate::names::NameError;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::check(&text)?;
                Ok(Self(text))
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}
pub(crate) use string_newtype;

/// The name of a workload: the stem of its document's file. One DNS label: `a-z`, `0-9` and inner `-`, at most 63 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkloadName(String);
string_newtype!(WorkloadName);

impl WorkloadName {
    fn check(text: &str) -> Result<(), NameError> {
        check_one_label("workload name", text)
    }
}

/// The name of a volume on a host, as Docker has them: letters, digits, `.`, `_` and `-`, the first one a letter or digit; at most 128
/// bytes. It becomes the name of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeName(String);
string_newtype!(VolumeName);

impl VolumeName {
    fn check(text: &str) -> Result<(), NameError> {
        check_file_name("volume name", text)
    }
}

/// The name of a host: DNS labels joined by dots, lower case, at most 253 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);
string_newtype!(HostName);

impl HostName {
    fn check(text: &str) -> Result<(), NameError> {
        let fail = |problem: &str| Err(NameError::new("host name", text, problem));
        if text.is_empty() {
            return fail("is empty");
        }
        if text.len() > HOST_NAME_MAX_BYTES {
            return fail("is longer than 253 characters");
        }
        for label in text.split('.') {
            if label.is_empty() {
                return fail("has an empty part between dots");
            }
            if label.len() > 63 {
                return fail("has a part longer than 63 characters");
            }
            check_dns_label(label).or_else(|problem| fail(&problem))?;
        }
        Ok(())
    }
}

/// A name that is one DNS label.
fn check_one_label(kind: &'static str, text: &str) -> Result<(), NameError> {
    let fail = |problem: &str| Err(NameError::new(kind, text, problem));
    if text.is_empty() {
        return fail("is empty");
    }
    if text.len() > WORKLOAD_NAME_MAX_BYTES {
        return fail("is longer than 63 characters");
    }
    check_dns_label(text).or_else(|problem| fail(&problem))
}

/// A name that becomes one of a file or folder: letters, digits, `.`, `_` and `-`, the first one a letter or digit.
fn check_file_name(kind: &'static str, text: &str) -> Result<(), NameError> {
    let fail = |problem: &str| Err(NameError::new(kind, text, problem));
    if text.is_empty() {
        return fail("is empty");
    }
    if text.len() > VOLUME_NAME_MAX_BYTES {
        return fail("is longer than 128 characters");
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !text.bytes().all(good) || !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return fail("must start with a letter or digit and hold only letters, digits and . _ -");
    }
    Ok(())
}

/// One label of a host name (RFC 1123), lower case only: two spellings of one host would be two hosts.
fn check_dns_label(label: &str) -> Result<(), String> {
    if let Some(bad) = label.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        let cure = if bad.is_ascii_uppercase() { "; write it in lower case" } else { "; use a-z, 0-9 and '-'" };
        return Err(format!("contains {bad:?}{cure}"));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("starts or ends with '-'".to_owned());
    }
    Ok(())
}

/// The number of a workload's document. Grows by one with every accepted change; never reused, not even after a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number of a host state. Grows with every change of what that host should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
