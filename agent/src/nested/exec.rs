//! A program that somebody wants run in a second container: the connection is upgraded, and carries frames from then on (`wire::Frame`, each
//! preceded by its length).

use super::body::{Answer, json};
use super::child::{Child, running};
use super::door::Door;
use super::refusal::{cure, refuse};
use super::socket::Turn;
use crate::programs::{program, refusal};
use bytes::Bytes;
use coord_attach::{Frames, Program, bytes as carrier, program as attached};
use coord_runtime::{ExecSpec, Runtime as _};
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{EXEC_PROTOCOL, ExecAsked};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

/// Starts the program; only then is the connection upgraded, so that a program that cannot be run is an ordinary refusal.
///
/// # Errors
/// `upgrade_required`, `not_running`, `command_not_found`, `command_not_executable`.
pub(super) async fn exec(mut request: Request<Incoming>, door: &Door, child: &Child, turn: &Turn) -> Result<Answer, ErrorBody> {
    let protocol = HeaderValue::from_static(EXEC_PROTOCOL);
    if request.headers().get(UPGRADE) != Some(&protocol) {
        let message = format!("a program's streams need an upgrade of the connection to {EXEC_PROTOCOL}");
        return Err(cure(refuse("upgrade_required", message), "use `coord exec`"));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let ExecAsked { command, environment, working_dir, user, terminal, stdin } = json(request).await?;
    running(child)?;
    if command.is_empty() {
        return Err(cure(refuse("invalid_request", "no command to run"), "name a program and its arguments"));
    }
    let variables = environment.iter().flat_map(|(name, value)| [name, value]);
    if command.iter().chain(&working_dir).chain(&user).chain(variables).any(|word| word.contains('\0')) {
        return Err(refuse("invalid_request", "a word of the request has a NUL in it, which no program can get"));
    }
    let spec = ExecSpec { args: command, env: environment, cwd: working_dir, user, terminal, stdin };
    let container = child.record.borrow().container.clone();
    let exec = door.tools.engine()?.runtime.exec(&container, spec).await.map_err(|error| refusal(&error))?;
    tokio::task::spawn_local(serve(upgrade, program(exec, terminal.is_some()), turn.clone()));
    let mut answer = Response::new(Empty::<Bytes>::new().boxed_unsync());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answer.headers_mut().insert(UPGRADE, protocol);
    Ok(answer)
}

async fn serve(upgrade: OnUpgrade, program: Program, turn: Turn) {
    // Whoever asked is gone before it began: the program goes on without an audience.
    let Ok(upgraded) = upgrade.await else { return };
    let (ours, theirs) = Frames::pair();
    let (_, carried) = tokio::join!(attached::serve(program, ours), carrier::carry(TokioIo::new(upgraded), theirs));
    if let Err(error) = carried {
        tracing::debug!(%error, "door: a program's connection broke");
    }
    drop(turn);
}
