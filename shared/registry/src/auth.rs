//! Logging in: what a 401 asks for, and the answer to it (RFC 7617 Basic; the distribution project's token flow for Bearer, with
//! OAuth2's refresh where we hold an identity token).
//!
//! Tokens are kept per repository until shortly before they expire, so that a pull of ten layers logs in once, also when all ten
//! are refused at the same moment. Nothing is tried before the registry asks: an open registry sees no extra request, and a secret
//! goes only where it was asked for.

use crate::RegistryError;
use crate::answer::{check_status, read_limited, transport, unauthorized};
use crate::clock::{self, Instant};
use crate::logins::Credentials;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;

/// Largest token answer; real ones are 2 to 8 KiB.
const TOKEN_ANSWER_MAX_BYTES: usize = 256 * 1024;
/// A token's life where the answer names none (distribution spec, "Token Authentication").
const TOKEN_LIFE_DEFAULT_S: u64 = 60;
/// Longest that we believe a token, whatever it says: permissions change.
const TOKEN_LIFE_MAX_S: u64 = 3600;
/// Repositories whose tokens are remembered; a host pulls from a handful.
const TOKENS_MAX: usize = 256;
/// Who we are to an OAuth2 token service, which wants a name.
const CLIENT_ID: &str = "coord";

/// What a registry asks for in a 401.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// An Authorization header, and when it is no good any more.
pub(crate) type Token = (HeaderValue, Instant);

/// The token of one repository. Locked while somebody logs in, so that others wait for his instead of getting their own.
pub(crate) type TokenSlot = Arc<AsyncMutex<Option<Token>>>;

/// The Authorization header of each repository, while it is good.
#[derive(Default)]
pub(crate) struct TokenCache {
    slots: Mutex<BTreeMap<String, TokenSlot>>,
}

impl TokenCache {
    /// The slot of a repository, given with its registry.
    pub(crate) fn slot(&self, name: &str) -> TokenSlot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= TOKENS_MAX {
            slots.clear();
        }
        Arc::clone(slots.entry(name.to_owned()).or_default())
    }

    /// Forgets all: the logins behind them have changed.
    pub(crate) fn clear(&self) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The header of a token that is still good.
pub(crate) fn good(token: &Option<Token>) -> Option<HeaderValue> {
    token.as_ref().filter(|(_, expires)| *expires > clock::now()).map(|(header, _)| header.clone())
}

/// Who asks for what: everything that a login needs.
pub(crate) struct Login<'a> {
    pub(crate) client: &'a reqwest::Client,
    /// For messages: what is being fetched.
    pub(crate) object: &'a str,
    pub(crate) repository: &'a str,
    pub(crate) credentials: Option<&'a Credentials>,
    /// Whether a token service may be asked over plain HTTP.
    pub(crate) insecure: bool,
    pub(crate) patience: Duration,
}

impl Login<'_> {
    /// Answers the challenges of a 401.
    pub(crate) async fn answer(&self, headers: &HeaderMap) -> Result<Token, RegistryError> {
        let challenges = parse_challenges(headers);
        // Bearer first: a registry that offers both wants Basic only at its token service.
        let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let longest = Duration::from_secs(TOKEN_LIFE_MAX_S);
        let (header, life) = match (bearer.or(challenges.first()), self.credentials) {
            (Some(_), Some(Credentials::Registry(token))) => (self.header(&format!("Bearer {token}"))?, longest),
            (Some(Challenge::Bearer { realm, service, scope }), _) => {
                self.fetch_token(realm, service.as_deref(), scope.as_deref()).await?
            }
            (Some(Challenge::Basic), Some(Credentials::Password { username, password })) => {
                let pair = STANDARD.encode(format!("{username}:{password}"));
                (self.header(&format!("Basic {pair}"))?, longest)
            }
            (Some(Challenge::Basic), credentials) => {
                return Err(unauthorized(self.object.to_owned(), credentials.is_some()));
            }
            (None, _) => return Err(unauthorized(self.object.to_owned(), false)),
        };
        // A tenth early, so that it does not expire on its way.
        Ok((header, clock::now() + life.mul_f64(0.9)))
    }

    async fn fetch_token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<(HeaderValue, Duration), RegistryError> {
        let may_be_asked = realm.starts_with("https://") || (self.insecure && realm.starts_with("http://"));
        if !may_be_asked {
            return Err(self.bad(format!(
                "its token service {realm:?} is not https; set insecure = true in its [[registry]] entry if that is meant"
            )));
        }
        let url = Url::parse(realm).map_err(|e| self.bad(format!("its token service {realm:?} is no URL: {e}")))?;
        let default_scope = format!("repository:{}:pull", self.repository);
        let request = self.token_request(url, service, scope.unwrap_or(&default_scope));
        let response = request.timeout(self.patience).send().await.map_err(|e| transport(e, self.object))?;
        let response = check_status(response, self.object, self.credentials.is_some())?;
        let body = read_limited(response, self.object, TOKEN_ANSWER_MAX_BYTES, self.patience).await?;
        // Not the parser's words: they may quote the token.
        let answer: TokenAnswer = serde_json::from_slice(&body)
            .map_err(|_| self.bad("its token service sent something else than a token".to_owned()))?;
        let token = answer.token.or(answer.access_token).ok_or_else(|| self.bad("its token service sent no token".to_owned()))?;
        let life = answer.expires_in.unwrap_or(TOKEN_LIFE_DEFAULT_S).clamp(1, TOKEN_LIFE_MAX_S);
        Ok((self.header(&format!("Bearer {token}"))?, Duration::from_secs(life)))
    }

    /// The distribution project's "Token Authentication" (GET), or its OAuth2 (POST) for an identity token.
    fn token_request(&self, url: Url, service: Option<&str>, scope: &str) -> RequestBuilder {
        let service = service.map(|service| ("service", service));
        if let Some(Credentials::Identity(token)) = self.credentials {
            let fields = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", CLIENT_ID), ("scope", scope)];
            let fields: Vec<_> = fields.into_iter().chain(service).collect();
            return self.client.post(url).form(&fields);
        }
        let query: Vec<_> = [("scope", scope)].into_iter().chain(service).collect();
        let request = self.client.get(url).query(&query);
        match self.credentials {
            Some(Credentials::Password { username, password }) => request.basic_auth(username, Some(password)),
            Some(Credentials::Identity(_) | Credentials::Registry(_)) | None => request,
        }
    }

    fn header(&self, text: &str) -> Result<HeaderValue, RegistryError> {
        let mut value = HeaderValue::from_str(text).map_err(|_| self.bad("its login does not fit into a header".to_owned()))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn bad(&self, problem: String) -> RegistryError {
        RegistryError::BadAnswer { object: self.object.to_owned(), problem }
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

fn parse_challenges(headers: &HeaderMap) -> Vec<Challenge> {
    headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| parse_challenge(value.to_str().ok()?)).collect()
}

/// One challenge per header line, as registries send it: `Bearer realm="...",service="...",scope="..."`.
pub(crate) fn parse_challenge(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut parameters = parse_parameters(rest);
    let realm = parameters.remove("realm")?;
    Some(Challenge::Bearer { realm, service: parameters.remove("service"), scope: parameters.remove("scope") })
}

/// `key="value", key=value`: commas within quotes belong to the value (a scope has them).
fn parse_parameters(mut rest: &str) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    while let Some((key, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let (value, tail) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        parameters.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        rest = tail.trim_start_matches([',', ' ']);
    }
    parameters
}
