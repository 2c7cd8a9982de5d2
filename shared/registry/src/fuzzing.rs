//! The parsers of what registries send, callable from outside: for fuzzing, behind the feature `fuzzing`. None may panic, whatever the
//! bytes.

use crate::auth::parse_challenge;
use crate::{HostPlatform, ManifestOrIndex};

/// A manifest or an index; of an index, also the choice for a host.
pub fn manifest(bytes: &[u8]) {
    if let Ok(ManifestOrIndex::Index(index)) = ManifestOrIndex::parse(bytes) {
        let host = HostPlatform { architecture: "arm".to_owned(), variant: 7 };
        let _ = (host.select(&index), HostPlatform::offered(&index));
    }
}

/// A `WWW-Authenticate` header.
pub fn challenge(text: &str) {
    let _ = parse_challenge(text);
}
