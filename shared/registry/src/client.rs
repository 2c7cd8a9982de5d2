//! The client: one image reference and one digest in, verified manifests and streams of blobs out.
//!
//! Every request goes through `send`: the right scheme, authority and credentials for the reference, one login on 401, one error
//! for every other status. Redirects (blobs often live in an object store) are followed, never from TLS to plain HTTP or back (a client of
//! plain registries loads no authorities); reqwest drops the Authorization header when the host changes.

use crate::answer::{check_status, read_limited, timed_out, transport};
use crate::auth::{Login, TokenCache};
use crate::docker_config::{Credentials, DockerConfig};
use crate::manifest::{ACCEPTED, MANIFEST_MAX_BYTES, ManifestOrIndex};
use crate::{BlobStream, RegistryConfig, RegistryError, config};
use coord_shared::names::{Digest, ImageReference};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Client, Method, Response, StatusCode, redirect};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Registry -> object store -> its region: two in practice.
const REDIRECTS_MAX: usize = 5;
/// Idle connections cost both sides memory; pulls come in bursts.
const POOL_IDLE_S: u64 = 20;

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the head of an answer, and for the whole of a small one (manifest, token).
    pub answer: Duration,
    /// A blob's body that brings next to nothing for this long has stalled.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect: Duration::from_secs(10), answer: Duration::from_secs(30), stall: Duration::from_secs(30) }
    }
}

/// A client of any number of registries. Cheap to clone; connections and tokens are shared.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    configs: Vec<RegistryConfig>,
    docker: DockerConfig,
    timeouts: Timeouts,
    clients: Mutex<BTreeMap<Trust, Client>>,
    tokens: TokenCache,
}

/// Whom a connection believes: clients differ in nothing else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    PlainHttp,
    System,
    SystemAnd(PathBuf),
}

/// One thing in one repository, and how to get at it.
struct Target<'a> {
    config: Option<&'a RegistryConfig>,
    image: &'a ImageReference,
    /// For messages.
    object: String,
    url: String,
}

impl Registry {
    /// A client with the given `[[registry]]` entries and the logins of `docker_config` (`~/.docker/config.json`; may be missing).
    ///
    /// # Errors
    /// `Config` when an entry, an authority file or the docker config cannot be used.
    pub fn new(configs: Vec<RegistryConfig>, docker_config: Option<PathBuf>) -> Result<Registry, RegistryError> {
        Self::with_timeouts(configs, docker_config, Timeouts::default())
    }

    /// The same with other timeouts than the default.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_timeouts(
        configs: Vec<RegistryConfig>,
        docker_config: Option<PathBuf>,
        timeouts: Timeouts,
    ) -> Result<Registry, RegistryError> {
        for config in &configs {
            config.check()?;
            if let Some(ca) = &config.ca {
                load_authorities(ca)?;
            }
        }
        let docker = docker_config.map_or_else(|| Ok(DockerConfig::default()), |path| DockerConfig::load(&path))?;
        let inner = Inner { configs, docker, timeouts, clients: Mutex::default(), tokens: TokenCache::default() };
        Ok(Registry { inner: Arc::new(inner) })
    }

    /// The digest of what the registry serves for the reference: a manifest or an index. A digest in the reference is checked to exist.
    ///
    /// # Errors
    /// `NotFound` names the tag or digest; the others as the registry answers.
    pub async fn resolve(&self, image: &ImageReference) -> Result<Digest, RegistryError> {
        let wanted = image.digest().map_or_else(|| image.tag().unwrap_or("latest").to_owned(), Digest::to_string);
        let target = self.target(image, format!("image {image}"), "manifests", &wanted);
        let response = self.send(&target, Method::HEAD, accept_manifests()).await?;
        if let Some(digest) = image.digest() {
            return Ok(digest.clone());
        }
        let named = response
            .headers()
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok());
        match named {
            Some(digest) => Ok(digest),
            // The header is optional: then the digest is that of the bytes.
            None => Ok(Digest::of(&self.fetch_manifest(&target).await?)),
        }
    }

    /// The manifest or index under `digest` in the image's repository; its bytes are verified, at most 4 MiB.
    ///
    /// # Errors
    /// `BadAnswer` when the bytes are not those of the digest, too many, or no manifest.
    pub async fn manifest(&self, image: &ImageReference, digest: &Digest) -> Result<ManifestOrIndex, RegistryError> {
        let object = format!("manifest {digest} of {}/{}", image.registry(), image.repository());
        let target = self.target(image, object, "manifests", digest.as_ref());
        let bytes = self.fetch_manifest(&target).await?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            let problem = format!("its content has the digest {actual}; the registry or something before it is broken");
            return Err(RegistryError::BadAnswer { object: target.object, problem });
        }
        ManifestOrIndex::parse(&bytes).map_err(|problem| RegistryError::BadAnswer { object: target.object, problem })
    }

    /// The bytes of a blob from `offset` on. Verifying the digest is the caller's, who sees all bytes.
    ///
    /// # Errors
    /// `BadAnswer` when the registry answers with another range than asked.
    pub async fn blob(&self, image: &ImageReference, digest: &Digest, offset: u64) -> Result<BlobStream, RegistryError> {
        let object = format!("blob {digest} of {}/{}", image.registry(), image.repository());
        let target = self.target(image, object, "blobs", digest.as_ref());
        let mut headers = HeaderMap::new();
        if offset > 0 {
            let range = HeaderValue::from_str(&format!("bytes={offset}-"));
            headers.insert(
                RANGE,
                range
                    .map_err(|_| RegistryError::BadAnswer { object: target.object.clone(), problem: "bad offset".to_owned() })?,
            );
        }
        let response = self.send(&target, Method::GET, headers).await?;
        let stall = self.inner.timeouts.stall;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            let total = response.content_length();
            return Ok(BlobStream::new(response, target.object, total, offset, stall));
        }
        match content_range(response.headers()) {
            Some((start, total)) if start == offset => Ok(BlobStream::new(response, target.object, total, 0, stall)),
            got => {
                let problem = format!("asked for bytes from {offset} on, got {:?}", got.map(|(start, _)| start));
                Err(RegistryError::BadAnswer { object: target.object, problem })
            }
        }
    }

    async fn fetch_manifest(&self, target: &Target<'_>) -> Result<Vec<u8>, RegistryError> {
        let response = self.send(target, Method::GET, accept_manifests()).await?;
        read_limited(response, &target.object, MANIFEST_MAX_BYTES, self.inner.timeouts.answer).await
    }

    fn target<'a>(&'a self, image: &'a ImageReference, object: String, kind: &str, name: &str) -> Target<'a> {
        let config = config::find(&self.inner.configs, image);
        let url = format!("{}/v2/{}/{kind}/{name}", config::base_url(config, image), image.repository());
        Target { config, image, object, url }
    }

    /// One request; on 401 one login and one more request.
    async fn send(&self, target: &Target<'_>, method: Method, headers: HeaderMap) -> Result<Response, RegistryError> {
        let client = self.client(target)?;
        let repository = format!("{}/{}", target.image.registry(), target.image.repository());
        let credentials = self.credentials(target);
        let mut authorization = self.inner.tokens.get(&repository);
        let mut logged_in = false;
        loop {
            let mut request = client.request(method.clone(), &target.url).headers(headers.clone());
            if let Some(value) = &authorization {
                request = request.header(AUTHORIZATION, value);
            }
            let patience = self.inner.timeouts.answer;
            let sent = tokio::time::timeout(patience, request.send()).await;
            let response = sent.map_err(|_| timed_out(&target.object, patience))?.map_err(|e| transport(e, &target.object))?;
            if response.status() != StatusCode::UNAUTHORIZED || logged_in {
                return check_status(response, &target.object, credentials.is_some());
            }
            let login = Login {
                client: &client,
                object: &target.object,
                repository: target.image.repository(),
                credentials: credentials.as_ref(),
                insecure: target.config.is_some_and(|config| config.insecure),
                patience,
            };
            let (value, life) = login.answer(response.headers()).await?;
            self.inner.tokens.put(&repository, value.clone(), life);
            authorization = Some(value);
            logged_in = true;
        }
    }

    /// Those of the entry first: what an operator wrote for this program beats what some tool left behind.
    fn credentials(&self, target: &Target<'_>) -> Option<Credentials> {
        let config = target.config;
        let own = config.and_then(|config| config.username.clone().zip(config.password.clone()));
        match own {
            Some((username, password)) => Some(Credentials { username, password }),
            None => self.inner.docker.find(target.image).cloned(),
        }
    }

    /// Made on first use: loading the system's authorities takes time and memory that a host with a plain registry never needs.
    fn client(&self, target: &Target<'_>) -> Result<Client, RegistryError> {
        let trust = match target.config {
            Some(config) if config.insecure => Trust::PlainHttp,
            Some(RegistryConfig { ca: Some(ca), .. }) => Trust::SystemAnd(ca.clone()),
            Some(_) | None => Trust::System,
        };
        let mut clients = self.inner.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&trust) {
            return Ok(client.clone());
        }
        let client = build_client(&trust, self.inner.timeouts)?;
        clients.insert(trust, client.clone());
        Ok(client)
    }
}

fn build_client(trust: &Trust, timeouts: Timeouts) -> Result<Client, RegistryError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Losing this race means that another thread installed one: just as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let builder = Client::builder()
        .user_agent(concat!("coord/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(timeouts.connect)
        .pool_idle_timeout(Duration::from_secs(POOL_IDLE_S))
        .redirect(redirect::Policy::custom(follow));
    let builder = match trust {
        Trust::PlainHttp => builder.tls_certs_only([]),
        Trust::System => builder,
        Trust::SystemAnd(ca) => builder.tls_certs_merge(load_authorities(ca)?),
    };
    builder.build().map_err(|e| {
        let source = std::error::Error::source(&e).map_or_else(String::new, |source| format!(": {source}"));
        RegistryError::Config {
            problem: format!("cannot set up TLS: {e}{source}; are the system's certificates (ca-certificates) installed?"),
        }
    })
}

fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let changes_scheme = attempt.previous().last().is_some_and(|url| url.scheme() != attempt.url().scheme());
    if attempt.previous().len() > REDIRECTS_MAX {
        attempt.error("too many redirects")
    } else if changes_scheme {
        attempt.error("redirect between TLS and plain HTTP")
    } else {
        attempt.follow()
    }
}

fn load_authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, RegistryError> {
    let fail = |problem: String| RegistryError::Config { problem: format!("ca = {:?}: {problem}", path.display().to_string()) };
    let pem = std::fs::read(path).map_err(|e| fail(format!("cannot be read: {e}")))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| fail(format!("is not PEM: {e}")))?;
    if certificates.is_empty() {
        return Err(fail("holds no certificate; it should hold the authority's, as PEM".to_owned()));
    }
    Ok(certificates)
}

fn accept_manifests() -> HeaderMap {
    ACCEPTED.into_iter().map(|media_type| (ACCEPT, HeaderValue::from_static(media_type))).collect()
}

/// `bytes 100-199/200` is (100, 200); the total may be `*`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (range, total) = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}
