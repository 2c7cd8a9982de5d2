//! One question over HTTP: is the answer's status 200 to 399? Nothing is followed, and of the answer no more is read than is shown.

use super::Trouble;
use bytes::Bytes;
use coord_shared::decide::health::OUTPUT_MAX_BYTES;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The head of an answer; one that is larger is not well.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// Asks; `host` is the `Host` header, or else the address.
pub(super) async fn get(stream: TcpStream, host: Option<&str>, port: u16, path: &str) -> Result<(), Trouble> {
    let host = host.map_or_else(|| format!("localhost:{port}"), str::to_owned);
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("coord-agent/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Trouble::Ill(format!("GET {path} cannot be asked: {error}")))?;
    let failed = |error: hyper::Error| Trouble::Ill(format!("GET {path}: {}", crate::chain(&error)));
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD_MAX_BYTES).handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // The connection ends with the question: it is one future with it.
    let mut connection = std::pin::pin!(connection);
    let mut question = std::pin::pin!(async {
        let answer = sender.send_request(request).await.map_err(failed)?;
        let status = answer.status();
        if status.is_success() || status.is_redirection() {
            return Ok(());
        }
        let body = beginning(answer).await;
        Err(Trouble::Ill(format!("GET {path}: {status}\n{body}").trim().to_owned()))
    });
    let mut is_open = true;
    loop {
        tokio::select! {
            answer = &mut question => return answer,
            _ = &mut connection, if is_open => is_open = false,
        }
    }
}

/// The first of an answer's body.
async fn beginning(mut answer: Response<Incoming>) -> String {
    let mut kept = Vec::new();
    while kept.len() < OUTPUT_MAX_BYTES
        && let Some(Ok(frame)) = answer.body_mut().frame().await
    {
        if let Some(data) = frame.data_ref() {
            kept.extend_from_slice(&data[..data.len().min(OUTPUT_MAX_BYTES - kept.len())]);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}
