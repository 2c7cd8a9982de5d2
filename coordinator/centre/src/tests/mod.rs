//! The centre behind real HTTP, with the records in memory and the bytes in a folder of the test.

mod discovery;
mod hostile;
mod management;
mod objects;
mod pull;
mod push;
mod races;
mod resume;
mod s3;

use crate::{Access, Action, Centre, CentreConfig, OCI_INDEX, OCI_MANIFEST, Refusal};
use coord_shared::names::{Digest, Repository};
use coord_store::{FaultyStore, MemoryStore, SharedStore};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// Rights by token: `admin` may everything, `reader` reads, `writer` reads and pushes below `w/`.
struct Rights;

impl Access for Rights {
    fn check(&self, authorization: Option<&str>, wanted: Option<(&Repository, Action)>) -> Result<String, Refusal> {
        let who = authorization.and_then(|text| text.strip_prefix("Bearer ")).ok_or(Refusal::Unknown)?;
        let may = match (who, wanted) {
            ("admin", _) | ("reader", None | Some((_, Action::Pull))) | ("writer", None | Some((_, Action::Pull))) => true,
            ("writer", Some((repository, Action::Push))) => repository.as_str().starts_with("w/"),
            ("reader" | "writer", Some(_)) => false,
            _ => return Err(Refusal::Unknown),
        };
        if may { Ok(who.to_owned()) } else { Err(Refusal::Denied(format!("{who} may not"))) }
    }
}

/// A centre that listens.
struct Lab {
    dir: TempDir,
    config: CentreConfig,
    store: Arc<FaultyStore>,
    centre: Centre,
    base: String,
    client: reqwest::Client,
    server: JoinHandle<()>,
}

impl Lab {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut CentreConfig)) -> Self {
        Self::over(change, Centre::open).await
    }

    async fn over(
        change: impl FnOnce(&mut CentreConfig),
        open: impl FnOnce(&CentreConfig, SharedStore) -> Result<Centre, crate::CentreError>,
    ) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let mut config = CentreConfig::new(dir.path());
        change(&mut config);
        let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::default())));
        let centre = open(&config, Arc::clone(&store) as SharedStore).unwrap();
        let (base, server) = serve(&centre).await;
        Self { dir, config, store, centre, base, client: reqwest::Client::new(), server }
    }

    /// The process ends at once, and another one begins with the same folder and records.
    async fn restart(self) -> Self {
        self.server.abort();
        let _ = self.server.await;
        drop(self.centre);
        // A connection of the old one would be used again.
        let client = reqwest::Client::new();
        let centre = Centre::open(&self.config, Arc::clone(&self.store) as SharedStore).unwrap();
        let (base, server) = serve(&centre).await;
        Self { centre, base, server, client, ..self }
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.ask_as("admin", method, path)
    }

    fn ask_as(&self, who: &str, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        self.client.request(method, url).bearer_auth(who)
    }

    async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path).send().await.unwrap()
    }

    async fn status(&self, method: Method, path: &str) -> StatusCode {
        self.ask(method, path).send().await.unwrap().status()
    }

    /// Begins an upload; where it is.
    async fn begin(&self, name: &str) -> String {
        let begun = self.ask(Method::POST, &format!("/v2/{name}/blobs/uploads/")).send().await.unwrap();
        assert_eq!(begun.status(), 202);
        header(&begun, "location")
    }

    /// Pushes a blob.
    async fn push(&self, name: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let pushed = self.ask(Method::POST, &path).body(bytes.to_vec()).send().await.unwrap();
        assert_eq!(pushed.status(), 201, "{}", pushed.text().await.unwrap());
        digest
    }

    async fn put_manifest(&self, name: &str, reference: &str, media_type: &str, manifest: &Value) -> Response {
        let request = self.ask(Method::PUT, &format!("/v2/{name}/manifests/{reference}"));
        request.header("content-type", media_type).body(manifest.to_string()).send().await.unwrap()
    }

    /// Pushes an image with one layer of these bytes.
    async fn push_image(&self, name: &str, tag: &str, layer: &[u8]) -> Digest {
        let (config, layer) = (self.push(name, b"{}").await, (self.push(name, layer).await, layer.len()));
        let manifest = image(&config, &layer.0, layer.1);
        let put = self.put_manifest(name, tag, OCI_MANIFEST, &manifest).await;
        assert_eq!(put.status(), 201, "{}", put.text().await.unwrap());
        Digest::of(manifest.to_string().as_bytes())
    }
}

async fn serve(centre: &Centre) -> (String, JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = centre.router(Arc::new(Rights));
    (base, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

fn header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name).unwrap_or_else(|| panic!("no header {name}"));
    value.to_str().unwrap().to_owned()
}

/// The spec's code of an error.
async fn code(response: Response) -> String {
    let status = response.status();
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: no error in JSON: {text:?}"));
    body["errors"][0]["code"].as_str().unwrap().to_owned()
}

fn image(config: &Digest, layer: &Digest, layer_bytes: usize) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": layer_bytes }],
    })
}

fn index(of: &[&Digest]) -> Value {
    let entry = |digest: &&Digest| json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": 1 });
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": of.iter().map(entry).collect::<Vec<_>>() })
}

/// Bytes that do not compress and are the same every time.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(bytes).collect()
}

fn name(text: &str) -> Repository {
    text.parse().unwrap()
}
