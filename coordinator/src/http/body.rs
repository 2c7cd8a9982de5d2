//! Request bodies and parameters: with a limit, a deadline, and errors in our shape.

use super::error::ApiError;
use axum::body::{Body, HttpBody as _};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long a body may take to arrive: the largest report over a slow link.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The whole body, if it has at most `max_bytes` and arrives in time.
pub(super) async fn read(body: Body, max_bytes: usize) -> Result<Vec<u8>, ApiError> {
    let too_large = || {
        let message = format!("the body is larger than {max_bytes} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    };
    // What it says of its own length is enough to refuse it.
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, max_bytes).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(ApiError::bad_request(format!("the body broke off: {error}"))),
        Err(_) => {
            let message = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", message))
        }
    }
}

/// A JSON body.
pub(super) async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body, max_bytes: usize) -> Result<T, ApiError> {
    // What is something else is refused before it is read.
    check_type(headers, "application/json", |kind| kind == "application/json")?;
    let bytes = read(body, max_bytes).await?;
    parse_json(headers, &bytes)
}

/// JSON that was read already.
pub(super) fn parse_json<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, ApiError> {
    check_type(headers, "application/json", |kind| kind == "application/json")?;
    serde_json::from_slice(bytes)
        .map_err(|e| ApiError::bad_request(format!("the body is not the JSON that is expected here: {e}")))
}

/// A document's text. `None` for an empty body.
pub(super) async fn document(headers: &HeaderMap, body: Body) -> Result<Option<String>, ApiError> {
    // Whatever may be text is taken; only what says that it is something else is refused.
    check_type(headers, "application/toml", |kind| !matches!(kind, "application/json" | "application/x-www-form-urlencoded"))?;
    let bytes = read(body, coord_shared::document::DOCUMENT_MAX_BYTES).await?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_document", format!("the document is not UTF-8 at byte {at}"))
            .hint("save it as UTF-8")
    })?;
    Ok((!text.is_empty()).then_some(text))
}

fn check_type(headers: &HeaderMap, expected: &str, is_fine: impl Fn(&str) -> bool) -> Result<(), ApiError> {
    let Some(given) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let given = given.to_str().unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if is_fine(&kind) {
        return Ok(());
    }
    let message = format!("the body is {given:?}, and {expected} is expected");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message))
}
