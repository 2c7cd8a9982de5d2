//! Credential helpers: programs `docker-credential-NAME` that know a login (docker's credential-helpers protocol).
//!
//! `get`, the server on standard input, JSON on standard output. Run without a shell, with a deadline and a limit on what they may
//! say, and asked at most every few minutes: some ask a cloud's service for each answer.

use super::{Credentials, Found};
use crate::clock::{self, Instant};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// For one answer, a cloud's metadata service included.
const HELPER_PATIENCE_S: u64 = 20;
/// Largest answer that is read; real ones are 2 to 8 KiB.
const HELPER_ANSWER_MAX_BYTES: u64 = 64 * 1024;
/// How much of a helper's complaint is told.
const COMPLAINT_MAX_CHARS: usize = 200;
/// How long an answer is good. A login that the registry refuses is asked for anew at once.
const ANSWER_LIFE_S: u64 = 300;
/// The user name that means: the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// The helpers of this host.
#[derive(Default)]
pub(crate) struct Helpers {
    /// Where programs are looked for; the environment's PATH where absent.
    pub(crate) search_path: Option<OsString>,
    /// What they said lately, by helper and server.
    answers: Mutex<BTreeMap<(String, String), Remembered>>,
}

/// An answer, and until when it is good.
type Remembered = (Instant, Option<Credentials>);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Whether `docker-credential-NAME` is the name of a program, and nothing else.
pub(crate) fn is_helper_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.chars().all(is_plain)
}

impl Helpers {
    /// What the helper knows of the server. `anew`: whatever it said before.
    pub(super) async fn ask(&self, name: &str, server: &str, anew: bool) -> Result<Found, String> {
        let key = (name.to_owned(), server.to_owned());
        let now = clock::now();
        if !anew {
            let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, credentials)) = answers.get(&key).filter(|(expires, _)| *expires > now) {
                return Ok(Found { credentials: credentials.clone(), is_remembered: true });
            }
        }
        let credentials = self.run(name, server).await.map_err(|problem| {
            format!(
                "its credential helper docker-credential-{name} {problem}; try it: echo {server} | docker-credential-{name} get"
            )
        })?;
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|_, (expires, _)| *expires > now);
        answers.insert(key, (now + Duration::from_secs(ANSWER_LIFE_S), credentials.clone()));
        Ok(Found { credentials, is_remembered: false })
    }

    /// One run. The error continues "the helper ...".
    async fn run(&self, name: &str, server: &str) -> Result<Option<Credentials>, String> {
        if !is_helper_name(name) {
            return Err("has a name that no program can have".to_owned());
        }
        let talk = self.talk(name, server);
        let (status, output, complaint) = tokio::time::timeout(Duration::from_secs(HELPER_PATIENCE_S), talk)
            .await
            .map_err(|_| format!("did not answer within {HELPER_PATIENCE_S} s"))?
            .map_err(|e| {
                if e.kind() == io::ErrorKind::NotFound {
                    "is not installed, or not in PATH".to_owned()
                } else {
                    format!("cannot be run ({e})")
                }
            })?;
        if output.len() as u64 > HELPER_ANSWER_MAX_BYTES {
            return Err(format!("said more than {HELPER_ANSWER_MAX_BYTES} bytes"));
        }
        if status.success() {
            // Not the parser's words: they may quote the secret.
            let answer: Answer =
                serde_json::from_slice(&output).map_err(|_| "gave an answer that is not its protocol's".to_owned())?;
            return Ok(answer.credentials());
        }
        // The protocol's complaints are on standard output; what a helper died of is on standard error.
        let said = String::from_utf8_lossy(if output.is_empty() { &complaint } else { &output });
        if said.contains("credentials not found") {
            return Ok(None);
        }
        // An answer in spite of the failure is no complaint, and secret.
        let said = said.lines().next().filter(|line| !line.contains('{')).unwrap_or_default();
        let said: String = said.chars().take(COMPLAINT_MAX_CHARS).collect();
        Err(format!("failed ({status}): {said}"))
    }

    async fn talk(&self, name: &str, server: &str) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
        let mut command = Command::new(format!("docker-credential-{name}"));
        if let Some(path) = &self.search_path {
            command.env("PATH", path);
        }
        let mut child =
            command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
        let (input, output, complaint) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(mut input) = input {
                // One that does not read its input may still answer.
                let _ = input.write_all(format!("{server}\n").as_bytes()).await;
            }
        };
        let ((), output, complaint) = tokio::join!(write, read_some(output), read_some(complaint));
        Ok((child.wait().await?, output?, complaint?))
    }
}

/// At most one byte more than the limit; then the pipe is closed.
async fn read_some(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(HELPER_ANSWER_MAX_BYTES + 1).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

impl Answer {
    fn credentials(self) -> Option<Credentials> {
        if self.secret.is_empty() {
            return None;
        }
        Some(if self.username == TOKEN_USER {
            Credentials::Identity(self.secret)
        } else {
            Credentials::Password { username: self.username, password: self.secret }
        })
    }
}
