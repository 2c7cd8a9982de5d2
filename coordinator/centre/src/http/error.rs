//! Errors as the spec has them: `{"errors": [{"code", "message"}]}`.

use crate::access::Refusal;
use crate::error::CentreError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::error::Error as _;

/// The spec's codes (distribution spec 1.1, "Error Codes"), and the two that others use where it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    /// No path of the spec: its `UNSUPPORTED`, with 404.
    NotFound,
    /// Distribution's, for `n` that is no number.
    PageInvalid,
    /// Distribution's, for what is our own fault.
    Unknown,
}

impl Code {
    fn text(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported | Self::NotFound => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::PageInvalid => "PAGINATION_NUMBER_INVALID",
            Self::Unknown => "UNKNOWN",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown
            | Self::BlobUploadUnknown
            | Self::ManifestBlobUnknown
            | Self::ManifestUnknown
            | Self::NameUnknown
            | Self::NotFound => StatusCode::NOT_FOUND,
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::SizeInvalid
            | Self::PageInvalid => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A request that was refused.
#[derive(Debug)]
pub(super) struct Refused {
    code: Code,
    status: StatusCode,
    message: String,
}

impl Refused {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, status: code.status(), message: message.into() }
    }

    /// The same with another status than its code usually has.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(super) fn method() -> Self {
        Self::new(Code::Unsupported, "this path does not know this method")
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown => Self::new(Code::Unauthorized, "log in with a token of this coordinator as the password"),
            Refusal::Denied(why) => Self::new(Code::Denied, why),
        }
    }
}

impl From<CentreError> for Refused {
    fn from(error: CentreError) -> Self {
        let message = error.to_string();
        let of = |code| Self::new(code, message.clone());
        match &error {
            CentreError::NoBlob { .. } => of(Code::BlobUnknown),
            CentreError::NoManifest { .. } => of(Code::ManifestUnknown),
            CentreError::NoRepository(_) => of(Code::NameUnknown),
            CentreError::BadManifest(_) => of(Code::ManifestInvalid),
            CentreError::Missing { .. } => of(Code::ManifestBlobUnknown),
            CentreError::WrongDigest { .. } => of(Code::DigestInvalid),
            CentreError::NoUpload(_) => of(Code::BlobUploadUnknown),
            CentreError::OutOfOrder { .. } => of(Code::BlobUploadInvalid).with_status(StatusCode::RANGE_NOT_SATISFIABLE),
            CentreError::WrongLength { .. } => of(Code::SizeInvalid),
            CentreError::Busy(_) => of(Code::BlobUploadInvalid).with_status(StatusCode::CONFLICT),
            CentreError::TooLarge { .. } => of(Code::SizeInvalid).with_status(StatusCode::PAYLOAD_TOO_LARGE),
            // Distribution has no code for it; clients show the words of this one.
            CentreError::Full(_) => of(Code::Denied),
            CentreError::Upstream(_) => of(Code::Unknown).with_status(StatusCode::BAD_GATEWAY),
            CentreError::TooManyUploads { .. } => of(Code::TooManyRequests),
            // The spec knows 404 and 405 for what cannot be deleted.
            CentreError::Used { .. } => of(Code::Unsupported),
            CentreError::Interrupted(_) | CentreError::Whole(_) => of(Code::BlobUploadInvalid),
            CentreError::Contended => of(Code::TooManyRequests),
            CentreError::Ending => of(Code::Unknown).with_status(StatusCode::SERVICE_UNAVAILABLE),
            CentreError::Disk { .. }
            | CentreError::Objects { .. }
            | CentreError::Settings(_)
            | CentreError::Roots(_)
            | CentreError::Store(_)
            | CentreError::Record { .. } => {
                tracing::error!(error = %chain(&error), "the image centre failed");
                Self::new(Code::Unknown, "the image centre failed; its log says why")
            }
        }
    }
}

/// An error with its causes.
fn chain(error: &CentreError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "errors": [{ "code": self.code.text(), "message": self.message }] });
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response();
        if self.code == Code::Unauthorized {
            let challenge = HeaderValue::from_static("Basic realm=\"coord\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
