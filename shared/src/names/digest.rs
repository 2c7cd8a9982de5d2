//! Content digests (OCI image spec, descriptor.md, "Digests"): `sha256:` and 64 lower-case hex digits.
//!
//! Deliberately absent: sha512. No registry that we met serves it, and one algorithm means one way to name a blob on disk.

use super::{NameError, string_newtype};
use sha2::Digest as _;

/// The digest of some content, `sha256:<64 hex digits>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);
string_newtype!(Digest);

impl Digest {
    const PREFIX: &'static str = "sha256:";

    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_sha256(sha2::Sha256::digest(bytes).into())
    }

    /// The digest whose SHA-256 sum is `sum`, for callers that hash as bytes stream by.
    pub fn from_sha256(sum: [u8; 32]) -> Self {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(Self::PREFIX.len() + 64);
        text.push_str(Self::PREFIX);
        for byte in sum {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The 64 hex digits alone: the blob's name on disk.
    pub fn hex(&self) -> &str {
        &self.0[Self::PREFIX.len()..]
    }

    /// The first 12 hex digits, as people quote them.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    fn check(text: &str) -> Result<(), NameError> {
        let fail = |problem: &str| Err(NameError::new("digest", text, problem));
        let Some(hex) = text.strip_prefix(Self::PREFIX) else {
            return fail("does not start with \"sha256:\"");
        };
        if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return fail("is not 64 lower-case hex digits after \"sha256:\"");
        }
        Ok(())
    }
}
