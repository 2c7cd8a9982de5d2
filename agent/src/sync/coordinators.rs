//! Calls to the coordinator: which one, how long, and what its answers mean.
//!
//! Several base URLs may be configured; the one that answered last is asked first, and a failure moves on to the next. Both the
//! long poll and the reporter hold one of these each, so a hanging poll never delays a report.

use crate::config::Config;
use bytes::Bytes;
use coord_shared::wire::ErrorBody;
use reqwest::{Method, StatusCode};
use std::path::Path;
use std::time::Duration;

/// Time to make a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for an answer beyond what the request itself asks the coordinator to wait.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest error answer that is read, in bytes.
const ERROR_BODY_MAX_BYTES: usize = 64 * 1024;

/// Why a call did not bring what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer at all.
    #[error("coordinator {url} does not answer")]
    Unreachable {
        /// Its base URL.
        url: String,
        /// What failed.
        #[source]
        source: reqwest::Error,
    },
    /// It answered with an error.
    #[error("coordinator {url} answers {status}: {message}{}", hint.as_ref().map(|h| format!("; hint: {h}")).unwrap_or_default())]
    Refused {
        /// Its base URL.
        url: String,
        /// The HTTP status.
        status: StatusCode,
        /// Its words, or the start of what it sent instead.
        message: String,
        /// The cure, if it gave one.
        hint: Option<String>,
    },
    /// The answer does not fit into what is read.
    #[error("coordinator {url} sent more than {limit} bytes")]
    TooLarge {
        /// Its base URL.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// The HTTP client could not be set up.
    #[error("cannot set up HTTPS: {problem}")]
    Setup {
        /// What is wrong, with its cure.
        problem: String,
    },
}

/// The configured coordinators and a connection pool.
#[derive(Debug, Clone)]
pub struct Coordinators {
    client: reqwest::Client,
    urls: Vec<String>,
    token: String,
    preferred: usize,
}

/// An answer, read to its end.
pub struct Answer {
    /// The HTTP status: 200 or 304.
    pub status: StatusCode,
    /// The `ETag` header.
    pub etag: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// What to ask.
#[derive(Debug, Clone)]
pub struct Call {
    /// GET or POST.
    pub method: Method,
    /// Below the base URL, with the query.
    pub path: String,
    /// A JSON body.
    pub json: Option<Vec<u8>>,
    /// For `If-None-Match`.
    pub etag: Option<String>,
    /// How long the coordinator may take in all.
    pub timeout: Duration,
    /// Most bytes of an answer.
    pub limit: usize,
}

impl Coordinators {
    /// From the configuration. Errors if the authority's file cannot be used.
    pub fn new(config: &Config) -> Result<Self, CallError> {
        let builder =
            reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).http1_only().no_proxy().pool_max_idle_per_host(1);
        let only_loopback = config.coordinators.iter().all(|url| url.starts_with("http://"));
        let builder = match &config.ca {
            // Named by the operator: this authority, and none that the system happens to trust.
            Some(ca) => builder.tls_certs_only(read_authorities(ca)?),
            // No TLS is spoken: a host without any authorities must not fail for it.
            None if only_loopback => builder.tls_certs_only([]),
            None => builder,
        };
        let client = builder.build().map_err(|e| CallError::Setup { problem: crate::chain(&e) })?;
        Ok(Self { client, urls: config.coordinators.clone(), token: config.token.clone(), preferred: 0 })
    }

    /// The coordinator that is asked first.
    pub fn url(&self) -> &str {
        &self.urls[self.preferred]
    }

    /// Asks the preferred coordinator. After a failure another one is preferred.
    pub async fn call(&mut self, call: &Call) -> Result<Answer, CallError> {
        let result = self.try_call(call).await;
        if result.is_err() {
            self.prefer_next();
        }
        result
    }

    /// Another one is asked next: for callers that stream, when the preferred one does not answer.
    pub fn prefer_next(&mut self) {
        self.preferred = (self.preferred + 1) % self.urls.len();
    }

    /// A request to the preferred coordinator, for callers that stream.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url())).bearer_auth(&self.token)
    }

    async fn try_call(&self, call: &Call) -> Result<Answer, CallError> {
        let url = self.url().to_owned();
        let mut request = self.request(call.method.clone(), &call.path).timeout(call.timeout);
        if let Some(json) = &call.json {
            request = request.header("content-type", "application/json").body(json.clone());
        }
        if let Some(etag) = &call.etag {
            request = request.header("if-none-match", etag);
        }
        let unreachable = |source| CallError::Unreachable { url: url.clone(), source };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let is_good = status.is_success() || status == StatusCode::NOT_MODIFIED;
        let limit = if is_good { call.limit } else { ERROR_BODY_MAX_BYTES };
        let etag = response.headers().get("etag").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > limit {
                return Err(CallError::TooLarge { url, limit });
            }
            body.extend_from_slice(&chunk);
        }
        if is_good { Ok(Answer { status, etag, body: body.into() }) } else { Err(refused(url, status, &body)) }
    }
}

fn read_authorities(ca: &Path) -> Result<Vec<reqwest::Certificate>, CallError> {
    let setup = |problem: String| CallError::Setup { problem: format!("ca = {}: {problem}", ca.display()) };
    let pem = std::fs::read(ca).map_err(|e| setup(e.to_string()))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| setup(e.to_string()))?;
    if found.is_empty() { Err(setup("holds no certificate in PEM form".to_owned())) } else { Ok(found) }
}

fn refused(url: String, status: StatusCode, body: &[u8]) -> CallError {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(error) => CallError::Refused { url, status, message: error.message, hint: error.hint },
        // Something else listens there: its first words tell what.
        Err(_) => {
            let message: String = String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(120).collect();
            let hint = Some("is this really a coordinator? check coordinator in agent.toml".to_owned());
            CallError::Refused { url, status, message, hint }
        }
    }
}
