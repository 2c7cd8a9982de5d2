//! Tokens with names: further admins, and those who may use the image centre. Shown once, kept hashed, ended at once.

use super::secret::{new_token, sha256_hex};
use super::{ADMIN_PREFIX, Identity, IdentityError};
use crate::clock;
use crate::records::{self, RegistryRights, TokenNameRecord, TokenRecord, encode, token_key, token_name_key};
use coord_shared::names::TokenName;
use coord_shared::wire::{TokenRights, TokenView};
use coord_store::{Committed, Txn};
use std::collections::BTreeMap;
use std::sync::PoisonError;

const REGISTRY_PREFIX: &str = "coord-registry-";

impl Identity {
    /// Makes a token that opens what `rights` say. Answers it; it is shown this once.
    ///
    /// # Errors
    /// The name is taken; the store fails.
    pub async fn add_token(&self, name: &TokenName, rights: &TokenRights, by: &str) -> Result<String, IdentityError> {
        let _changing = self.changing.lock().await;
        let (prefix, record) = match rights {
            TokenRights::Admin => (ADMIN_PREFIX, TokenRecord::Admin(name.to_string())),
            TokenRights::Registry { pull, push } => {
                let rights = RegistryRights { name: name.clone(), pull: pull.clone(), push: push.clone() };
                (REGISTRY_PREFIX, TokenRecord::Registry(rights))
            }
        };
        if self.find(name).is_some() {
            return Err(IdentityError::TokenExists(name.clone()));
        }
        let token = new_token(prefix)?;
        let sha256 = sha256_hex(&token);
        let named = TokenNameRecord { sha256: sha256.clone(), made_at: clock::wall(), made_by: by.to_owned() };
        let txn = Txn::default()
            .expect(token_name_key(name), None)
            .put(token_name_key(name), encode(&named))
            .put(token_key(&sha256), encode(&record));
        match self.store.txn(txn).await? {
            Committed::Yes(_) => {}
            Committed::Conflict => return Err(IdentityError::TokenExists(name.clone())),
        }
        self.replace(None, Some((sha256, record)));
        Ok(token)
    }

    /// Ends a token. Whoever shows it after this is nobody.
    ///
    /// # Errors
    /// There is none of this name; it is the only admin's; the store fails.
    pub async fn remove_token(&self, name: &TokenName) -> Result<(), IdentityError> {
        let _changing = self.changing.lock().await;
        let (sha256, record) = self.find(name).ok_or_else(|| IdentityError::UnknownToken(name.clone()))?;
        if matches!(record, TokenRecord::Admin(_)) && self.admins() < 2 {
            return Err(IdentityError::LastAdmin(name.clone()));
        }
        self.store.txn(Txn::default().delete(token_key(&sha256)).delete(token_name_key(name))).await?;
        self.replace(Some(&sha256), None);
        Ok(())
    }

    /// All tokens with names, by name.
    ///
    /// # Errors
    /// The store fails, or holds a damaged record.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, IdentityError> {
        let mut made: BTreeMap<String, TokenNameRecord> = BTreeMap::new();
        for entry in self.store.range(records::TOKEN_NAME).await? {
            made.insert(entry.key[records::TOKEN_NAME.len()..].to_owned(), records::decode(&entry.key, &entry.value)?);
        }
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let named = tokens.values().filter_map(|record| {
            let (name, rights) = named(record)?;
            let made = made.get(&name);
            let (made_at, made_by) = (made.map(|made| made.made_at), made.map(|made| made.made_by.clone()));
            Some(TokenView { name, rights, made_at, made_by })
        });
        let mut views: Vec<TokenView> = named.collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(views)
    }

    fn find(&self, name: &TokenName) -> Option<(String, TokenRecord)> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let has_name = |record: &TokenRecord| named(record).is_some_and(|(own, _)| own == name.as_str());
        tokens.iter().find(|(_, record)| has_name(record)).map(|(sha256, record)| (sha256.clone(), record.clone()))
    }
}

/// Agents' tokens have none: they belong to their hosts.
fn named(record: &TokenRecord) -> Option<(String, TokenRights)> {
    match record {
        TokenRecord::Admin(name) => Some((name.clone(), TokenRights::Admin)),
        TokenRecord::Agent(_) => None,
        TokenRecord::Registry(RegistryRights { name, pull, push }) => {
            Some((name.to_string(), TokenRights::Registry { pull: pull.clone(), push: push.clone() }))
        }
    }
}
