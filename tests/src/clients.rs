//! Other people's clients of a registry: skopeo, podman, buildah and docker, each with folders and logins of its own.
//!
//! They run where the coordinator of a lab is, trust its authority by `SSL_CERT_FILE`, as any program in Go does, and touch nothing of the
//! machine: no storage, no login, no certificate of it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::fleet::Fleet;
use crate::process::{Place, Process, describe};
use crate::wait;

/// It looks at its own kernel first.
const DOCKER_LIMIT: Duration = Duration::from_secs(60);

/// Clients that share one folder.
pub struct Clients {
    docker: Option<Process>,
    place: Place,
    /// The registry, `HOST:PORT`.
    pub registry: String,
    environment: Vec<(&'static str, OsString)>,
    dir: TempDir,
}

impl Clients {
    /// For the image centre of a lab's coordinator. Nobody is logged in.
    pub fn of(fleet: &Fleet) -> Result<Clients> {
        let dir = tempfile::Builder::new().prefix("coord-clients-").tempdir()?;
        let at = |name: &str| dir.path().join(name).into_os_string();
        let storage = format!("[storage]\ndriver = \"vfs\"\ngraphroot = {:?}\nrunroot = {:?}\n", at("store"), at("run"));
        fs::write(dir.path().join("storage.conf"), storage)?;
        // Everything is trusted here: signatures are another matter.
        fs::write(dir.path().join("policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)?;
        let authority = fleet.authority().context("clients need a lab, whose coordinator has a certificate")?;
        let environment = vec![
            ("SSL_CERT_FILE", authority.as_os_str().to_owned()),
            ("HOME", at("home")),
            ("XDG_RUNTIME_DIR", at("home")),
            ("REGISTRY_AUTH_FILE", at("auth.json")),
            ("CONTAINERS_STORAGE_CONF", at("storage.conf")),
            ("DOCKER_CONFIG", at("docker-config")),
            ("DOCKER_HOST", OsString::from(format!("unix://{}", dir.path().join("docker.sock").display()))),
            ("BUILDAH_ISOLATION", OsString::from("chroot")),
            ("no_proxy", OsString::from("*")),
        ];
        fs::create_dir(dir.path().join("home"))?;
        Ok(Clients { docker: None, place: fleet.place(), registry: fleet.centre().to_owned(), environment, dir })
    }

    /// A file or folder that is gone with the clients.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `HOST:PORT/NAME`.
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.registry)
    }

    /// A client's command, to be run or started.
    pub fn command(&self, line: &[&str]) -> Command {
        let mut command = self.place.command(line);
        command.envs(self.environment.iter().map(|(name, value)| (*name, value)));
        command
    }

    /// To its end, however it ends.
    pub fn run(&self, line: &[&str]) -> Result<Output> {
        self.command(line).output().with_context(|| format!("run {}; tests/setup.sh installs it", line[0]))
    }

    /// The same where it must succeed; its standard output.
    ///
    /// # Errors
    /// When it fails, with all that it said.
    pub fn ok(&self, line: &[&str]) -> Result<String> {
        let output = self.run(line)?;
        if !output.status.success() {
            bail!("{}: {}", line.join(" "), describe(&output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `PROGRAM login`, with the password by standard input, as all four know it.
    pub fn login(&self, program: &str, user: &str, password: &str) -> Result<Output> {
        let mut command = self.command(&[program, "login", "--username", user, "--password-stdin", &self.registry]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("run {program}; tests/setup.sh installs it"))?;
        let mut input = child.stdin.take().context("its standard input")?;
        std::io::Write::write_all(&mut input, password.as_bytes())?;
        drop(input);
        Ok(child.wait_with_output()?)
    }

    /// Docker's daemon, without a network of its own: it pushes and pulls, and starts nothing.
    pub fn start_docker(&mut self) -> Result<()> {
        let at = |name: &str| self.path(name).to_string_lossy().into_owned();
        fs::write(self.path("daemon.json"), "{}")?;
        let socket = format!("unix://{}", at("docker.sock"));
        let (config, data, exec, pid) = (at("daemon.json"), at("docker"), at("docker-run"), at("docker.pid"));
        let folders = ["--config-file", &config, "--data-root", &data, "--exec-root", &exec, "--pidfile", &pid, "-H", &socket];
        let network = ["--bridge", "none", "--iptables=false", "--ip6tables=false", "--storage-driver", "vfs"];
        let authority = self.environment.iter().find(|(name, _)| *name == "SSL_CERT_FILE").context("an authority")?;
        let trust = format!("SSL_CERT_FILE={}", authority.1.to_string_lossy());
        let line = [&["env", &trust, "dockerd"], &folders[..], &network].concat();
        let mut daemon = Process::start("dockerd", &line, &self.place, &self.path("dockerd.log"))?;
        let answers = wait::wait_until(DOCKER_LIMIT, "dockerd answers", || {
            daemon.ended().is_some() || self.run(&["docker", "version"]).is_ok_and(|output| output.status.success())
        });
        answers.with_context(|| daemon.log())?;
        if daemon.ended().is_some() {
            bail!("dockerd ended: {}", daemon.log());
        }
        self.docker = Some(daemon);
        Ok(())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // It ends what it started itself.
        if let Some(docker) = self.docker.take() {
            let _ = docker.stop();
        }
        crate::fleet::unmount_below(self.dir.path());
    }
}

/// The digest of the one manifest that an OCI layout names.
pub fn layout_digest(layout: &Path) -> Result<String> {
    let index = fs::read(layout.join("index.json")).with_context(|| format!("read {}", layout.display()))?;
    let index: serde_json::Value = serde_json::from_slice(&index)?;
    let digest = index["manifests"][0]["digest"].as_str();
    Ok(digest.context("an index without a manifest")?.to_owned())
}
