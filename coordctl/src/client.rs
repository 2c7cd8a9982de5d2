//! The client of the coordinator's API, version 1.
//!
//! One method for each request; each names what it is about to do, so that every error can say what could not be done. Deliberately
//! absent: retries. Whoever waits or follows knows how long it may try again; a single command should fail at once.

mod archives;
mod error;
mod images;
mod pipelines;
mod secrets;
mod stream;
mod tokens;

pub(crate) use archives::ArchiveForm;
pub(crate) use error::ClientError;
pub(crate) use stream::LineStream;

use crate::config::{Settings, is_this_machine};
use coord_attach::{DialError, FrameReader, FrameWriter};
use coord_shared::names::{HostName, VolumeName, WorkloadName};
use coord_shared::wire::{
    DiffView, ErrorBody, ExecRequest, HistoryView, HostsView, NewHost, NewHostAnswer, StatusView, VolumesView,
};
use jiff::Timestamp;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Longest time until a connection stands: a coordinator that is there answers in a round trip or two.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer, in bytes: the status of tens of thousands of instances.
const ANSWER_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Speaks to one coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    /// Without a slash at its end.
    base: String,
    token: String,
    timeout: Duration,
    settings: Settings,
}

/// The HTTP client; `more` has the last word on it.
fn http(
    settings: &Settings,
    more: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client, ClientError> {
    // No redirects: the token is for the coordinator that was named, and for no other.
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("coordctl/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT);
    if settings.url.scheme() == "http" {
        // Nothing is encrypted, so the system's authorities, which a small machine may not have, are not asked for.
        builder = builder.tls_certs_only([]);
    }
    if is_this_machine(&settings.url) {
        builder = builder.no_proxy();
    }
    if let Some(path) = settings.ca.clone() {
        let pem = std::fs::read(&path).map_err(|source| ClientError::ReadCa { path: path.clone(), source })?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).ok().filter(|found| !found.is_empty());
        let certificates = certificates.ok_or(ClientError::BadCa { path })?;
        builder = builder.tls_certs_merge(certificates);
    }
    more(builder).build().map_err(|source| ClientError::Setup { source })
}

/// Which lines of a workload's logs are wanted.
#[derive(Debug, Clone)]
pub(crate) struct LogsQuery {
    pub(crate) workload: WorkloadName,
    pub(crate) host: Option<HostName>,
    pub(crate) index: Option<u32>,
    pub(crate) tail: Option<u32>,
    pub(crate) follow: bool,
    pub(crate) since: Option<Timestamp>,
}

/// One instance of a workload; the only one where neither is said.
#[derive(Debug, Clone)]
pub(crate) struct InstanceQuery {
    pub(crate) workload: WorkloadName,
    pub(crate) host: Option<HostName>,
    pub(crate) index: Option<u32>,
}

impl Client {
    /// Prepares; connects to nothing yet. Errors if the certificates in `ca` cannot be used.
    pub(crate) fn new(settings: Settings) -> Result<Self, ClientError> {
        Ok(Self {
            http: http(&settings, |builder| builder)?,
            base: settings.url.as_str().trim_end_matches('/').to_owned(),
            token: settings.token.clone(),
            timeout: settings.request_timeout,
            settings,
        })
    }

    /// Every workload and where it stands.
    pub(crate) async fn status(&self) -> Result<StatusView, ClientError> {
        self.json("read the status", self.request(Method::GET, "v1/status")).await
    }

    /// Every host.
    pub(crate) async fn hosts(&self) -> Result<HostsView, ClientError> {
        self.json("list the hosts", self.request(Method::GET, "v1/hosts")).await
    }

    /// Makes a host known. A known one gets a new token, and its old one ends.
    pub(crate) async fn add_host(&self, host: &HostName) -> Result<NewHostAnswer, ClientError> {
        let body = NewHost { host: host.clone() };
        self.json(&format!("add host {host}"), self.request(Method::POST, "v1/hosts").json(&body)).await
    }

    /// Forgets a host.
    pub(crate) async fn remove_host(&self, host: &HostName) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &format!("v1/hosts/{host}"));
        self.bytes(&format!("remove host {host}"), request).await.map(drop)
    }

    /// The revisions of a workload, newest first.
    pub(crate) async fn history(&self, workload: &WorkloadName) -> Result<HistoryView, ClientError> {
        let request = self.request(Method::GET, &format!("v1/workloads/{workload}/history"));
        self.json(&format!("read the history of {workload}"), request).await
    }

    /// What publishing this text as this workload's document would do.
    pub(crate) async fn diff(&self, workload: &WorkloadName, text: &str) -> Result<DiffView, ClientError> {
        let request = with_toml(self.request(Method::POST, &format!("v1/diff/{workload}")), text);
        self.json(&format!("compare {workload}"), request).await
    }

    /// Publishes this text as this workload's document.
    pub(crate) async fn publish(&self, workload: &WorkloadName, text: &str, take_over: bool) -> Result<DiffView, ClientError> {
        let request = self.document(Method::PUT, workload, take_over);
        self.json(&format!("publish {workload}"), with_toml(request, text)).await
    }

    /// Deletes a workload's document.
    pub(crate) async fn delete(&self, workload: &WorkloadName, take_over: bool) -> Result<DiffView, ClientError> {
        self.json(&format!("delete {workload}"), self.document(Method::DELETE, workload, take_over)).await
    }

    /// Opens the stream of a workload's log lines. A line may be as far from the last as `idle` while following.
    pub(crate) async fn logs(&self, query: &LogsQuery, idle: Duration) -> Result<LineStream, ClientError> {
        let what = format!("read the logs of {}", query.workload);
        let mut request = self.request(Method::GET, &format!("v1/workloads/{}/logs", query.workload));
        if let Some(tail) = query.tail {
            request = request.query(&[("tail", tail)]);
        }
        request = request.query(&[("follow", query.follow)]);
        if let Some(host) = &query.host {
            request = request.query(&[("host", host.as_str())]);
        }
        if let Some(index) = query.index {
            request = request.query(&[("index", index)]);
        }
        if let Some(since) = query.since {
            request = request.query(&[("since", since.to_string())]);
        }
        let response = self.within(&what, async { self.send(&what, request).await }).await?;
        let idle = if query.follow { idle } else { self.timeout };
        Ok(LineStream::new(response, what, self.base.clone(), idle))
    }

    /// Opens the socket of a program that is to run in an instance's container.
    pub(crate) async fn exec(
        &self,
        place: &InstanceQuery,
        asked: &ExecRequest,
    ) -> Result<(FrameReader, FrameWriter), ClientError> {
        let what = format!("run a program in {}", place.workload);
        // A WebSocket begins as HTTP/1.1.
        let http = http(&self.settings, reqwest::ClientBuilder::http1_only)?;
        let url = format!("{}/v1/workloads/{}/exec", self.base, place.workload);
        let mut request = http.get(url).bearer_auth(&self.token);
        if let Some(host) = &place.host {
            request = request.query(&[("host", host.as_str())]);
        }
        if let Some(index) = place.index {
            request = request.query(&[("index", index)]);
        }
        self.within(&what, async {
            let (reader, mut writer) = match coord_attach::dial(request).await {
                Ok(socket) => socket,
                Err(DialError::Refused(response)) => return Err(self.refused(&what, *response).await),
                Err(DialError::Transport(error)) => {
                    return Err(ClientError::of_transport(&what, &self.base, self.timeout, error));
                }
                Err(error) => return Err(self.garbage(&what, &error)),
            };
            writer.request(asked).await.map_err(|error| self.garbage(&what, &error))?;
            Ok((reader, writer))
        })
        .await
    }

    /// The volumes of a host.
    pub(crate) async fn volumes(&self, host: &HostName) -> Result<VolumesView, ClientError> {
        self.json(&format!("list the volumes of host {host}"), self.request(Method::GET, &format!("v1/hosts/{host}/volumes")))
            .await
    }

    /// Deletes a volume and all that is in it.
    pub(crate) async fn remove_volume(&self, host: &HostName, name: &VolumeName) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &format!("v1/hosts/{host}/volumes/{name}"));
        self.bytes(&format!("remove volume {name} of host {host}"), request).await.map(drop)
    }

    fn garbage(&self, what: &str, problem: &dyn std::error::Error) -> ClientError {
        ClientError::Garbage { what: what.to_owned(), url: self.base.clone(), problem: problem.to_string() }
    }

    fn document(&self, method: Method, workload: &WorkloadName, take_over: bool) -> RequestBuilder {
        let request = self.request(method, &format!("v1/documents/{workload}"));
        if take_over { request.query(&[("take_over", "true")]) } else { request }
    }

    /// `path` holds only names that need no escaping.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/{path}", self.base);
        self.http.request(method, url).bearer_auth(&self.token)
    }

    async fn json<T: DeserializeOwned>(&self, what: &str, request: RequestBuilder) -> Result<T, ClientError> {
        let body = self.bytes(what, request).await?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Garbage {
            what: what.to_owned(),
            url: self.base.clone(),
            problem: error.to_string(),
        })
    }

    async fn bytes(&self, what: &str, request: RequestBuilder) -> Result<Vec<u8>, ClientError> {
        self.within(what, async {
            let response = self.send(what, request).await?;
            self.read(what, response).await
        })
        .await
    }

    /// Sends, and sorts the refusals out.
    async fn send(&self, what: &str, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| ClientError::of_transport(what, &self.base, self.timeout, error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(self.refused(what, response).await)
    }

    /// What an answer says that is no success.
    async fn refused(&self, what: &str, response: Response) -> ClientError {
        let status = response.status();
        let request_id =
            response.headers().get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned).filter(|id| !id.is_empty());
        let body = match self.read(what, response).await {
            Ok(body) => body,
            Err(error) => return error,
        };
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => ClientError::Refused { what: what.to_owned(), status, body: Box::new(body), request_id },
            Err(_) => ClientError::Garbage { what: what.to_owned(), url: self.base.clone(), problem: format!("status {status}") },
        }
    }

    async fn read(&self, what: &str, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        let broken = |error| ClientError::of_transport(what, &self.base, self.timeout, error);
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > ANSWER_MAX_BYTES {
                let problem = format!("it is larger than {ANSWER_MAX_BYTES} bytes");
                return Err(ClientError::Garbage { what: what.to_owned(), url: self.base.clone(), problem });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The whole exchange has one deadline, so that a peer that drips bytes cannot hold us.
    async fn within<T>(&self, what: &str, exchange: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::Timeout { what: what.to_owned(), url: self.base.clone(), after: self.timeout }),
        }
    }
}

impl ClientError {
    /// Whether the object of the request is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }

    /// Whether the coordinator refused this very object, and might accept another.
    pub(crate) fn is_about_the_object(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if ![StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(status))
    }
}

fn with_toml(request: RequestBuilder, text: &str) -> RequestBuilder {
    request.header(reqwest::header::CONTENT_TYPE, "application/toml").body(text.to_owned())
}
