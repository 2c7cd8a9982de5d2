//! What can be asked at a door, and who answers it; the table is in [`coord_shared::wire::nested`].
//!
//! What changes something is done to its end in a task of its own, whatever becomes of the connection.

use super::body::{Answer, created, encode_lines, json, lines, nothing, ok, refused, stream};
use super::child;
use super::door::Door;
use super::refusal::{cure, ending, refuse};
use super::socket::Turn;
use super::{exec, follow};
use crate::containers::happenings::What;
use coord_shared::decide::nested::bytes_in;
use coord_shared::names::{CacheName, ChildName};
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{CachesView, ChildrenView, Entry, Info, NewCache, NewChild, SignalAsked, Stop};
use futures_util::stream as streams;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request};
use percent_encoding::percent_decode_str;
use std::sync::Arc;

/// The one version there is.
const VERSION: &str = "v1";
/// Lines of a list that travel in one piece.
const PIECE_LINES: usize = 256;
/// Permissions of a file that was put without.
const FILE_MODE: u32 = 0o644;
/// Why a second container ended that somebody has stopped.
const ON_REQUEST: &str = "stopped on request";

/// Answers one request.
pub(super) async fn answer(request: Request<Incoming>, door: &Arc<Door>, turn: &Turn) -> Answer {
    match route(request, door, turn).await {
        Ok(answer) => answer,
        Err(Refusal { error, allowed }) => {
            let mut answer = refused(&error);
            if let Some(allowed) = allowed {
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            }
            answer
        }
    }
}

/// A refusal on the way to an answer.
struct Refusal {
    error: ErrorBody,
    /// The methods that the path has.
    allowed: Option<&'static str>,
}

impl From<ErrorBody> for Refusal {
    fn from(error: ErrorBody) -> Self {
        Self { error, allowed: None }
    }
}

async fn route(request: Request<Incoming>, door: &Arc<Door>, turn: &Turn) -> Result<Answer, Refusal> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let parts: Vec<&str> = path.strip_prefix('/').unwrap_or_default().split('/').collect();
    let Some((&VERSION, parts)) = parts.split_first() else { return Err(no_such_version(&path)) };
    match (parts, &method) {
        (["info"], &Method::GET) => Ok(ok(&info(door))),
        (["info"], _) => Err(not_allowed(&method, &path, "GET")),
        (["caches", rest @ ..], _) => caches(request, (rest, &path), door, turn).await,
        (["containers", rest @ ..], _) => containers(request, (rest, &path), door, turn).await,
        _ => Err(no_such_route(&method, &path)),
    }
}

fn info(door: &Door) -> Info {
    let (about, in_use) = (&door.about, door.in_use());
    let permission = &about.permission;
    Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        parent: about.container.clone(),
        containers: (permission.containers, in_use.containers),
        caches: (permission.caches.0, bytes_in(&in_use.caches)),
        memory: permission.memory,
        cpus: permission.cpus,
        pids: permission.pids,
        images: permission.images.clone(),
        own_image: about.image.to_string(),
        network: permission.network,
    }
}

async fn caches(
    request: Request<Incoming>,
    (rest, path): (&[&str], &str),
    door: &Arc<Door>,
    turn: &Turn,
) -> Result<Answer, Refusal> {
    let method = request.method().clone();
    let all = door.caches.clone();
    match (rest, &method) {
        ([], &Method::GET) => Ok(ok(&CachesView { caches: all.list() })),
        ([], &Method::POST) => {
            let asked: NewCache = json(request).await?;
            let view = changing(door, turn, async move { all.create(asked).await }).await?;
            door.note_cache(What::CacheMade, &view.name, &format!("{}, open at {}", view.kind, view.path));
            Ok(created(&view))
        }
        ([], _) => Err(not_allowed(&method, path, "GET, POST")),
        ([name], &Method::GET) => Ok(ok(&all.view(&cache_name(name)?)?)),
        ([name], &Method::DELETE) => {
            let name = cache_name(name)?;
            let gone = name.clone();
            changing(door, turn, async move { all.remove(&gone).await }).await?;
            door.note_cache(What::CacheDeleted, &name, "");
            Ok(nothing())
        }
        ([_], _) => Err(not_allowed(&method, path, "GET, DELETE")),
        ([name, "archive"], &Method::PUT) => {
            let (name, below) = (cache_name(name)?, query(&request, "path")?.unwrap_or_default());
            let archive = stream(request);
            Ok(ok(&changing(door, turn, async move { all.put_archive(&name, &below, archive).await }).await?))
        }
        ([_, "archive"], _) => Err(not_allowed(&method, path, "PUT")),
        ([name, "files", below @ ..], &Method::PUT) if !below.is_empty() => {
            let (name, below) = (cache_name(name)?, decode(&below.join("/"))?);
            let mode = match query(&request, "mode")? {
                Some(text) => mode(&text)?,
                None => FILE_MODE,
            };
            let content = stream(request);
            Ok(ok(&changing(door, turn, async move { all.put_file(&name, &below, mode, content).await }).await?))
        }
        ([_, "files", _, ..], _) => Err(not_allowed(&method, path, "PUT")),
        ([name, "list"], &Method::GET) => {
            let name = cache_name(name)?;
            // As long as it is read, and few at a time: it may be long.
            let slot = door.lists.clone().acquire_owned().await.map_err(|_| ending())?;
            let entries = finishing(turn, async move { all.entries(&name).await }).await?;
            let pieces = streams::unfold((entries.into_iter(), slot), async |(mut entries, slot)| {
                let piece: Vec<Entry> = entries.by_ref().take(PIECE_LINES).collect();
                (!piece.is_empty()).then(|| (encode_lines(&piece), (entries, slot)))
            });
            Ok(lines(pieces))
        }
        ([_, "list"], _) => Err(not_allowed(&method, path, "GET")),
        ([name, "verify"], &Method::POST) => {
            let name = cache_name(name)?;
            Ok(ok(&finishing(turn, async move { all.verify(&name).await }).await?))
        }
        ([_, "verify"], _) => Err(not_allowed(&method, path, "POST")),
        _ => Err(no_such_route(&method, path)),
    }
}

async fn containers(
    request: Request<Incoming>,
    (rest, path): (&[&str], &str),
    door: &Arc<Door>,
    turn: &Turn,
) -> Result<Answer, Refusal> {
    let method = request.method().clone();
    match (rest, &method) {
        ([], &Method::GET) => Ok(ok(&ChildrenView { containers: door.views() })),
        ([], &Method::POST) => {
            let asked: NewChild = json(request).await?;
            Ok(created(&changing(door, turn, child::create(door.clone(), asked)).await?))
        }
        ([], _) => Err(not_allowed(&method, path, "GET, POST")),
        ([name], &Method::GET) => Ok(ok(&door.child(&child_name(name)?)?.view())),
        ([_], _) => Err(not_allowed(&method, path, "GET")),
        ([name, "logs"], &Method::GET) => {
            let child = door.child(&child_name(name)?)?;
            let tail = query(&request, "tail")?.map(|text| number(&text)).transpose()?;
            Ok(follow::logs(door, child, tail, query(&request, "follow")?.is_some()).await?)
        }
        ([_, "logs"], _) => Err(not_allowed(&method, path, "GET")),
        ([name, "wait"], &Method::POST) => Ok(ok(&door.child(&child_name(name)?)?.ended().await)),
        ([name, "stop"], &Method::POST) => {
            let child = door.child(&child_name(name)?)?;
            let how: Stop = json(request).await?;
            let (behind, why) = (door.clone(), ON_REQUEST.to_owned());
            let stopping = async move { Ok(child::stop(&behind, &child, &how, why).await) };
            Ok(ok(&changing(door, turn, stopping).await?))
        }
        ([name, "signal"], &Method::POST) => {
            let child = door.child(&child_name(name)?)?;
            let asked: SignalAsked = json(request).await?;
            Ok(ok(&child::signal(door, &child, asked.signal)?))
        }
        ([name, "exec"], &Method::POST) => {
            let child = door.child(&child_name(name)?)?;
            Ok(exec::exec(request, door, &child, turn).await?)
        }
        ([_, "wait" | "stop" | "signal" | "exec"], _) => Err(not_allowed(&method, path, "POST")),
        _ => Err(no_such_route(&method, path)),
    }
}

/// Changes something, to its end.
async fn changing<T: 'static>(
    door: &Arc<Door>,
    turn: &Turn,
    work: impl Future<Output = Result<T, ErrorBody>> + 'static,
) -> Result<T, ErrorBody> {
    let door = door.clone();
    let changing = async move {
        let done = work.await;
        door.changed();
        door.caches_changed.notify_one();
        done
    };
    finishing(turn, changing).await
}

/// Does something to its end, whatever becomes of whoever asked; so long they have their place among the connections.
async fn finishing<T: 'static>(turn: &Turn, work: impl Future<Output = Result<T, ErrorBody>> + 'static) -> Result<T, ErrorBody> {
    let turn = turn.clone();
    let done = tokio::task::spawn_local(async move {
        let done = work.await;
        drop(turn);
        done
    });
    done.await.unwrap_or_else(|_| Err(ending()))
}

fn no_such_version(path: &str) -> Refusal {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let is_version = first.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok());
    if is_version {
        let refusal = refuse("no_such_version", format!("this agent does not speak {first}; it speaks {VERSION}"));
        return cure(refusal, "use the program that comes with it: /run/coord/coord").into();
    }
    refuse("no_such_route", format!("this agent does not know {path}; all it knows begins with /{VERSION}/")).into()
}

fn no_such_route(method: &Method, path: &str) -> Refusal {
    refuse("no_such_route", format!("this agent does not know {method} {path}")).into()
}

fn not_allowed(method: &Method, path: &str, allowed: &'static str) -> Refusal {
    let error = refuse("method_not_allowed", format!("{path} is not asked for by {method}, but by {allowed}"));
    Refusal { error, allowed: Some(allowed) }
}

fn cache_name(text: &str) -> Result<CacheName, ErrorBody> {
    decode(text)?.parse().map_err(|error| refuse("invalid_request", format!("{error}")))
}

fn child_name(text: &str) -> Result<ChildName, ErrorBody> {
    decode(text)?.parse().map_err(|error| refuse("invalid_request", format!("{error}")))
}

fn decode(text: &str) -> Result<String, ErrorBody> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| refuse("invalid_request", format!("{text} is not UTF-8 text")))
}

/// The value of a parameter; empty where it has none.
fn query(request: &Request<Incoming>, wanted: &str) -> Result<Option<String>, ErrorBody> {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    let found = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).find(|(name, _)| *name == wanted);
    found.map(|(_, value)| decode(value)).transpose()
}

fn mode(text: &str) -> Result<u32, ErrorBody> {
    let bad = || refuse("invalid_request", format!("mode={text} is no file's permissions; write them as in mode=0644"));
    let mode = u32::from_str_radix(text, 8).map_err(|_| bad())?;
    if mode > 0o7777 { Err(bad()) } else { Ok(mode) }
}

fn number(text: &str) -> Result<usize, ErrorBody> {
    text.parse().map_err(|_| refuse("invalid_request", format!("tail={text} is no number of lines")))
}
