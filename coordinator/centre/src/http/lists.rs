//! Lists: end-8a, 8b (tags), end-12a, 12b (referrers), and distribution's `_catalog`.

use super::error::{Code, Refused};
use super::{Call, Door, json, set};
use crate::access::Action;
use crate::lists::Page;
use crate::outline::OCI_INDEX;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use coord_shared::names::{Digest, Repository};
use std::fmt::Write as _;

/// Most names on one page, and how many there are where nobody says.
const PAGE_MAX: usize = 10_000;
/// Says which filters of a list of referrers were heeded.
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

impl Door {
    pub(super) async fn tags(&self, name: &Repository, call: &Call) -> Result<Response, Refused> {
        self.allow(call, name, Action::Pull)?;
        only_get(call)?;
        let max = page_size(call)?;
        let page = self.centre.tags(name, call.query("last"), max).await?;
        let names: Vec<&str> = page.entries.iter().map(crate::names::Tag::as_str).collect();
        let mut response = json(StatusCode::OK, serde_json::json!({ "name": name.as_str(), "tags": names }).to_string());
        link(&mut response, &page, &format!("/v2/{name}/tags/list?n={max}"), names.last().copied())?;
        Ok(response)
    }

    /// Names of the repositories that the caller may read.
    pub(super) async fn catalog(&self, call: &Call) -> Result<Response, Refused> {
        self.caller(&call.headers, None)?;
        only_get(call)?;
        let max = page_size(call)?;
        let page = self.centre.repositories(call.query("last"), max).await?;
        let is_open = |name: &&Repository| self.allow(call, name, Action::Pull).is_ok();
        let names: Vec<&str> = page.entries.iter().filter(is_open).map(Repository::as_str).collect();
        let mut response = json(StatusCode::OK, serde_json::json!({ "repositories": names }).to_string());
        let last = page.entries.last().map(Repository::as_str);
        link(&mut response, &page, &format!("/v2/_catalog?n={max}"), last)?;
        Ok(response)
    }

    pub(super) async fn referrers(&self, name: &Repository, subject: &Digest, call: &Call) -> Result<Response, Refused> {
        self.allow(call, name, Action::Pull)?;
        only_get(call)?;
        let kind = call.query("artifactType").filter(|kind| !kind.is_empty());
        let page = self.centre.referrers(name, subject, kind, call.query("last")).await?;
        let body = serde_json::json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page.entries });
        let mut response = json(StatusCode::OK, body.to_string());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(OCI_INDEX));
        let mut next = format!("/v2/{name}/referrers/{subject}?");
        if let Some(kind) = kind {
            response.headers_mut().insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
            let _ = write!(next, "artifactType={}", encoded(kind));
        }
        link(&mut response, &page, &next, page.entries.last().map(|entry| entry.digest.as_str()))?;
        Ok(response)
    }
}

fn only_get(call: &Call) -> Result<(), Refused> {
    if call.method == Method::GET || call.method == Method::HEAD { Ok(()) } else { Err(Refused::method()) }
}

fn page_size(call: &Call) -> Result<usize, Refused> {
    let Some(text) = call.query("n") else { return Ok(PAGE_MAX) };
    let size: usize = text.parse().map_err(|_| Refused::new(Code::PageInvalid, "n is the most entries of a page: a number"))?;
    Ok(size.min(PAGE_MAX))
}

/// Says where the next page is, if there is one.
fn link<T>(response: &mut Response, page: &Page<T>, next: &str, last: Option<&str>) -> Result<(), Refused> {
    match last.filter(|_| page.has_more) {
        Some(last) => {
            let and = if next.ends_with('?') { "" } else { "&" };
            set(response, header::LINK, &format!("<{next}{and}last={}>; rel=\"next\"", encoded(last)))
        }
        None => Ok(()),
    }
}

/// As a query's value has it (RFC 3986, 2.1 and 2.3).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
