//! A coordinator that says what a test tells it to, and remembers what it was asked.
//!
//! HTTP/1.1 by hand on a port of its own, one thread a connection: only so can an answer be cut, dripped or withheld.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `GET /v1/status`, with the query.
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// What to answer.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A whole answer.
    Whole { status: u16, headers: String, body: String },
    /// 200 with these chunks, and then this.
    Stream { chunks: Vec<String>, end: End },
    /// Nothing, while the connection stands.
    Silence,
    /// A byte of an endless head now and then.
    Drip,
}

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Proper,
    Cut,
    Silence,
}

impl Answer {
    pub(crate) fn json(body: &serde_json::Value) -> Self {
        Self::Whole { status: 200, headers: "content-type: application/json\r\n".to_owned(), body: body.to_string() }
    }

    pub(crate) fn error(status: u16, body: &serde_json::Value) -> Self {
        let headers = "content-type: application/json\r\nx-request-id: req-7\r\n".to_owned();
        Self::Whole { status, headers, body: body.to_string() }
    }

    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self::Whole { status, headers: String::new(), body: body.to_owned() }
    }
}

/// Stops when dropped.
pub(crate) struct Fake {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Fake {
    /// `answer` gets each request, and how many came before it.
    pub(crate) fn start(answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (requests, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, stopping, answer) = (Arc::clone(&requests), Arc::clone(&stop), Arc::new(answer));
        let accepting = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if stopping.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(connection) = connection else { continue };
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || serve(connection, &seen, answer.as_ref()));
            }
        });
        Self { address, requests, stop, accepting: Some(accepting) }
    }

    /// One answer to everything.
    pub(crate) fn always(answer: Answer) -> Self {
        Self::start(move |_, _| answer.clone())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no thread panicked with it").clone()
    }

    /// The requests' first lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.line).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
    }
}

/// A client that leaves in the middle is part of some tests, so errors of writing are none here.
fn serve(mut connection: TcpStream, seen: &Mutex<Vec<Request>>, answer: &(impl Fn(&Request, usize) -> Answer + ?Sized)) {
    let Some(request) = read_request(&connection) else { return };
    let before = {
        let mut seen = seen.lock().expect("no thread panicked with it");
        seen.push(request.clone());
        seen.len() - 1
    };
    match answer(&request, before) {
        Answer::Whole { status, headers, body } => {
            let length = body.len();
            let head = format!("HTTP/1.1 {status} Some Reason\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
            let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(body.as_bytes()));
        }
        Answer::Stream { chunks, end } => stream(&mut connection, &chunks, end),
        Answer::Silence => wait_for_close(&mut connection),
        Answer::Drip => {
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nx-drip: ");
            while connection.write_all(b"x").is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
    let _ = connection.shutdown(Shutdown::Write);
}

fn stream(connection: &mut TcpStream, chunks: &[String], end: End) {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let mut text = head.to_owned();
    for chunk in chunks {
        text.push_str(&format!("{:x}\r\n{chunk}\r\n", chunk.len()));
    }
    if end == End::Proper {
        text.push_str("0\r\n\r\n");
    }
    let _ = connection.write_all(text.as_bytes());
    if end == End::Silence {
        wait_for_close(connection);
    }
}

fn wait_for_close(connection: &mut TcpStream) {
    let mut rest = [0; 64];
    while connection.read(&mut rest).is_ok_and(|read| read > 0) {}
}

fn read_request(connection: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let mut lines = head.lines();
    let line = lines.next()?.strip_suffix(" HTTP/1.1")?.to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { line, headers, body: String::from_utf8(body).ok()? })
}
