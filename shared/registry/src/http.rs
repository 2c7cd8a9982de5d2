//! The HTTP clients: whom they trust, which proxy they go through, where they follow redirects.
//!
//! HTTP/2 is spoken where TLS offers it, so that the many small things of a pull share one connection. Large blobs get connections of
//! their own, in HTTP/1.1: measured against docker-registry, HTTP/2's frames and windows cost a third of the speed, and one connection's
//! losses would hold up all layers. Name lookups, and addresses of both families at once, are the library's.

use crate::route::Place;
use crate::{RegistryConfig, RegistryError, Timeouts};
use reqwest::{Client, NoProxy, Proxy, Url, redirect};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Registry -> object store -> its region: two in practice.
const REDIRECTS_MAX: usize = 5;
/// Idle connections cost both sides memory; pulls come in bursts.
const POOL_IDLE_S: u64 = 20;
/// What may arrive over HTTP/2 before anybody reads it: a small blob as a whole.
const H2_STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// For several at once.
const H2_CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Fewer, larger pieces than HTTP/2's default of 16 KiB, where the server wants to.
const H2_FRAME_BYTES: u32 = 64 << 10;

/// Clients, made when first needed: loading the system's authorities takes time and memory that a host with a plain registry never
/// needs.
#[derive(Default)]
pub(crate) struct Clients {
    made: Mutex<BTreeMap<Kind, Client>>,
}

/// What clients differ in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    trust: Trust,
    proxying: Proxying,
    use_for: Use,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    Small,
    Large,
}

/// Whom a connection believes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    PlainHttp,
    System,
    SystemAnd(PathBuf),
}

/// Which proxy is used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Proxying {
    /// `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`.
    Environment,
    Direct,
    Given {
        url: Url,
        except: String,
    },
}

impl Proxying {
    /// What an entry says; the error names the cure.
    pub(crate) fn of(entry: &RegistryConfig) -> Result<Proxying, String> {
        let Some(text) = entry.proxy.as_deref() else { return Ok(Proxying::Environment) };
        if text == "none" {
            return Ok(Proxying::Direct);
        }
        // Without the text: it may hold a password.
        let fail = || "proxy must be a URL such as \"http://proxy.lan:3128\" (http or https), or \"none\"".to_owned();
        let url = Url::parse(text).map_err(|_| fail())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(fail());
        }
        Ok(Proxying::Given { url, except: entry.no_proxy.join(",") })
    }
}

impl Clients {
    /// The client for a place.
    pub(crate) fn get(&self, place: &Place, use_for: Use, timeouts: Timeouts) -> Result<Client, RegistryError> {
        let kind = Kind::of(place, use_for)?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = made.get(&kind) {
            return Ok(client.clone());
        }
        let client = build(&kind, timeouts)?;
        made.insert(kind, client.clone());
        Ok(client)
    }
}

impl Kind {
    fn of(place: &Place, use_for: Use) -> Result<Kind, RegistryError> {
        let trust = match place.entry.as_deref() {
            Some(entry) if entry.insecure => Trust::PlainHttp,
            Some(RegistryConfig { ca: Some(ca), .. }) => Trust::SystemAnd(ca.clone()),
            Some(_) | None => Trust::System,
        };
        let mut proxying = match place.entry.as_deref() {
            Some(entry) => Proxying::of(entry).map_err(|problem| RegistryError::Config { problem })?,
            None => Proxying::Environment,
        };
        // No proxy of the environment is meant for the machine itself, even if NO_PROXY forgets to say so.
        if proxying == Proxying::Environment && is_loopback(place.registry()) {
            proxying = Proxying::Direct;
        }
        // Without TLS all is HTTP/1.1 already.
        let use_for = if trust == Trust::PlainHttp { Use::Small } else { use_for };
        Ok(Kind { trust, proxying, use_for })
    }
}

fn is_loopback(registry: &str) -> bool {
    let host = if registry.ends_with(']') { registry } else { registry.rsplit_once(':').map_or(registry, |(host, _)| host) };
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn build(kind: &Kind, timeouts: Timeouts) -> Result<Client, RegistryError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Losing this race means that another thread installed one: just as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let builder = Client::builder()
        .user_agent(concat!("coord/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(timeouts.connect)
        .pool_idle_timeout(Duration::from_secs(POOL_IDLE_S))
        .http2_initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .http2_max_frame_size(H2_FRAME_BYTES)
        .redirect(redirect::Policy::custom(follow));
    let builder = match kind.use_for {
        Use::Small => builder,
        Use::Large => builder.http1_only(),
    };
    let builder = match &kind.trust {
        Trust::PlainHttp => builder.tls_certs_only([]),
        Trust::System => builder,
        Trust::SystemAnd(ca) => builder.tls_certs_merge(load_authorities(ca)?),
    };
    let builder = match &kind.proxying {
        Proxying::Environment => builder,
        Proxying::Direct => builder.no_proxy(),
        Proxying::Given { url, except } => {
            let proxy = Proxy::all(url.clone()).map_err(|e| set_up(&e))?;
            builder.no_proxy().proxy(proxy.no_proxy(NoProxy::from_string(except)))
        }
    };
    builder.build().map_err(|e| set_up(&e))
}

fn set_up(error: &reqwest::Error) -> RegistryError {
    let source = std::error::Error::source(error).map_or_else(String::new, |source| format!(": {source}"));
    RegistryError::Config {
        problem: format!("cannot set up TLS: {error}{source}; are the system's certificates (ca-certificates) installed?"),
    }
}

/// Never from TLS to plain HTTP or back: a client of plain registries loads no authorities, and one with TLS has promised it.
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

/// The certificates of a PEM file.
pub(crate) fn load_authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, RegistryError> {
    let fail = |problem: String| RegistryError::Config { problem: format!("ca = {:?}: {problem}", path.display().to_string()) };
    let pem = std::fs::read(path).map_err(|e| fail(format!("cannot be read: {e}")))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| fail(format!("is not PEM: {e}")))?;
    if certificates.is_empty() {
        return Err(fail("holds no certificate; it should hold the authority's, as PEM".to_owned()));
    }
    Ok(certificates)
}
