//! What is asked of the door about second containers.

use super::Door;
use crate::failure::failure;
use crate::http::{self, Asked, Trouble};
use coord_attach::{Frames, bytes as carrier};
use coord_shared::names::ChildName;
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{ChildState, ChildView, ChildrenView, EXEC_PROTOCOL, ExecAsked, NewChild, SignalAsked, Stop};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use std::os::fd::OwnedFd;

/// How often files are handed over again that an agent does not know: it was replaced after it took them, once or twice.
const HANDED_OVER_MAX: u32 = 3;

impl Door {
    /// Starts one that has a name, with these files if there are any. Where the answer is lost, the next agent is asked whether there is such
    /// a container and, if not, for one.
    pub(crate) async fn start(&self, asked: &NewChild, files: Option<&[OwnedFd; 3]>) -> Result<ChildView, ErrorBody> {
        let (mut asked, mut handed_over, mut is_again) = (asked.clone(), 0, false);
        self.surely(async || {
            if std::mem::replace(&mut is_again, true)
                && let Some(started) = self.started(&asked).await?
            {
                return Ok(started);
            }
            loop {
                if let Some(files) = files {
                    asked.stdio = Some(self.hand_over(files).await?);
                    handed_over += 1;
                }
                match self.answer(Asked::post("/v1/containers", &asked)).await {
                    Err(error) if error.code == "no_such_stdio" && handed_over < HANDED_OVER_MAX => {}
                    answer => return answer,
                }
            }
        })
        .await
    }

    /// What was started before the answer was lost.
    async fn started(&self, asked: &NewChild) -> Result<Option<ChildView>, ErrorBody> {
        let Some(name) = &asked.name else { return Ok(None) };
        match self.answer::<ChildView>(Asked::get(format!("/v1/containers/{name}"))).await {
            Ok(child) if child.state == ChildState::Failed => {
                let reason = child.reason.unwrap_or_else(|| "it never ran".to_owned());
                Err(failure("not_started", format!("container {name}: {reason}"), None))
            }
            Ok(child) => Ok(Some(child)),
            Err(error) if error.code == "no_such_container" => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn children(&self) -> Result<Vec<ChildView>, ErrorBody> {
        let view: ChildrenView = self.look("/v1/containers").await?;
        Ok(view.containers)
    }

    pub(crate) async fn child(&self, name: &ChildName) -> Result<ChildView, ErrorBody> {
        self.look(&format!("/v1/containers/{name}")).await
    }

    /// Waits for an end, through as many agents as it takes.
    pub(crate) async fn wait(&self, name: &ChildName) -> Result<ChildView, ErrorBody> {
        self.surely(async || self.answer(Asked::new(Method::POST, format!("/v1/containers/{name}/wait"))).await).await
    }

    pub(crate) async fn stop(&self, name: &ChildName, asked: &Stop) -> Result<ChildView, ErrorBody> {
        self.surely(async || self.answer(Asked::post(format!("/v1/containers/{name}/stop"), asked)).await).await
    }

    pub(crate) async fn signal(&self, name: &ChildName, asked: SignalAsked) -> Result<ChildView, ErrorBody> {
        self.surely(async || self.answer(Asked::post(format!("/v1/containers/{name}/signal"), &asked)).await).await
    }

    /// What it has logged, line by line as the log has them, until `on_line` says that it is enough. An agent that is replaced meanwhile ends
    /// it: what was read would come again.
    pub(crate) async fn logs(
        &self,
        name: &ChildName,
        follow: bool,
        tail: Option<u32>,
        on_line: impl FnMut(&[u8]) -> Result<bool, Trouble>,
    ) -> Result<(), ErrorBody> {
        let follow = follow.then(|| "follow=true".to_owned());
        let query: Vec<String> = follow.into_iter().chain(tail.map(|lines| format!("tail={lines}"))).collect();
        let question = if query.is_empty() { "" } else { "?" };
        let response = self.response(Asked::get(format!("/v1/containers/{name}/logs{question}{}", query.join("&")))).await?;
        http::lines(response, on_line).await.map_err(|trouble| self.trouble(&trouble))
    }

    /// Runs a program in a container: a connection that carries its streams.
    pub(crate) async fn exec(&self, name: &ChildName, asked: &ExecAsked) -> Result<Frames, ErrorBody> {
        let asked = Asked::post(format!("/v1/containers/{name}/exec"), asked).upgrade(EXEC_PROTOCOL);
        let response = self.response(asked).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.trouble(&Trouble::NotUnderstood("no upgrade of the connection".to_owned())));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|e| self.trouble(&Trouble::Broken(e)))?;
        let (ours, theirs) = Frames::pair();
        // A connection that breaks is a cut to whoever holds the other end.
        tokio::spawn(async move { drop(carrier::carry(TokioIo::new(upgraded), theirs).await) });
        Ok(ours)
    }
}
