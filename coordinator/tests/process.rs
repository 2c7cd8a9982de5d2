//! The real process: started, killed in the middle of its work, started again, talked to over TLS, stopped.
//!
//! Deliberately absent: what one process cannot show (agents, containers); that is for the workspace's own tests.

use coord_registry::fake::FakeRegistry;
use coord_shared::wire::{DiffView, HistoryView, NewHostAnswer, StatusView};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);
const BINARY: &str = env!("CARGO_BIN_EXE_coordinator");

/// A running coordinator; killed when dropped.
struct Process {
    child: Child,
    url: String,
    admin: String,
}

/// A folder with the configuration of one coordinator.
struct Site {
    dir: tempfile::TempDir,
    registry: Option<FakeRegistry>,
}

impl Site {
    async fn new() -> Self {
        // Another test of this binary may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let registry = FakeRegistry::start().await.expect("a registry");
        registry.put_image("web", "1", "amd64", &[]);
        registry.put_image("web", "2", "amd64", &[]);
        let site = Self { dir: tempfile::tempdir().expect("a folder"), registry: Some(registry) };
        std::fs::create_dir(site.path("desired")).expect("makes the folder");
        site.configure("");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn image(&self, tag: &str) -> String {
        format!("{}/web:{tag}", self.registry.as_ref().expect("is there").host())
    }

    fn document(&self, tag: &str, n: usize) -> String {
        format!("image = \"{}\"\nhosts = [\"*\"]\n[environment]\nN = \"{n}\"\n", self.image(tag))
    }

    fn configure(&self, extra: &str) {
        let (data, desired) = (self.path("data"), self.path("desired"));
        let registry = self.registry.as_ref().expect("is there").host();
        let text = format!(
            "listen = \"127.0.0.1:0\"\ndata_dir = {data:?}\ndocuments = {desired:?}\n{extra}\n[[registry]]\nprefix = {registry:?}\ninsecure = true\n"
        );
        std::fs::write(self.path("coordinator.toml"), text).expect("writes");
    }

    fn command(&self) -> Command {
        let mut command = Command::new(BINARY);
        command.arg("--config").arg(self.path("coordinator.toml")).kill_on_drop(true).stdin(Stdio::null());
        command
    }

    /// Starts it and waits until it says where it listens.
    async fn start(&self, scheme: &str) -> Process {
        let mut child = self.command().env("NO_COLOR", "1").stderr(Stdio::piped()).spawn().expect("starts");
        let mut log = BufReader::new(child.stderr.take().expect("is piped")).lines();
        let ready = async {
            loop {
                let line = log.next_line().await.expect("reads").expect("it says that it is ready before it ends");
                if let Some((_, rest)) = line.split_once("ready address=") {
                    return rest.split(' ').next().expect("an address").to_owned();
                }
            }
        };
        let address = tokio::time::timeout(PATIENCE, ready).await.expect("starts in time");
        // Nobody reads further; a full pipe must not stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        let admin = std::fs::read_to_string(self.path("data/admin-token")).expect("the token").trim().to_owned();
        Process { child, url: format!("{scheme}://{address}"), admin }
    }
}

impl Process {
    fn request(&self, client: &reqwest::Client, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.admin)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, client: &reqwest::Client, path: &str) -> T {
        let answer = self.request(client, reqwest::Method::GET, path).send().await.expect("answers");
        answer.error_for_status().expect("is fine").json().await.expect("is of the right shape")
    }

    async fn add_host(&self, client: &reqwest::Client, name: &str) -> String {
        let request = self.request(client, reqwest::Method::POST, "/v1/hosts").json(&serde_json::json!({ "host": name }));
        let answer: NewHostAnswer = request.send().await.expect("answers").json().await.expect("a token");
        answer.token
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().expect("runs")).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("is still there");
    }

    /// Ends it as a power cut would, and waits until it is gone.
    async fn crash(mut self) {
        self.child.kill().await.expect("dies");
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(PATIENCE).build().expect("a client")
}

async fn run(command: &mut Command) -> (bool, String, String) {
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("ends in time").expect("starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_publishing_loses_no_acknowledged_revision() {
    const WRITERS: usize = 4;
    const ACKNOWLEDGED_MIN: usize = 40;
    let site = Arc::new(Site::new().await);
    let process = site.start("http").await;
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (site, counter) = (Arc::clone(&site), Arc::clone(&acknowledged));
            let (url, admin) = (process.url.clone(), process.admin.clone());
            tokio::spawn(async move {
                let (client, mut last) = (client(), None);
                for n in 0.. {
                    let request =
                        client.put(format!("{url}/v1/documents/w{writer}")).bearer_auth(&admin).body(site.document("1", n));
                    let Ok(answer) = request.send().await else { break };
                    let status = answer.status();
                    let Ok(view) = answer.json::<DiffView>().await else { break };
                    assert_eq!(status.as_u16(), 200, "{view:?}");
                    last = Some((view.published.expect("a new revision"), n));
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                last
            })
        })
        .collect();
    let enough = async {
        while acknowledged.load(Ordering::Relaxed) < ACKNOWLEDGED_MIN {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, enough).await.expect("publishes");
    process.crash().await;
    let mut last = BTreeMap::new();
    for (writer, task) in writers.into_iter().enumerate() {
        last.insert(writer, task.await.expect("no panic").expect("published something"));
    }
    let (process, client) = (site.start("http").await, client());
    for (writer, (revision, n)) in last {
        let history: HistoryView = process.get(&client, &format!("/v1/workloads/w{writer}/history")).await;
        let numbers: Vec<u64> = history.entries.iter().rev().map(|entry| entry.revision.0).collect();
        let newest = *numbers.last().expect("has revisions");
        assert!(newest >= revision.0, "w{writer}: revision {revision} was acknowledged, and {newest} is the newest");
        assert_eq!(numbers, (1..=newest).collect::<Vec<_>>(), "w{writer}: no gaps, no repeats");
        let path = format!("/v1/documents/w{writer}");
        let text =
            process.request(&client, reqwest::Method::GET, &path).send().await.expect("answers").text().await.expect("text");
        // At most the one that was on its way when the process died came after the acknowledged one.
        let fits = [n, n + 1].map(|n| site.document("1", n));
        assert!(fits.contains(&text), "w{writer}: {n} was acknowledged, and now there is {text}");
    }
}

#[tokio::test]
async fn a_saved_file_reaches_its_host_and_a_crash_changes_no_state() {
    let site = Site::new().await;
    let (process, client) = (site.start("http").await, client());
    let token = process.add_host(&client, "a").await;
    let poll = async |process: &Process, etag: &str, wait: &str| {
        let url = format!("{}/v1/hosts/a/state?wait={wait}", process.url);
        let answer = client.get(url).bearer_auth(&token).header("if-none-match", etag).send().await.expect("answers");
        let etag = answer.headers().get("etag").map(|etag| etag.to_str().expect("text").to_owned());
        (answer.status().as_u16(), etag.unwrap_or_default(), answer.text().await.expect("text"))
    };
    let (_, empty, _) = poll(&process, "", "0s").await;
    std::fs::write(site.path("desired/web.toml"), site.document("1", 1)).expect("writes");
    let (status, first, text) = poll(&process, &empty, "20s").await;
    assert_eq!(status, 200);
    assert!(text.contains("N = \\\"1\\\"") || text.contains("N = \"1\""), "{text}");
    // The registry goes away: another tag waits, and what runs stays.
    let mut site = site;
    let registry_is_away = site.document("absent", 2);
    std::fs::write(site.path("desired/web.toml"), registry_is_away).expect("writes");
    let shown_waiting = async {
        while process.get::<StatusView>(&client, "/v1/status").await.workloads.iter().all(|web| web.reasons.is_empty()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, shown_waiting).await.expect("the status shows that it waits");
    assert_eq!(poll(&process, &first, "0s").await.0, 304);
    process.crash().await;
    let process = site.start("http").await;
    assert_eq!(poll(&process, &first, "0s").await.0, 304, "not even the ETag changed");
    drop(site.registry.take());
}

#[tokio::test]
async fn sigterm_ends_it_cleanly_and_sighup_does_not() {
    let site = Site::new().await;
    let (mut process, client) = (site.start("http").await, client());
    let (second, _, error) = run(&mut site.command()).await;
    assert!(!second && error.contains("in use by another coordinator"), "{error}");
    process.signal(Signal::SIGHUP);
    let _: StatusView = process.get(&client, "/v1/status").await;
    process.signal(Signal::SIGTERM);
    let ended = tokio::time::timeout(PATIENCE, process.child.wait()).await.expect("ends in time").expect("is ours");
    assert!(ended.success(), "{ended}");
}

#[tokio::test]
async fn tls_is_served_where_configured_and_demanded_where_needed() {
    let site = Site::new().await;
    let (plain, _, error) = run(site.command().args(["--listen", "0.0.0.0:0"])).await;
    assert!(!plain && error.contains("without TLS") && error.contains("[tls]"), "{error}");
    let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let (cert_file, key_file) = (site.path("cert.pem"), site.path("key.pem"));
    std::fs::write(&cert_file, key.cert.pem()).expect("writes");
    let tls = format!("[tls]\ncert = {cert_file:?}\nkey = {key_file:?}\n");
    site.configure(&tls);
    let (started, _, error) = run(&mut site.command()).await;
    assert!(!started && error.contains("key.pem"), "{error}");
    std::fs::write(&key_file, key.signing_key.serialize_pem()).expect("writes");
    let process = site.start("https").await;
    let root = reqwest::Certificate::from_pem(key.cert.pem().as_bytes()).expect("a certificate");
    let trusting = reqwest::Client::builder().tls_certs_only([root]).timeout(PATIENCE).build().expect("a client");
    let _: StatusView = process.get(&trusting, "/v1/status").await;
    assert!(client().get(format!("{}/healthz", process.url)).send().await.is_err(), "an unknown authority");
    let plain = process.url.replace("https", "http");
    assert!(client().get(format!("{plain}/healthz")).send().await.is_err(), "plain HTTP");
}

#[tokio::test]
async fn the_configuration_is_shown_and_its_mistakes_are_named() {
    let site = Site::new().await;
    site.configure("[liveness]\nlate_after = \"3s\"");
    let (shown, text, _) = run(site.command().args(["--print-config", "--listen", "127.0.0.1:7701"])).await;
    assert!(shown && text.contains("listen = \"127.0.0.1:7701\"") && text.contains("late_after = \"3s\""), "{text}");
    let check = async |extra: &str, words: &[&str]| {
        site.configure(extra);
        let (started, _, error) = run(&mut site.command()).await;
        assert!(!started && words.iter().all(|word| error.contains(word)), "{error}");
    };
    check("no_such_key = 1", &["coordinator.toml", "no_such_key"]).await;
    check("[liveness]\nlate_after = \"2m\"", &["late_after", "lost_after"]).await;
    check("max_connections = \"many\"", &["max_connections"]).await;
    let (started, _, error) = run(Command::new(BINARY).arg("--config").arg(Path::new("/nonexistent.toml"))).await;
    assert!(!started && error.contains("/nonexistent.toml"), "{error}");
}
