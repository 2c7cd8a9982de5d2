//! Image references: `[registry/]repository[:tag][@digest]`.
//!
//! The grammar is that of the distribution project (reference.go), with Docker's defaults: no registry means `docker.io`, a single
//! component there means `library/...`, neither tag nor digest means the tag `latest`. Written by hand because the fleet parses
//! references in its pure crate, where the registry client's parser cannot go.

use super::{Digest, NameError};
use std::fmt;

/// The registry host by which documents name the fleet's own image centre, wherever that listens: hosts find it at their coordinator,
/// with the token that they have anyway. `internal` is reserved for private use (ICANN, 2024), so that nobody else can be meant.
pub const CENTRE: &str = "coord.internal";

/// Longest repository path, in bytes (distribution's `NameTotalLengthMax`).
const REPOSITORY_MAX_BYTES: usize = 255;
/// Longest tag, in bytes (OCI distribution spec 1.1, "Pulling manifests").
const TAG_MAX_BYTES: usize = 128;

/// What a person writes to name an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ImageReference {
    /// The registry's host and port, `docker.io` where none was written.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag: as written, or `latest` where there is neither tag nor digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one was written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Whether it lies in the fleet's own image centre.
    pub fn is_in_centre(&self) -> bool {
        self.registry == CENTRE
    }

    /// The same image with its content pinned.
    pub fn pin(self, digest: Digest) -> PinnedImage {
        PinnedImage { reference: self, digest }
    }
}

impl std::str::FromStr for ImageReference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fail = |problem: String| NameError::new("image", text, problem);
        if text.is_empty() {
            return Err(fail("is empty".to_owned()));
        }
        if text.contains("://") {
            return Err(fail("has a URL scheme; write registry/repository:tag".to_owned()));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                (name, Some(digest.parse::<Digest>().map_err(|e| fail(format!("has a bad digest: {}", e.problem)))?))
            }
            None => (text, None),
        };
        // A colon after the last slash starts the tag; one before it belongs to the registry's port.
        let last_slash = name.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match name[last_slash..].rfind(':') {
            Some(at) => (&name[..last_slash + at], Some(&name[last_slash + at + 1..])),
            None => (name, None),
        };
        if let Some(tag) = tag {
            check_tag(tag).map_err(fail)?;
        }
        let (registry, repository) = split_registry(name);
        check_registry(&registry).map_err(fail)?;
        check_repository(&repository).map_err(fail)?;
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Self { registry, repository, tag, digest })
    }
}

/// The first component is a registry if it can only be one: it has a dot, a port, or is `localhost`.
fn split_registry(name: &str) -> (String, String) {
    if let Some((first, rest)) = name.split_once('/')
        && (first.contains(['.', ':']) || first == "localhost")
    {
        let registry = if first == "index.docker.io" { "docker.io" } else { first };
        return (registry.to_owned(), with_library(registry, rest));
    }
    ("docker.io".to_owned(), with_library("docker.io", name))
}

fn with_library(registry: &str, repository: &str) -> String {
    if registry == "docker.io" && !repository.contains('/') { format!("library/{repository}") } else { repository.to_owned() }
}

fn check_registry(registry: &str) -> Result<(), String> {
    let (host, port) = match registry.rsplit_once(':') {
        // A bracketed IPv6 address has colons of its own.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (registry, None),
    };
    if let Some(port) = port
        && port.parse::<u16>().is_err()
    {
        return Err(format!("has a bad registry port {port:?}"));
    }
    let is_ipv6 = host.starts_with('[') && host.ends_with(']') && host[1..host.len() - 1].parse::<std::net::Ipv6Addr>().is_ok();
    let is_name = !host.is_empty()
        && host.split('.').all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    if is_ipv6 || is_name { Ok(()) } else { Err(format!("has a bad registry host {host:?}")) }
}

fn check_repository(repository: &str) -> Result<(), String> {
    if repository.is_empty() {
        return Err("has no repository name".to_owned());
    }
    if repository.len() > REPOSITORY_MAX_BYTES {
        return Err("has a repository longer than 255 characters".to_owned());
    }
    for part in repository.split('/') {
        if part.is_empty() {
            return Err("has an empty part between slashes".to_owned());
        }
        if let Some(bad) = part.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-')) {
            let cure = if bad.is_ascii_uppercase() { "; repositories are lower case" } else { "" };
            return Err(format!("has {bad:?} in its repository{cure}"));
        }
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !part.starts_with(edge) || !part.ends_with(edge) {
            return Err(format!("has the repository part {part:?}, which must start and end with a letter or digit"));
        }
    }
    Ok(())
}

/// Why `tag` is none (OCI distribution spec 1.1, "Pulling manifests"); goes on after what has it.
pub(crate) fn check_tag(tag: &str) -> Result<(), String> {
    let good_start = tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let good_rest = tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if good_start && good_rest && tag.len() <= TAG_MAX_BYTES { Ok(()) } else { Err(format!("has a bad tag {tag:?}")) }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for ImageReference {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ImageReference> for String {
    fn from(image: ImageReference) -> String {
        image.to_string()
    }
}

/// An image reference and the digest that it stood for when its revision was published: every host runs the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct PinnedImage {
    /// As the operator wrote it.
    pub reference: ImageReference,
    /// The manifest or index that it names.
    pub digest: Digest,
}

impl fmt::Display for PinnedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reference.digest.is_some() {
            write!(f, "{}", self.reference)
        } else {
            write!(f, "{}@{}", self.reference, self.digest)
        }
    }
}
