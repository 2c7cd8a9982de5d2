//! The OCI Distribution spec 1.1 over HTTP: all of `/v2/`.
//!
//! Thin: it finds out what is asked ([`target`]), asks whether it is allowed, calls the centre, and puts the answer into the spec's headers.
//! Repository names have slashes, so the router below `/v2/` is our own.

mod blobs;
mod error;
mod lists;
mod manifests;
mod range;
mod target;
mod uploads;

use crate::Centre;
use crate::access::{Access, Action};
use crate::through::Through;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use coord_shared::names::Repository;
use error::{Code, Refused};
use std::sync::Arc;
use target::Target;

/// Where the digest of what was asked for is said.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Which protocol this is; older clients look for it.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// The centre, and whoever says who may do what.
struct Door {
    centre: Centre,
    access: Arc<dyn Access>,
    /// Makes copies of other registries' images, where that is wanted.
    through: Option<Arc<Through>>,
}

impl Centre {
    /// The routes of `/v2/`, to be merged into a server. Requests may have bodies of any size; nothing is held in memory but manifests.
    pub fn router(&self, access: Arc<dyn Access>) -> Router {
        self.router_through(access, None)
    }

    /// The same, and copies of other registries' images, made when somebody pulls.
    pub fn router_through(&self, access: Arc<dyn Access>, through: Option<Arc<Through>>) -> Router {
        let door = Arc::new(Door { centre: self.clone(), access, through });
        // Bodies are limited where they are read: a layer has no limit that would suit a manifest.
        Router::new()
            .route("/v2", any(root))
            .route("/v2/", any(root))
            .route("/v2/{*rest}", any(below))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(door)
    }
}

/// A request without its body.
struct Call {
    method: Method,
    query: Vec<(String, String)>,
    headers: HeaderMap,
}

impl Call {
    fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body's length, if it was said.
    fn length(&self) -> Option<u64> {
        self.header(&header::CONTENT_LENGTH)?.parse().ok()
    }
}

type Queries = Query<Vec<(String, String)>>;

async fn root(State(door): State<Arc<Door>>, method: Method, headers: HeaderMap) -> Response {
    let answer = match door.caller(&headers, None) {
        Err(refused) => Err(refused),
        Ok(_) if method == Method::GET || method == Method::HEAD => Ok(json(StatusCode::OK, "{}".to_owned())),
        Ok(_) => Err(Refused::method()),
    };
    finish(answer)
}

async fn below(
    State(door): State<Arc<Door>>,
    Path(rest): Path<String>,
    query: Result<Queries, QueryRejection>,
    request: Request,
) -> Response {
    let query = query.map(|Query(query)| query).unwrap_or_default();
    let (parts, body) = request.into_parts();
    let call = Call { method: parts.method, query, headers: parts.headers };
    finish(match Target::parse(&rest, &call.method) {
        Ok(target) => Box::pin(door.serve(target, &call, body)).await,
        // Whoever is not known learns nothing about names either.
        Err(refused) => Err(door.caller(&call.headers, None).err().unwrap_or(refused)),
    })
}

impl Door {
    async fn serve(&self, target: Target, call: &Call, body: Body) -> Result<Response, Refused> {
        match target {
            Target::Catalog => self.catalog(call).await,
            Target::Tags(name) => self.tags(&name, call).await,
            Target::Referrers(name, digest) => self.referrers(&name, &digest, call).await,
            Target::Manifest(name, reference) => self.manifest(&name, &reference, call, body).await,
            Target::Blob(name, digest) => self.blob(&name, &digest, call).await,
            Target::Uploads(name) => self.start(&name, call, body).await,
            Target::Upload(name, id) => self.upload(&name, &id, call, body).await,
        }
    }

    /// Who calls, if he may.
    fn caller(&self, headers: &HeaderMap, wanted: Option<(&Repository, Action)>) -> Result<String, Refused> {
        let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        self.access.check(authorization, wanted).map_err(Refused::from)
    }

    fn allow(&self, call: &Call, name: &Repository, action: Action) -> Result<String, Refused> {
        let who = self.caller(&call.headers, Some((name, action)))?;
        let copied_from = self.through.as_ref().and_then(|through| through.rule(name));
        match copied_from {
            Some(rule) if action == Action::Push => {
                Err(Refused::new(Code::Denied, format!("{name} is a copy of what is at {}; push there", rule.upstream())))
            }
            Some(_) | None => Ok(who),
        }
    }
}

fn finish(answer: Result<Response, Refused>) -> Response {
    let mut response = answer.unwrap_or_else(|refused| refused.into_response());
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

/// An answer in JSON.
fn json(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// An answer without a body.
fn empty(status: StatusCode) -> Response {
    let mut response = status.into_response();
    if status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    response
}

/// Sets a header whose text we made of checked names and numbers.
fn set(response: &mut Response, name: HeaderName, text: &str) -> Result<(), Refused> {
    let value = HeaderValue::from_str(text).map_err(|_| Refused::new(Code::NameInvalid, "a header cannot hold this name"))?;
    response.headers_mut().insert(name, value);
    Ok(())
}
