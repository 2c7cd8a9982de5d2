//! Second containers, as an engine's own: told from others by their labels.

use super::api::{Api, ApiError, Container, HostConfig, Made, Mount, NewContainer, Summary};
use super::state::Cache;
use super::streams::{Attached, Wanted};
use super::{Laptop, time, time_or_now};
use crate::failure::failure;
use crate::http::Asked;
use coord_shared::document::NestedNetwork;
use coord_shared::names::{CacheName, ChildName};
use coord_shared::quantity::{Signal, Span};
use coord_shared::wire::nested::{ChildState, ChildView, ENDED_MAX, Entry, EntryKind, ExecAsked, MountView, NewChild, Stop};
use coord_shared::wire::{ErrorBody, Exit};
use hyper::Method;
use hyper::StatusCode;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Labels of a second container: its name; `NAME:PATH:ro` of its caches, separated by commas; whether it was sat at.
const CHILD: &str = "coord.container";
const CACHES: &str = "coord.caches";
const ATTACHED: &str = "coord.attached";
/// Before the name of a second container.
const PREFIX: &str = "coord-run-";
/// How long one that is asked to end may take.
const GRACE: Span = Span::seconds(10);
/// Billionths of a processor in a thousandth.
const NANOS_PER_MILLI: u64 = 1_000_000;
/// Lists what is below a folder, as the container that is to see it sees it.
const LIST_SCRIPT: &str = "cd \"$1\" && find . -type f -print0";

/// A second container in a list.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) id: String,
    pub(super) name: ChildName,
    pub(super) is_running: bool,
    created: i64,
    caches: Vec<MountView>,
}

impl Child {
    fn of(summary: Summary) -> Option<Child> {
        Some(Child {
            name: summary.labels.get(CHILD)?.parse().ok()?,
            is_running: !matches!(summary.state.as_str(), "exited" | "dead" | "created" | "configured" | "stopped"),
            created: summary.created,
            caches: summary.labels.get(CACHES).map(|text| mounts(text)).unwrap_or_default(),
            id: summary.id,
        })
    }

    pub(super) fn mounts(&self, cache: &CacheName) -> bool {
        self.caches.iter().any(|at| at.name == *cache)
    }
}

/// What a label says of the caches that one mounts.
fn mounts(label: &str) -> Vec<MountView> {
    let mount = |text: &str| {
        let mut parts = text.splitn(3, ':');
        let (name, how, path) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?.to_owned());
        Some(MountView { name, path, read_only: how == "ro", verified: None, verified_by_log: None })
    };
    label.split(',').filter_map(mount).collect()
}

fn label(mounts: &[MountView]) -> String {
    let one = |at: &MountView| format!("{}:{}:{}", at.name, if at.read_only { "ro" } else { "rw" }, at.path);
    mounts.iter().map(one).collect::<Vec<_>>().join(",")
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ExecState {
    exit_code: Option<i32>,
}

impl Api {
    pub(super) async fn make(&self, name: &str, new: &NewContainer) -> Result<Made, ApiError> {
        self.post(&format!("/containers/create?name={name}"), new).await
    }
}

/// One container of ours that was made, and what it mounts.
struct Prepared {
    made: Made,
    mounts: Vec<(Cache, MountView)>,
}

impl Laptop {
    /// Starts one and leaves it running.
    pub(crate) async fn start(&self, asked: &NewChild) -> Result<ChildView, ErrorBody> {
        let prepared = self.prepare(asked, None).await?;
        self.begin(&prepared).await?;
        self.child(name_of(asked)?).await
    }

    /// Starts one and sits at its streams.
    pub(crate) async fn start_attached(&self, asked: &NewChild, wanted: Wanted) -> Result<(ChildView, Attached), ErrorBody> {
        let prepared = self.prepare(asked, Some(wanted)).await?;
        let path = format!("/containers/{}/attach?stream=1&stdout=1&stderr=1&stdin={}", prepared.made.id, u8::from(wanted.stdin));
        let attach = Asked::new(Method::POST, path).upgrade("tcp");
        let attached = match self.api.response(attach).await {
            Ok(response) => Attached::new(&self.api, response, wanted, format!("/containers/{}", prepared.made.id)).await,
            Err(error) => Err(error),
        };
        let attached = match attached {
            Ok(attached) => attached,
            Err(error) => {
                remove(&self.api, &prepared.made.id).await?;
                // Podman looks at the command already now.
                return Err(not_started(error));
            }
        };
        self.begin(&prepared).await?;
        attached.resize().await;
        Ok((self.child(name_of(asked)?).await?, attached))
    }

    /// Makes it, once what it will see has been compared.
    async fn prepare(&self, asked: &NewChild, wanted: Option<Wanted>) -> Result<Prepared, ErrorBody> {
        let name = name_of(asked)?;
        self.forget_oldest().await?;
        let mut mounts = Vec::new();
        for at in &asked.caches {
            let (cache, entries, verified) = self.ready_to_mount(&at.name).await?;
            let path = at.path.clone().unwrap_or_else(|| cache.path.clone());
            let read_only = at.read_only;
            let view = MountView { name: at.name.clone(), path, read_only, verified: Some(verified), verified_by_log: None };
            mounts.push((cache, entries, view));
        }
        let views: Vec<MountView> = mounts.iter().map(|(_, _, view)| view.clone()).collect();
        let new = new_container(asked, &mounts, wanted.is_none(), &views, wanted);
        if asked.verify_by_log {
            for (cache, entries, view) in &mounts {
                self.verify_by_log(&new, cache, entries, view).await?;
            }
        }
        let made = self.make_pulling(&format!("{PREFIX}{name}"), &new).await;
        let made = made.map_err(|error| match error.is_conflict() {
            true => failure("container_exists", format!("there is a container {name} already"), Some("choose another --name")),
            false => error.into(),
        })?;
        Ok(Prepared { made, mounts: mounts.into_iter().map(|(cache, _, view)| (cache, view)).collect() })
    }

    async fn make_pulling(&self, name: &str, new: &NewContainer) -> Result<Made, ApiError> {
        match self.api.make(name, new).await {
            Err(error) if error.is_missing() => {
                self.output.note(&format!("pulling {}", new.image));
                self.api.pull(&new.image).await?;
                self.api.make(name, new).await
            }
            made => made,
        }
    }

    /// Executes its command; one that cannot be executed leaves nothing.
    async fn begin(&self, prepared: &Prepared) -> Result<(), ErrorBody> {
        for (cache, view) in &prepared.mounts {
            self.note_use(cache, !view.read_only).await?;
        }
        if let Err(error) = self.api.act(&format!("/containers/{}/start", prepared.made.id)).await {
            remove(&self.api, &prepared.made.id).await?;
            return Err(not_started(error));
        }
        Ok(())
    }

    /// A container of the same image lists what it sees, and its log is compared.
    async fn verify_by_log(
        &self,
        like: &NewContainer,
        cache: &Cache,
        entries: &[Entry],
        view: &MountView,
    ) -> Result<(), ErrorBody> {
        let new = NewContainer {
            image: like.image.clone(),
            entrypoint: Some(["/bin/sh", "-c", LIST_SCRIPT, "list"].map(str::to_owned).to_vec()),
            cmd: Some(vec![view.path.clone()]),
            labels: BTreeMap::from([(CACHES, label(std::slice::from_ref(view)))]),
            host_config: HostConfig {
                volumes_from: like.host_config.volumes_from.clone(),
                mounts: like.host_config.mounts.iter().map(copy_of).collect(),
                network_mode: Some("none"),
                ..HostConfig::default()
            },
            ..NewContainer::default()
        };
        let made = self.make_pulling(&format!("{}-list", Cache::container(&cache.name)), &new).await?;
        let listed = self.listed_by(&made.id).await;
        remove(&self.api, &made.id).await?;
        let found = listed?;
        let mut wanted: Vec<&str> =
            entries.iter().filter(|entry| entry.kind == EntryKind::File).map(|entry| entry.path.as_str()).collect();
        let mut found: Vec<&str> = found.iter().map(|path| path.strip_prefix("./").unwrap_or(path)).collect();
        wanted.sort_unstable();
        found.sort_unstable();
        let differs = wanted.iter().find(|path| found.binary_search(path).is_err()).map(|path| format!("{path}: it is missing"));
        let extra =
            || found.iter().find(|path| wanted.binary_search(path).is_err()).map(|path| format!("{path}: it is not in the list"));
        match differs.or_else(extra) {
            Some(what) => Err(failure("altered", format!("cache {}, as a container lists it: {what}", cache.name), None)),
            None => Ok(()),
        }
    }

    /// What a container of that script has logged.
    async fn listed_by(&self, id: &str) -> Result<Vec<String>, ErrorBody> {
        self.api.act(&format!("/containers/{id}/start")).await.map_err(not_started)?;
        let code = self.api.wait(id).await?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let response = self.api.response(Asked::get(format!("/containers/{id}/logs?stdout=1&stderr=1"))).await?;
        super::streams::separate(response, |is_error, bytes| {
            if is_error {
                err.extend_from_slice(bytes)
            } else {
                out.extend_from_slice(bytes)
            }
            Ok(())
        })
        .await
        .map_err(|trouble| self.api.trouble(trouble))?;
        if code != 0 {
            let message = format!("the image's `sh` and `find` cannot list a cache: {}", String::from_utf8_lossy(&err).trim());
            return Err(failure("not_listed", message, Some("leave out --verify-by-log for images without them")));
        }
        let paths = out.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        Ok(paths.map(super::list::written).collect())
    }

    /// All of them, oldest first.
    pub(crate) async fn children(&self) -> Result<Vec<ChildView>, ErrorBody> {
        let mut views = Vec::new();
        for child in self.listed_children().await? {
            match self.child(&child.name).await {
                // It ended and was removed while we looked.
                Err(error) if error.code == "no_such_container" => {}
                view => views.push(view?),
            }
        }
        Ok(views)
    }

    async fn listed_children(&self) -> Result<Vec<Child>, ErrorBody> {
        let mut children: Vec<Child> = self.api.labelled(CHILD).await?.into_iter().filter_map(Child::of).collect();
        children.sort_by_key(|child| child.created);
        Ok(children)
    }

    /// Those that mount caches: containers that list them among these.
    pub(super) async fn children_of_caches(&self) -> Result<Vec<Child>, ErrorBody> {
        let mut children = self.listed_children().await?;
        children.retain(|child| !child.caches.is_empty());
        Ok(children)
    }

    /// Removes the oldest that have ended, beyond those that are remembered.
    async fn forget_oldest(&self) -> Result<(), ErrorBody> {
        let ended: Vec<Child> = self.listed_children().await?.into_iter().filter(|child| !child.is_running).collect();
        for child in ended.iter().rev().skip(ENDED_MAX) {
            remove(&self.api, &child.id).await?;
        }
        Ok(())
    }

    pub(crate) async fn child(&self, name: &ChildName) -> Result<ChildView, ErrorBody> {
        let container: Container =
            self.api.get(&format!("/containers/{PREFIX}{name}/json")).await.map_err(|error| missing_or(name, error))?;
        Ok(view(name, container))
    }

    pub(crate) async fn wait(&self, name: &ChildName) -> Result<ChildView, ErrorBody> {
        self.api.wait(&format!("{PREFIX}{name}")).await.map_err(|error| missing_or(name, error))?;
        self.child(name).await
    }

    /// One that was sat at has ended: its caches' lists are taken anew, and it is removed.
    pub(crate) async fn close(&self, ended: &ChildView) -> Result<(), ErrorBody> {
        for at in &ended.caches {
            let cache = self.known(&at.name).await?;
            if at.read_only {
                self.note_use(&cache, false).await?;
            } else {
                self.list_anew(&cache).await?;
            }
        }
        remove(&self.api, &format!("{PREFIX}{}", ended.name)).await
    }

    /// Removes one that nobody wants any more, whatever it does.
    pub(crate) async fn discard(&self, name: &ChildName) -> Result<(), ErrorBody> {
        remove(&self.api, &format!("{PREFIX}{name}")).await
    }

    pub(crate) async fn stop(&self, name: &ChildName, asked: &Stop) -> Result<ChildView, ErrorBody> {
        let container = format!("{PREFIX}{name}");
        let grace = asked.grace.unwrap_or(GRACE);
        if let Some(signal) = asked.signal {
            // Engines of before 2022 know no signal of `stop`: it is sent first, and the rest is waited for here.
            self.signal(name, signal).await?;
            let _ = tokio::time::timeout(grace.0, self.api.wait(&container)).await;
        }
        let grace = if asked.signal.is_some() { Duration::ZERO } else { grace.0 };
        let stopped = self.api.act(&format!("/containers/{container}/stop?t={}", grace.as_secs())).await;
        stopped.map_err(|error| missing_or(name, error))?;
        self.child(name).await
    }

    pub(crate) async fn signal(&self, name: &ChildName, signal: Signal) -> Result<(), ErrorBody> {
        let sent = self.api.act(&format!("/containers/{PREFIX}{name}/kill?signal={}", signal.0)).await;
        sent.map_err(|error| match error.is_conflict() {
            true => failure("not_running", format!("container {name} does not run"), None),
            false => missing_or(name, error),
        })
    }

    /// What it has logged, as it was written.
    pub(crate) async fn logs(
        &self,
        name: &ChildName,
        follow: bool,
        tail: Option<u32>,
        on_bytes: impl FnMut(bool, &[u8]) -> std::io::Result<()>,
    ) -> Result<(), ErrorBody> {
        let tail = tail.map_or("all".to_owned(), |lines| lines.to_string());
        let path = format!("/containers/{PREFIX}{name}/logs?stdout=1&stderr=1&follow={}&tail={tail}", u8::from(follow));
        let response = self.api.response(Asked::get(path)).await.map_err(|error| missing_or(name, error))?;
        super::streams::separate(response, on_bytes).await.map_err(|trouble| self.api.trouble(trouble).into())
    }

    /// Runs a program in one that runs, and sits at its streams; its exit code.
    pub(crate) async fn exec(&self, name: &ChildName, asked: &ExecAsked) -> Result<i32, ErrorBody> {
        let tty = asked.terminal.is_some();
        let body = serde_json::json!({
            "Cmd": asked.command, "Env": joined(&asked.environment), "WorkingDir": asked.working_dir, "User": asked.user,
            "Tty": tty, "AttachStdin": asked.stdin, "AttachStdout": true, "AttachStderr": true,
        });
        let made: Result<Made, ApiError> = self.api.post(&format!("/containers/{PREFIX}{name}/exec"), &body).await;
        let made = made.map_err(|error| missing_or(name, error))?;
        let start = serde_json::json!({"Detach": false, "Tty": tty});
        let response = self.api.response(Asked::post(format!("/exec/{}/start", made.id), &start).upgrade("tcp")).await;
        let wanted = Wanted { stdin: asked.stdin, tty };
        let attached = Attached::new(&self.api, response.map_err(not_started)?, wanted, format!("/exec/{}", made.id)).await?;
        attached.resize().await;
        attached.until_over().await;
        let state: ExecState = self.api.get(&format!("/exec/{}/json", made.id)).await?;
        Ok(state.exit_code.unwrap_or(-1))
    }
}

fn name_of(asked: &NewChild) -> Result<&ChildName, ErrorBody> {
    asked.name.as_ref().ok_or_else(|| failure("invalid_request", "the container has no name".to_owned(), None))
}

fn joined(environment: &[(String, String)]) -> Vec<String> {
    environment.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn new_container(
    asked: &NewChild,
    mounts: &[(Cache, Vec<Entry>, MountView)],
    is_detached: bool,
    views: &[MountView],
    wanted: Option<Wanted>,
) -> NewContainer {
    let mode = |view: &MountView| if view.read_only { "ro" } else { "rw" };
    let (from, other): (Vec<_>, Vec<_>) = mounts.iter().partition(|(cache, _, view)| cache.path == view.path);
    let volume = |(cache, _, view): &(Cache, Vec<Entry>, MountView)| Mount {
        kind: "volume",
        source: Cache::container(&cache.name),
        target: view.path.clone(),
        read_only: view.read_only,
    };
    let host_config = HostConfig {
        volumes_from: from.iter().map(|(cache, _, view)| format!("{}:{}", Cache::container(&cache.name), mode(view))).collect(),
        mounts: other.into_iter().map(volume).collect(),
        memory: asked.memory.map(|memory| memory.0),
        nano_cpus: asked.cpus.map(|cpus| u64::from(cpus.0) * NANOS_PER_MILLI),
        pids_limit: asked.pids,
        readonly_rootfs: asked.read_only,
        init: asked.init,
        network_mode: asked.network.map(|network| match network {
            // Here, the parent is the machine itself.
            NestedNetwork::Parent => "host",
            NestedNetwork::None => "none",
        }),
        cap_drop: asked.cap_drop.clone(),
    };
    let name = asked.name.as_ref().map(ToString::to_string);
    let mut labels = BTreeMap::from([(ATTACHED, (!is_detached).to_string())]);
    labels.extend(name.clone().map(|name| (CHILD, name)));
    if !views.is_empty() {
        labels.insert(CACHES, label(views));
    }
    let (stdin, tty) = wanted.map_or((false, false), |wanted| (wanted.stdin, wanted.tty));
    NewContainer {
        image: asked.image.clone(),
        hostname: name,
        cmd: asked.command.clone(),
        entrypoint: asked.entrypoint.clone(),
        env: joined(&asked.environment),
        working_dir: asked.working_dir.clone(),
        user: asked.user.clone(),
        tty,
        open_stdin: stdin,
        stdin_once: stdin,
        attach_stdin: stdin,
        attach_stdout: !is_detached,
        attach_stderr: !is_detached,
        labels,
        host_config,
    }
}

fn copy_of(mount: &Mount) -> Mount {
    Mount { kind: mount.kind, source: mount.source.clone(), target: mount.target.clone(), read_only: true }
}

fn view(name: &ChildName, container: Container) -> ChildView {
    let Container { created, state, config } = container;
    let labels = config.labels.unwrap_or_default();
    let has_ended = matches!(state.status.as_str(), "exited" | "dead" | "stopped" | "removing");
    let exit = has_ended.then(|| Exit {
        code: Some(state.exit_code),
        signal: None,
        oom_killed: state.oom_killed,
        memory_limit: None,
        at: time_or_now(&state.finished_at),
    });
    let child_state = match state.status.as_str() {
        _ if has_ended => ChildState::Exited,
        "created" | "configured" | "initialized" => ChildState::Starting,
        _ => ChildState::Running,
    };
    ChildView {
        name: name.clone(),
        image: config.image,
        digest: None,
        state: child_state,
        created_at: time_or_now(&created),
        started_at: time(&state.started_at),
        pid: Some(state.pid).filter(|pid| *pid > 0),
        exit,
        reason: Some(state.error).filter(|error| !error.is_empty()),
        caches: labels.get(CACHES).map(|text| mounts(text)).unwrap_or_default(),
        attached: labels.get(ATTACHED).is_some_and(|attached| attached == "true"),
    }
}

/// A refusal that is about the container itself.
fn missing_or(name: &ChildName, error: ApiError) -> ErrorBody {
    if error.is_missing() {
        return failure("no_such_container", format!("there is no container {name}"), Some("`coord ps -a` lists them"));
    }
    error.into()
}

/// Why a command is not executed, told by its exit code as Docker's own program tells it.
fn not_started(error: ApiError) -> ErrorBody {
    let text = error.to_string();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let code = if says(&["not found in $PATH", "no such file or directory", "No such file or directory"]) {
        "command_not_found"
    } else if says(&["permission denied", "is a directory", "exec format error", "OCI permission denied"]) {
        "command_not_executable"
    } else {
        "not_started"
    };
    failure(code, text, None)
}

/// Asks one that runs to end, and removes it.
pub(super) async fn stop_and_remove(api: &Api, id: &str) -> Result<(), ErrorBody> {
    // 304 where it does not run; what does not stop is killed by the removal.
    let _ = api.act(&format!("/containers/{id}/stop?t={}", GRACE.0.as_secs())).await;
    remove(api, id).await
}

/// Removes one, whatever it does. One that is gone is gone.
async fn remove(api: &Api, id: &str) -> Result<(), ErrorBody> {
    match api.delete(&format!("/containers/{id}?force=true&v=true")).await {
        Err(ApiError::Refused { status: StatusCode::NOT_FOUND | StatusCode::CONFLICT, .. }) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
