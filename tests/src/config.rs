//! The configuration files of the daemons, as the harness writes them: one place to follow when a key changes.

use std::fmt::Write as _;
use std::path::Path;

/// What a `coordinator.toml` of the tests says.
pub struct Coordinator<'a> {
    pub listen: &'a str,
    pub data_dir: &'a Path,
    pub documents: &'a Path,
    pub registries: &'a [String],
    /// A registry that hosts learn of from the coordinator alone.
    pub shared: Option<&'a SharedRegistry>,
    /// Certificate chain and key, both PEM; needed wherever `listen` is not loopback.
    pub tls: Option<(&'a Path, &'a Path)>,
    /// The folder of secrets, where there are any.
    pub secrets: Option<&'a Path>,
    /// Tables that only some tests need, as text.
    pub tables: &'a str,
}

/// A `[[registry]]` with a login that the coordinator shares with hosts.
#[derive(Debug, Clone)]
pub struct SharedRegistry {
    /// `127.0.0.1:PORT`.
    pub authority: String,
    pub username: String,
    pub password: String,
}

/// What an `agent.toml` of the tests says.
pub struct Agent<'a> {
    pub host: &'a str,
    pub labels: &'a [(String, String)],
    /// Absent: the host stands alone.
    pub coordinator: Option<&'a str>,
    pub token: &'a str,
    pub ca: Option<&'a Path>,
    pub state_dir: &'a Path,
    pub run_dir: &'a Path,
    pub helpers: &'a Path,
    pub registries: &'a [String],
    pub images: Images<'a>,
    /// Tables that only some tests need, as text: `[builder]`.
    pub tables: &'a str,
}

/// Its `[images]`; what is absent is the agent's own choice.
#[derive(Debug, Clone, Copy, Default)]
pub struct Images<'a> {
    /// `auto`, `directories` or `loop`.
    pub format: Option<&'a str>,
    /// Such as `1GiB`.
    pub reserve: Option<&'a str>,
}

impl Coordinator<'_> {
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        line(&mut text, "listen", self.listen);
        path(&mut text, "data_dir", self.data_dir);
        path(&mut text, "documents", self.documents);
        if let Some(secrets) = self.secrets {
            path(&mut text, "secrets", secrets);
        }
        if let Some((certificate, key)) = self.tls {
            text.push_str("\n[tls]\n");
            path(&mut text, "cert", certificate);
            path(&mut text, "key", key);
        }
        registries(&mut text, self.registries);
        if let Some(shared) = self.shared {
            text.push_str("\n[[registry]]\n");
            line(&mut text, "prefix", &shared.authority);
            line(&mut text, "username", &shared.username);
            line(&mut text, "password", &shared.password);
            text.push_str("insecure = true\nshare_with_hosts = true\n");
        }
        text.push_str(self.tables);
        text
    }
}

impl Agent<'_> {
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        line(&mut text, "host", self.host);
        if let Some(coordinator) = self.coordinator {
            let _ = writeln!(text, "coordinator = [{coordinator:?}]");
            line(&mut text, "token", self.token);
        }
        if let Some(ca) = self.ca {
            path(&mut text, "ca", ca);
        }
        path(&mut text, "state_dir", self.state_dir);
        path(&mut text, "run_dir", self.run_dir);
        path(&mut text, "helpers", self.helpers);
        if !self.labels.is_empty() {
            text.push_str("\n[labels]\n");
            self.labels.iter().for_each(|(key, value)| line(&mut text, key, value));
        }
        let images = [("format", self.images.format), ("reserve", self.images.reserve)];
        if images.iter().any(|(_, value)| value.is_some()) {
            text.push_str("\n[images]\n");
            images.iter().for_each(|(key, value)| value.iter().for_each(|value| line(&mut text, key, value)));
        }
        registries(&mut text, self.registries);
        text.push_str(self.tables);
        text
    }
}

/// Plain HTTP, because a registry of the tests has no certificate.
fn registries(text: &mut String, authorities: &[String]) {
    for authority in authorities {
        text.push_str("\n[[registry]]\n");
        line(text, "prefix", authority);
        text.push_str("insecure = true\n");
    }
}

fn path(text: &mut String, key: &str, value: &Path) {
    line(text, key, &value.to_string_lossy());
}

/// Values of the harness hold no quotes and no control characters: Rust's quoting is TOML's.
fn line(text: &mut String, key: &str, value: &str) {
    let _ = writeln!(text, "{key} = {value:?}");
}
