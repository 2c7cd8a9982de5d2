//! The bodies about images of archives, and what is deployed with them.

use super::{DiffView, ImageMade};
use serde::{Deserialize, Serialize};

/// `POST /v1/deployments`: an image that was made, and the document that was published with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentView {
    /// The image.
    pub image: ImageMade,
    /// What it changes, as when a document is put.
    pub document: DiffView,
}
