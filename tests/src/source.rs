//! Repositories that a test commits to and a builder reads: git behind `git http-backend`, Subversion behind `svnserve`.
//!
//! A commit is made as a developer makes it, in a working copy that is then pushed or committed. Everybody may read the repositories,
//! because builders look at them with no rights of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::images::other;
use crate::process::{Place, Process};
use crate::wait;

/// A server that only has to open its socket.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Debian's own, which its packages add modules to.
pub const PYTHON: &str = "/usr/bin/python3";
/// The name of the one repository of each kind.
const NAME: &str = "shop";

/// A repository whose newest commit somebody may build.
pub trait Repository {
    /// What a pipeline's `[source]` says of it.
    fn source(&self) -> String;

    /// Writes files (a path and its text), commits them, and gives the commit as `coordctl` shows it.
    fn commit(&self, subject: &str, files: &[(&str, String)]) -> Result<String>;
}

/// Git over HTTP.
pub struct Git {
    url: String,
    server: Option<Process>,
    dir: TempDir,
}

/// Subversion by its own protocol.
pub struct Subversion {
    url: String,
    _server: Process,
    dir: TempDir,
}

impl Git {
    /// An empty repository, served at `address`, which must be free in `place`.
    pub fn start(place: &Place, address: (&str, u16)) -> Result<Git> {
        let dir = folder("coord-git-")?;
        let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        other(&["git", "init", "-q", "--bare", "-b", "main", &at(&format!("{NAME}.git"))])?;
        other(&["git", "init", "-q", "-b", "main", &at("work")])?;
        let mut git = Git { url: format!("http://{}:{}/{NAME}.git", address.0, address.1), server: None, dir };
        git.serve(place, address)?;
        Ok(git)
    }

    fn serve(&mut self, place: &Place, address: (&str, u16)) -> Result<()> {
        let script = self.dir.path().join("git_http.py");
        fs::write(&script, include_str!("source/git_http.py"))?;
        let (port, root) = (address.1.to_string(), self.dir.path().to_string_lossy().into_owned());
        let argv = [PYTHON, &script.to_string_lossy(), address.0, &port, &root];
        self.server = Some(Process::start("git server", &argv, place, &self.dir.path().join("server.log"))?);
        wait_port(place, address)
    }

    /// The server is gone, and with it the repository.
    pub fn vanish(&mut self) {
        self.server = None;
    }

    fn git(&self, args: &[&str]) -> Result<String> {
        let work = self.dir.path().join("work").to_string_lossy().into_owned();
        let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"];
        let output = other(&[&["git", "-C", &work], &who[..], args].concat())?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Repository for Git {
    fn source(&self) -> String {
        format!("git = {:?}\nbranch = \"main\"\n", self.url)
    }

    fn commit(&self, subject: &str, files: &[(&str, String)]) -> Result<String> {
        write(&self.dir.path().join("work"), files)?;
        self.git(&["add", "-A"])?;
        self.git(&["commit", "-q", "--allow-empty", "-m", subject])?;
        let bare = self.dir.path().join(format!("{NAME}.git"));
        self.git(&["push", "-q", &bare.to_string_lossy(), "HEAD:main"])?;
        self.git(&["rev-parse", "HEAD"])
    }
}

impl Subversion {
    /// A repository with an empty `trunk`, served at `address`, which must be free in `place`.
    pub fn start(place: &Place, address: (&str, u16)) -> Result<Subversion> {
        let dir = folder("coord-svn-")?;
        let (repository, root) = (dir.path().join(NAME), dir.path().to_string_lossy().into_owned());
        other(&["svnadmin", "create", &repository.to_string_lossy()])?;
        let local = format!("file://{}/trunk", repository.display());
        let work = dir.path().join("work").to_string_lossy().into_owned();
        other(&["svn", "mkdir", "-q", "-m", "Begin", &local])?;
        other(&["svn", "checkout", "-q", &local, &work])?;
        let port = address.1.to_string();
        let argv = ["svnserve", "--daemon", "--foreground", "--root", &root, "--listen-host", address.0, "--listen-port", &port];
        let server = Process::start("svnserve", &argv, place, &dir.path().join("server.log"))?;
        wait_port(place, address)?;
        Ok(Subversion { url: format!("svn://{}:{port}/{NAME}/trunk", address.0), _server: server, dir })
    }
}

impl Repository for Subversion {
    fn source(&self) -> String {
        format!("svn = {:?}\n", self.url)
    }

    fn commit(&self, subject: &str, files: &[(&str, String)]) -> Result<String> {
        let work = self.dir.path().join("work");
        write(&work, files)?;
        let at = work.to_string_lossy();
        other(&["svn", "add", "-q", "--force", "--parents", &at])?;
        other(&["svn", "commit", "-q", "--username", "ada", "-m", subject, &at])?;
        other(&["svn", "update", "-q", &at])?;
        let shown = other(&["svn", "info", "--show-item", "revision", &at])?;
        Ok(format!("r{}", String::from_utf8_lossy(&shown.stdout).trim()))
    }
}

/// Everybody may enter it.
pub(crate) fn folder(prefix: &str) -> Result<TempDir> {
    let dir = tempfile::Builder::new().prefix(prefix).tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    Ok(dir)
}

fn write(work: &Path, files: &[(&str, String)]) -> Result<()> {
    for (name, text) in files {
        let path: PathBuf = work.join(name);
        let parent = path.parent().context("a file in a folder")?;
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Waits until somebody listens there.
pub(crate) fn wait_port(place: &Place, (host, port): (&str, u16)) -> Result<()> {
    let look = format!("exec 3<>/dev/tcp/{host}/{port}");
    wait::wait_until(START_LIMIT, &format!("somebody listens on {host}:{port}"), || {
        let mut command: Command = place.command(&["bash", "-c", &look]);
        command.stderr(std::process::Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}
