//! The line from a repository to a rollout, as a test sees it: pipelines, their runs, and the image centre.
//!
//! Asked over the API, by `curl` from where the coordinator is, because a lab's network is not the test's.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use coord_shared::wire::{PipelineView, PipelinesView, RunState, RunView, RunsView};
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use super::Fleet;
use crate::image::Image;
use crate::process::describe;
use crate::wait;

/// A run fetches, compiles, tests, packs, uploads, becomes an image and is served; a loaded machine gets more.
pub const RUN_LIMIT: Duration = Duration::from_secs(120);
/// Longest that one question may take; the start of a run waits for a look at its source.
const ASK_SECONDS: &str = "30";

/// What the API answered.
#[derive(Debug)]
pub struct ApiAnswer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl ApiAnswer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Fleet {
    /// The watched folder of pipelines.
    pub fn pipelines(&self) -> PathBuf {
        self.dir.path().join("pipelines")
    }

    /// The coordinator's secrets, a file each.
    pub(super) fn secrets(&self) -> PathBuf {
        self.dir.path().join("secrets")
    }

    pub(super) fn write_secret(&self, name: &str, secret: &str) -> Result<()> {
        let path = self.secrets().join(name);
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        std::io::Write::write_all(&mut file, secret.as_bytes()).with_context(|| format!("write {}", path.display()))
    }

    /// Writes a pipeline as an editor does.
    pub fn write_pipeline(&self, name: &str, text: &str) -> Result<()> {
        let draft = self.dir.path().join(format!("{name}.draft"));
        fs::write(&draft, text)?;
        fs::rename(&draft, self.pipelines().join(format!("{name}.toml"))).with_context(|| format!("write the pipeline {name}"))
    }

    /// Where runs have their files.
    pub fn coordinator_folder(&self) -> PathBuf {
        self.data_dir()
    }

    /// The admin's token.
    pub fn admin_token(&self) -> Result<String> {
        let path = self.data_dir().join("admin-token");
        Ok(fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?.trim().to_owned())
    }

    /// The authority of a lab's coordinator.
    pub fn authority(&self) -> Option<&Path> {
        self.tls.as_ref().map(|tls| tls.ca.as_path())
    }

    /// `HOST:PORT` of the coordinator, which is its image centre's, too.
    pub fn centre(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    /// One request with headers of one's own; no token is sent along.
    pub fn request(&self, method: &str, path: &str, headers: &[&str], body: Option<&[u8]>) -> Result<ApiAnswer> {
        let (out, url) = (NamedTempFile::new()?, format!("{}{path}", self.url));
        let out_path = out.path().to_string_lossy().into_owned();
        let mut line =
            ["curl", "-sS", "--noproxy", "*", "-m", ASK_SECONDS, "-X", method, "-o", &out_path, "-w", "%{http_code}"].to_vec();
        let ca = self.authority().map(|ca| ca.to_string_lossy().into_owned());
        ca.iter().for_each(|ca| line.extend(["--cacert", ca]));
        headers.iter().for_each(|header| line.extend(["-H", header]));
        let sent = NamedTempFile::new()?;
        let data = format!("@{}", sent.path().display());
        if let Some(body) = body {
            fs::write(sent.path(), body)?;
            line.extend(["--data-binary", &data]);
        }
        line.push(&url);
        let output = self.place().run(&line)?;
        ensure!(output.status.success(), "{method} {url}: {}", describe(&output));
        let status = String::from_utf8_lossy(&output.stdout).trim().parse().context("curl's status")?;
        Ok(ApiAnswer { status, body: fs::read(out.path())? })
    }

    /// One request of the admin.
    pub fn api(&self, method: &str, path: &str, body: Option<&[u8]>) -> Result<ApiAnswer> {
        let bearer = format!("Authorization: Bearer {}", self.admin_token()?);
        self.request(method, path, &[&bearer], body)
    }

    fn api_json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = self.api("GET", path, None)?;
        ensure!(answer.status == 200, "GET {path}: {} {}", answer.status, answer.text());
        serde_json::from_slice(&answer.body).with_context(|| format!("GET {path} gives other JSON than agreed"))
    }

    /// A pipeline and where it stands.
    pub fn pipeline(&self, name: &str) -> Result<PipelineView> {
        let all = self.api_json::<PipelinesView>("/v1/pipelines")?.pipelines;
        all.into_iter().find(|found| found.name.to_string() == name).with_context(|| format!("no pipeline {name}"))
    }

    /// The runs of a pipeline, newest first.
    pub fn runs(&self, pipeline: &str) -> Result<Vec<RunView>> {
        Ok(self.api_json::<RunsView>(&format!("/v1/pipelines/{pipeline}/runs"))?.runs)
    }

    /// Waits until some run of a pipeline is as wanted. Errors show the last ones, and the end of their builder's log.
    pub fn wait_run(&self, pipeline: &str, what: &str, condition: impl Fn(&RunView) -> bool) -> Result<RunView> {
        let mut last = String::new();
        let found = wait::wait_for(RUN_LIMIT, &format!("a run of {pipeline}: {what}"), || match self.runs(pipeline) {
            Ok(runs) => {
                last = format!("{runs:#?}");
                runs.into_iter().find(|run| condition(run))
            }
            Err(error) => {
                last = format!("{error:#}");
                None
            }
        });
        found.with_context(|| format!("the last runs: {last}\n{}", self.pipeline_text(pipeline)))
    }

    /// Waits until the run of a commit is over, and gives it, however it ended.
    pub fn wait_over(&self, pipeline: &str, commit: &str) -> Result<RunView> {
        self.wait_run(pipeline, &format!("that of {commit} is over"), |run| {
            run.commit.to_string() == commit && run.state.is_over()
        })
    }

    /// The same where it must have succeeded.
    pub fn wait_success(&self, pipeline: &str, commit: &str) -> Result<RunView> {
        let run = self.wait_over(pipeline, commit)?;
        if run.state != RunState::Succeeded {
            bail!("the run of {commit} ended otherwise: {run:#?}\n{}", self.run_log(&run).unwrap_or_default());
        }
        Ok(run)
    }

    /// What a run has logged.
    pub fn run_log(&self, run: &RunView) -> Result<String> {
        let path = format!("/v1/pipelines/{}/runs/{}/logs", run.run.pipeline, run.run.number);
        Ok(self.api("GET", &path, None)?.text())
    }

    fn pipeline_text(&self, pipeline: &str) -> String {
        let shown = self.api("GET", "/v1/pipelines", None);
        shown.map_or_else(|error| format!("{error:#}"), |answer| format!("{pipeline} among {}", answer.text()))
    }

    /// Puts an image into the image centre by skopeo, as `REPOSITORY:TAG`.
    pub fn push_to_centre(&self, image: &Image, name: &str) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let layout = dir.path().join("layout");
        image.save(&layout)?;
        let (from, to) = (format!("oci:{}", layout.display()), format!("docker://{}/{name}", self.centre()));
        let credentials = format!("admin:{}", self.admin_token()?);
        let tls = format!("--dest-tls-verify={}", self.tls.is_some());
        let line = ["skopeo", "copy", "-q", "--preserve-digests", &tls, "--dest-creds", &credentials, &from, &to];
        let mut command = self.place().command(&line);
        if let Some(ca) = self.authority() {
            command.env("SSL_CERT_FILE", ca);
        }
        let output = command.output().context("run skopeo; tests/setup.sh installs it")?;
        ensure!(output.status.success(), "push {name} to the centre: {}", describe(&output));
        Ok(())
    }
}

/// How long each part of a run took, for whoever reads a test's output.
pub fn times(run: &RunView) -> String {
    let parts = run.stages.iter().map(|part| {
        let took = part.took_ms.map_or_else(|| "goes on".to_owned(), |ms| format!("{ms} ms"));
        format!("{} {took}", part.stage)
    });
    format!("{}: {}", run.run, parts.collect::<Vec<_>>().join(", "))
}
