//! The route that runs a program in a container: the connection is upgraded, and carries frames from then on (`wire::Frame`, each
//! preceded by its length).

use super::Control;
use super::routes::{Answer, Refusal, body, refuse};
use bytes::Bytes;
use coord_attach::{Frames, Program, bytes as carrier, program};
use coord_shared::wire::{ErrorBody, ExecRequest};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

/// What the connection becomes.
pub(super) const PROTOCOL: HeaderValue = HeaderValue::from_static("coord-frames");

/// Starts the program; only then is the connection upgraded, so that a program that cannot be run is an ordinary refusal.
pub(super) async fn exec(mut request: Request<Incoming>, control: &Control) -> Result<Answer, Refusal> {
    if request.headers().get(UPGRADE) != Some(&PROTOCOL) {
        let message = "a program's streams need an upgrade of the connection to coord-frames";
        return Err(refuse(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message, Some("use `coord-agent exec`")));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let asked: ExecRequest = body(request).await?;
    let program = control.programs.start(asked).await.map_err(refused)?;
    tokio::task::spawn_local(serve(upgrade, program));
    let mut answer = Response::new(Empty::<Bytes>::new().boxed_unsync());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answer.headers_mut().insert(UPGRADE, PROTOCOL);
    Ok(answer)
}

async fn serve(upgrade: OnUpgrade, program: Program) {
    // Whoever asked is gone before it began: the program goes on without an audience.
    let Ok(upgraded) = upgrade.await else { return };
    let (ours, theirs) = Frames::pair();
    let (_, carried) = tokio::join!(program::serve(program, ours), carrier::carry(TokioIo::new(upgraded), theirs));
    if let Err(error) = carried {
        tracing::debug!(%error, "control socket: a program's connection broke");
    }
}

fn refused(error: ErrorBody) -> Refusal {
    let status = match error.code.as_str() {
        "no_such_instance" => StatusCode::NOT_FOUND,
        "not_running" => StatusCode::CONFLICT,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Refusal { status, error }
}
