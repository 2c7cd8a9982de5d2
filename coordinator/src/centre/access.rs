//! Who may use the image centre: admins everything, agents may pull, and tokens of the centre what they say.
//!
//! Clients send Basic, as `docker login` makes it: any user name, and a token as the password. Bearer is taken as well. Nothing is
//! slowed down for wrong tokens: they are 256 random bits, which no number of tries finds. What could be flooded is the log, so a user
//! name is written there once a minute at most, with the number of its failures.

use crate::clock;
use crate::identity::Identity;
use crate::records::{RegistryRights, TokenRecord};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coord_centre::{Access, Action, Refusal};
use coord_shared::decide::Mono;
use coord_shared::names::{Repository, RepositoryPattern};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often one user name's failures are logged.
const FAILURES_EVERY: Duration = Duration::from_secs(60);
/// User names whose failures are told apart; further ones are counted as one, so that invented names fill no memory.
const FAILURES_NAMES_MAX: usize = 256;
/// Characters of a user name that are logged: enough to recognise it.
const USER_SHOWN_CHARS: usize = 64;
/// Longest header that is looked at: a token is shorter by far.
const AUTHORIZATION_MAX_BYTES: usize = 4096;

/// Asks the coordinator's own tokens.
pub struct CentreAccess {
    identity: Arc<Identity>,
    failures: Mutex<BTreeMap<String, Failures>>,
}

/// Of one user name.
#[derive(Clone, Copy)]
struct Failures {
    logged_at: Mono,
    since: u64,
}

impl CentreAccess {
    /// Of these tokens.
    pub fn new(identity: Arc<Identity>) -> Self {
        Self { identity, failures: Mutex::default() }
    }

    fn failed(&self, user: &str) {
        let user: String = user.chars().take(USER_SHOWN_CHARS).collect();
        let now = clock::now().mono;
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = failures.contains_key(&user);
        if !is_known && failures.len() >= FAILURES_NAMES_MAX {
            failures.retain(|_, of_user| now < of_user.logged_at.after(FAILURES_EVERY));
        }
        let user = if is_known || failures.len() < FAILURES_NAMES_MAX { user } else { "(others)".to_owned() };
        let of_user = failures.entry(user.clone()).or_insert(Failures { logged_at: Mono::default(), since: 0 });
        of_user.since += 1;
        if of_user.since == 1 && of_user.logged_at == Mono::default() || now >= of_user.logged_at.after(FAILURES_EVERY) {
            tracing::warn!(user, failures = of_user.since, "login at the image centre failed: no such token");
            *of_user = Failures { logged_at: now, since: 0 };
        }
    }
}

impl Access for CentreAccess {
    fn check(&self, authorization: Option<&str>, wanted: Option<(&Repository, Action)>) -> Result<String, Refusal> {
        let Some((user, token)) = authorization.and_then(credentials) else { return Err(Refusal::Unknown) };
        let Some(record) = self.identity.who(&token) else {
            self.failed(&user);
            return Err(Refusal::Unknown);
        };
        judge(&record, wanted)
    }
}

/// Who shows which token.
fn credentials(header: &str) -> Option<(String, String)> {
    let (scheme, rest) = header.split_once(' ').filter(|_| header.len() <= AUTHORIZATION_MAX_BYTES)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(("(bearer)".to_owned(), rest.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (user, token) = text.split_once(':')?;
    Some((user.to_owned(), token.to_owned()))
}

/// What a token opens. Answers the name by which its holder is known.
fn judge(record: &TokenRecord, wanted: Option<(&Repository, Action)>) -> Result<String, Refusal> {
    match record {
        TokenRecord::Admin(name) => Ok(name.clone()),
        TokenRecord::Agent(host) => match wanted {
            None | Some((_, Action::Pull)) => Ok(format!("agent of {host}")),
            Some((repository, Action::Push | Action::Delete)) => {
                Err(Refusal::Denied(format!("the agent of host {host} may pull from {repository}, and nothing else")))
            }
        },
        TokenRecord::Registry(rights) => match wanted {
            None => Ok(rights.name.to_string()),
            Some((repository, action)) if may(rights, repository, action) => Ok(rights.name.to_string()),
            Some((repository, Action::Delete)) => {
                Err(Refusal::Denied(format!("the token {} may not delete in {repository}; only an admin token may", rights.name)))
            }
            Some((repository, action)) => Err(Refusal::Denied(format!(
                "the token {name} may not {action} {repository}; an admin makes one that may: `coordctl tokens add NAME --{action} {repository}`",
                name = rights.name
            ))),
        },
    }
}

/// Whoever may push a repository may pull it, too: clients ask what is there before they send it.
fn may(rights: &RegistryRights, repository: &Repository, action: Action) -> bool {
    let covers = |patterns: &[RepositoryPattern]| patterns.iter().any(|pattern| pattern.matches(repository));
    match action {
        Action::Pull => covers(&rights.pull) || covers(&rights.push),
        Action::Push => covers(&rights.push),
        Action::Delete => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(pull: &[&str], push: &[&str]) -> TokenRecord {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a pattern")).collect();
        TokenRecord::Registry(RegistryRights { name: "ci".parse().expect("a name"), pull: patterns(pull), push: patterns(push) })
    }

    #[test]
    fn a_header_says_who_shows_what() {
        let check = |header: &str, expect: Option<(&str, &str)>| {
            let expect = expect.map(|(user, token)| (user.to_owned(), token.to_owned()));
            assert_eq!(credentials(header), expect, "{header}");
        };
        check("Bearer sesame", Some(("(bearer)", "sesame")));
        check("bearer sesame", Some(("(bearer)", "sesame")));
        check("Basic YW5uYTpzZXNhbWU=", Some(("anna", "sesame")));
        check("Basic YW5uYTpzZTpzYW1l", Some(("anna", "se:same")));
        check("Basic YW5uYQ==", None);
        check("Basic !!", None);
        check("Digest x", None);
        check("sesame", None);
        check(&format!("Bearer {}", "x".repeat(AUTHORIZATION_MAX_BYTES)), None);
    }

    #[test]
    fn each_kind_of_token_opens_its_own() {
        let check = |record: &TokenRecord, wanted: Option<(&str, Action)>, expect: bool| {
            let repository = wanted.map(|(name, action)| (name.parse::<Repository>().expect("a repository"), action));
            let got = judge(record, repository.as_ref().map(|(name, action)| (name, *action)));
            assert_eq!(got.is_ok(), expect, "{record:?} {wanted:?}: {got:?}");
        };
        let admin = TokenRecord::Admin("admin".to_owned());
        let agent = TokenRecord::Agent("web-1".parse().expect("a host"));
        let ci = registry(&["base/*"], &["shop/*"]);
        for action in [Action::Pull, Action::Push, Action::Delete] {
            check(&admin, Some(("shop/web", action)), true);
            check(&agent, Some(("shop/web", action)), action == Action::Pull);
            check(&ci, Some(("other", action)), false);
        }
        for record in [&admin, &agent, &ci] {
            check(record, None, true);
        }
        check(&ci, Some(("base/debian", Action::Pull)), true);
        check(&ci, Some(("base/debian", Action::Push)), false);
        check(&ci, Some(("shop/web", Action::Pull)), true);
        check(&ci, Some(("shop/web", Action::Push)), true);
        check(&ci, Some(("shop/web", Action::Delete)), false);
    }
}
