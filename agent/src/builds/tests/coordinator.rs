//! A coordinator as a builder sees it: takes archives and logs piece by piece, gives secrets away, and is away when it is told to be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What it was sent, and how it behaves.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) archive: Vec<u8>,
    /// The digest that came with the last piece.
    pub(super) digest: Option<String>,
    pub(super) log: Vec<u8>,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) is_away: bool,
    /// Archives are refused with these words.
    pub(super) refusal: Option<String>,
    pub(super) requests: usize,
}

/// The server; it ends with the runtime.
#[derive(Clone)]
pub(super) struct Coordinator {
    pub(super) url: String,
    state: Arc<Mutex<State>>,
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Coordinator {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { url, state }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// The lines of the log that has arrived, `STEP STREAM TEXT` each.
    pub(super) fn log(&self) -> Vec<String> {
        let text = String::from_utf8(self.state().log.clone()).expect("text");
        let line = |line: &str| {
            let line: coord_shared::wire::RunLogLine = serde_json::from_str(line).expect("a line of JSON");
            format!("{} {} {}", line.step, line.stream, line.line)
        };
        text.lines().map(line).collect()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let Some(request) = read(&mut stream).await else { return };
    let (status, body) = {
        let mut state = state.lock().expect("not poisoned");
        state.requests += 1;
        if state.is_away { (503, String::new()) } else { answer(&mut state, request) }
    };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

fn answer(state: &mut State, request: Request) -> (u16, String) {
    let last = request.path.rsplit('/').next().unwrap_or_default().to_owned();
    let header = |name: &str| request.headers.get(name).cloned();
    let wrong_offset = |offset: usize| (409, format!("{{\"code\":\"wrong_offset\",\"message\":\"x\",\"offset\":{offset}}}"));
    match (request.method.as_str(), last.as_str()) {
        ("PUT", "archive") => {
            if let Some(refusal) = &state.refusal {
                return (413, format!("{{\"code\":\"too_large\",\"message\":{refusal:?}}}"));
            }
            let range = header("content-range").expect("a range");
            let (part, total) = range.trim_start_matches("bytes ").split_once('/').expect("a total");
            let total: usize = total.parse().expect("a number");
            if let Some((from, to)) = part.split_once('-') {
                let (from, to): (usize, usize) = (from.parse().expect("a number"), to.parse().expect("a number"));
                assert_eq!(to + 1 - from, request.body.len());
                if from != state.archive.len() {
                    return wrong_offset(state.archive.len());
                }
                state.archive.extend(&request.body);
            }
            if state.archive.len() == total {
                state.digest = Some(header("x-coord-digest").expect("a digest with the last piece"));
            }
            (204, String::new())
        }
        ("POST", "log") => {
            let offset: usize = header("x-coord-offset").expect("an offset").parse().expect("a number");
            if offset != state.log.len() {
                return wrong_offset(state.log.len());
            }
            state.log.extend(&request.body);
            (204, String::new())
        }
        ("GET", name) => match state.secrets.get(name) {
            Some(secret) => (200, secret.clone()),
            None => (404, "{\"code\":\"no_such_secret\",\"message\":\"there is no such secret\"}".to_owned()),
        },
        (method, path) => panic!("{method} {path} is no request of a builder"),
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.ok()?;
    Some(Request { method, path, headers, body })
}
