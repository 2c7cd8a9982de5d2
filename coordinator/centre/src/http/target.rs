//! What a path below `/v2/` asks for. Read from its end, because a repository may be called `blobs/uploads` too.

use super::error::{Code, Refused};
use crate::names::Reference;
use axum::http::Method;
use coord_shared::names::{Digest, Repository};

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// `_catalog`
    Catalog,
    /// `NAME/tags/list`
    Tags(Repository),
    /// `NAME/referrers/DIGEST`
    Referrers(Repository, Digest),
    /// `NAME/manifests/REFERENCE`
    Manifest(Repository, Reference),
    /// `NAME/blobs/DIGEST`
    Blob(Repository, Digest),
    /// `NAME/blobs/uploads/`
    Uploads(Repository),
    /// `NAME/blobs/uploads/ID`
    Upload(Repository, String),
}

impl Target {
    /// Reads what follows `/v2/`, decoded. `method`: what cannot be a tag is unknown to whoever asks for it, and invalid for whoever pushes.
    pub(super) fn parse(path: &str, method: &Method) -> Result<Self, Refused> {
        if path == "_catalog" {
            return Ok(Self::Catalog);
        }
        let (head, last) = path.rsplit_once('/').ok_or_else(no_such)?;
        let (name, kind) = head.rsplit_once('/').ok_or_else(no_such)?;
        match (kind, last) {
            ("tags", "list") => Ok(Self::Tags(repository(name)?)),
            ("manifests", reference) => Ok(Self::Manifest(repository(name)?, self::reference(reference, method)?)),
            ("referrers", text) => Ok(Self::Referrers(repository(name)?, digest(text)?)),
            ("blobs", "uploads") => Ok(Self::Uploads(repository(name)?)),
            ("blobs", text) => Ok(Self::Blob(repository(name)?, digest(text)?)),
            ("uploads", id) => {
                let name = name.strip_suffix("/blobs").ok_or_else(no_such)?;
                let name = repository(name)?;
                Ok(if id.is_empty() { Self::Uploads(name) } else { Self::Upload(name, id.to_owned()) })
            }
            _ => Err(no_such()),
        }
    }
}

fn no_such() -> Refused {
    Refused::new(Code::NotFound, "the distribution spec has no such path")
}

fn repository(name: &str) -> Result<Repository, Refused> {
    name.parse().map_err(|error| Refused::new(Code::NameInvalid, format!("{error}")))
}

fn digest(text: &str) -> Result<Digest, Refused> {
    text.parse().map_err(|error| Refused::new(Code::DigestInvalid, format!("{error}")))
}

fn reference(text: &str, method: &Method) -> Result<Reference, Refused> {
    let code = match (text.contains(':'), method == Method::PUT) {
        (true, _) => Code::DigestInvalid,
        (false, true) => Code::ManifestInvalid,
        (false, false) => Code::ManifestUnknown,
    };
    text.parse().map_err(|error| Refused::new(code, format!("{error}")))
}
