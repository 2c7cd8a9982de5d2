//! Webhooks: whether a request comes from who knows the secret, and whether it is about something that is built.
//!
//! ```text
//! GitHub                  X-Hub-Signature-256: sha256=HEX     HMAC-SHA256 of the body
//! Bitbucket               X-Hub-Signature: sha256=HEX         the same
//! Gitea, Forgejo          X-Gitea-Signature, X-Forgejo-Signature: HEX
//! GitLab                  X-Gitlab-Token: SECRET              the secret itself
//! anything else (svn)     Authorization: Bearer SECRET, or X-Coord-Token: SECRET
//! ```
//!
//! Pure. What a payload claims is not believed: it can only be a reason to look, or not to look because another branch was pushed.
//! Deliberately absent: SHA-1, which GitHub sends for old receivers.

#[cfg(test)]
mod tests;

use coord_shared::pipeline::{Pipeline, Reference, SourceKind};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

/// Headers that carry an HMAC-SHA256 of the body in hex, and what may stand in front of it.
const SIGNATURES: &[(&str, &str)] =
    &[("x-hub-signature-256", "sha256="), ("x-hub-signature", "sha256="), ("x-gitea-signature", ""), ("x-forgejo-signature", "")];
/// Headers that carry the secret itself, and what stands in front of it.
const TOKENS: &[(&str, &str)] = &[("x-gitlab-token", ""), ("x-coord-token", ""), ("authorization", "bearer ")];
/// Headers that name the event.
const EVENTS: &[&str] = &["x-github-event", "x-gitea-event", "x-forgejo-event", "x-gogs-event", "x-event-key"];

/// The headers of a request, by name in lower case.
pub trait Headers {
    /// The value, if it is there, once, and text.
    fn one(&self, name: &str) -> Option<&str>;
}

/// Whether the request was made by who knows `secret`. One header that proves it is enough; one that is wrong proves nothing.
pub fn is_authentic(headers: &impl Headers, body: &[u8], secret: &str) -> bool {
    let is_signed = SIGNATURES.iter().any(|(name, before)| {
        let hex = headers.one(name).and_then(|value| value.strip_prefix(before));
        hex.and_then(bytes_of_hex).is_some_and(|signature| hmac(secret.as_bytes(), body).verify_slice(&signature).is_ok())
    });
    let is_told = TOKENS.iter().any(|(name, before)| {
        let value = headers.one(name).filter(|value| value.is_char_boundary(before.len().min(value.len())));
        let token = value.filter(|value| value.len() >= before.len() && value[..before.len()].eq_ignore_ascii_case(before));
        token.is_some_and(|value| is_equal(value[before.len()..].trim(), secret))
    });
    is_signed || is_told
}

/// Whether two texts are equal, in a time that does not tell where they differ: their signatures under one key are compared.
fn is_equal(a: &str, b: &str) -> bool {
    let expected = hmac(b"webhook", b.as_bytes()).finalize().into_bytes();
    hmac(b"webhook", a.as_bytes()).verify_slice(&expected).is_ok()
}

/// The signature of `body` in hex, as [`SIGNATURES`] carry it.
pub fn signature(secret: &str, body: &[u8]) -> String {
    hmac(secret.as_bytes(), body).finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    // RFC 2104, section 2: a key may have any length.
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    hmac.update(message);
    hmac
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// To look at the source.
    Look,
    /// Nothing: the server tries whether we are here.
    Ping,
    /// Nothing: it is about something else; a few words say what.
    Other(String),
}

/// What the request asks for, for a pipeline with these settings. What is not understood is a reason to look.
pub fn asked(headers: &impl Headers, body: &[u8], pipeline: &Pipeline) -> Asked {
    let event = EVENTS.iter().find_map(|name| headers.one(name)).unwrap_or_default();
    if event == "ping" || event == "diagnostics:ping" {
        return Asked::Ping;
    }
    let SourceKind::Git(git) = &pipeline.source.kind else { return Asked::Look };
    let pushed = references(headers, body);
    let is_meant = |reference: &String| match &git.reference {
        // Which one is the default branch, the repository says.
        Reference::Branch(None) => reference.starts_with("refs/heads/"),
        Reference::Branch(Some(branch)) => reference.strip_prefix("refs/heads/") == Some(branch),
        Reference::Tags(_) => reference.starts_with("refs/tags/"),
    };
    match pushed.first() {
        Some(first) if !pushed.iter().any(is_meant) => Asked::Other(first.chars().take(200).collect()),
        Some(_) | None => Asked::Look,
    }
}

/// The references that a push changed, as far as the payload names them.
fn references(headers: &impl Headers, body: &[u8]) -> Vec<String> {
    let is_form = headers.one("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    // GitHub can send the same payload as a form; it need not be read.
    let Some(payload) = (!is_form).then(|| serde_json::from_slice::<Value>(body).ok()).flatten() else { return Vec::new() };
    if let Some(reference) = payload.get("ref").and_then(Value::as_str) {
        // A tag's creation names the tag alone.
        return if reference.starts_with("refs/") { vec![reference.to_owned()] } else { Vec::new() };
    }
    let changes = payload.get("push").and_then(|push| push.get("changes")).and_then(Value::as_array);
    let named = |change: &Value| {
        let new = change.get("new").filter(|new| new.is_object()).or_else(|| change.get("old"))?;
        let name = new.get("name")?.as_str()?;
        let folder = if new.get("type")?.as_str()? == "tag" { "refs/tags" } else { "refs/heads" };
        Some(format!("{folder}/{name}"))
    };
    changes.into_iter().flatten().filter_map(named).collect()
}
