//! Noise at a door: requests that nobody would send, cut ones, slow ones, huge ones. The agent stays up and small, and serves others meanwhile.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use coord_tests::image::noise;
use coord_tests::nested::Nest;
use coord_tests::process::proportional_memory;
use serde_json::{Value, json};

const PERMISSION: &str = "containers = 2, caches = \"1MiB\"";
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const GROWTH_BYTES_MAX: u64 = 12 << 20;

/// Numbers below `end`, the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % end.max(1)
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

const METHODS: &[&str] =
    &["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "get", "FOO", "\u{1}", ""];
const PIECES: &[&str] = &[
    "/v1",
    "/v2",
    "/v1/",
    "/caches",
    "/containers",
    "/info",
    "/work",
    "/c1",
    "/archive",
    "/files",
    "/list",
    "/verify",
    "/logs",
    "/wait",
    "/stop",
    "/exec",
    "/signal",
    "/..",
    "/%2e%2e",
    "/%00",
    "/%zz",
    "//",
    "?path=..",
    "?follow",
    "?tail=99999999999999999999",
    "?mode=77777",
    "#x",
    "/\u{e4}",
    " ",
    "http://evil/",
    "*",
    "/%ff",
];
const BODIES: &[&str] = &[
    "",
    "{}",
    "[]",
    "null",
    "{",
    "\"x\"",
    "{\"name\":1}",
    "{\"name\":\"a\",\"path\":\"/a\",\"ttl\":\"99999999999999y\"}",
    "{\"image\":\"x\"}",
    "{\"name\":\"a\",\"name\":\"b\",\"path\":\"/a\"}",
    "{\"caches\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}",
    "\u{0}\u{0}",
    "{\"image\":\"a/b:1\",\"memory\":\"99999999999999999999GiB\"}",
    "{\"image\":\"a/b:1\",\"cpus\":1e308}",
    "{\"grace\":\"-1s\"}",
];
const HEADERS: &[&str] = &[
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: xchunked",
    "Expect: 100-continue",
    "Upgrade: coord-exec\r\nConnection: upgrade",
    "Upgrade: h2c",
    "Host: other",
    "Content-Type: text/html",
    "X: \u{7f}",
    ": empty",
    "no colon",
    "Content-Encoding: gzip",
    "Range: bytes=0-0",
    "Content-Length: 3\r\nContent-Length: 4",
];

#[test]
fn an_agent_lives_through_noise() -> Result<()> {
    const REQUESTS: usize = 1500;
    let nest = Nest::start()?;
    let (noisy, quiet) = (nest.idle("noisy", PERMISSION)?, nest.idle("quiet", PERMISSION)?);
    let (agent, door) = (nest.host.agent()?.pid(), noisy.door());
    noisy.ok("coord cache create work --path /work && coord cache put work /source/d00/file-0000")?;
    let before = proportional_memory(agent)?;
    let mut dice = Dice(0x5DEE_CE66);
    for number in 0..REQUESTS {
        let path: String = (0..1 + dice.below(5)).map(|_| dice.one_of(PIECES)).collect();
        let mut request = format!("{} {path} HTTP/1.{}\r\n", dice.one_of(METHODS), dice.below(3));
        for _ in 0..dice.below(4) {
            let _ = write!(request, "{}\r\n", dice.one_of(HEADERS));
        }
        let body = dice.one_of(BODIES);
        if dice.below(2) == 0 {
            let _ = write!(request, "Content-Length: {}\r\n", body.len());
        }
        let _ = write!(request, "\r\n{body}");
        let mut bytes = request.into_bytes();
        if dice.below(4) == 0 {
            bytes.truncate(dice.below(bytes.len()));
        }
        if dice.below(8) == 0 {
            let at = dice.below(bytes.len().max(1));
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 0x80;
            }
        }
        // A door that is busy with a long request would be seen here: each of these ends at once.
        let answer = door.raw(&bytes, ANSWER_LIMIT)?;
        let text = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || text.starts_with("HTTP/1."), "{number}: {:?} got {text:?}", String::from_utf8_lossy(&bytes));
        assert!(!text.starts_with("HTTP/1.1 500"), "{number}: {:?} got {text}", String::from_utf8_lossy(&bytes));
    }
    let after = proportional_memory(agent)?;
    assert!(after < before + GROWTH_BYTES_MAX, "the agent grew from {before} to {after}");
    assert_eq!(door.granted("GET", "/v1/caches", &Value::Null)?["caches"].as_array().map(Vec::len), Some(1));
    for parent in [&noisy, &quiet] {
        parent.ok("coord run --image $IMAGE -- true")?;
    }
    assert_eq!(nest.host.agent()?.pid(), agent);
    let log = std::fs::read_to_string(nest.host.path("agent.log"))?;
    assert!(!log.contains("panicked"), "{log}");
    nest.end(&["noisy", "quiet"])
}

#[test]
fn what_is_huge_or_slow_is_cut_off() -> Result<()> {
    let nest = Nest::start()?;
    let (noisy, quiet) = (nest.idle("noisy", PERMISSION)?, nest.idle("quiet", PERMISSION)?);
    let (agent, door) = (nest.host.agent()?.pid(), noisy.door());
    door.granted("POST", "/v1/caches", &json!({ "name": "work", "path": "/work" }))?;
    let before = proportional_memory(agent)?;
    // Headers and bodies of megabytes.
    let long = "x".repeat(4 << 20);
    for request in [
        format!("GET /{long} HTTP/1.1\r\n\r\n"),
        format!("GET /v1/info HTTP/1.1\r\nX: {long}\r\n\r\n"),
        format!("GET /v1/info HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100_000)),
        format!("POST /v1/caches HTTP/1.1\r\nHost: c\r\nContent-Length: {}\r\n\r\n\"{long}\"", long.len() + 2),
        format!("POST /v1/containers HTTP/1.1\r\nHost: c\r\nContent-Length: {}\r\n\r\n{}", 2 << 20, "[".repeat(2 << 20)),
    ] {
        let answer = door.raw(request.as_bytes(), ANSWER_LIMIT)?;
        let status = String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{:.60}: {status:?}", request);
    }
    // A stream that never ends goes against the quota, and not into memory.
    let endless = noise(8 << 20, 3);
    let answer = door.ask("PUT", "/v1/caches/work/files/endless", &endless)?;
    assert!(answer.text().contains("over_quota"), "{}", answer.text());
    let after = proportional_memory(agent)?;
    assert!(after < before + GROWTH_BYTES_MAX, "the agent grew from {before} to {after}");

    // Whoever sends nothing, or half of a request, keeps nobody else waiting: not at its own door for ever, never at another's.
    let mut held = Vec::new();
    for number in 0..100 {
        let Ok(mut stream) = door.connect() else { break };
        if number % 2 == 0 {
            let _ = stream.write_all(b"PUT /v1/caches/work/files/slow HTTP/1.1\r\nHost: c\r\nContent-Length: 100000\r\n\r\nsome");
        }
        held.push(stream);
    }
    let start = Instant::now();
    quiet.ok("coord run --image $IMAGE -- true")?;
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let descriptors = std::fs::read_dir(format!("/proc/{agent}/fd"))?.count();
    assert!(descriptors < 300, "{descriptors} descriptors for {} connections", held.len());
    drop(held);
    noisy.ok("coord run --image $IMAGE -- true")?;
    let listed = door.ask("GET", "/v1/caches/work/list", b"")?.text();
    assert_eq!(listed, "", "half a file is none");
    nest.end(&["noisy", "quiet"])
}

#[test]
fn headers_smuggle_nothing() -> Result<()> {
    let nest = Nest::start()?;
    let parent = nest.idle("runner", PERMISSION)?;
    let door = parent.door();
    let inner = format!(
        "POST /v1/caches HTTP/1.1\r\nHost: c\r\nContent-Length: {}\r\n\r\n{}",
        "{\"name\":\"smuggled\",\"path\":\"/x\"}".len(),
        "{\"name\":\"smuggled\",\"path\":\"/x\"}"
    );
    let chunked = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    for (attempt, request) in [
        (
            "two lengths",
            format!("GET /v1/info HTTP/1.1\r\nHost: c\r\nContent-Length: 0\r\nContent-Length: {}\r\n\r\n{inner}", inner.len()),
        ),
        ("a length with a sign", format!("GET /v1/info HTTP/1.1\r\nHost: c\r\nContent-Length: +{}\r\n\r\n{inner}", inner.len())),
        (
            "a body that holds a request",
            format!("GET /v1/info HTTP/1.1\r\nHost: c\r\nContent-Length: {}\r\n\r\n{inner}", inner.len()),
        ),
        ("chunks that hold one", format!("GET /v1/info HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}")),
        ("an odd encoding", format!("GET /v1/info HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked, identity\r\n\r\n{inner}")),
        ("a header in a header", "GET /v1/info HTTP/1.1\r\nHost: c\r\nX: a\r\n b: c\r\n\r\n".to_owned()),
        ("a line end in a path", "GET /v1/info%0d%0aX:%20y HTTP/1.1\r\nHost: c\r\n\r\n".to_owned()),
    ] {
        door.raw(request.as_bytes(), ANSWER_LIMIT)?;
        let names = door.granted("GET", "/v1/caches", &Value::Null)?;
        assert!(!names.to_string().contains("smuggled"), "{attempt}");
    }
    // Who one is does not come by a header.
    let headers = [("X-Forwarded-For", "other.0-r1-1"), ("Authorization", "Bearer x"), ("Host", "other.0-r1-1")];
    let info = door.ask_with("GET", "/v1/info", &headers, b"")?;
    assert!(info.text().contains(&parent.id), "{}", info.text());
    for (method, path, status) in [
        ("GET", "/v2/info", 404),
        ("GET", "/", 404),
        ("DELETE", "/v1/info", 405),
        ("PATCH", "/v1/caches", 405),
        ("GET", "/v1/none", 404),
    ] {
        let answer = door.ask(method, path, b"")?;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert!(answer.text().contains("\"code\""), "{method} {path}: {}", answer.text());
    }
    nest.end(&["runner"])
}
