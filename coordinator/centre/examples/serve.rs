//! The image centre alone, open to everybody who reaches it: for measuring it beside other registries, and for trying clients.
//!
//! `serve ADDRESS FOLDER [S3-ENDPOINT BUCKET ACCESS-KEY-FILE SECRET-KEY-FILE]`; prints the address that it listens on. What repositories
//! hold lies in `FOLDER/coord.sqlite`.

use coord_centre::{Access, Action, Centre, CentreConfig, Refusal, S3Config, StorageConfig};
use coord_shared::names::Repository;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Buffers of one connection, in bytes: as the coordinator has them.
const BUFFER_MAX_BYTES: usize = 16 * 1024;

struct Open;

impl Access for Open {
    fn check(&self, _authorization: Option<&str>, _wanted: Option<(&Repository, Action)>) -> Result<String, Refusal> {
        Ok("anybody".to_owned())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, folder, rest @ ..] = arguments.as_slice() else { return Err("give an address and a folder".into()) };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = CentreConfig::new(Path::new(folder).join("centre"));
    if let [endpoint, bucket, access_key_file, secret_key_file] = rest {
        config.storage = StorageConfig::S3(S3Config {
            bucket: bucket.clone(),
            prefix: String::new(),
            endpoint: Some(endpoint.clone()),
            region: "us-east-1".to_owned(),
            access_key_file: access_key_file.into(),
            secret_key_file: secret_key_file.into(),
        });
    }
    std::fs::create_dir_all(folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = coord_store::open(Path::new(folder))?;
        let centre = Centre::open(&config, store)?;
        let listener = tokio::net::TcpListener::bind(address).await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        let router = centre.router(Arc::new(Open));
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            let mut http = hyper::server::conn::http1::Builder::new();
            let connection = http.max_buf_size(BUFFER_MAX_BYTES).serve_connection(TokioIo::new(stream), service);
            // Whoever breaks off needs no word from us.
            tokio::spawn(async move { connection.await.ok() });
        }
    })
}
