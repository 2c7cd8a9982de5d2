//! One request to one place: the right client and login, one more try where a login or a signed address has run out, and an error for
//! every status that is none of success.

use crate::answer::{check_status, timed_out, transport};
use crate::auth::{Login, TokenCache, good};
use crate::http::{Clients, Use};
use crate::logins::Logins;
use crate::route::{Entries, Place};
use crate::{RegistryError, Timeouts};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode, Url};

/// What requests share: connections, tokens, logins.
pub(crate) struct Sender {
    pub(crate) entries: Entries,
    pub(crate) logins: Logins,
    pub(crate) timeouts: Timeouts,
    pub(crate) tokens: TokenCache,
    pub(crate) clients: Clients,
}

/// What to ask of a place.
pub(crate) struct Asked<'a> {
    pub(crate) method: Method,
    pub(crate) use_for: Use,
    pub(crate) headers: HeaderMap,
    /// `manifests` or `blobs`.
    pub(crate) kind: &'static str,
    /// Tag or digest.
    pub(crate) name: &'a str,
    /// For messages.
    pub(crate) object: &'a str,
}

impl Sender {
    /// The answer, if it is one of success.
    pub(crate) async fn send(&self, place: &Place, asked: &Asked<'_>) -> Result<Response, RegistryError> {
        let client = self.clients.get(place, asked.use_for, self.timeouts)?;
        let url = format!("{}/v2/{}/{}/{}", place.base_url(), place.repository(), asked.kind, asked.name);
        let url = Url::parse(&url).map_err(|e| RegistryError::Config { problem: format!("{url} is no URL: {e}") })?;
        let slot = self.tokens.slot(&place.name);
        let mut authorization = good(&*slot.lock().await);
        let (mut logins, mut redirects, mut had_credentials) = (0, 0, false);
        loop {
            let response = self.send_once(&client, &url, asked, authorization.as_ref()).await?;
            let status = response.status();
            let is_refusal = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            if is_refusal && is_elsewhere(&url, response.url()) {
                // A signed address that has run out: the registry gives a new one. Its refusal is no question for our login.
                redirects += 1;
                if redirects > 1 {
                    return Err(refused_elsewhere(asked.object, status));
                }
                continue;
            }
            if status != StatusCode::UNAUTHORIZED || logins > 1 {
                return check_status(response, asked.object, had_credentials);
            }
            let mut token = slot.lock().await;
            // Somebody else may have logged in meanwhile.
            if let Some(newer) = good(&token).filter(|newer| Some(newer) != authorization.as_ref()) {
                authorization = Some(newer);
                continue;
            }
            logins += 1;
            let found = self.logins.find(place, &self.entries, asked.object, logins > 1).await?;
            had_credentials = found.credentials.is_some();
            let login = Login {
                client: &client,
                object: asked.object,
                repository: place.repository(),
                credentials: found.credentials.as_ref(),
                insecure: place.is_insecure(),
                patience: self.timeouts.answer,
            };
            match login.answer(response.headers()).await {
                Ok(fresh) => {
                    authorization = Some(fresh.0.clone());
                    *token = Some(fresh);
                }
                // A helper's answer of some minutes ago may be of yesterday's password.
                Err(RegistryError::Unauthorized { .. }) if found.is_remembered => authorization = None,
                Err(error) => return Err(error),
            }
            if !found.is_remembered {
                logins = 2;
            }
        }
    }

    async fn send_once(
        &self,
        client: &Client,
        url: &Url,
        asked: &Asked<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let mut request = client.request(asked.method.clone(), url.clone()).headers(asked.headers.clone());
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let patience = self.timeouts.answer;
        let sent = tokio::time::timeout(patience, request.send()).await;
        sent.map_err(|_| timed_out(asked.object, patience))?.map_err(|e| transport(e, asked.object))
    }
}

fn is_elsewhere(asked: &Url, answered: &Url) -> bool {
    (asked.host(), asked.port_or_known_default()) != (answered.host(), answered.port_or_known_default())
}

fn refused_elsewhere(object: &str, status: StatusCode) -> RegistryError {
    let problem = format!(
        "the storage that its registry redirects to refuses it ({status}); check the clocks of this host and of the registry, and its storage"
    );
    RegistryError::Unreachable { object: object.to_owned(), problem, source: None }
}
