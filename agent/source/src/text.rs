//! Texts: addresses that may be asked, what people are shown of them and of a commit, and lines without credentials.

use crate::error::SourceError;

/// Most characters of a line that is told.
const LINE_MAX_CHARS: usize = 500;
/// What stands for credentials.
const MASK: &str = "***";
/// A word shorter than this is no secret, and masking it would only garble the log.
const SECRET_MIN_CHARS: usize = 3;

/// Whether a program may be given the address: one of `schemes`, no option, no control characters, no password within.
pub(crate) fn check_address(url: &str, schemes: &[&str]) -> Result<(), SourceError> {
    let fail = |problem: String| Err(SourceError::Address { url: shown(url), problem });
    if url.starts_with('-') || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return fail("is no address: it begins with `-`, or has spaces in it".to_owned());
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        // `user@host:path`; `ext::program` has a second colon.
        let is_ssh =
            url.split_once(':').is_some_and(|(host, path)| !host.is_empty() && !path.starts_with(':') && !host.contains('/'));
        return if is_ssh && schemes.contains(&"ssh") {
            Ok(())
        } else {
            fail(format!("must begin with {}://", schemes.join(":// or ")))
        };
    };
    if !schemes.contains(&scheme) {
        return fail(format!("must begin with {}://", schemes.join(":// or ")));
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.starts_with('-') || authority.rsplit('@').next().is_some_and(|host| host.starts_with('-')) {
        return fail("has a host that begins with `-`".to_owned());
    }
    if authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
        return fail("has a password in it; make it a secret, and name that in `credentials`".to_owned());
    }
    Ok(())
}

/// The address as people are shown it: without a password.
pub(crate) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => format!("{scheme}://{MASK}@{host}{path}"),
        Some(_) | None => url.to_owned(),
    }
}

/// Scheme, user and host (with its port) of an address with a scheme.
pub(crate) fn parts(url: &str) -> Option<(&str, Option<&str>, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, host)) => Some((scheme, Some(user.split(':').next().unwrap_or(user)), host)),
        None => Some((scheme, None, authority)),
    }
}

/// A line for people: no control characters, and cut.
pub(crate) fn line(text: &str) -> String {
    text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).take(LINE_MAX_CHARS).collect()
}

/// Hides credentials.
#[derive(Default)]
pub(crate) struct Mask(pub(crate) Vec<String>);

impl Mask {
    /// The line without them.
    pub(crate) fn hide(&self, text: &str) -> String {
        let words = self.0.iter().filter(|word| word.len() >= SECRET_MIN_CHARS);
        words.fold(
            text.to_owned(),
            |text, word| if text.contains(word.as_str()) { text.replace(word.as_str(), MASK) } else { text },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_are_given_to_programs() {
        let check = |url: &str, expect: bool| {
            let checked = check_address(url, crate::git::SCHEMES);
            assert_eq!(checked.is_ok(), expect, "{url}: {checked:?}");
        };
        for good in [
            "https://git.lan/a.git",
            "ssh://git@git.lan:22/a",
            "git@git.lan:team/a.git",
            "file:///srv/a.git",
            "https://alice@git.lan/a",
        ] {
            check(good, true);
        }
        for bad in [
            "--upload-pack=touch",
            "ext::sh -c id",
            "ext::id",
            "fd::7",
            "/srv/a.git",
            "./a:b",
            "ssh://-oProxyCommand=id/x",
            "ssh://git@-oProxyCommand=id/x",
            "https://a:b@git.lan/x",
            "https://git.lan/a b",
            "https://git.lan/a\nb",
            "ftp://git.lan/a",
            "",
        ] {
            check(bad, false);
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown("https://a:b@git.lan/x"), "https://***@git.lan/x");
        assert_eq!(shown("https://a@git.lan/x"), "https://a@git.lan/x");
        let mask = Mask(vec!["alice:sesame".to_owned(), "sesame".to_owned(), "a".to_owned(), String::new()]);
        assert_eq!(mask.hide("bad sesame for alice:sesame"), "bad *** for ***");
    }
}
