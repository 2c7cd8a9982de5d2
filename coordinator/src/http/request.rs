//! What every request gets: an id, a count, and an error in our shape where the router has no answer.

use super::error::ApiError;
use super::{App, Shared};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from a request; longer ones are not ids.
const REQUEST_ID_MAX_BYTES: usize = 64;

/// Runs around every handler.
pub(super) async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).filter(|id| is_sane(id)).cloned();
    let id = given.unwrap_or_else(new_id);
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let status = response.status();
    app.metrics.count_request(&route, status.as_u16());
    if status.is_server_error() {
        tracing::warn!(request_id = ?id, %method, path, status = status.as_u16(), "request failed");
    } else {
        tracing::debug!(request_id = ?id, %method, path, status = status.as_u16(), "request");
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// No such path.
pub(super) async fn no_route(_: Shared, uri: Uri) -> ApiError {
    ApiError::not_found(format!("there is no {}", uri.path()))
}

/// The path is there, the method is not.
pub(super) async fn no_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

fn is_sane(id: &HeaderValue) -> bool {
    let sane = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !id.is_empty() && id.len() <= REQUEST_ID_MAX_BYTES && id.as_bytes().iter().all(sane)
}

/// Names one request in logs; it guards nothing, so it needs no strong randomness.
fn new_id() -> HeaderValue {
    HeaderValue::try_from(format!("{:016x}", fastrand::u64(..))).unwrap_or_else(|_| HeaderValue::from_static("none"))
}
