//! An S3-compatible object store: `moto`, from Python's package index, which `tests/setup.sh` installs below `target`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::http;
use crate::process::{Place, Process};
use crate::wait;

/// Python reads many files first.
const START_LIMIT: Duration = Duration::from_secs(60);
const BUCKET: &str = "centre";

/// A running store with one empty bucket. Dropping it ends the store and forgets what it held.
pub struct S3Server {
    endpoint: String,
    _process: Process,
    dir: TempDir,
}

impl S3Server {
    /// On a free port of 127.0.0.1.
    pub fn start() -> Result<S3Server> {
        let program = home().join("bin/moto_server");
        ensure!(program.is_file(), "{} is missing; tests/setup.sh installs it", program.display());
        let dir = tempfile::Builder::new().prefix("coord-s3-").tempdir()?;
        let argv = [&*program.to_string_lossy(), "-H", "127.0.0.1", "-p", "0"];
        let process = Process::start("object store", &argv, &Place::default(), &dir.path().join("log"))?;
        let endpoint = wait::wait_for(START_LIMIT, "the object store listens", || {
            let log = process.log();
            let (_, rest) = log.split_once("Running on ")?;
            rest.split_whitespace().next().map(str::to_owned)
        });
        let endpoint = endpoint.with_context(|| process.log())?;
        let made = http::request("PUT", &format!("{endpoint}/{BUCKET}"), &[], &[])?;
        ensure!(made.status == 200, "make a bucket: {} {}", made.status, made.text());
        for key in ["access", "secret"] {
            std::fs::write(dir.path().join(key), "testing\n")?;
        }
        Ok(S3Server { endpoint, _process: process, dir })
    }

    /// The coordinator's `[centre]` for it.
    pub fn to_toml(&self) -> String {
        let at = |name: &str| self.dir.path().join(name).to_string_lossy().into_owned();
        format!(
            "\n[centre]\nstorage = {{ s3 = {{ bucket = {BUCKET:?}, endpoint = {:?}, access_key_file = {:?}, secret_key_file = {:?} }} }}\n",
            self.endpoint,
            at("access"),
            at("secret")
        )
    }

    /// The names of all objects.
    pub fn objects(&self) -> Result<Vec<String>> {
        let list = http::get(&format!("{}/{BUCKET}?list-type=2", self.endpoint))?;
        ensure!(list.status == 200, "list the bucket: {} {}", list.status, list.text());
        let text = list.text();
        let keys = text.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        Ok(keys.map(str::to_owned).collect())
    }
}

fn home() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).join("target/s3-server")
}
