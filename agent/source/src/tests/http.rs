//! Git over HTTP, by `git http-backend` behind a small server: passwords, redirects, silence.

use super::repository::Repository;
use super::{Bench, git, says};
use crate::Limits;
use coord_shared::pipeline::Reference;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server does.
#[derive(Clone)]
enum Conduct {
    /// Serves the repositories of a folder.
    Serve(PathBuf),
    /// Serves them to whoever knows `alice:sesame`.
    Guard(PathBuf),
    /// Sends everybody elsewhere.
    Redirect(String),
    /// Says nothing.
    Silence,
}

/// A server that ends with the test's process.
struct Server {
    address: SocketAddr,
    /// The `Authorization` headers that it saw.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(conduct: Conduct) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = Arc::clone(&server.seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (conduct, seen) = (conduct.clone(), Arc::clone(&seen));
                std::thread::spawn(move || serve(&stream, &conduct, &seen));
            }
        });
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

fn serve(stream: &TcpStream, conduct: &Conduct, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let mut out = stream;
    if !header("authorization").is_empty() {
        seen.lock().unwrap().push(header("authorization").to_owned());
    }
    let root = match conduct {
        Conduct::Silence => {
            std::thread::sleep(Duration::from_secs(3600));
            return None;
        }
        Conduct::Redirect(to) => {
            let answer =
                format!("HTTP/1.1 301 Moved\r\nLocation: {to}{target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return out.write_all(answer.as_bytes()).ok();
        }
        // `alice:sesame`
        Conduct::Guard(_) if header("authorization") != "Basic YWxpY2U6c2VzYW1l" => {
            let answer =
                "HTTP/1.1 401 Who\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            return out.write_all(answer.as_bytes()).ok();
        }
        Conduct::Guard(root) | Conduct::Serve(root) => root,
    };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let answer = backend(root, &method, path, query, &headers, &body)?;
    out.write_all(&answer).ok()
}

/// RFC 3875: the Common Gateway Interface, as far as `git http-backend` needs it.
fn backend(root: &Path, method: &str, path: &str, query: &str, headers: &[(String, String)], body: &[u8]) -> Option<Vec<u8>> {
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
    let mut child = Command::new("git")
        .args(["-c", "safe.directory=*", "http-backend"])
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(body).ok()?;
    let output = child.wait_with_output().ok()?.stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let mut answer =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{head}\r\n\r\n", output.len() - end - 4);
    answer.retain(|c| c != '\0');
    Some([answer.into_bytes(), output[end + 4..].to_vec()].concat())
}

fn main_branch(url: &str) -> coord_shared::pipeline::SourceKind {
    git(url, Reference::Branch(Some("main".to_owned())))
}

#[tokio::test]
async fn a_repository_comes_over_http() {
    let bench = Bench::new();
    let repository = Repository::new(&bench.path("origin"));
    let first = repository.commit("Begin", &[("a", "1")]);
    let server = Server::start(Conduct::Serve(bench.dir.path().to_owned()));
    let source = bench.branch(&server.url("origin/.git"), "main");
    bench.fetch_head(&source).await;
    let second = repository.commit("Go on", &[("b/c", "2")]);
    bench.fetch_head(&source).await;
    assert_eq!(bench.read("b/c"), "2");
    assert_eq!(source.changed(&first, &second, &bench.path("kept")).await.unwrap().unwrap(), ["b/c"]);
    says(bench.branch(&server.url("none.git"), "main").look().await, &["not found", "check the address"]);
}

#[tokio::test]
async fn passwords_open_and_are_seen_nowhere() {
    let bench = Bench::new();
    Repository::new(&bench.path("origin")).commit("Begin", &[("a", "1")]);
    let server = Server::start(Conduct::Guard(bench.dir.path().to_owned()));
    let url = server.url("origin/.git");
    let source = bench.source(main_branch(&url), Some("alice:sesame\n"));
    bench.fetch_head(&source).await;
    assert_eq!(bench.read("a"), "1");
    let config = std::fs::read_to_string(bench.path("files/.git/config")).unwrap();
    assert!(!config.contains("sesame"), "{config}");
    // In the address, who asks; in the secret, the password alone.
    let with_user = url.replace("http://", "http://alice@");
    bench.source(main_branch(&with_user), Some("sesame")).look().await.unwrap();
    says(bench.source(main_branch(&url), None).look().await, &["looking at", "`credentials`"]);
    let text =
        says(bench.source(main_branch(&url), Some("alice:wrong-word")).look().await, &["Authentication failed", "`credentials`"]);
    assert!(!text.contains("wrong-word"), "{text}");
    says(bench.source(main_branch(&url), Some("two\nlines")).look().await, &["is not one line"]);
    assert!(!format!("{source:?}").contains("sesame"));
}

#[tokio::test]
async fn a_redirect_does_not_carry_the_password_elsewhere() {
    let bench = Bench::new();
    Repository::new(&bench.path("origin")).commit("Begin", &[("a", "1")]);
    let open = Server::start(Conduct::Serve(bench.dir.path().to_owned()));
    let moved = Server::start(Conduct::Redirect(format!("http://{}", open.address)));
    let source = bench.source(main_branch(&moved.url("origin/.git")), Some("alice:sesame"));
    bench.fetch_head(&source).await;
    assert_eq!(bench.read("a"), "1");
    let thief = Server::start(Conduct::Guard(bench.dir.path().to_owned()));
    let moved = Server::start(Conduct::Redirect(format!("http://{}", thief.address)));
    says(bench.source(main_branch(&moved.url("origin/.git")), Some("alice:sesame")).look().await, &["`credentials`"]);
    assert_eq!(*thief.seen.lock().unwrap(), Vec::<String>::new());
    let files = Server::start(Conduct::Redirect(format!("file://{}", bench.dir.path().display())));
    says(bench.branch(&files.url("origin/.git"), "main").look().await, &["looking at", "failed"]);
}

#[tokio::test]
async fn a_silent_server_costs_a_limited_time() {
    let mut bench = Bench::new();
    bench.limits = Limits { look: Duration::from_millis(500), fetch: Duration::from_millis(500), ..Limits::default() };
    let server = Server::start(Conduct::Silence);
    let source = bench.branch(&server.url("x.git"), "main");
    says(source.look().await, &["looking at", "took longer than"]);
    says(bench.fetch(&source, &"12".repeat(20).parse().unwrap()).await, &["fetching", "took longer than"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let bench = Bench::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    says(
        bench.branch(&format!("http://{free}/x.git"), "main").look().await,
        &["looking at", "check the address, and that this host reaches it"],
    );
    says(
        bench.branch(&format!("git://{free}/x.git"), "main").look().await,
        &["check the address, and that this host reaches it"],
    );
}

/// Arguments and environment of the processes that have `word` in one of them.
fn processes_with(word: &str) -> Vec<String> {
    let read = |path: PathBuf| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).replace('\0', " ");
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let shown = processes.map(|path| read(path.join("cmdline")) + &read(path.join("environ")));
    shown.filter(|text| text.contains(word)).collect()
}

#[tokio::test]
async fn passwords_are_in_no_process_list() {
    let mut bench = Bench::new();
    bench.limits = Limits { look: Duration::from_secs(3), ..Limits::default() };
    let server = Server::start(Conduct::Silence);
    let address = server.address.to_string();
    let source = bench.source(main_branch(&server.url("x.git")), Some("alice:s3same-word"));
    let watching = tokio::task::spawn_blocking(move || {
        // Until git and the helper of its protocol are both there.
        for _ in 0..1000 {
            let found = processes_with(&format!("COORD_SOURCE_FOR=http://{address}"));
            if found.len() >= 2 {
                return found;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Vec::new()
    });
    let (looked, found) = tokio::join!(source.look(), watching);
    says(looked, &["took longer than 3 s"]);
    let found = found.unwrap();
    assert!(found.len() >= 2 && found.iter().all(|text| !text.contains("s3same")), "{found:?}");
}
