//! The same with blobs in a real S3-compatible server: signatures, multipart uploads and ranges as they go over the wire.
//!
//! `tests/setup.sh` installs the server (moto) below `target/`; without it, and without one in `PATH`, this test fails.

use super::*;
use crate::{S3Config, StorageConfig};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// It starts within seconds, on a loaded machine within some more.
const START_MAX: Duration = Duration::from_secs(60);
/// How often it is asked whether it listens.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// A server of its own; it ends with the test.
struct Server {
    process: Child,
    endpoint: String,
}

impl Server {
    async fn start(folder: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/s3-server/bin/moto_server");
        let program = if installed.exists() { installed } else { PathBuf::from("moto_server") };
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().expect("tests/setup.sh installs moto_server");
        let mut server = Self { process, endpoint: format!("http://127.0.0.1:{port}") };
        let listens = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                let log = || std::fs::read_to_string(folder.join("log")).unwrap();
                assert!(server.process.try_wait().unwrap().is_none(), "the server ended: {}", log());
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        tokio::time::timeout(START_MAX, listens).await.expect("the server listens");
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended by itself is as dead.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn images_in_a_real_bucket_are_pushed_and_pulled() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let key = folder.path().join("key");
    std::fs::write(&key, "key\n").unwrap();
    let s3 = S3Config {
        bucket: "images".to_owned(),
        prefix: "fleet/one".to_owned(),
        endpoint: Some(server.endpoint.clone()),
        region: "us-east-1".to_owned(),
        access_key_file: key.clone(),
        secret_key_file: key,
    };
    let lab = Lab::with(|config| config.storage = StorageConfig::S3(s3)).await;
    // Before the bucket is there: an error, and the upload can be finished later.
    let small = noise(1000, 1);
    let place = lab.begin("a").await;
    assert_eq!(lab.ask(Method::PATCH, &place).body(small.clone()).send().await.unwrap().status(), 202);
    let put = format!("{place}?digest={}", Digest::of(&small));
    assert_eq!(lab.status(Method::PUT, &put).await, 500);
    assert!(lab.client.put(format!("{}/images", server.endpoint)).send().await.unwrap().status().is_success());
    assert_eq!(lab.status(Method::PUT, &put).await, 201);

    // One part, and three of them.
    for bytes in [b"".to_vec(), small, noise(17 * 1024 * 1024, 2)] {
        let digest = lab.push("a", &bytes).await;
        let path = format!("/v2/a/blobs/{digest}");
        assert_eq!(lab.get(&path).await.bytes().await.unwrap(), bytes);
        if let Some(middle) = bytes.len().checked_sub(500).filter(|middle| *middle > 0) {
            let part = lab.ask(Method::GET, &path).header("range", format!("bytes={middle}-")).send().await.unwrap();
            assert_eq!(part.status(), 206);
            assert_eq!(part.bytes().await.unwrap(), bytes[middle..]);
        }
    }
    let digest = lab.push_image("a", "v1", b"layer").await;
    assert_eq!(Digest::of(&lab.get("/v2/a/manifests/v1").await.bytes().await.unwrap()), digest);
    let stored = lab.centre.stored().await.unwrap();
    assert!(stored.iter().any(|stored| stored.digest == digest && stored.bytes > 0), "{stored:?}");
    let layer = Digest::of(b"layer");
    assert_eq!(lab.status(Method::DELETE, &format!("/v2/a/manifests/{digest}")).await, 202);
    let seen = crate::records::load::<crate::records::BlobRecord>(&**lab.centre.store(), &crate::records::blob_key(&layer)).await;
    assert!(lab.centre.drop_blob(&layer, Some(seen.unwrap().unwrap().revision), vec![name("a")]).await.unwrap());
    assert!(!lab.centre.stored().await.unwrap().iter().any(|stored| stored.digest == layer));
}
