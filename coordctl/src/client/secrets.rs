//! Requests about secrets.

use super::{Client, ClientError};
use coord_shared::wire::SecretsView;
use reqwest::Method;

impl Client {
    /// The names of all secrets.
    pub(crate) async fn secrets(&self) -> Result<SecretsView, ClientError> {
        self.json("list the secrets", self.request(Method::GET, "v1/secrets")).await
    }
}
