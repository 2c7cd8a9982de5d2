//! What is asked of an engine: requests without a version, which Docker and Podman both answer in the way they like best, and of the
//! answers only what is looked at.

use crate::failure::failure;
use crate::http::{self, Asked, Body, Trouble};
use coord_shared::wire::ErrorBody;
use hyper::body::Incoming;
use hyper::header::SERVER;
use hyper::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// An engine's API.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    socket: PathBuf,
    /// `Docker`, `Podman`.
    pub(crate) engine: String,
    pub(crate) version: String,
}

/// Why an engine did not do something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// It says no.
    #[error("{message}")]
    Refused {
        /// Which kind of no.
        status: StatusCode,
        /// In its words.
        message: String,
    },
    /// It does not answer.
    #[error("{engine} at {}: {trouble}{}", socket.display(), cause(trouble))]
    Trouble {
        /// Which engine.
        engine: String,
        /// Where.
        socket: PathBuf,
        /// What happened.
        trouble: Trouble,
    },
}

fn cause(trouble: &Trouble) -> String {
    std::error::Error::source(trouble).map(|cause| format!(": {cause}")).unwrap_or_default()
}

impl ApiError {
    /// Whether it says that something is not there.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }

    /// Whether it says that something is there already, or is not as it would have to be.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::CONFLICT, .. })
    }
}

impl From<ApiError> for ErrorBody {
    fn from(error: ApiError) -> Self {
        failure("engine", error.to_string(), None)
    }
}

/// How Docker tells an error; Podman writes more beside it.
#[derive(Debug, Deserialize)]
struct Message {
    message: String,
}

/// A container in a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Summary {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) state: String,
    /// Seconds since 1970.
    #[serde(default)]
    pub(crate) created: i64,
}

/// A container, looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Container {
    pub(crate) created: String,
    pub(crate) state: State,
    pub(crate) config: Config,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct State {
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) pid: i32,
    #[serde(default)]
    pub(crate) exit_code: i32,
    #[serde(default, rename = "OOMKilled")]
    pub(crate) oom_killed: bool,
    #[serde(default)]
    pub(crate) error: String,
    #[serde(default)]
    pub(crate) started_at: String,
    #[serde(default)]
    pub(crate) finished_at: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Config {
    pub(crate) image: String,
    #[serde(default)]
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

/// A container to be made. What is absent is the image's.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NewContainer {
    pub(crate) image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    pub(crate) tty: bool,
    pub(crate) open_stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) attach_stdin: bool,
    pub(crate) attach_stdout: bool,
    pub(crate) attach_stderr: bool,
    pub(crate) labels: BTreeMap<&'static str, String>,
    pub(crate) host_config: HostConfig,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HostConfig {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) volumes_from: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) mounts: Vec<Mount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nano_cpus: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pids_limit: Option<u32>,
    pub(crate) readonly_rootfs: bool,
    pub(crate) init: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network_mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cap_drop: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Mount {
    #[serde(rename = "Type")]
    pub(crate) kind: &'static str,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) read_only: bool,
}

/// What was made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Made {
    pub(crate) id: String,
}

/// How it ended.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Waited {
    status_code: i32,
}

/// A step of a pull.
#[derive(Debug, Deserialize)]
struct PullLine {
    #[serde(default)]
    error: Option<String>,
}

impl Api {
    /// The engine at this socket, if one answers there.
    pub(crate) async fn open(socket: &Path) -> Result<Api, ApiError> {
        let mut api = Api { socket: socket.to_owned(), engine: "an engine".to_owned(), version: String::new() };
        // What it is stands in a header; `/version` starts programs first.
        let response = api.response(Asked::get("/_ping")).await?;
        let server = response.headers().get(SERVER).and_then(|server| server.to_str().ok()).unwrap_or_default();
        let (name, rest) = server.split_once('/').unwrap_or((server, ""));
        api.engine = if name == "Libpod" { "Podman" } else { "Docker" }.to_owned();
        api.version = rest.split(' ').next().unwrap_or_default().to_owned();
        Ok(api)
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.answer(Asked::get(path)).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ApiError> {
        self.answer(Asked::post(path, body)).await
    }

    /// Asks for something to be done that has no answer.
    pub(crate) async fn act(&self, path: &str) -> Result<(), ApiError> {
        self.done(Asked::new(Method::POST, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), ApiError> {
        self.done(Asked::new(Method::DELETE, path)).await
    }

    /// Unpacks an archive in a container that there is.
    pub(crate) async fn unpack(&self, container: &str, path: &str, archive: Body) -> Result<(), ApiError> {
        let path = format!("/containers/{container}/archive?path={}", http::encoded(path));
        self.done(Asked::put(path, "application/x-tar", archive)).await
    }

    /// An archive of what is in a container.
    pub(crate) async fn archive(&self, container: &str, path: &str) -> Result<Response<Incoming>, ApiError> {
        self.response(Asked::get(format!("/containers/{container}/archive?path={}", http::encoded(path)))).await
    }

    /// The containers with a label, of whatever value where it has none here.
    pub(crate) async fn labelled(&self, label: &str) -> Result<Vec<Summary>, ApiError> {
        let filters = format!("{{\"label\":[\"{label}\"]}}");
        self.get(&format!("/containers/json?all=true&filters={}", http::encoded(&filters))).await
    }

    /// Waits for the end of a container that was started; its exit code.
    pub(crate) async fn wait(&self, container: &str) -> Result<i32, ApiError> {
        let waited: Waited = self.answer(Asked::new(Method::POST, format!("/containers/{container}/wait"))).await?;
        Ok(waited.status_code)
    }

    /// Makes an image without a file in it.
    pub(crate) async fn import_empty(&self, repository: &str, tag: &str) -> Result<(), ApiError> {
        let empty = http::whole(vec![0; coord_tar::END_BYTES].into());
        let path = format!("/images/create?fromSrc=-&repo={}&tag={tag}", http::encoded(repository));
        self.pulled(Asked::put(path, "application/x-tar", empty).method(Method::POST)).await
    }

    /// Pulls an image.
    pub(crate) async fn pull(&self, image: &str) -> Result<(), ApiError> {
        self.pulled(Asked::new(Method::POST, format!("/images/create?fromImage={}", http::encoded(image)))).await
    }

    /// Its answer is a success before it is one: what went wrong comes in the lines.
    async fn pulled(&self, asked: Asked) -> Result<(), ApiError> {
        let response = self.response(asked).await?;
        let mut failed = None;
        let lines = http::lines(response, |line| {
            let line: PullLine = serde_json::from_slice(line).unwrap_or(PullLine { error: None });
            failed = failed.take().or(line.error);
            Ok(true)
        });
        lines.await.map_err(|trouble| self.trouble(trouble))?;
        match failed {
            Some(message) => Err(ApiError::Refused { status: StatusCode::INTERNAL_SERVER_ERROR, message }),
            None => Ok(()),
        }
    }

    async fn answer<T: DeserializeOwned>(&self, asked: Asked) -> Result<T, ApiError> {
        let response = self.response(asked).await?;
        let (_, bytes) = http::read(response).await.map_err(|trouble| self.trouble(trouble))?;
        serde_json::from_slice(&bytes).map_err(|e| self.trouble(Trouble::NotUnderstood(e.to_string())))
    }

    async fn done(&self, asked: Asked) -> Result<(), ApiError> {
        let response = self.response(asked).await?;
        http::read(response).await.map(drop).map_err(|trouble| self.trouble(trouble))
    }

    /// An answer that is no refusal.
    pub(crate) async fn response(&self, asked: Asked) -> Result<Response<Incoming>, ApiError> {
        let response = http::ask(&self.socket, asked).await.map_err(|trouble| self.trouble(trouble))?;
        let status = response.status();
        // 304: it is so already. 101: the connection has become a stream.
        if status.is_success() || matches!(status, StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS) {
            return Ok(response);
        }
        let (status, bytes) = http::read(response).await.map_err(|trouble| self.trouble(trouble))?;
        let said = serde_json::from_slice(&bytes).map(|said: Message| said.message);
        let message = said.unwrap_or_else(|_| format!("{} {}", status, String::from_utf8_lossy(&bytes)));
        Err(ApiError::Refused { status, message: format!("{}: {}", self.engine, message.trim()) })
    }

    pub(crate) fn trouble(&self, trouble: Trouble) -> ApiError {
        ApiError::Trouble { engine: self.engine.clone(), socket: self.socket.clone(), trouble }
    }
}
