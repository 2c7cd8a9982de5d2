//! The settings: where the coordinator is and how to be let in.
//!
//! Each setting comes from its flag, else its environment variable, else the configuration file, else its default. `token` and
//! `token_file` are two spellings of one setting: a flag of either kind outweighs a variable of either kind.

use crate::cli::ConnectionArgs;
use crate::failure::Failure;
use reqwest::Url;
use serde::Deserialize;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a coordinator listens that was told nothing else.
const DEFAULT_URL: &str = "http://127.0.0.1:7700";
/// How long one answer may take; a diff may have to ask a registry.
const DEFAULT_REQUEST_TIMEOUT_S: u64 = 30;
/// Largest configuration file and token file, in bytes: far beyond four keys, and far from `/dev/zero`.
const FILE_MAX_BYTES: u64 = 64 * 1024;
/// Longest token, in characters: ours have some fifty.
const TOKEN_MAX_CHARS: usize = 1024;

/// All that is needed to speak to the coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) url: Url,
    pub(crate) token: String,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) request_timeout: Duration,
}

/// The configuration file. Strict: a misspelt key would silently send the wrong token to the wrong coordinator.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    url: Option<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
}

/// Why there are no usable settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: {problem}", path.display())]
    BadFile { path: PathBuf, line: usize, problem: String },
    #[error("the coordinator's address {url:?} ({from}) {problem}")]
    BadUrl { url: String, from: String, problem: String },
    #[error("would send the token readably through the network to {url}")]
    ReadableToken { url: Url },
    #[error("{from} gives both a token and a token file")]
    TwoTokens { from: String },
    #[error("the token from {from} {problem}")]
    BadToken { from: String, problem: &'static str },
    #[error("no admin token is configured for {url}")]
    NoToken { url: Url },
}

impl ConfigError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } => return None,
            Self::BadFile { .. } => "the keys are url, token or token_file, and ca; all are strings".to_owned(),
            Self::BadUrl { .. } => "write for example https://coordinator.lan:7700".to_owned(),
            Self::ReadableToken { .. } => "use https; plain http is for a coordinator on this machine".to_owned(),
            Self::TwoTokens { .. } => "keep one of them".to_owned(),
            Self::BadToken { .. } => {
                "a token looks like coord-admin-...; the coordinator wrote one to admin-token in its data_dir \
                                      at its first start"
                    .to_owned()
            }
            Self::NoToken { .. } => "set --token-file, COORD_TOKEN_FILE or COORD_TOKEN, or token_file in \
                                     ~/.config/coord/config.toml; the coordinator wrote the token to admin-token in its data_dir \
                                     (/var/lib/coord-coordinator/admin-token)"
                .to_owned(),
        })
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::of(&error).maybe_hint(error.hint())
    }
}

/// Reads the settings. The second part warns of a secret that others can read.
pub(crate) fn load(flags: &ConnectionArgs) -> Result<(Settings, Option<String>), ConfigError> {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let path = config_path(&env);
    let (file, warning) = match &path {
        Some(path) => read_config(path)?,
        None => (ConfigFile::default(), None),
    };
    let file_name = path.map_or_else(String::new, |path| path.display().to_string());
    Ok((resolve(flags, &env, file, &file_name)?, warning))
}

/// `$XDG_CONFIG_HOME/coord/config.toml`, by default in `~/.config` (XDG Base Directory Specification).
fn config_path(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let xdg = env("XDG_CONFIG_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let dir = xdg.or_else(|| env("HOME").map(|home| Path::new(&home).join(".config")))?;
    Some(dir.join("coord/config.toml"))
}

/// A missing file is an empty one. Paths in it are relative to its own folder.
fn read_config(path: &Path) -> Result<(ConfigFile, Option<String>), ConfigError> {
    let text = match read_text(path) {
        Err(ConfigError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok((ConfigFile::default(), None));
        }
        other => other?,
    };
    let mut file: ConfigFile = toml::from_str(&text).map_err(|error| ConfigError::BadFile {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1),
        problem: error.message().to_owned(),
    })?;
    let dir = path.parent().unwrap_or(Path::new("."));
    for relative in [&mut file.token_file, &mut file.ca].into_iter().flatten() {
        *relative = dir.join(&relative);
    }
    let others_can_read = std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o044 != 0);
    let warning = (file.token.is_some() && others_can_read)
        .then(|| format!("{0} holds a token and others can read it; run `chmod 600 {0}`", path.display()));
    Ok((file, warning))
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_MAX_BYTES).read_to_string(&mut text))
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    Ok(text)
}

/// Weighs the levels against each other.
fn resolve(
    flags: &ConnectionArgs,
    env: &dyn Fn(&str) -> Option<String>,
    file: ConfigFile,
    file_name: &str,
) -> Result<Settings, ConfigError> {
    let (url, from) = match (&flags.url, env("COORD_URL"), file.url) {
        (Some(url), _, _) => (url.clone(), "--url"),
        (None, Some(url), _) => (url, "COORD_URL"),
        (None, None, Some(url)) => (url, file_name),
        (None, None, None) => (DEFAULT_URL.to_owned(), "the default"),
    };
    let url = parse_url(&url, from)?;
    let levels = [
        (flags.token.clone(), flags.token_file.clone(), "the command line"),
        (env("COORD_TOKEN"), env("COORD_TOKEN_FILE").map(PathBuf::from), "the environment"),
        (file.token, file.token_file, file_name),
    ];
    let token = levels.into_iter().find_map(|(token, token_file, from)| token_of(token, token_file, from)).transpose()?;
    let Some(token) = token else { return Err(ConfigError::NoToken { url }) };
    Ok(Settings {
        url,
        token,
        ca: flags.ca.clone().or_else(|| env("COORD_CA").map(PathBuf::from)).or(file.ca),
        request_timeout: flags.request_timeout.map_or(Duration::from_secs(DEFAULT_REQUEST_TIMEOUT_S), |span| span.0),
    })
}

fn parse_url(text: &str, from: &str) -> Result<Url, ConfigError> {
    let fail = |problem: String| ConfigError::BadUrl { url: text.to_owned(), from: from.to_owned(), problem };
    let url: Url = text.parse().map_err(|error| fail(format!("is not a URL: {error}")))?;
    match url.scheme() {
        "https" => {}
        "http" if is_this_machine(&url) => {}
        "http" => return Err(ConfigError::ReadableToken { url }),
        scheme => return Err(fail(format!("has the scheme {scheme:?}, not https or http"))),
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(fail("has more than scheme, host, port and path".to_owned()));
    }
    Ok(url)
}

/// Whether the address is a loopback one: nothing sent there leaves the machine.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// One level's token; `None` where it gives neither.
fn token_of(token: Option<String>, token_file: Option<PathBuf>, from: &str) -> Option<Result<String, ConfigError>> {
    match (token, token_file) {
        (None, None) => None,
        (Some(_), Some(_)) => Some(Err(ConfigError::TwoTokens { from: from.to_owned() })),
        (Some(token), None) => Some(check_token(&token, from)),
        (None, Some(path)) => Some(read_text(&path).and_then(|text| check_token(&text, &path.display().to_string()))),
    }
}

/// Accepts what an HTTP header can carry, and cuts off the newline that editors leave.
fn check_token(text: &str, from: &str) -> Result<String, ConfigError> {
    let token = text.trim();
    let fail = |problem| Err(ConfigError::BadToken { from: from.to_owned(), problem });
    match token {
        "" => fail("is empty"),
        token if token.len() > TOKEN_MAX_CHARS => fail("is too long"),
        token if !token.bytes().all(|b| b.is_ascii_graphic()) => fail("holds characters that no token has"),
        token => Ok(token.to_owned()),
    }
}

#[cfg(test)]
mod tests;
