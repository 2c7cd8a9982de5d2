//! Secrets, made invisible in what people read. Pure.
//!
//! Each line of a secret's value is looked for as it is. Deliberately absent: what a step makes of a secret before it prints it (base64,
//! one letter a line): who may write steps may read the secrets of his pipeline.

/// Shorter ones would make half of the log invisible, and protect nothing.
const MASKED_MIN_BYTES: usize = 4;
/// What stands in their place.
const MASK: &str = "***";

/// What is not to be seen.
#[derive(Clone, Default)]
pub(super) struct Masks(Vec<String>);

impl std::fmt::Debug for Masks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} masks", self.0.len())
    }
}

impl Masks {
    /// The values of these secrets.
    pub(super) fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let lines = values.into_iter().flat_map(|value| std::iter::once(value).chain(value.lines()));
        let mut words: Vec<String> =
            lines.map(|line| line.trim().to_owned()).filter(|line| line.len() >= MASKED_MIN_BYTES).collect();
        // The longest first: one may be a part of another.
        words.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        words.dedup();
        Self(words)
    }

    /// The text without them.
    pub(super) fn apply(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for word in &self.0 {
            if text.contains(word.as_str()) {
                text = text.replace(word.as_str(), MASK);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str], text: &str, expect: &str) {
        assert_eq!(Masks::new(values.iter().copied()).apply(text), expect);
    }

    #[test]
    fn secrets_are_not_seen() {
        check(&["hunter2"], "password hunter2, again hunter2", "password ***, again ***");
        check(&["abc"], "abc", "abc");
        check(&["token", "token-long"], "token-long token", "*** ***");
        check(&["-----BEGIN KEY-----\nAAAA1234\n"], "key AAAA1234 -----BEGIN KEY-----", "key *** ***");
        check(&[], "plain", "plain");
    }
}
