//! As much HTTP/1.1 as tests need: one request, one connection, one answer read to its end.
//!
//! Blocking and plain on purpose. The harness pushes images, asks pages and stands in for registries; a client
//! library of its own would hide the very bytes that it wants to see. No TLS, no keep-alive, no redirects.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Longest silence on a socket. Everything here is on this machine, so silence means a stuck process.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(20);
/// Most bytes of a request line or header line: far more than any real one, so that a broken peer ends the test.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text; what is not UTF-8 shows as replacement characters.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Header lines in the order of the wire.
#[derive(Debug, Default, Clone)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first header of that name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// `http://host:port/path?query`, taken apart.
#[derive(Debug, Clone)]
pub struct Url {
    pub authority: String,
    pub path: String,
}

impl Url {
    pub fn parse(url: &str) -> Result<Url> {
        let rest = url.strip_prefix("http://").with_context(|| format!("{url}: not http://"))?;
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        Ok(Url { authority: authority.to_owned(), path: path.to_owned() })
    }
}

/// One GET.
pub fn get(url: &str) -> Result<Answer> {
    request("GET", url, &[], &[])
}

/// One request with a body and headers besides `Host`, `Connection` and `Content-Length`.
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
    exchange(method, url, headers, body).with_context(|| format!("{method} {url}"))
}

fn exchange(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
    let url = Url::parse(url)?;
    let mut stream = connect(&url.authority)?;
    let mut head = format!("{method} {} HTTP/1.1\r\nHost: {}\r\n", url.path, url.authority);
    write!(head, "Connection: close\r\nContent-Length: {}\r\n", body.len())?;
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n")?;
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.write_all(body)?;
    read_answer(&mut BufReader::new(stream), method)
}

/// Connects with the time limits of this module.
pub fn connect(authority: &str) -> Result<TcpStream> {
    let address = authority.to_socket_addrs()?.next().context("the name has no address")?;
    let stream = TcpStream::connect_timeout(&address, SOCKET_TIMEOUT)?;
    stream.set_read_timeout(Some(SOCKET_TIMEOUT))?;
    stream.set_write_timeout(Some(SOCKET_TIMEOUT))?;
    Ok(stream)
}

/// Reads one answer to its end: by its length, its chunks, or the end of the connection.
pub fn read_answer(stream: &mut impl BufRead, method: &str) -> Result<Answer> {
    let line = read_line(stream)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("not a status line: {line:?}"))?;
    let headers = read_headers(stream)?;
    let mut body = Vec::new();
    if method == "HEAD" || status == 204 || status == 304 {
        return Ok(Answer { status, headers, body });
    }
    if headers.get("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        read_chunks(stream, &mut body)?;
    } else if let Some(length) = headers.get("content-length") {
        body.resize(length.parse().context("content-length")?, 0);
        stream.read_exact(&mut body).context("the body ends early")?;
    } else {
        stream.read_to_end(&mut body)?;
    }
    Ok(Answer { status, headers, body })
}

/// The header lines up to the empty one.
pub fn read_headers(stream: &mut impl BufRead) -> Result<Headers> {
    let mut headers = Headers::default();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').with_context(|| format!("not a header: {line:?}"))?;
        headers.0.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// One line without its end; the end of the connection is an error.
pub fn read_line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    stream.take(LINE_BYTES_MAX).read_line(&mut line)?;
    if !line.ends_with('\n') {
        bail!("the connection ended within a line: {line:?}");
    }
    Ok(line.trim_end().to_owned())
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> Result<()> {
    loop {
        let line = read_line(stream)?;
        let digits = line.split(';').next().unwrap_or_default();
        let length = u64::from_str_radix(digits, 16).with_context(|| format!("chunk {line:?}"))?;
        if length == 0 {
            read_headers(stream)?;
            return Ok(());
        }
        if stream.take(length).read_to_end(body)? as u64 != length {
            bail!("a chunk ends early");
        }
        read_line(stream)?;
    }
}
