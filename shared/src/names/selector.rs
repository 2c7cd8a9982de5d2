//! Host selectors: how a document names the hosts that it targets.
//!
//! Three forms, told apart by their characters: a name (`web-1`), a glob over names (`edge-*`, with `*` and `?`), and a label
//! (`role=web`, whose value may be a glob too). A document lists several; a host that matches any of them is a target.

use super::{HostName, Labels, NameError, check_label_key, check_label_value, string_newtype};

/// One entry of a document's `hosts`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostSelector(String);
string_newtype!(HostSelector);

impl HostSelector {
    /// Whether a host of this name and these labels is selected.
    pub fn matches(&self, host: &HostName, labels: &Labels) -> bool {
        match self.0.split_once('=') {
            Some((key, pattern)) => labels.get(key).is_some_and(|value| glob_matches(pattern, value)),
            None => glob_matches(&self.0, host.as_str()),
        }
    }

    /// Whether the selector names exactly one host, so that its absence is worth a word.
    pub fn exact_host(&self) -> Option<HostName> {
        self.0.parse().ok()
    }

    fn check(text: &str) -> Result<(), NameError> {
        let fail = |problem: String| Err(NameError::new("host selector", text, problem));
        if text.is_empty() {
            return fail("is empty; write a host name, a glob such as edge-*, or a label such as role=web".to_owned());
        }
        let plain = |pattern: &str| pattern.replace(['*', '?'], "x");
        match text.split_once('=') {
            Some((key, value)) => check_label_key(key)
                .and_then(|()| check_label_value(&plain(value)))
                .or_else(|e| fail(format!("has a {} that {}", e.kind, e.problem))),
            None => plain(text).parse::<HostName>().map(drop).or_else(|e| fail(e.problem)),
        }
    }
}

/// `*` stands for any run of characters, `?` for one. Iterative with one point of return: linear in practice, never exponential.
pub(super) fn glob_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut after_star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                after_star = Some((p + 1, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            Some(_) | None => match after_star {
                Some((star_p, star_t)) => {
                    after_star = Some((star_p, star_t + 1));
                    p = star_p;
                    t = star_t + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}
