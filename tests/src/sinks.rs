//! Whom notifications reach in a test: a mail server that keeps what it gets (Debian's aiosmtpd), and a web server that does the same.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;
use tempfile::TempDir;

use crate::process::{Place, Process};
use crate::source::{PYTHON, wait_port};

/// One POST after the other, each into a file that appears whole: `hook.py ADDRESS PORT FOLDER`.
const HOOK: &str = r#"
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        seen = {"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}, "body": body.decode()}
        number = len(os.listdir(sys.argv[3]))
        with open(os.path.join(sys.argv[3], ".part"), "w") as file:
            json.dump(seen, file)
        os.rename(os.path.join(sys.argv[3], ".part"), os.path.join(sys.argv[3], f"{number:04}"))
        self.send_response(204)
        self.end_headers()
HTTPServer((sys.argv[1], int(sys.argv[2])), Hook).serve_forever()
"#;

/// Keeps every message.
pub struct MailSink {
    address: String,
    _server: Process,
    dir: TempDir,
}

/// Keeps every POST.
pub struct HookSink {
    url: String,
    _server: Process,
    dir: TempDir,
}

/// A POST as it came.
#[derive(Debug, Clone, Deserialize)]
pub struct Posted {
    pub path: String,
    /// Names in lower case.
    pub headers: std::collections::BTreeMap<String, String>,
    pub body: String,
}

impl MailSink {
    /// At an address that must be free in `place`.
    pub fn start(place: &Place, address: (&str, u16)) -> Result<MailSink> {
        let dir = tempfile::Builder::new().prefix("coord-mail-").tempdir()?;
        let (listen, mails) = (format!("{}:{}", address.0, address.1), dir.path().join("mails"));
        let handler = ["-c", "aiosmtpd.handlers.Mailbox", &mails.to_string_lossy()].map(str::to_owned);
        let argv = [&[PYTHON, "-m", "aiosmtpd", "-n", "-l", &listen], &handler.each_ref().map(String::as_str)[..]].concat();
        let server = Process::start("mail server", &argv, place, &dir.path().join("log"))?;
        wait_port(place, address).with_context(|| server.log())?;
        Ok(MailSink { address: listen, _server: server, dir })
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// All messages so far, as they came, headers included; the oldest first.
    pub fn messages(&self) -> Result<Vec<String>> {
        texts(self.dir.path().join("mails/new"))
    }
}

impl HookSink {
    /// At an address that must be free in `place`.
    pub fn start(place: &Place, address: (&str, u16)) -> Result<HookSink> {
        let dir = tempfile::Builder::new().prefix("coord-hook-").tempdir()?;
        let (script, posts) = (dir.path().join("hook.py"), dir.path().join("posts"));
        fs::create_dir(&posts)?;
        fs::write(&script, HOOK)?;
        let argv = [PYTHON, &script.to_string_lossy(), address.0, &address.1.to_string(), &posts.to_string_lossy()];
        let server = Process::start("hook", &argv, place, &dir.path().join("log"))?;
        wait_port(place, address).with_context(|| server.log())?;
        Ok(HookSink { url: format!("http://{}:{}/hook", address.0, address.1), _server: server, dir })
    }

    /// Where to post.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All POSTs so far, the oldest first.
    pub fn posts(&self) -> Result<Vec<Posted>> {
        let texts = texts(self.dir.path().join("posts"))?;
        texts.iter().map(|text| serde_json::from_str(text).with_context(|| format!("a post: {text}"))).collect()
    }
}

/// The files of a folder in the order of their names; none where there is no folder. Files on their way begin with a dot.
fn texts(folder: PathBuf) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).with_context(|| format!("read {}", path.display()))).collect()
}
