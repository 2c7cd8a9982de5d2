//! Routes that show and remove volumes.

use super::Control;
use super::routes::{Answer, Refusal, body, ok, refuse, unknown};
use crate::volumes::{RemoveAsked, VolumesError};
use coord_shared::names::VolumeName;
use coord_shared::wire::ErrorBody;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

/// Answers a request below `/v1/volumes`.
pub(super) async fn route(request: Request<Incoming>, control: &Control) -> Result<Answer, Refusal> {
    let path = request.uri().path().to_owned();
    let volumes = &control.volumes;
    match (request.method(), path.strip_prefix("/v1/volumes").unwrap_or_default()) {
        (&Method::GET, "") => Ok(ok(&volumes.list().await?)),
        (&Method::POST, "/remove") => {
            let RemoveAsked { name } = body(request).await?;
            volumes.remove(&name).await?;
            Ok(ok(&serde_json::json!({})))
        }
        (&Method::GET, name) => {
            let name = name.trim_start_matches('/').parse::<VolumeName>();
            let name = name.map_err(|error| refuse(StatusCode::BAD_REQUEST, "bad_request", &error.to_string(), None))?;
            Ok(ok(&volumes.inspect(&name).await?))
        }
        (method, _) => Err(unknown(method, &path)),
    }
}

impl From<VolumesError> for Refusal {
    fn from(error: VolumesError) -> Self {
        let status = match &error {
            VolumesError::NotFound { .. } => StatusCode::NOT_FOUND,
            VolumesError::InUse { .. } | VolumesError::Mounted { .. } => StatusCode::CONFLICT,
            VolumesError::Name(_) => StatusCode::BAD_REQUEST,
            VolumesError::Ending => StatusCode::SERVICE_UNAVAILABLE,
            VolumesError::NotAFolder { .. } | VolumesError::File { .. } | VolumesError::Containers(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self { status, error: ErrorBody::from(error) }
    }
}
