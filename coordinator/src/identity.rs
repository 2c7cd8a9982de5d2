//! Who may do what: bearer tokens.
//!
//! A token is 32 random bytes behind a readable prefix. Only its SHA-256 is stored; with that much randomness a plain hash cannot be
//! reversed or guessed, and looking it up by hash leaks no timing. All of them are held in memory, so that a request costs no read.

use crate::clock;
use crate::records::{self, HostRecord, RecordError, TokenRecord, encode, host_key, token_key};
use coord_shared::names::HostName;
use coord_store::{Committed, SharedStore, StoreError, StoreRevision, Txn};
use sha2::Digest as _;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

const ADMIN_PREFIX: &str = "coord-admin-";
const AGENT_PREFIX: &str = "coord-agent-";
/// The name of the token that is made on the first start.
const FIRST_ADMIN: &str = "admin";
/// Attempts at a compare-and-set before the store is called busy; each loses only to another writer's success.
const TXN_ATTEMPTS_MAX: u32 = 10;

/// Why tokens or hosts could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A record could not be had.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such host.
    #[error("host {0} is not known")]
    UnknownHost(HostName),
    /// Others wrote the same keys, again and again.
    #[error("host {0} is being changed by others; try again")]
    Busy(HostName),
    /// The kernel gave no random bytes.
    #[error("cannot get random bytes: {0}")]
    Random(getrandom::Error),
    /// The first admin token could not be kept.
    #[error("cannot write the first admin token to {path}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// All tokens, by the SHA-256 of each in hex.
pub struct Identity {
    store: SharedStore,
    tokens: RwLock<HashMap<String, TokenRecord>>,
}

impl Identity {
    /// Loads all tokens. On the first start it makes one for an admin, and writes it to `data_dir/admin-token`, readable only by the owner.
    pub async fn load(store: SharedStore, data_dir: &Path) -> Result<Self, IdentityError> {
        let mut tokens = HashMap::new();
        for entry in store.range(records::TOKEN).await? {
            let sha256 = entry.key[records::TOKEN.len()..].to_owned();
            tokens.insert(sha256, records::decode(&entry.key, &entry.value)?);
        }
        let identity = Self { store, tokens: RwLock::new(tokens) };
        if !identity.has_admin() {
            identity.make_first_admin(&data_dir.join("admin-token")).await?;
        }
        Ok(identity)
    }

    /// Whom `token` speaks for; `None` if it is not one of ours.
    pub fn who(&self, token: &str) -> Option<TokenRecord> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).get(&sha256_hex(token)).cloned()
    }

    /// Makes `host` known, or gives a known one a new token. Answers the token, which is shown this once, and the
    /// transaction that made it valid.
    pub async fn add_host(&self, host: &HostName) -> Result<(String, StoreRevision), IdentityError> {
        let token = new_token(AGENT_PREFIX)?;
        let sha256 = sha256_hex(&token);
        let record = TokenRecord::Agent(host.clone());
        for _ in 0..TXN_ATTEMPTS_MAX {
            let known = records::load::<HostRecord>(&*self.store, &host_key(host)).await?;
            let mut txn = Txn::default().expect(host_key(host), known.as_ref().map(|(_, revision)| *revision));
            let old = known.as_ref().map(|(old, _)| old.token_sha256.clone());
            if let Some(old) = &old {
                txn = txn.delete(token_key(old));
            }
            let new = match known {
                Some((old, _)) => HostRecord { token_sha256: sha256.clone(), ..old },
                None => HostRecord { token_sha256: sha256.clone(), added_at: clock::wall(), labels: Default::default() },
            };
            let txn = txn.put(token_key(&sha256), encode(&record)).put(host_key(host), encode(&new));
            if let Committed::Yes(at) = self.store.txn(txn).await? {
                self.replace(old.as_deref(), Some((sha256, record)));
                return Ok((token, at));
            }
        }
        Err(IdentityError::Busy(host.clone()))
    }

    /// Forgets a host: its token ends, and nothing is a target there any more. What it was told last is kept, so that its
    /// generation goes on growing should it return.
    pub async fn remove_host(&self, host: &HostName) -> Result<StoreRevision, IdentityError> {
        for _ in 0..TXN_ATTEMPTS_MAX {
            let known = records::load::<HostRecord>(&*self.store, &host_key(host)).await?;
            let (record, revision) = known.ok_or_else(|| IdentityError::UnknownHost(host.clone()))?;
            let txn = Txn::default()
                .expect(host_key(host), Some(revision))
                .delete(host_key(host))
                .delete(token_key(&record.token_sha256));
            if let Committed::Yes(at) = self.store.txn(txn).await? {
                self.replace(Some(&record.token_sha256), None);
                return Ok(at);
            }
        }
        Err(IdentityError::Busy(host.clone()))
    }

    fn replace(&self, old: Option<&str>, new: Option<(String, TokenRecord)>) {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = old {
            tokens.remove(old);
        }
        tokens.extend(new);
    }

    fn has_admin(&self) -> bool {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.values().any(|record| matches!(record, TokenRecord::Admin(_)))
    }

    /// The file comes first: a crash in between leaves a file whose token is not yet known, and the next start replaces it.
    async fn make_first_admin(&self, file: &Path) -> Result<(), IdentityError> {
        let token = new_token(ADMIN_PREFIX)?;
        write_secret(file, &token).map_err(|source| IdentityError::TokenFile { path: file.to_owned(), source })?;
        let (sha256, record) = (sha256_hex(&token), TokenRecord::Admin(FIRST_ADMIN.to_owned()));
        self.store.txn(Txn::default().put(token_key(&sha256), encode(&record))).await?;
        self.replace(None, Some((sha256, record)));
        tracing::info!(path = %file.display(), "wrote the first admin token");
        Ok(())
    }
}

/// 128 random bits in hex: names that nobody can guess.
pub fn random_id() -> Result<String, IdentityError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(IdentityError::Random)?;
    Ok(hex(&bytes))
}

fn new_token(prefix: &str) -> Result<String, IdentityError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(IdentityError::Random)?;
    Ok(format!("{prefix}{}", base64url(&bytes)))
}

fn sha256_hex(text: &str) -> String {
    hex(&sha2::Sha256::digest(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// RFC 4648 section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().enumerate().fold(0_u32, |bits, (i, byte)| bits | u32::from(*byte) << (16 - 8 * i));
        for sextet in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * sextet) & 63) as usize]));
        }
    }
    text
}

/// Replaces `file` in one step by one that only its owner reads.
fn write_secret(file: &Path, secret: &str) -> io::Result<()> {
    let temporary = file.with_extension("new");
    let mut open = std::fs::OpenOptions::new();
    let mut out = open.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    out.write_all(secret.as_bytes())?;
    out.write_all(b"\n")?;
    out.sync_all()?;
    std::fs::rename(&temporary, file)
}

#[cfg(test)]
mod tests;
