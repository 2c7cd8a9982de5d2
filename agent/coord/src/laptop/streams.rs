//! A program's streams as an engine carries them: one connection, which is a terminal's bytes, or pieces of two outputs that each say which
//! one they are of (Docker Engine API, "Attach to a container": eight bytes before each, the first 1 or 2, the last four the length).

use super::api::{Api, ApiError};
use crate::http::Trouble;
use bytes::{Buf as _, BytesMut};
use coord_attach::terminal;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io::{self, Write as _};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Mutex, oneshot};

/// Read at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Before each piece.
const HEAD_BYTES: usize = 8;
/// Which output a piece is of, where it is the error output.
const ERROR_OUTPUT: u8 = 2;
/// The container has ended: so long is waited for the rest of what it wrote.
const LAST_OUTPUT: Duration = Duration::from_secs(10);

/// What somebody sits at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
}

/// Streams that are being carried.
pub(crate) struct Attached {
    api: Api,
    tty: bool,
    /// `/containers/ID` or `/exec/ID`.
    of: String,
    over: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Attached {
    /// Begins to carry what an upgraded connection brings.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn new(api: &Api, response: Response<Incoming>, wanted: Wanted, of: String) -> Result<Attached, ApiError> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(api.trouble(Trouble::NotUnderstood("no upgrade of the connection".to_owned())));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|e| api.trouble(Trouble::Broken(e)))?;
        let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
        if wanted.stdin {
            let mut input = terminal::input();
            tokio::spawn(async move {
                while let Some(piece) = input.recv().await {
                    if writer.write_all(&piece).await.is_err() {
                        return;
                    }
                }
                // The end of the input; a container that has ended does not hear it.
                let _ = writer.shutdown().await;
            });
        }
        let (tell, over) = oneshot::channel();
        let (killer, container) = (api.clone(), of.clone());
        tokio::spawn(async move {
            let mut pieces = Separator::new(wanted.tty);
            let mut piece = vec![0; PIECE_BYTES];
            while let Ok(read @ 1..) = reader.read(&mut piece).await {
                if pieces.push(&piece[..read], print).is_err() {
                    // Nobody reads it any more. In a pipeline it would be ended by that; an engine does not tell it. (A program of `exec`
                    // cannot be ended so: it goes on.)
                    let _ = killer.act(&format!("{container}/kill")).await;
                    break;
                }
            }
            let _ = tell.send(());
        });
        Ok(Attached { api: api.clone(), tty: wanted.tty, of, over: Mutex::new(Some(over)) })
    }

    /// Tells the terminal our size.
    pub(crate) async fn resize(&self) {
        if let Some((rows, columns)) = terminal::size().filter(|_| self.tty) {
            // A container that has ended has no terminal any more.
            let _ = self.api.act(&format!("{}/resize?h={rows}&w={columns}", self.of)).await;
        }
    }

    /// Waits for the end of the output, however long it takes.
    pub(super) async fn until_over(&self) {
        if let Some(over) = self.over.lock().await.take() {
            let _ = over.await;
        }
    }

    /// It has ended: waits for the rest of the output.
    pub(crate) async fn drain(&self) {
        let _ = tokio::time::timeout(LAST_OUTPUT, self.until_over()).await;
    }
}

/// To our own output of the same kind.
fn print(is_error: bool, bytes: &[u8]) -> io::Result<()> {
    if is_error {
        return io::stderr().lock().write_all(bytes);
    }
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// An answer that consists of such pieces.
pub(super) async fn separate(
    response: Response<Incoming>,
    mut on_bytes: impl FnMut(bool, &[u8]) -> io::Result<()>,
) -> Result<(), Trouble> {
    let mut body = response.into_body();
    let mut pieces = Separator::new(false);
    while let Some(frame) = body.frame().await {
        let data = frame.map_err(Trouble::Broken)?.into_data().unwrap_or_default();
        if pieces.push(&data, &mut on_bytes).is_err() {
            // Whoever reads has read enough.
            return Ok(());
        }
    }
    Ok(())
}

/// Takes such pieces apart.
struct Separator {
    tty: bool,
    pending: BytesMut,
}

impl Separator {
    fn new(tty: bool) -> Self {
        Self { tty, pending: BytesMut::new() }
    }

    fn push(&mut self, bytes: &[u8], mut on_bytes: impl FnMut(bool, &[u8]) -> io::Result<()>) -> io::Result<()> {
        if self.tty {
            return on_bytes(false, bytes);
        }
        self.pending.extend_from_slice(bytes);
        while let [kind, _, _, _, a, b, c, d, ..] = self.pending[..] {
            let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(io::Error::other)?;
            if self.pending.len() < HEAD_BYTES + length {
                return Ok(());
            }
            self.pending.advance(HEAD_BYTES);
            on_bytes(kind == ERROR_OUTPUT, &self.pending[..length])?;
            self.pending.advance(length);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
