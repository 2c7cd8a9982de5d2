//! Who may do what: bearer tokens.
//!
//! A token is 32 random bytes behind a readable prefix. Only its SHA-256 is stored; with that much randomness a plain hash cannot be
//! reversed or guessed, and looking it up by hash leaks no timing. All of them are held in memory, so that a request costs no read.
//! Hosts have one token each (here); people and CI have tokens with names and rights (`named`).

use crate::clock;
use crate::records::{self, HostRecord, RecordError, TokenRecord, encode, host_key, token_key};
use coord_shared::names::{HostName, TokenName};
use coord_store::{Committed, SharedStore, StoreError, StoreRevision, Txn};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

mod named;
mod secret;

use secret::{new_token, sha256_hex, write_secret};

pub use secret::random_id;

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
    /// The name is taken.
    #[error("there is a token {0} already")]
    TokenExists(TokenName),
    /// No token of that name.
    #[error("there is no token {0}")]
    UnknownToken(TokenName),
    /// Nobody could command the fleet any more.
    #[error("token {0} is the only admin token")]
    LastAdmin(TokenName),
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
    /// Held while tokens with names change, so that of two admin tokens not both can be removed as the last but one.
    changing: tokio::sync::Mutex<()>,
}

impl Identity {
    /// Loads all tokens. On the first start it makes one for an admin, and writes it to `data_dir/admin-token`, readable only by the owner.
    pub async fn load(store: SharedStore, data_dir: &Path) -> Result<Self, IdentityError> {
        let mut tokens = HashMap::new();
        for entry in store.range(records::TOKEN).await? {
            let sha256 = entry.key[records::TOKEN.len()..].to_owned();
            tokens.insert(sha256, records::decode(&entry.key, &entry.value)?);
        }
        let identity = Self { store, tokens: RwLock::new(tokens), changing: tokio::sync::Mutex::default() };
        if identity.admins() == 0 {
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

    fn admins(&self) -> usize {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.values().filter(|record| matches!(record, TokenRecord::Admin(_))).count()
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

#[cfg(test)]
mod tests;
