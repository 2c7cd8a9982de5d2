//! A registry that misbehaves: a proxy in front of a real one that spoils the answers it is told to.
//!
//! Faults are set and cleared while it runs, so a test can let a pull fail and then let the next try succeed.
//! Only reading: pushes go to the real registry.

use std::io::{BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::http::{self, Answer};

/// Between two bytes of a slow drip; together with small images it makes a pull last as long as a test needs.
const DRIP: Duration = Duration::from_millis(200);

/// What is sent at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Between two pieces of [`Fault::Slow`].
const SLOW_PIECE: Duration = Duration::from_millis(26);
/// Between two looks at whether an answer is still to be held back.
const HOLD_LOOK_EVERY: Duration = Duration::from_millis(20);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The status and an error body in the registry's own shape: 401, 403, 404, 429, 500, 503.
    Status(u16),
    /// One byte in the middle is another one; the length is right.
    WrongBytes,
    /// The promised length, half of the bytes, and the end of the connection.
    Truncated,
    /// One byte at a time, 5 a second.
    SlowDrip,
    /// 2.5 MB a second.
    Slow,
    /// The connection ends before a status line.
    HungUp,
    /// Accepted, and never answered.
    Silent,
    /// So many percent of the answer's body, then the end of this and every other connection: a registry that is killed.
    Dies(u8),
    /// So many percent of the answer's body, and then nothing more, until it is cleared.
    Holds(u8),
}

/// Which requests it spoils.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    All,
    Manifests,
    Blobs,
    /// Answers with a body larger than [`LARGE_BYTES`]: layers that hold something, and never a config.
    LargeBlobs,
}

/// See [`Target::LargeBlobs`].
pub const LARGE_BYTES: usize = 256 * 1024;

impl Target {
    fn covers(self, path: &str) -> bool {
        match self {
            Target::All => true,
            Target::Manifests => path.contains("/manifests/"),
            Target::Blobs | Target::LargeBlobs => path.contains("/blobs/"),
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    /// The fault, and how many requests it still spoils; `None`: all of them until it is cleared.
    fault: Mutex<Option<(Target, Fault, Option<u32>)>>,
    /// What a request must show to be served; `None`: anybody is.
    authorization: Mutex<Option<String>>,
    requests: Mutex<Vec<String>>,
    /// By [`Fault::Dies`].
    is_dead: AtomicBool,
    /// Answers that [`Fault::Holds`] holds back now.
    held: AtomicU32,
    /// Of the bodies of blobs.
    sent_bytes: AtomicU64,
    ends: AtomicBool,
}

/// The proxy. Dropping it closes its port.
pub struct FaultyRegistry {
    authority: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl FaultyRegistry {
    /// In front of the registry at `upstream` (`host:port`), on a free port of 127.0.0.1; faultless at first.
    pub fn start(upstream: &str) -> Result<FaultyRegistry> {
        let listener = TcpListener::bind("127.0.0.1:0").context("bind the faulty registry")?;
        let authority = listener.local_addr()?.to_string();
        let shared = Arc::new(Shared::default());
        let (state, upstream) = (Arc::clone(&shared), upstream.to_owned());
        let thread = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if state.ends.load(Ordering::Relaxed) {
                    return;
                }
                let (state, upstream) = (Arc::clone(&state), upstream.clone());
                // A client that hangs up in the middle of a fault is what a fault is for: no error to report.
                std::thread::spawn(move || drop(serve(client, &upstream, &state)));
            }
        });
        Ok(FaultyRegistry { authority, shared, thread: Some(thread) })
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub fn reference(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.authority)
    }

    /// From now on, every request of `target`.
    pub fn set(&self, target: Target, fault: Fault) {
        *lock(&self.shared.fault) = Some((target, fault, None));
    }

    /// Only the next `times` requests of `target`.
    pub fn set_times(&self, target: Target, fault: Fault, times: u32) {
        *lock(&self.shared.fault) = Some((target, fault, Some(times)));
    }

    /// Honest again, and alive.
    pub fn clear(&self) {
        *lock(&self.shared.fault) = None;
        self.shared.is_dead.store(false, Ordering::Relaxed);
    }

    /// Whether [`Fault::Dies`] has come to pass.
    pub fn is_dead(&self) -> bool {
        self.shared.is_dead.load(Ordering::Relaxed)
    }

    /// How many answers [`Fault::Holds`] holds back.
    pub fn held(&self) -> u32 {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// How much of blobs has been sent so far, sent again included.
    pub fn sent_bytes(&self) -> u64 {
        self.shared.sent_bytes.load(Ordering::Relaxed)
    }

    /// From now on, serves only requests with this `Authorization` header: `Basic ...`.
    pub fn require(&self, authorization: &str) {
        *lock(&self.shared.authorization) = Some(authorization.to_owned());
    }

    /// Every request so far, `GET /v2/...`, in order of arrival; that for a part of a blob ends in ` bytes=...`.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared.requests).clone()
    }
}

impl Drop for FaultyRegistry {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        let woken = TcpStream::connect(&self.authority);
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The fault for this request, if any; counts it. The length of the answer's body, as soon as it is known.
    fn fault_for(&self, path: &str, length: Option<usize>) -> Option<Fault> {
        let mut slot = lock(&self.fault);
        let (target, fault, left) = (*slot)?;
        let decides_now = (target == Target::LargeBlobs) == length.is_some();
        let is_small = length.is_some_and(|length| length < LARGE_BYTES);
        if !decides_now || is_small || !target.covers(path) || left == Some(0) {
            return None;
        }
        *slot = Some((target, fault, left.map(|left| left - 1)));
        Some(fault)
    }

    fn is_held(&self) -> bool {
        matches!(*lock(&self.fault), Some((_, Fault::Holds(_), _)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request per connection.
fn serve(client: TcpStream, upstream: &str, shared: &Shared) -> Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let line = http::read_line(&mut reader)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = http::read_headers(&mut reader)?;
    let range = headers.get("range").map(|range| format!(" {range}")).unwrap_or_default();
    lock(&shared.requests).push(format!("{method} {path}{range}"));
    if shared.is_dead.load(Ordering::Relaxed) {
        return Ok(client.shutdown(Shutdown::Both)?);
    }
    let shown = headers.get("authorization");
    if lock(&shared.authorization).as_deref().is_some_and(|required| shown != Some(required)) {
        return send_error(client, 401, method);
    }
    let fault = shared.fault_for(path, None);
    if let Some(fault) = fault
        && let Some(done) = without_answer(&client, fault, method)
    {
        return done;
    }
    let passed: Vec<(&str, &str)> = headers.iter().filter(|(name, _)| !replaced(name)).collect();
    let answer = http::request(method, &format!("http://{upstream}{path}"), &passed, &[])?;
    let fault = fault.or_else(|| shared.fault_for(path, Some(answer.body.len())));
    if let Some(fault) = fault
        && let Some(done) = without_answer(&client, fault, method)
    {
        return done;
    }
    send(client, &answer, method, fault, shared)
}

/// Faults that need no answer of the real registry: done with, or not one of them.
fn without_answer(client: &TcpStream, fault: Fault, method: &str) -> Option<Result<()>> {
    match fault {
        Fault::HungUp => Some(client.shutdown(Shutdown::Both).map_err(Into::into)),
        Fault::Silent => Some(client.try_clone().map_err(Into::into).and_then(|mut client| wait_for_end(&mut client))),
        Fault::Status(status) => {
            Some(client.try_clone().map_err(Into::into).and_then(|client| send_error(client, status, method)))
        }
        Fault::WrongBytes | Fault::Truncated | Fault::SlowDrip | Fault::Slow | Fault::Dies(_) | Fault::Holds(_) => None,
    }
}

/// Headers that belong to one connection, or that would make the answer another than the one asked of us.
fn replaced(name: &str) -> bool {
    ["host", "connection", "content-length", "accept-encoding"].iter().any(|own| name.eq_ignore_ascii_case(own))
}

fn send(mut client: TcpStream, answer: &Answer, method: &str, fault: Option<Fault>, shared: &Shared) -> Result<()> {
    let mut head = format!("HTTP/1.1 {} Proxied\r\nConnection: close\r\n", answer.status);
    let mut length = answer.body.len().to_string();
    for (name, value) in answer.headers.iter() {
        if name.eq_ignore_ascii_case("content-length") {
            value.clone_into(&mut length);
        } else if !name.eq_ignore_ascii_case("transfer-encoding") && !replaced(name) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str(&format!("Content-Length: {length}\r\n\r\n"));
    client.write_all(head.as_bytes())?;
    if method == "HEAD" {
        return Ok(());
    }
    let mut body = answer.body.clone();
    let part = |percent: u8| answer.body.len() * usize::from(percent) / 100;
    match fault {
        Some(Fault::WrongBytes) => {
            let middle = body.len() / 2;
            if let Some(byte) = body.get_mut(middle) {
                *byte ^= 1;
            }
        }
        Some(Fault::Truncated) => body.truncate(body.len() / 2),
        Some(Fault::SlowDrip) => return drip(&mut client, &body),
        Some(Fault::Slow) => {
            return body.chunks(PIECE_BYTES).try_for_each(|piece| {
                std::thread::sleep(SLOW_PIECE);
                send_pieces(&mut client, piece, shared)
            });
        }
        Some(Fault::Dies(percent)) => {
            send_pieces(&mut client, &body[..part(percent)], shared)?;
            shared.is_dead.store(true, Ordering::Relaxed);
            return Ok(client.shutdown(Shutdown::Both)?);
        }
        Some(Fault::Holds(percent)) => {
            send_pieces(&mut client, &body[..part(percent)], shared)?;
            hold(&client, shared)?;
            body.drain(..part(percent));
        }
        Some(Fault::Status(_) | Fault::HungUp | Fault::Silent) | None => {}
    }
    send_pieces(&mut client, &body, shared)
}

/// A part of a body, until the registry is dead.
fn send_pieces(client: &mut TcpStream, body: &[u8], shared: &Shared) -> Result<()> {
    for piece in body.chunks(PIECE_BYTES) {
        if shared.is_dead.load(Ordering::Relaxed) {
            return Ok(client.shutdown(Shutdown::Both)?);
        }
        client.write_all(piece)?;
        shared.sent_bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Until nobody holds any more, or the client has hung up.
fn hold(client: &TcpStream, shared: &Shared) -> Result<()> {
    client.set_read_timeout(Some(HOLD_LOOK_EVERY))?;
    shared.held.fetch_add(1, Ordering::Relaxed);
    while shared.is_held() && !shared.ends.load(Ordering::Relaxed) {
        // Nothing more is asked on this connection: bytes there are none, only its end.
        if client.peek(&mut [0]).is_ok_and(|length| length == 0) {
            break;
        }
    }
    shared.held.fetch_sub(1, Ordering::Relaxed);
    Ok(())
}

fn drip(client: &mut TcpStream, body: &[u8]) -> Result<()> {
    for byte in body.chunks(1) {
        client.write_all(byte)?;
        std::thread::sleep(DRIP);
    }
    Ok(())
}

fn send_error(mut client: TcpStream, status: u16, method: &str) -> Result<()> {
    let code = match status {
        401 => "UNAUTHORIZED",
        403 => "DENIED",
        404 => "MANIFEST_UNKNOWN",
        429 => "TOOMANYREQUESTS",
        _ => "UNKNOWN",
    };
    let extra = match status {
        401 => "WWW-Authenticate: Basic realm=\"faulty\"\r\n",
        429 | 503 => "Retry-After: 1\r\n",
        _ => "",
    };
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"told to fail"}}]}}"#);
    let head = format!(
        "HTTP/1.1 {status} Faulty\r\nConnection: close\r\nContent-Type: application/json\r\n{extra}Content-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes())?;
    if method != "HEAD" {
        client.write_all(body.as_bytes())?;
    }
    Ok(())
}

/// Keeps the connection open until the client gives up.
fn wait_for_end(reader: &mut impl std::io::Read) -> Result<()> {
    std::io::copy(reader, &mut std::io::sink())?;
    Ok(())
}
