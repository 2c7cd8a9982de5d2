//! Requests about tokens.

use super::{Client, ClientError};
use coord_shared::names::TokenName;
use coord_shared::wire::{NewToken, NewTokenAnswer, TokenRights, TokensView};
use reqwest::Method;

impl Client {
    /// Every token that has a name.
    pub(crate) async fn tokens(&self) -> Result<TokensView, ClientError> {
        self.json("list the tokens", self.request(Method::GET, "v1/tokens")).await
    }

    /// Makes a token.
    pub(crate) async fn add_token(&self, name: &TokenName, rights: TokenRights) -> Result<NewTokenAnswer, ClientError> {
        let body = NewToken { name: name.clone(), rights };
        self.json(&format!("make token {name}"), self.request(Method::POST, "v1/tokens").json(&body)).await
    }

    /// Ends a token.
    pub(crate) async fn remove_token(&self, name: &TokenName) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &format!("v1/tokens/{name}"));
        self.bytes(&format!("end token {name}"), request).await.map(drop)
    }
}
