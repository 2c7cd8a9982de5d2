//! A real registry: Debian's `docker-registry`, started for one test and gone with it.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::http;
use crate::image::{Blob, Image, Index};
use crate::process::{Pid, Place, Process};
use crate::wait;

/// It answers within a few tens of milliseconds; a loaded machine gets more.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running registry. Dropping it ends the process and removes what was pushed.
pub struct TestRegistry {
    authority: String,
    process: Process,
    _dir: TempDir,
}

impl TestRegistry {
    /// On a free port of 127.0.0.1.
    pub fn start() -> Result<TestRegistry> {
        TestRegistry::start_at("127.0.0.1:0", &Place::default())
    }

    /// At an address inside some place, such as the switch of a lab; port 0 picks a free one.
    pub fn start_at(address: &str, place: &Place) -> Result<TestRegistry> {
        let dir = tempfile::Builder::new().prefix("coord-registry-").tempdir()?;
        let config = write_config(&dir, address)?;
        let log = dir.path().join("log");
        let config = config.to_string_lossy();
        let process = Process::start("registry", &["docker-registry", "serve", &config], place, &log)?;
        let authority =
            wait::wait_for(START_LIMIT, "docker-registry listens", || process.log().lines().find_map(listening_address));
        let authority = authority.with_context(|| format!("docker-registry says:\n{}", process.log()))?;
        Ok(TestRegistry { authority, process, _dir: dir })
    }

    /// `127.0.0.1:PORT`, as it stands in an image reference.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// `127.0.0.1:PORT/repository:tag`.
    pub fn reference(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.authority)
    }

    /// Pushes and gives the reference with its tag. Only for a registry in the test's own network.
    pub fn push(&self, image: &Image, repository: &str, tag: &str) -> Result<String> {
        push(&self.authority, image, repository, tag)?;
        Ok(self.reference(repository, tag))
    }

    /// The server itself.
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// What the registry logged; one line for every request.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn write_config(dir: &TempDir, address: &str) -> Result<PathBuf> {
    let storage = dir.path().join("storage");
    let config = dir.path().join("config.yml");
    let mut file = std::fs::File::create(&config)?;
    write!(
        file,
        "version: 0.1\n\
         log: {{ level: info, accesslog: {{ disabled: true }} }}\n\
         storage: {{ filesystem: {{ rootdirectory: {} }}, delete: {{ enabled: true }} }}\n\
         http: {{ addr: '{address}' }}\n",
        storage.display()
    )?;
    Ok(config)
}

/// The address in the line by which docker-registry says that it is ready.
fn listening_address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening on ")?;
    let end = rest.find(['"', ' ', ',']).unwrap_or(rest.len());
    Some(rest[..end].to_owned())
}

/// Pushes an image: every blob that is not there yet, then the manifest under `tag`.
///
/// By the OCI distribution specification, monolithic uploads.
pub fn push(authority: &str, image: &Image, repository: &str, tag: &str) -> Result<()> {
    let base = format!("http://{authority}/v2/{repository}");
    for blob in image.blobs() {
        push_blob(&base, blob).with_context(|| format!("push {} to {base}", blob.digest))?;
    }
    push_manifest(&format!("{base}/manifests/{tag}"), image.media_type, &image.manifest)
}

/// Pushes images by their digests, and under `tag` the index that names them.
pub fn push_index(authority: &str, images: &[Image], repository: &str, tag: &str) -> Result<()> {
    for image in images {
        push(authority, image, repository, &image.manifest.digest)?;
    }
    let index = Index::of(images)?;
    push_manifest(&format!("http://{authority}/v2/{repository}/manifests/{tag}"), index.media_type, &index.blob)
}

fn push_manifest(url: &str, media_type: &str, manifest: &Blob) -> Result<()> {
    let answer = http::request("PUT", url, &[("Content-Type", media_type)], &manifest.bytes)?;
    expect_status(&answer, 201).with_context(|| format!("push manifest {url}"))
}

fn push_blob(base: &str, blob: &Blob) -> Result<()> {
    let there = http::request("HEAD", &format!("{base}/blobs/{}", blob.digest), &[], &[])?;
    if there.status == 200 {
        return Ok(());
    }
    let opened = http::request("POST", &format!("{base}/blobs/uploads/"), &[], &[])?;
    expect_status(&opened, 202)?;
    let location = opened.headers.get("location").context("an upload without a location")?;
    let sign = if location.contains('?') { '&' } else { '?' };
    let url = format!("{location}{sign}digest={}", blob.digest);
    let headers = [("Content-Type", "application/octet-stream")];
    let done = http::request("PUT", &url, &headers, &blob.bytes)?;
    expect_status(&done, 201)
}

fn expect_status(answer: &http::Answer, status: u16) -> Result<()> {
    if answer.status != status {
        bail!("status {} instead of {status}: {}", answer.status, answer.text());
    }
    Ok(())
}
