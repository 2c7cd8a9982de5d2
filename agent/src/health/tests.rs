//! Containers that are asked: by a program, over TCP, over HTTP; from within their own network.
use super::*;
use crate::inside::tests::Host;
use coord_shared::decide::health::{Check, Health, Status};
use coord_shared::quantity::Span;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

fn check(probe: Probe) -> Check {
    let often = Span(Duration::from_millis(100));
    Check { probe, interval: often, timeout: Span::seconds(2), start_period: Span::seconds(0), start_interval: often, retries: 2 }
}

fn container() -> ContainerId {
    "web.0-r1-1".parse().expect("a container")
}

/// Asks a container whose first process is this one.
fn ask(check: Check) -> (Probers, mpsc::Receiver<Event>) {
    let (events, inbox) = mpsc::channel(16);
    let probers = Probers::new(events);
    let started_at = clock::now().mono;
    let health = Health::starting(started_at);
    let asked = Asked { container: container(), pid: std::process::id(), check, started_at, health };
    probers.ask(&Host::default(), Arc::new(asked));
    (probers, inbox)
}

async fn news(inbox: &mut mpsc::Receiver<Event>) -> Health {
    match tokio::time::timeout(Duration::from_secs(20), inbox.recv()).await {
        Ok(Some(Event::Health { health, .. })) => health,
        other => panic!("no news of health: {other:?}"),
    }
}

fn program(line: &str) -> Probe {
    Probe::Exec(["/bin/sh", "-c", line].map(str::to_owned).to_vec())
}

#[tokio::test]
async fn only_another_word_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let flag = folder.path().join("well");
    let (probers, mut inbox) = ask(check(program(&format!("test -e {} || {{ echo no flag; exit 1; }}", flag.display()))));
    let first = news(&mut inbox).await;
    assert_eq!((first.status, first.output.as_str()), (Status::Starting, "no flag"), "the first hint");
    let ill = news(&mut inbox).await;
    assert_eq!((ill.status, ill.failures), (Status::Unhealthy, 2));
    std::fs::write(&flag, "").expect("the flag");
    assert_eq!(news(&mut inbox).await.status, Status::Healthy);
    std::fs::remove_file(&flag).expect("the flag");
    assert_eq!(news(&mut inbox).await.status, Status::Unhealthy, "nothing was told in between");
    probers.ask_no_more(&container());
    while inbox.try_recv().is_ok() {}
    std::fs::write(&flag, "").expect("the flag");
    assert!(tokio::time::timeout(Duration::from_millis(400), inbox.recv()).await.is_err(), "asked no more");
}

#[tokio::test]
async fn a_program_that_hangs_is_ill() {
    let hasty = Check { timeout: Span(Duration::from_millis(200)), retries: 1, ..check(program("sleep 600")) };
    let (_probers, mut inbox) = ask(hasty);
    let health = news(&mut inbox).await;
    assert!(health.output.contains("killed after 200ms"), "{health:?}");
}

/// Answers every connection with `answer`, whatever is asked; gives back the port and what was asked first.
fn server(address: &str, answer: &'static str) -> (u16, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind((address, 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok).take(3) {
            let mut asked = [0; 4096];
            let count = stream.read(&mut asked).unwrap_or(0);
            let _ = tell.send(String::from_utf8_lossy(&asked[..count]).into_owned());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (port, told)
}

async fn asked_over_http(answer: &'static str) -> Health {
    let (port, asked) = server("127.0.0.1", answer);
    let probe = Probe::Http { host: Some("shop.lan".to_owned()), port, path: "/healthz?deep=1".to_owned() };
    let (_probers, mut inbox) = ask(check(probe));
    let health = news(&mut inbox).await;
    let asked = asked.recv().expect("a question").to_lowercase();
    assert!(asked.starts_with("get /healthz?deep=1 http/1.1\r\n") && asked.contains("host: shop.lan\r\n"), "{asked}");
    health
}

#[tokio::test]
async fn an_answer_over_http_is_judged_by_its_status() {
    assert_eq!(asked_over_http("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.status, Status::Healthy);
    assert_eq!(asked_over_http("HTTP/1.1 204 No Content\r\n\r\n").await.status, Status::Healthy);
    assert_eq!(
        asked_over_http("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n").await.status,
        Status::Healthy
    );
    let ill = asked_over_http("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 11\r\n\r\nno database").await;
    assert_eq!(ill.output, "GET /healthz?deep=1: 503 Service Unavailable\nno database");
    let odd = asked_over_http("SSH-2.0-OpenSSH_9.2\r\n").await;
    assert!(odd.output.starts_with("GET /healthz?deep=1: "), "{odd:?}");
    assert!(asked_over_http("").await.output.starts_with("GET /healthz?deep=1: "));
}

#[tokio::test]
async fn an_endless_answer_is_read_no_further_than_it_is_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 500 Oh\r\n\r\n");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let (_probers, mut inbox) = ask(check(Probe::Http { host: None, port, path: "/".to_owned() }));
    let output = news(&mut inbox).await.output;
    assert!(output.len() < OUTPUT_LIMIT && output.ends_with("xxx"), "{} bytes", output.len());
}

const OUTPUT_LIMIT: usize = coord_shared::decide::health::OUTPUT_MAX_BYTES + 100;

#[tokio::test]
async fn a_port_is_well_if_somebody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let (_probers, mut inbox) = ask(check(Probe::Tcp { port }));
    assert_eq!(news(&mut inbox).await.status, Status::Healthy);
    drop(listener);
    let ill = news(&mut inbox).await;
    assert_eq!(ill.output, format!("cannot connect to 127.0.0.1:{port}: connection refused"));
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
    let port = listener.local_addr().expect("its address").port();
    let (_probers, mut inbox) = ask(check(Probe::Tcp { port }));
    assert_eq!(news(&mut inbox).await.status, Status::Healthy, "the other family will do");
}

/// A process in a network namespace of its own, in which something listens on port 80.
struct Elsewhere(std::process::Child);

impl Elsewhere {
    fn new() -> Self {
        let script = "import socket,subprocess,sys,time\n\
                      subprocess.run(['ip','link','set','lo','up'],check=True)\n\
                      s=socket.socket();s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1);s.bind(('127.0.0.1',80));s.listen(8)\n\
                      print('listening',flush=True)\n\
                      time.sleep(600)\n";
        let mut child = std::process::Command::new("unshare")
            .args(["--net", "python3", "-c", script])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = [0; 10];
        child.stdout.take().expect("piped").read_exact(&mut line).expect("it listens");
        Self(child)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_container_is_asked_from_within_its_own_network() {
    let elsewhere = Elsewhere::new();
    let mut doors = Doors::of(elsewhere.0.id());
    let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
    assert!(doors.connect(80).await.is_ok(), "port 80 of that namespace");
    assert!(doors.connect(81).await.is_err(), "and no other");
    assert_eq!(std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace"), own, "we are where we were");
    let gone = Doors::of(u32::MAX).connect(80).await;
    assert!(matches!(gone, Err(Trouble::NoContainer)));
}
