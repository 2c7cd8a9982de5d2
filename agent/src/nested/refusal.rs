//! Refusals: their words, and the status by which HTTP tells them. Pure.

use coord_shared::wire::ErrorBody;
use hyper::StatusCode;

/// A refusal without a cure.
pub(super) fn refuse(code: &str, message: impl Into<String>) -> ErrorBody {
    ErrorBody { code: code.to_owned(), message: message.into(), hint: None, detail: None }
}

/// Adds what to do about it.
pub(super) fn cure(refusal: ErrorBody, hint: impl Into<String>) -> ErrorBody {
    ErrorBody { hint: Some(hint.into()), ..refusal }
}

/// The agent, or the door, is about to be gone.
pub(super) fn ending() -> ErrorBody {
    cure(refuse("ending", "the agent is ending"), "ask again; it starts again by itself")
}

/// A file of the agent's cannot be used.
pub(super) fn broken(operation: &str, error: &dyn std::error::Error) -> ErrorBody {
    refuse("agent_failed", format!("the agent cannot {operation}: {error}"))
}

/// By its code. What no code is known for is the agent's own fault.
pub(super) fn status(code: &str) -> StatusCode {
    match code {
        "invalid_request" | "invalid_reference" | "bad_archive" | "not_a_folder" | "no_such_stdio" => StatusCode::BAD_REQUEST,
        "image_not_allowed" | "network_not_allowed" | "over_limit" => StatusCode::FORBIDDEN,
        "no_such_cache" | "no_such_container" | "no_such_version" | "no_such_route" | "no_such_folder" | "image_not_found" => {
            StatusCode::NOT_FOUND
        }
        "method_not_allowed" => StatusCode::METHOD_NOT_ALLOWED,
        "cache_exists" | "cache_in_use" | "cache_expired" | "not_a_store" | "container_exists" | "not_running" | "not_logged"
        | "altered" | "stopped" => StatusCode::CONFLICT,
        "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        "upgrade_required" => StatusCode::UPGRADE_REQUIRED,
        "command_not_found" | "command_not_executable" | "start_failed" | "verify_failed" => StatusCode::UNPROCESSABLE_ENTITY,
        "too_many_containers" | "too_many_caches" | "too_many_connections" => StatusCode::TOO_MANY_REQUESTS,
        "pull_failed" => StatusCode::BAD_GATEWAY,
        "ending" | "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        "over_quota" | "disk_full" => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
