//! Requests about pipelines and their runs.

use super::{Client, ClientError, LineStream, with_toml};
use coord_shared::names::{Commit, PipelineName, RunId};
use coord_shared::wire::{NewRun, NewRunAnswer, PipelinesView, RunView, RunsView};
use reqwest::{Method, RequestBuilder};
use std::time::Duration;

impl Client {
    /// Every pipeline and where it stands.
    pub(crate) async fn pipelines(&self) -> Result<PipelinesView, ClientError> {
        self.json("list the pipelines", self.request(Method::GET, "v1/pipelines")).await
    }

    /// Takes this text as this pipeline.
    pub(crate) async fn put_pipeline(&self, name: &PipelineName, text: &str, take_over: bool) -> Result<(), ClientError> {
        let request = with_toml(self.pipeline(Method::PUT, name, take_over), text);
        self.bytes(&format!("apply pipeline {name}"), request).await.map(drop)
    }

    /// Deletes a pipeline.
    pub(crate) async fn delete_pipeline(&self, name: &PipelineName, take_over: bool) -> Result<(), ClientError> {
        let request = self.pipeline(Method::DELETE, name, take_over);
        self.bytes(&format!("delete pipeline {name}"), request).await.map(drop)
    }

    /// The runs of a pipeline that are kept, newest first.
    pub(crate) async fn runs(&self, name: &PipelineName) -> Result<RunsView, ClientError> {
        let request = self.request(Method::GET, &format!("v1/pipelines/{name}/runs"));
        self.json(&format!("list the runs of {name}"), request).await
    }

    /// One run.
    pub(crate) async fn pipeline_run(&self, run: &RunId) -> Result<RunView, ClientError> {
        self.json(&format!("read run {run}"), self.request(Method::GET, &run_path(run, ""))).await
    }

    /// Wants a run.
    pub(crate) async fn start_run(
        &self,
        name: &PipelineName,
        commit: Option<Commit>,
        take_over: bool,
    ) -> Result<NewRunAnswer, ClientError> {
        let request = self.request(Method::POST, &format!("v1/pipelines/{name}/runs")).json(&NewRun { commit, take_over });
        self.json(&format!("run {name}"), request).await
    }

    /// Wants a run to end.
    pub(crate) async fn cancel_run(&self, run: &RunId) -> Result<(), ClientError> {
        let request = self.request(Method::POST, &run_path(run, "/cancel"));
        self.bytes(&format!("cancel run {run}"), request).await.map(drop)
    }

    /// Opens the stream of a run's log. While following, a line may be as far from the last as `idle`.
    pub(crate) async fn run_logs(&self, run: &RunId, follow: Option<Duration>) -> Result<LineStream, ClientError> {
        let what = format!("read the log of run {run}");
        let request = self.request(Method::GET, &run_path(run, "/logs"));
        let request = if follow.is_some() { request.query(&[("follow", "true")]) } else { request };
        let response = self.within(&what, async { self.send(&what, request).await }).await?;
        Ok(LineStream::new(response, what, self.base.clone(), follow.unwrap_or(self.timeout)))
    }

    fn pipeline(&self, method: Method, name: &PipelineName, take_over: bool) -> RequestBuilder {
        let request = self.request(method, &format!("v1/pipelines/{name}"));
        if take_over { request.query(&[("take_over", "true")]) } else { request }
    }
}

fn run_path(run: &RunId, rest: &str) -> String {
    format!("v1/pipelines/{}/runs/{}{rest}", run.pipeline, run.number)
}
