//! Names around nested containers: a file cache, a second container, a pattern over images.

use super::selector::glob_matches;
use super::{ImageReference, NameError, check_one_label, string_newtype};

/// Longest pattern, in bytes: the longest reference without its digest.
const PATTERN_MAX_BYTES: usize = 512;

/// The name of a file cache, among those of its container. One DNS label: it is a folder's name, too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CacheName(String);
string_newtype!(CacheName);

impl CacheName {
    fn check(text: &str) -> Result<(), NameError> {
        check_one_label("cache name", text)
    }
}

/// The name of a second container, among those of its parent. One DNS label: it is its host name, too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChildName(String);
string_newtype!(ChildName);

impl ChildName {
    fn check(text: &str) -> Result<(), NameError> {
        check_one_label("container name", text)
    }
}

/// Images by a pattern over `REGISTRY/REPOSITORY:TAG` (or `...@DIGEST`): `registry.lan/*` is everything of that registry,
/// `registry.lan/tools/sh` that repository with any tag, `registry.lan/tools/sh:1.*` these tags. `*` stands for any run of characters,
/// slashes included, and `?` for one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImagePattern(String);
string_newtype!(ImagePattern);

impl ImagePattern {
    /// Whether the pattern covers this image, as it is written out in full.
    pub fn matches(&self, image: &ImageReference) -> bool {
        let whole = image.to_string();
        let names_a_version = self.0.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
        if names_a_version || self.0.ends_with('*') {
            return glob_matches(&self.0, &whole);
        }
        // Any version of this repository, and no other repository whose name goes on.
        glob_matches(&format!("{}:*", self.0), &whole) || glob_matches(&format!("{}@*", self.0), &whole)
    }

    fn check(text: &str) -> Result<(), NameError> {
        let fail = |problem: &str| Err(NameError::new("image pattern", text, problem));
        if text.is_empty() || text.len() > PATTERN_MAX_BYTES {
            return fail("must have 1 to 512 characters, as in registry.lan/tools/*");
        }
        let is_fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':' | b'@' | b'*' | b'?');
        if !text.bytes().all(is_fine) {
            return fail("must hold only what image references hold, and * and ?");
        }
        if text.contains("//") {
            return fail("has an empty part; a registry stands there without a scheme, as in registry.lan/tools/*");
        }
        if !text.contains('/') {
            return fail("does not name a registry; write it out, as in registry.lan/tools/*");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_it_says() {
        let check = |pattern: &str, image: &str, expect: bool| {
            let pattern: ImagePattern = pattern.parse().expect("a pattern");
            assert_eq!(pattern.matches(&image.parse().expect("an image")), expect, "{pattern} {image}");
        };
        check("registry.lan/*", "registry.lan/tools/sh:1", true);
        check("registry.lan/*", "registry.lan.evil.org/tools/sh:1", false);
        check("registry.lan/*", "evil.org/registry.lan/sh:1", false);
        check("registry.lan/tools/sh", "registry.lan/tools/sh:1", true);
        check("registry.lan/tools/sh", "registry.lan/tools/shell:1", false);
        check("registry.lan/tools/sh", "registry.lan/tools/sh/more:1", false);
        check("registry.lan/tools/sh:1.*", "registry.lan/tools/sh:1.2", true);
        check("registry.lan/tools/sh:1.*", "registry.lan/tools/sh:2", false);
        check("registry.lan:5000/*", "registry.lan:5000/sh:2", true);
        check("registry.lan:5000/sh", "registry.lan:5000/sh:2", true);
        check("registry.lan:5000/sh", "registry.lan:5000/shop:2", false);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", ".", "..", "../x", "a/b", "a b", "A", "-a", "a\0", "a\n", &"a".repeat(64)] {
            assert!(text.parse::<CacheName>().is_err() && text.parse::<ChildName>().is_err(), "{text:?}");
        }
        for text in ["", "busybox", "registry.lan/a b", "registry.lan/$(x)", "https://registry.lan/*"] {
            assert!(text.parse::<ImagePattern>().is_err(), "{text:?}");
        }
    }
}
