//! Receivers: a webhook that misbehaves as it is told, and Debian's aiosmtpd.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_util::task::AbortOnDropHandle;

/// How a receiver answers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Status(u16),
    /// To itself.
    Redirect,
    Close,
    Garbage,
    Silence,
}

type Posts = Arc<Mutex<Vec<(String, String)>>>;

/// A receiver of webhooks. What is left of `answers` is worked off; after that all is well.
pub(super) struct Hook {
    pub(super) url: String,
    posts: Posts,
    _serving: AbortOnDropHandle<()>,
}

impl Hook {
    pub(super) async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let url = format!("http://{}/hook?token=t", listener.local_addr().expect("an address"));
        let (posts, answers) = (Posts::default(), Arc::new(Mutex::new(answers.into_iter())));
        let kept = Arc::clone(&posts);
        let serving = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(serve(stream, Arc::clone(&kept), Arc::clone(&answers)));
            }
        }));
        Self { url, posts, _serving: serving }
    }

    /// Heads and bodies of all requests.
    pub(super) fn posts(&self) -> Vec<(String, String)> {
        self.posts.lock().expect("not poisoned").clone()
    }
}

async fn serve(mut stream: TcpStream, posts: Posts, answers: Arc<Mutex<std::vec::IntoIter<Answer>>>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let (head, body) = loop {
        let Ok(read @ 1..) = stream.read(&mut buffer).await else { return };
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).and_then(|n| n.parse().ok()).unwrap_or(0);
        if body.len() >= length {
            break (head.to_owned(), body.to_owned());
        }
    };
    posts.lock().expect("not poisoned").push((head, body));
    let answer = answers.lock().expect("not poisoned").next().unwrap_or(Answer::Status(204));
    let text = match answer {
        Answer::Status(status) => format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n"),
        Answer::Redirect => "HTTP/1.1 307 x\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_owned(),
        Answer::Close => String::new(),
        Answer::Garbage => "\0\0\0\0\r\n\r\n".to_owned(),
        Answer::Silence => std::future::pending().await,
    };
    let _ = stream.write_all(text.as_bytes()).await;
}

/// How one gets into a mail server.
#[derive(Debug, Clone, Copy)]
pub(super) enum Door {
    Open,
    /// With a password.
    Guarded,
    /// Encrypted from the first byte on.
    Tls,
    /// Encrypted on request.
    StartTls,
}

impl Door {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Guarded => "guarded",
            Self::Tls => "tls",
            Self::StartTls => "starttls",
        }
    }
}

/// A server of aiosmtpd that writes each mail as a line of JSON; it ends with the test.
pub(super) struct MailServer {
    pub(super) port: u16,
    mails: PathBuf,
    _child: Child,
}

/// Says its port, then keeps what it gets.
const SERVER: &str = r#"
import asyncio, email, email.policy, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult

class Keep:
    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        with open(sys.argv[1], "a") as out:
            out.write(json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "subject": mail["subject"], "bcc": mail["bcc"],
                "id": mail["message-id"], "auto": mail["auto-submitted"], "text": mail.get_content()}) + "\n")
        return "250 OK"

def login(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"coord", b"sesame"), handled=False)

async def main():
    door, guarded = sys.argv[2], sys.argv[2] == "guarded"
    context = None
    if door in ("tls", "starttls"):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(sys.argv[3] + "/cert.pem", sys.argv[3] + "/key.pem")
    upgrade = context if door == "starttls" else None
    make = lambda: SMTP(Keep(), auth_required=guarded, auth_require_tls=False, authenticator=login, tls_context=upgrade, require_starttls=bool(upgrade))
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=context if door == "tls" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"#;

impl MailServer {
    pub(super) async fn start(dir: &Path, door: Door) -> Self {
        let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
        std::fs::write(dir.join("cert.pem"), certified.cert.pem()).expect("writes");
        std::fs::write(dir.join("key.pem"), certified.signing_key.serialize_pem()).expect("writes");
        let mails = dir.join("mails.jsonl");
        // Debian's own, which has Debian's aiosmtpd.
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-W", "ignore", "-c", SERVER]).arg(&mails).arg(door.name()).arg(dir);
        command.stdout(Stdio::piped()).stdin(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().expect("/usr/bin/python3 starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let line = lines.next_line().await.expect("reads").expect("aiosmtpd is installed (apt install python3-aiosmtpd)");
        Self { port: line.parse().expect("a port"), mails, _child: child }
    }

    pub(super) fn mails(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&self.mails).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}
