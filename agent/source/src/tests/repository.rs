//! Repositories that tests make, with the same programs.

use coord_shared::names::Commit;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A git repository with a work tree.
pub(super) struct Repository {
    pub(super) path: PathBuf,
}

impl Repository {
    /// A new one at `path`, on branch `main`.
    pub(super) fn new(path: &Path) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let repository = Self { path: path.to_owned() };
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    pub(super) fn url(&self) -> String {
        format!("file://{}", self.path.display())
    }

    /// Writes the files and commits them.
    pub(super) fn commit(&self, subject: &str, files: &[(&str, &str)]) -> Commit {
        for (name, content) in files {
            let path = self.path.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", subject]);
        self.head()
    }

    pub(super) fn head(&self) -> Commit {
        self.git(&["rev-parse", "HEAD"]).trim().parse().unwrap()
    }

    /// Runs git there; answers what it prints.
    pub(super) fn git(&self, arguments: &[&str]) -> String {
        self.git_with(arguments, b"")
    }

    pub(super) fn git_with(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(&self.path)
            .args(["-c", "protocol.file.allow=always", "-c", "core.protectNTFS=false"])
            .args(arguments);
        for (name, value) in [("NAME", "Alice"), ("EMAIL", "alice@example.org"), ("DATE", "2026-11-22T10:00:00+01:00")] {
            command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        run(command, input)
    }
}

/// A Subversion repository with `trunk`.
pub(super) struct Subversion {
    pub(super) path: PathBuf,
    work: PathBuf,
}

impl Subversion {
    pub(super) fn new(path: &Path) -> Self {
        let repository = Self { path: path.join("repository"), work: path.join("work") };
        std::fs::create_dir_all(path).unwrap();
        let mut create = Command::new("svnadmin");
        create.arg("create").arg(&repository.path);
        run(create, b"");
        repository.svn(&["mkdir", "-q", "-m", "Begin", &format!("{}/trunk", repository.root())]);
        repository.svn(&["checkout", "-q", &repository.url(), &repository.work.display().to_string()]);
        repository
    }

    pub(super) fn root(&self) -> String {
        format!("file://{}", self.path.display())
    }

    pub(super) fn url(&self) -> String {
        format!("{}/trunk", self.root())
    }

    pub(super) fn commit(&self, message: &str, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = self.work.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let work = self.work.display().to_string();
        self.svn(&["add", "-q", "--force", &work]);
        self.svn(&["commit", "-q", "-m", message, &work]);
        self.svn(&["update", "-q", &work]);
    }

    pub(super) fn set_property(&self, name: &str, value: &str) {
        self.svn(&["propset", "-q", name, value, &self.work.display().to_string()]);
    }

    pub(super) fn svn(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("svn");
        command.args(arguments).args(["--non-interactive", "--username", "alice"]).env("LC_ALL", "C.UTF-8");
        command.arg("--config-dir").arg(self.path.with_file_name("config"));
        run(command, b"")
    }
}

fn run(mut command: Command, input: &[u8]) -> String {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
