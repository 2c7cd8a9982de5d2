//! The socket itself: who may connect, how many at a time, how much they may send.

use super::{Control, routes};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Connections at a time. Each costs a buffer and a descriptor; a person has one, a monitoring script a few.
const CONNECTIONS_MAX: usize = 32;
/// Largest head of a request. The client sends some hundred bytes.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept (out of descriptors), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Makes the socket at `path`, in the place of one that an earlier agent left. For its owner only, before anybody can see it.
///
/// # Errors
/// As the kernel says; also when the path is longer than the 107 bytes that a socket's address holds.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    bind_for(path, 0o600)
}

/// The same, for whoever `mode` lets.
///
/// # Errors
/// As `bind`.
pub(crate) fn bind_for(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let unseen = path.with_extension("new");
    match std::fs::remove_file(&unseen) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&unseen)?;
    std::fs::set_permissions(&unseen, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&unseen, path)?;
    Ok(listener)
}

/// Serves connections until the future is dropped. To be run inside a `LocalSet`.
pub async fn serve(listener: UnixListener, control: Control) {
    let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Who comes when there are too many waits in the kernel's queue.
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let control = control.clone();
                tokio::task::spawn_local(async move {
                    connection(stream, control).await;
                    drop(turn);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control socket: cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, control: Control) {
    let is_root = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0);
    let service = service_fn(|request| {
        let control = control.clone();
        async move {
            if is_root {
                Ok::<_, std::convert::Infallible>(routes::answer(request, &control).await)
            } else {
                Ok(routes::forbidden())
            }
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        // A command asks once.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "control socket: a connection ended early");
    }
}
