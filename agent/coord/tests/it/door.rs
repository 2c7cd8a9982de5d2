//! A door that is made of this process: caches are what was put, containers are programs of this machine.
//!
//! It keeps to the same bodies as the agent's, and notes every question.

use bytes::Bytes;
use coord_attach::{Frames, Program, bytes as carrier, program};
use coord_shared::wire::nested::{
    CacheKind, CacheView, CachesView, ChildState, ChildView, ChildrenView, EXEC_PROTOCOL, Entry, EntryKind, ExecAsked, Info,
    MountView, NewCache, NewChild, PutView, SignalAsked, Stop, Verified,
};
use coord_shared::wire::{ErrorBody, Exit};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::oneshot;

/// A question.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) body: Bytes,
}

/// When the connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// Before anything is done.
    Before,
    /// When all is done, and nothing is answered.
    After,
}

/// What is remembered from one door to the next, as an agent's store is.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) seen: Vec<Seen>,
    pub(crate) caches: BTreeMap<String, CacheView>,
    pub(crate) children: BTreeMap<String, (ChildView, Option<u32>)>,
    /// Answers that are given once instead of the usual ones, by the question's line.
    pub(crate) refusals: BTreeMap<String, ErrorBody>,
    /// Questions after which the agent is gone, once, by their line.
    pub(crate) breaks: BTreeMap<String, Break>,
    files: BTreeMap<String, [OwnedFd; 3]>,
}

/// The door.
pub(crate) struct FakeDoor {
    dir: tempfile::TempDir,
    store: Arc<Mutex<Store>>,
    server: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
}

impl FakeDoor {
    pub(crate) fn new() -> FakeDoor {
        let dir = tempfile::Builder::new().prefix(&format!("coord-door-{}-", std::process::id())).tempdir().expect("a folder");
        let mut door = FakeDoor { dir, store: Arc::default(), server: None };
        door.open();
        door
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("nested.sock")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The lines of all questions so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.store().seen.iter().map(|seen| seen.line.clone()).collect()
    }

    /// The body of the last question with this line.
    pub(crate) fn body(&self, line: &str) -> serde_json::Value {
        let store = self.store();
        let seen = store.seen.iter().rev().find(|seen| seen.line == line).unwrap_or_else(|| panic!("nobody asked {line}"));
        serde_json::from_slice(&seen.body).expect("JSON")
    }

    pub(crate) fn refuse(&self, line: &str, code: &str, message: &str) {
        let hint = Some("the cure".to_owned());
        let error = ErrorBody { code: code.to_owned(), message: message.to_owned(), hint, detail: None };
        self.store().refusals.insert(line.to_owned(), error);
    }

    /// As an agent that is killed.
    pub(crate) fn close(&mut self) {
        if let Some((stop, server)) = self.server.take() {
            let _ = stop.send(());
            server.join().expect("no panic");
        }
    }

    /// As an agent that starts.
    pub(crate) fn open(&mut self) {
        self.close();
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (folder, store) = (self.dir.path().to_owned(), self.store.clone());
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            tokio::task::LocalSet::new().block_on(&runtime, async {
                let serve = serve(&folder, store);
                ready.send(()).expect("somebody waits");
                tokio::select! {
                    () = serve => {}
                    _ = stopped => {}
                }
            });
        });
        is_ready.recv().expect("it starts");
        self.server = Some((stop, server));
    }
}

impl Drop for FakeDoor {
    fn drop(&mut self) {
        let running: Vec<u32> = self.store().children.values().filter_map(|(_, pid)| *pid).collect();
        for pid in running {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process");
            // Gone by itself is as well.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        self.close();
    }
}

fn serve(folder: &Path, store: Arc<Mutex<Store>>) -> impl Future<Output = ()> {
    let bind = |name: &str| {
        let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
        let listener = tokio::net::UnixListener::bind(&new).expect("a socket");
        std::fs::rename(&new, &path).expect("in place");
        listener
    };
    let (door, stdio) = (bind("nested.sock"), bind("stdio.sock"));
    async move {
        loop {
            tokio::select! {
                accepted = door.accept() => {
                    let (stream, store) = (accepted.expect("a connection").0, store.clone());
                    tokio::task::spawn_local(async move {
                        let service = service_fn(move |request| answer(request, store.clone()));
                        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                        let _ = connection.with_upgrades().await;
                    });
                }
                accepted = stdio.accept() => take_files(accepted.expect("a connection").0, &store).await,
            }
        }
    }
}

async fn take_files(stream: tokio::net::UnixStream, store: &Mutex<Store>) {
    let mut token = [0; 64];
    let mut fds = Vec::new();
    let read = stream.async_io(tokio::io::Interest::READABLE, || {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let read = recvmsg(&stream, &mut [IoSliceMut::new(&mut token)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                fds.extend(files);
            }
        }
        Ok(read.bytes)
    });
    let read = read.await.expect("a message");
    let token = std::str::from_utf8(&token[..read]).expect("letters").to_owned();
    assert!((16..=64).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{token:?}");
    let files: [OwnedFd; 3] = fds.try_into().expect("three files");
    store.lock().expect("no panic").files.insert(token, files);
    stream.writable().await.expect("writable");
    stream.try_write(b"+").expect("answered");
}

type Answer = Response<Full<Bytes>>;

async fn answer(mut request: Request<Incoming>, store: Arc<Mutex<Store>>) -> Result<Answer, std::io::Error> {
    let line = format!("{} {}", request.method(), request.uri());
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    // A body that breaks off is no question.
    let Ok(body) = body.collect().await else { return Err(std::io::Error::other("broken off")) };
    let body = body.to_bytes();
    let refusal = {
        let mut store = store.lock().expect("no panic");
        store.seen.push(Seen { line: line.clone(), body: body.clone() });
        store.refusals.remove(&line)
    };
    if let Some(error) = refusal {
        return Ok(json(StatusCode::CONFLICT, &error));
    }
    let breaks = store.lock().expect("no panic").breaks.remove(&line);
    if breaks == Some(Break::Before) {
        // As the files of an agent that is killed.
        store.lock().expect("no panic").files.clear();
        return Err(std::io::Error::other("broken off"));
    }
    let answer = done(&parts, body, upgrade, &store).await;
    if breaks == Some(Break::After) {
        return Err(std::io::Error::other("broken off"));
    }
    Ok(answer)
}

/// Does what is asked.
async fn done(parts: &hyper::http::request::Parts, body: Bytes, upgrade: OnUpgrade, store: &Mutex<Store>) -> Answer {
    let line = format!("{} {}", parts.method, parts.uri);
    let path = parts.uri.path().to_owned();
    let words: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
    match (&parts.method, words.as_slice()) {
        (&Method::GET, ["info"]) => json(StatusCode::OK, &info()),
        (_, ["caches", ..]) => cache(&parts.method, &words, &body, store),
        (&Method::POST, ["containers"]) => start(serde_json::from_slice(&body).expect("a container"), store),
        (&Method::POST, ["containers", name, "exec"]) => {
            assert_eq!(parts.headers.get("upgrade").and_then(|value| value.to_str().ok()), Some(EXEC_PROTOCOL));
            if !store.lock().expect("no panic").children.contains_key(*name) {
                return missing(name);
            }
            let asked: ExecAsked = serde_json::from_slice(&body).expect("a program");
            tokio::task::spawn_local(exec(upgrade, asked));
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            answer.headers_mut().insert("upgrade", EXEC_PROTOCOL.parse().expect("a value"));
            answer.headers_mut().insert("connection", "upgrade".parse().expect("a value"));
            answer
        }
        (_, ["containers", ..]) => container(&words, &body, store).await,
        _ => panic!("no such route: {line}"),
    }
}

fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let mut answer = Response::new(Full::new(serde_json::to_vec(body).expect("JSON").into()));
    *answer.status_mut() = status;
    answer
}

fn refusal(code: &str, message: String) -> Answer {
    json(StatusCode::NOT_FOUND, &ErrorBody { code: code.to_owned(), message, hint: Some("the cure".to_owned()), detail: None })
}

fn missing(name: &str) -> Answer {
    refusal("no_such_container", format!("there is no container {name}"))
}

#[allow(clippy::disallowed_methods, reason = "the test's own clock")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

fn info() -> Info {
    serde_json::from_value(serde_json::json!({
        "version": "0.1.0", "parent": "web.0-r1-1", "containers": [8, 1], "caches": [1 << 29, 1 << 20], "memory": "1GiB",
        "cpus": null, "pids": 500, "images": ["registry.lan/*"], "own_image": "registry.lan/web:1", "network": "none",
    }))
    .expect("what a container may")
}

fn cache(method: &Method, words: &[&str], body: &Bytes, store: &Mutex<Store>) -> Answer {
    let mut store = store.lock().expect("no panic");
    let now = now();
    match (method, words) {
        (&Method::POST, ["caches"]) => {
            let asked: NewCache = serde_json::from_slice(body).expect("a cache");
            let view = CacheView {
                name: asked.name.clone(),
                path: asked.path,
                kind: if asked.from.as_deref() == Some("/live") { CacheKind::Live } else { CacheKind::Store },
                because: asked.from.as_ref().filter(|from| *from != "/live").map(|_| "it is on proc".to_owned()),
                from: asked.from,
                files: 0,
                bytes: 0,
                created_at: now,
                used_at: now,
                expires_at: asked.ttl.map(|ttl| now.checked_add(ttl.0).expect("a time")),
                used_by: Vec::new(),
            };
            store.caches.insert(asked.name.to_string(), view.clone());
            json(StatusCode::CREATED, &view)
        }
        (&Method::GET, ["caches"]) => json(StatusCode::OK, &CachesView { caches: store.caches.values().cloned().collect() }),
        (_, ["caches", name, ..]) if !store.caches.contains_key(*name) => {
            refusal("no_such_cache", format!("there is no cache {name}"))
        }
        (&Method::GET, ["caches", name]) => json(StatusCode::OK, &store.caches[*name]),
        (&Method::DELETE, ["caches", name]) => {
            store.caches.remove(*name);
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = StatusCode::NO_CONTENT;
            answer
        }
        (&Method::PUT, ["caches", name, _, ..]) => {
            let cache = store.caches.get_mut(*name).expect("it is there");
            (cache.files, cache.bytes) = (cache.files + 1, cache.bytes + body.len() as u64);
            json(StatusCode::OK, &PutView { files: 1, bytes: body.len() as u64, cache: cache.clone() })
        }
        (&Method::GET, ["caches", _, "list"]) => {
            let entry = |path: &str, kind, target: Option<&str>| Entry {
                path: path.to_owned(),
                kind,
                mode: 0o644,
                size: 5,
                digest: None,
                sample: None,
                target: target.map(str::to_owned),
            };
            let entries = [entry("a", EntryKind::File, None), entry("b", EntryKind::Link, Some("a"))];
            let lines: Vec<String> = entries.iter().map(|e| serde_json::to_string(e).expect("JSON") + "\n").collect();
            Response::new(Full::new(lines.concat().into()))
        }
        (&Method::POST, ["caches", _, "verify"]) => {
            json(StatusCode::OK, &Verified { files: 3, folders: 1, links: 0, bytes: 99, hashed: 2, sampled: 1 })
        }
        other => panic!("no such route: {other:?}"),
    }
}

/// A program of this machine, with the files that were handed over.
fn start(asked: NewChild, store: &Mutex<Store>) -> Answer {
    let mut store = store.lock().expect("no panic");
    let name = asked.name.clone().unwrap_or_else(|| "chosen".parse().expect("a name"));
    if store.children.contains_key(name.as_str()) {
        return refusal("container_exists", format!("there is a container {name} already"));
    }
    let files = asked.stdio.as_ref().map(|token| store.files.remove(token).ok_or(token.clone()));
    let files = match files.transpose() {
        Ok(files) => files,
        Err(token) => return refusal("no_such_stdio", format!("nobody has handed over {token}")),
    };
    let words = asked.command.clone().unwrap_or_else(|| vec!["true".to_owned()]);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).envs(asked.environment.clone()).process_group(0);
    let is_attached = files.is_some();
    match files {
        Some([input, output, error]) => command.stdin(input).stdout(output).stderr(error),
        None => command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()),
    };
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return refusal("command_not_found", format!("{}: {error}", words[0])),
    };
    let caches = asked.caches.iter().map(|at| MountView {
        name: at.name.clone(),
        path: at.path.clone().unwrap_or_else(|| "/in".to_owned()),
        read_only: at.read_only,
        verified: Some(Verified::default()),
        verified_by_log: None,
    });
    let now = now();
    let view = ChildView {
        name: name.clone(),
        image: asked.image,
        digest: None,
        state: ChildState::Running,
        created_at: now,
        started_at: Some(now),
        pid: Some(child.id().cast_signed()),
        exit: None,
        reason: None,
        caches: caches.collect(),
        attached: is_attached,
    };
    store.children.insert(name.to_string(), (view.clone(), Some(child.id())));
    json(StatusCode::CREATED, &view)
}

async fn container(words: &[&str], body: &Bytes, store: &Mutex<Store>) -> Answer {
    let ["containers", rest @ ..] = words else { panic!("{words:?}") };
    let Some(name) = rest.first() else {
        let containers = store.lock().expect("no panic").children.values().map(|(view, _)| view.clone()).collect();
        return json(StatusCode::OK, &ChildrenView { containers });
    };
    let Some((view, pid)) = store.lock().expect("no panic").children.get(*name).cloned() else { return missing(name) };
    match rest.get(1) {
        None => json(StatusCode::OK, &view),
        Some(&"wait") => json(StatusCode::OK, &ended(name, store).await),
        Some(&"stop") => {
            let asked: Stop = serde_json::from_slice(body).expect("how");
            kill(pid, asked.signal.map_or(15, |signal| signal.0));
            json(StatusCode::OK, &ended(name, store).await)
        }
        Some(&"signal") => {
            let asked: SignalAsked = serde_json::from_slice(body).expect("which");
            kill(pid, asked.signal.0);
            json(StatusCode::OK, &view)
        }
        Some(&"logs") => {
            let lines = "{\"t\":\"2026-11-23T00:00:00Z\",\"s\":\"out\",\"m\":\"one\"}\n\
                         {\"t\":\"2026-11-23T00:00:00Z\",\"s\":\"err\",\"m\":\"two\"}\n\
                         {\"t\":\"2026-11-23T00:00:00Z\",\"s\":\"out\",\"m\":\"thr\",\"p\":true}\n\
                         {\"t\":\"2026-11-23T00:00:00Z\",\"s\":\"out\",\"m\":\"ee\"}\n";
            Response::new(Full::new(lines.into()))
        }
        Some(other) => panic!("no such route: {other}"),
    }
}

fn kill(pid: Option<u32>, signal: i32) {
    let pid = pid.and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())).expect("a process");
    let signal = rustix::process::Signal::from_named_raw(signal).expect("a signal");
    // To all of it, as the end of a container's first process ends the others.
    let _ = rustix::process::kill_process_group(pid, signal);
}

/// Waits for the end, and notes it.
async fn ended(name: &str, store: &Mutex<Store>) -> ChildView {
    loop {
        {
            let mut store = store.lock().expect("no panic");
            let (view, pid) = store.children.get_mut(name).expect("it is there");
            let Some(running) = *pid else { return view.clone() };
            let process = rustix::process::Pid::from_raw(running.cast_signed());
            let status = rustix::process::waitpid(process, rustix::process::WaitOptions::NOHANG).expect("a child of ours");
            if let Some((_, status)) = status {
                let at = now();
                let (code, signal) = (status.exit_status(), status.terminating_signal());
                view.exit = Some(Exit { code, signal, oom_killed: false, memory_limit: None, at });
                view.state = ChildState::Exited;
                *pid = None;
                return view.clone();
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn exec(upgrade: OnUpgrade, asked: ExecAsked) {
    let upgraded = upgrade.await.expect("upgraded");
    let mut command = Command::new(&asked.command[0]);
    command.args(&asked.command[1..]).envs(asked.environment).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a program");
    let stdin = child.stdin.take().filter(|_| asked.stdin).map(OwnedFd::from);
    let (stdout, stderr) = (child.stdout.take().expect("a pipe").into(), child.stderr.take().map(OwnedFd::from));
    let (tell, ended) = oneshot::channel();
    let pid = rustix::process::Pid::from_child(&child);
    std::thread::spawn(move || {
        let status = child.wait().expect("an end");
        let exit = Exit {
            code: status.code(),
            signal: status.signal(),
            oom_killed: false,
            memory_limit: None,
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        let _ = tell.send(exit);
    });
    let signal = move |number: i32| {
        let signal = rustix::process::Signal::from_named_raw(number).expect("a signal");
        let _ = rustix::process::kill_process(pid, signal);
    };
    let program = Program { stdin, stdout, stderr, terminal: false, ended, signal: Box::new(signal) };
    let (ours, theirs) = Frames::pair();
    let carried = carrier::carry(TokioIo::new(upgraded), theirs);
    let _ = tokio::join!(program::serve(program, ours), carried);
}
