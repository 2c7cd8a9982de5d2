//! The bodies about tokens: who may command the fleet, and who may use the image centre.

use crate::names::{RepositoryPattern, TokenName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a token opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenRights {
    /// Everything.
    Admin,
    /// Repositories of the image centre, and nothing else.
    Registry {
        /// What may be pulled.
        #[serde(default)]
        pull: Vec<RepositoryPattern>,
        /// What may be pushed, and pulled too: clients that push ask first what is there already.
        #[serde(default)]
        push: Vec<RepositoryPattern>,
    },
}

/// `POST /v1/tokens`: makes a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// Its name, which no other token has.
    pub name: TokenName,
    /// What it opens.
    pub rights: TokenRights,
}

/// The answer to [`NewToken`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTokenAnswer {
    /// Its name.
    pub name: TokenName,
    /// The token, shown this once.
    pub token: String,
}

/// `GET /v1/tokens`: those that have a name. Agents' tokens belong to their hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensView {
    /// The coordinator's clock.
    pub now: Timestamp,
    /// By name.
    pub tokens: Vec<TokenView>,
}

/// One token, without the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// Its name.
    pub name: String,
    /// What it opens.
    pub rights: TokenRights,
    /// When it was made; absent for the one of the first start.
    #[serde(default)]
    pub made_at: Option<Timestamp>,
    /// The token that it was made with, by name; absent for the one of the first start.
    #[serde(default)]
    pub made_by: Option<String>,
}

/// A token stays out of logs.
impl std::fmt::Debug for NewTokenAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewTokenAnswer").field("name", &self.name).field("token", &"***").finish()
    }
}
