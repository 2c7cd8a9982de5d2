//! A registry inside the process, on loopback, that misbehaves on request: for tests, behind the feature `fake`.
//!
//! It speaks as much HTTP/1.1 as a registry's readers need, one request per connection, by hand: a real server library would not let
//! a test cut a body in the middle or announce a length and stay silent.

use bytes::Bytes;
use coord_shared::names::Digest;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Media type of an OCI manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What is written at once, and counted.
const PIECE_BYTES: usize = 64 * 1024;

/// The registry; it ends when dropped.
pub struct FakeRegistry {
    address: SocketAddr,
    shared: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

/// How an answer goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status, with these header lines.
    Status(u16, Vec<String>),
    /// The announced length, but the connection ends after so many bytes of the body.
    Cut(usize),
    /// Another body.
    Replace(Bytes),
    /// So many bytes, then a pause, again and again.
    Drip(usize, Duration),
    /// The whole body whatever range was asked for.
    IgnoreRange,
    /// Another part than was asked for.
    WrongRange,
    /// No `Docker-Content-Digest`.
    NoDigestHeader,
    /// The request is read and never answered.
    Silence,
}

/// How to log in.
#[derive(Debug, Clone)]
pub enum LoginRule {
    /// `Basic`, with this user and password.
    Basic(String, String),
    /// `Bearer`, with a token that the token service gives to this user and password, or to anybody.
    Bearer(Option<(String, String)>),
    /// `Bearer`, with a token that the token service gives for this identity token (OAuth2).
    Identity(String),
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`.
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// As text.
    pub body: String,
}

/// A layer as it is served.
#[derive(Debug, Clone)]
pub struct FakeLayer {
    /// Compressed or not.
    pub blob: Bytes,
    /// Of the archive inside.
    pub diff_id: Digest,
}

#[derive(Default)]
struct State {
    blobs: BTreeMap<String, Bytes>,
    /// By `REPOSITORY/manifests/REFERENCE`; media type and content.
    manifests: BTreeMap<String, (String, Bytes)>,
    /// Part of a path, what to do, how many times.
    faults: Vec<(String, Fault, u32)>,
    login: Option<LoginRule>,
    tokens_issued: u32,
    oldest_good_token: u32,
    requests: Vec<Request>,
    served_bytes: u64,
}

struct Answer {
    status: u16,
    headers: Vec<String>,
    body: Bytes,
    fault: Option<Fault>,
}

impl FakeRegistry {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> std::io::Result<FakeRegistry> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Mutex::new(State::default()));
        let state = Arc::clone(&shared);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                // A reader that goes away is part of the test.
                tokio::spawn(async move { drop(serve(stream, address, &state).await) });
            }
        });
        Ok(FakeRegistry { address, shared, server })
    }

    /// `127.0.0.1:PORT`: the registry part of references.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Serves a blob in every repository.
    pub fn put_blob(&self, content: impl Into<Bytes>) -> Digest {
        let content = content.into();
        let digest = Digest::of(&content);
        self.state().blobs.insert(digest.to_string(), content);
        digest
    }

    /// Serves a manifest or index under its digest and a tag.
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, content: impl Into<Bytes>) -> Digest {
        let content = content.into();
        let digest = Digest::of(&content);
        let mut state = self.state();
        for reference in [tag, digest.as_ref()] {
            state.manifests.insert(format!("{repository}/manifests/{reference}"), (media_type.to_owned(), content.clone()));
        }
        digest
    }

    /// Serves a whole image for an architecture, its layers bottom first.
    pub fn put_image(&self, repository: &str, tag: &str, architecture: &str, layers: &[FakeLayer]) -> Digest {
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let config = serde_json::json!({
            "architecture": architecture, "os": "linux", "config": {"Cmd": ["true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string();
        let descriptor = |media_type: &str, blob: &Bytes| {
            let digest = self.put_blob(blob.clone());
            serde_json::json!({"mediaType": media_type, "digest": digest.to_string(), "size": blob.len()})
        };
        let layers: Vec<_> =
            layers.iter().map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer.blob)).collect();
        let config = descriptor("application/vnd.oci.image.config.v1+json", &config.into());
        let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers});
        self.put_manifest(repository, tag, OCI_MANIFEST, manifest.to_string())
    }

    /// The next `times` answers to paths that contain `path` go wrong like this. Faults for the same path take turns in order.
    pub fn fault(&self, path: &str, fault: Fault, times: u32) {
        self.state().faults.push((path.to_owned(), fault, times));
    }

    /// From now on one has to log in.
    pub fn require_login(&self, rule: LoginRule) {
        self.state().login = Some(rule);
    }

    /// Every token issued until now is no good any more.
    pub fn revoke_tokens(&self) {
        let mut state = self.state();
        state.oldest_good_token = state.tokens_issued;
    }

    /// All requests until now, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// How many requests had this in their path.
    pub fn count(&self, path: &str) -> usize {
        self.state().requests.iter().filter(|request| request.path.contains(path)).count()
    }

    /// Bytes of bodies that were sent until now.
    pub fn served_bytes(&self) -> u64 {
        self.state().served_bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(stream: TcpStream, address: SocketAddr, shared: &Mutex<State>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let Some(request) = read_request(&mut stream).await? else { return Ok(()) };
    let is_head = request.method == "HEAD";
    let answer = shared.lock().unwrap_or_else(PoisonError::into_inner).answer(request, address);
    if matches!(answer.fault, Some(Fault::Silence)) {
        // Until the client gives up.
        stream.read_line(&mut String::new()).await?;
        return Ok(());
    }
    let mut head = format!("HTTP/1.1 {} Fake\r\nContent-Length: {}\r\nConnection: close\r\n", answer.status, answer.body.len());
    for header in &answer.headers {
        // Writing to a String cannot fail.
        let _ = write!(head, "{header}\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    if is_head {
        return stream.shutdown().await;
    }
    let (length, piece_length, pause) = match answer.fault {
        Some(Fault::Cut(length)) => (length.min(answer.body.len()), PIECE_BYTES, None),
        Some(Fault::Drip(length, pause)) => (answer.body.len(), length.max(1), Some(pause)),
        _ => (answer.body.len(), PIECE_BYTES, None),
    };
    for piece in answer.body[..length].chunks(piece_length) {
        stream.write_all(piece).await?;
        stream.flush().await?;
        shared.lock().unwrap_or_else(PoisonError::into_inner).served_bytes += piece.len() as u64;
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
    stream.shutdown().await
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    // As a proxy is asked: with the whole URL.
    let path = path.strip_prefix("http://").and_then(|url| url.find('/').map(|at| &url[at..])).unwrap_or(path);
    let mut request = Request { method: method.to_owned(), path: path.to_owned(), headers: BTreeMap::new(), body: String::new() };
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length: u64 = request.headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    stream.take(length).read_to_string(&mut request.body).await?;
    Ok(Some(request))
}

impl State {
    fn answer(&mut self, request: Request, address: SocketAddr) -> Answer {
        self.requests.push(request.clone());
        let fault = self.take_fault(&request.path);
        if let Some(Fault::Status(status, headers)) = fault {
            return Answer { status, headers, body: Bytes::new(), fault: None };
        }
        if request.path.starts_with("/token") {
            return self.token(&request);
        }
        if let Some(challenge) = self.challenge(&request, address) {
            return Answer {
                status: 401,
                headers: vec![format!("WWW-Authenticate: {challenge}")],
                body: Bytes::new(),
                fault: None,
            };
        }
        let mut answer = self.content(&request, fault.as_ref());
        if let Some(Fault::Replace(body)) = &fault {
            answer.body = body.clone();
        }
        answer.fault = fault;
        answer
    }

    fn take_fault(&mut self, path: &str) -> Option<Fault> {
        let (_, fault, left) = self.faults.iter_mut().find(|(part, _, left)| *left > 0 && path.contains(part.as_str()))?;
        *left -= 1;
        Some(fault.clone())
    }

    fn content(&self, request: &Request, fault: Option<&Fault>) -> Answer {
        let name = request.path.trim_start_matches("/v2/");
        let not_found = Answer { status: 404, headers: Vec::new(), body: Bytes::new(), fault: None };
        if let Some((media_type, body)) = self.manifests.get(name) {
            let mut headers = vec![format!("Content-Type: {media_type}")];
            if !matches!(fault, Some(Fault::NoDigestHeader)) {
                headers.push(format!("Docker-Content-Digest: {}", Digest::of(body)));
            }
            return Answer { status: 200, headers, body: body.clone(), fault: None };
        }
        let Some(blob) = name.rsplit_once("/blobs/").and_then(|(_, digest)| self.blobs.get(digest)) else { return not_found };
        let whole = Answer { status: 200, headers: Vec::new(), body: blob.clone(), fault: None };
        let asked = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let Some((start, last)) = asked.filter(|_| !matches!(fault, Some(Fault::IgnoreRange))) else { return whole };
        let Ok(start) = start.parse::<usize>() else { return whole };
        let start = if matches!(fault, Some(Fault::WrongRange)) { start / 2 } else { start };
        if start >= blob.len() {
            return Answer { status: 416, headers: Vec::new(), body: Bytes::new(), fault: None };
        }
        let end = last.parse().map_or(blob.len(), |last: usize| (last + 1).min(blob.len()));
        let headers = vec![format!("Content-Range: bytes {start}-{}/{}", end - 1, blob.len())];
        Answer { status: 206, headers, body: blob.slice(start..end), fault: None }
    }

    /// What a request without the right login is told.
    fn challenge(&self, request: &Request, address: SocketAddr) -> Option<String> {
        let given = request.headers.get("authorization").map_or("", String::as_str);
        match self.login.as_ref()? {
            LoginRule::Basic(user, password) if given == basic(user, password) => None,
            LoginRule::Basic(..) => Some("Basic realm=\"fake\"".to_owned()),
            LoginRule::Bearer(_) | LoginRule::Identity(_) => {
                let number = given.strip_prefix("Bearer token-").and_then(|number| number.parse::<u32>().ok());
                let is_good = number.is_some_and(|number| number > self.oldest_good_token && number <= self.tokens_issued);
                let repository = request.path.trim_start_matches("/v2/").split("/manifests/").next().unwrap_or("");
                let repository = repository.split("/blobs/").next().unwrap_or("");
                (!is_good).then(|| {
                    format!("Bearer realm=\"http://{address}/token\",service=\"fake\",scope=\"repository:{repository}:pull\"")
                })
            }
        }
    }

    fn token(&mut self, request: &Request) -> Answer {
        let given = request.headers.get("authorization").map(String::as_str);
        let is_allowed = match &self.login {
            Some(LoginRule::Bearer(Some((user, password)))) => given == Some(&basic(user, password)),
            Some(LoginRule::Identity(token)) => {
                let fields: Vec<&str> = request.body.split('&').collect();
                request.method == "POST"
                    && fields.contains(&"grant_type=refresh_token")
                    && fields.contains(&format!("refresh_token={token}").as_str())
            }
            Some(LoginRule::Bearer(None) | LoginRule::Basic(..)) | None => true,
        };
        if !is_allowed {
            return Answer { status: 401, headers: Vec::new(), body: Bytes::new(), fault: None };
        }
        self.tokens_issued += 1;
        let body = serde_json::json!({"token": format!("token-{}", self.tokens_issued), "expires_in": 300});
        Answer { status: 200, headers: Vec::new(), body: body.to_string().into(), fault: None }
    }
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}
