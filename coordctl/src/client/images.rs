//! Requests about the image centre.

use super::{Client, ClientError};
use coord_shared::names::Repository;
use coord_shared::wire::{CollectedView, ImagesView, RemovedImages};
use reqwest::Method;
use std::time::Duration;

/// How long a collection may take: it looks at every record and every blob.
const COLLECT_TIMEOUT: Duration = Duration::from_secs(600);

impl Client {
    /// What the centre holds, or one repository of it.
    pub(crate) async fn images(&self, only: Option<&Repository>) -> Result<ImagesView, ClientError> {
        let mut request = self.request(Method::GET, "v1/images");
        if let Some(only) = only {
            request = request.query(&[("repository", only.as_str())]);
        }
        self.json("list the images", request).await
    }

    /// Removes a tag, an image, or all tags of a repository.
    pub(crate) async fn remove_image(
        &self,
        repository: &Repository,
        reference: Option<&str>,
    ) -> Result<RemovedImages, ClientError> {
        let mut request = self.request(Method::DELETE, "v1/images").query(&[("repository", repository.as_str())]);
        if let Some(reference) = reference {
            request = request.query(&[("reference", reference)]);
        }
        self.json(&format!("remove from {repository}"), request).await
    }

    /// Removes what nothing needs.
    pub(crate) async fn collect_images(&self, dry_run: bool) -> Result<CollectedView, ClientError> {
        let patient = Self { timeout: self.timeout.max(COLLECT_TIMEOUT), ..self.clone() };
        let request = patient.request(Method::POST, "v1/images/collect").query(&[("dry_run", dry_run)]);
        patient.json("collect the images", request).await
    }
}
