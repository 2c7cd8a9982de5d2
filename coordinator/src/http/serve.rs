//! Connections: accepted up to a limit, encrypted where configured, served with small buffers, ended cleanly.

use super::App;
use crate::config::Tls;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

/// Buffers of one connection, in bytes: our headers are small, and thousands of connections wait at a time.
const BUFFER_MAX_BYTES: usize = 16 * 1024;
/// How long a request's headers may take. An idle connection counts too, and an agent's rests between two heartbeats of ten seconds.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests in flight may take to end when the process is to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait when the machine has no more file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The address at the other end.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, or not PEM.
    #[error("cannot read TLS {what} {path}")]
    Pem {
        /// `certificate` or `key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// They do not fit.
    #[error("TLS certificate {cert} and its key cannot be used")]
    Unusable {
        /// The certificate's file.
        cert: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// Reads certificate and key.
pub fn acceptor(tls: &Tls) -> Result<TlsAcceptor, TlsError> {
    let pem = |what, path: &PathBuf| {
        let path = path.clone();
        move |source| TlsError::Pem { what, path, source }
    };
    let certs = CertificateDer::pem_file_iter(&tls.cert).and_then(Iterator::collect).map_err(pem("certificate", &tls.cert))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(pem("key", &tls.key))?;
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .map_err(|source| TlsError::Unusable { cert: tls.cert.clone(), source })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts and serves connections.
pub struct Server {
    /// Where from.
    pub listener: TcpListener,
    /// Absent: plain.
    pub tls: Option<TlsAcceptor>,
    /// What to serve.
    pub app: Arc<App>,
    /// Most connections at a time.
    pub max_connections: usize,
}

impl Server {
    /// Serves until `ending` turns true, and then until requests in flight have ended, or for [`DRAIN_TIMEOUT`].
    pub async fn run(self, mut ending: watch::Receiver<bool>) {
        let router = super::router(self.app);
        let slots = Arc::new(Semaphore::new(self.max_connections));
        let mut is_full_logged = false;
        loop {
            let free = slots.available_permits();
            if free == 0 && !is_full_logged {
                tracing::warn!(connections = self.max_connections, "too many connections; new ones wait");
            }
            is_full_logged = free == 0;
            let accept = async {
                let slot = Arc::clone(&slots).acquire_owned().await;
                (self.listener.accept().await, slot)
            };
            let (accepted, slot) = tokio::select! {
                accepted = accept => accepted,
                () = ended(&mut ending) => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection { router: router.clone(), peer, tls: self.tls.clone(), ending: ending.clone() };
                    tokio::spawn(async move {
                        connection.run(stream).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(error = %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
        let all = u32::try_from(self.max_connections).unwrap_or(u32::MAX);
        if tokio::time::timeout(DRAIN_TIMEOUT, slots.acquire_many(all)).await.is_err() {
            tracing::info!("some requests did not end in time");
        }
    }
}

struct Connection {
    router: Router,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    ending: watch::Receiver<bool>,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        // Answers are small and somebody waits for each.
        let _ = stream.set_nodelay(true);
        match self.tls.clone() {
            None => self.serve(stream).await,
            // Boxed, so that plain connections are not as large as encrypted ones.
            Some(tls) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, Box::pin(tls.accept(stream))).await {
                Ok(Ok(stream)) => Box::pin(self.serve(stream)).await,
                Ok(Err(error)) => tracing::debug!(peer = %self.peer, error = %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(peer = %self.peer, "TLS handshake took too long"),
            },
        }
    }

    async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let (router, peer) = (self.router, self.peer);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            router.clone().oneshot(request)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(BUFFER_MAX_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        let early = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = ended(&mut self.ending) => None,
        };
        let ended = match early {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(peer = %peer, error = %error, "connection ended");
        }
    }
}

/// Waits until the process is to end.
async fn ended(ending: &mut watch::Receiver<bool>) {
    // An error: the sender is gone, which says the same.
    let _ = ending.wait_for(|ending| *ending).await;
}

/// Opens the listening socket.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}
