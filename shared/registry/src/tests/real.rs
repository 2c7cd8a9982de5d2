//! The client and a registry of another make: Debian's docker-registry, over TLS, and as a cache in front of another.

use super::*;
use crate::fake::OCI_INDEX;
use bytes::Bytes;
use coord_shared::names::Digest;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const INDEX: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
/// It starts within a second, on a loaded machine within some.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// A docker-registry of its own, and its log; it ends with the test.
struct Real {
    process: Child,
    host: String,
    log: std::path::PathBuf,
}

impl Real {
    /// `more` continues the configuration; `tls` its `http` part.
    async fn start(folder: &Path, more: &str, tls: &str) -> Real {
        for attempt in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let (host, at) = (format!("127.0.0.1:{port}"), folder.display());
            let (config, log) = (folder.join("config.yml"), folder.join(format!("log-{attempt}")));
            let text = format!(
                "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {at}/data}}}}\nhttp: {{addr: \"{host}\"{tls}}}\n{more}\n"
            );
            std::fs::write(&config, text).unwrap();
            let output = std::fs::File::create(&log).unwrap();
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(&config).stdout(output.try_clone().unwrap()).stderr(Stdio::from(output));
            let process = command.spawn().expect("docker-registry is installed (Debian package docker-registry)");
            let mut real = Real { process, host, log };
            let started = crate::clock::now();
            while started.elapsed() < START_PATIENCE && real.process.try_wait().unwrap().is_none() {
                if tokio::net::TcpStream::connect(&real.host).await.is_ok() {
                    return real;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        panic!("docker-registry does not start in {}", folder.display());
    }

    /// Lines of the access log about this part of a path, once there are so many of them: they come after the answer.
    async fn accesses(&self, part: &str, count: usize) -> Vec<String> {
        let read = async || {
            loop {
                let text = std::fs::read_to_string(&self.log).unwrap();
                let lines: Vec<String> =
                    text.lines().filter(|line| line.contains(part) && line.contains(" HTTP/")).map(str::to_owned).collect();
                if lines.len() >= count {
                    return lines;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(START_PATIENCE, read()).await.expect("the log tells of it")
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        // One that has ended by itself is as dead.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A certificate for 127.0.0.1, and what goes into `http` of the configuration.
fn certificate(folder: &Path) -> String {
    std::fs::write(folder.join("ext"), "subjectAltName=IP:127.0.0.1").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for arguments in [
        format!("req -x509 {key} -keyout ca.key -out ca.pem -days 1 -subj /CN=authority"),
        format!("req {key} -keyout key.pem -out csr -subj /CN=registry"),
        "x509 -req -in csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -extfile ext -out cert.pem".to_owned(),
    ] {
        let made = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
        assert!(made.expect("openssl is installed (Debian package openssl)").status.success(), "{arguments}");
    }
    let at = folder.display();
    format!(", tls: {{certificate: {at}/cert.pem, key: {at}/key.pem}}")
}

/// A client that trusts only these, to push with.
fn pusher(authorities: Vec<reqwest::Certificate>) -> reqwest::Client {
    // Whoever was first has installed the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().tls_certs_only(authorities).build().unwrap()
}

/// Pushes a blob and an index of nothing, tagged 1, into `shop/web` (OCI distribution spec: POST, PUT, PUT).
async fn push(client: &reqwest::Client, base: &str, blob: &Bytes) -> (Digest, Digest) {
    let digest = Digest::of(blob);
    let begun = client.post(format!("{base}/v2/shop/web/blobs/uploads/")).send().await.unwrap();
    let location = begun.headers()["location"].to_str().unwrap().to_owned();
    let done = client.put(location).query(&[("digest", digest.as_ref())]).body(blob.clone()).send().await.unwrap();
    assert!(done.status().is_success(), "{done:?}");
    let index = client.put(format!("{base}/v2/shop/web/manifests/1")).header("content-type", OCI_INDEX).body(INDEX);
    assert!(index.send().await.unwrap().status().is_success());
    (digest, Digest::of(INDEX.as_bytes()))
}

async fn read(registry: &Registry, image: &ImageReference, digest: &Digest, size: u64, from: u64) -> Vec<u8> {
    let mut blob = registry.blob(image, digest, size, from..size).await.unwrap();
    let mut all = Vec::new();
    while let Some(chunk) = blob.chunk().await.unwrap() {
        all.extend_from_slice(&chunk);
    }
    all
}

#[tokio::test]
async fn over_tls_small_things_share_http_2_and_large_blobs_have_http_1() {
    let folder = TempDir::new().unwrap();
    let real = Real::start(folder.path(), "", &certificate(folder.path())).await;
    let ca = folder.path().join("ca.pem");
    let config = RegistryConfig { prefix: real.host.clone(), ca: Some(ca.clone()), ..RegistryConfig::default() };
    let registry = Registry::with_timeouts(vec![config], None, QUICK).unwrap();
    let trusted = pusher(crate::http::load_authorities(&ca).unwrap());
    let content: Bytes = (0..2_000_000_u32).map(|n| n.to_le_bytes()[1]).collect::<Vec<u8>>().into();
    let (blob, index) = push(&trusted, &format!("https://{}", real.host), &content).await;
    let image: ImageReference = format!("{}/shop/web:1", real.host).parse().unwrap();
    assert_eq!(registry.resolve(&image).await.unwrap(), index);
    registry.manifest(&image, &index).await.unwrap();
    assert_eq!(read(&registry, &image, &blob, 2_000_000, 0).await, content);
    assert_eq!(read(&registry, &image, &blob, 2_000_000, 1_500_000).await, content[1_500_000..]);
    let own = |lines: Vec<String>| lines.into_iter().filter(|line| line.contains("\"coord/")).collect::<Vec<_>>();
    // The push wrote two lines of blobs and one of manifests.
    let manifests = own(real.accesses("/manifests/", 3).await);
    assert!(manifests.len() == 2 && manifests.iter().all(|line| line.contains(" HTTP/2.0\"")), "{manifests:?}");
    let blobs = own(real.accesses("/blobs/", 4).await);
    assert!(blobs.len() == 2 && blobs.iter().all(|line| line.contains(" HTTP/1.1\"")), "{blobs:?}");
}

#[tokio::test]
async fn a_pull_through_cache_is_a_mirror_that_fetches_for_itself() {
    let (near, far) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let origin = Real::start(far.path(), "", "").await;
    let plain = |prefix: &str| RegistryConfig { prefix: prefix.to_owned(), insecure: true, ..RegistryConfig::default() };
    let cache = Real::start(near.path(), &format!("proxy: {{remoteurl: \"http://{}\"}}", origin.host), "").await;
    let mut own = plain(&origin.host);
    own.mirror = vec![cache.host.clone()];
    let registry = Registry::with_timeouts(vec![own, plain(&cache.host)], None, QUICK).unwrap();
    let content = Bytes::from(vec![7; 300_000]);
    let (blob, index) = push(&pusher(Vec::new()), &format!("http://{}", origin.host), &content).await;
    let image: ImageReference = format!("{}/shop/web:1", origin.host).parse().unwrap();
    assert_eq!(registry.resolve(&image).await.unwrap(), index);
    registry.manifest(&image, &index).await.unwrap();
    assert_eq!(read(&registry, &image, &blob, 300_000, 0).await, content);
    assert_eq!(read(&registry, &image, &blob, 300_000, 100_000).await, content[100_000..]);
    let asked = cache.accesses("/blobs/", 2).await;
    assert!(asked.iter().all(|line| line.contains("\"coord/")), "{asked:?}");
}
