//! Subversion: over the file system, and by svnserve with a password.

use super::repository::Subversion;
use super::{Bench, names, says};
use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[tokio::test]
async fn the_last_change_of_a_folder_becomes_files() {
    let bench = Bench::new();
    let repository = Subversion::new(&bench.path("origin"));
    repository.commit("Begin\n\nAt length.", &[("src/main.c", "int main;"), ("größe x%.txt", "1")]);
    let source = bench.svn(&repository.url());
    let (first, view) = bench.fetch_head(&source).await;
    assert_eq!((first.commit.as_str(), first.reference.as_str()), ("r2", "trunk"));
    assert_eq!((view.subject.as_str(), view.author.as_str()), ("Begin", "alice"));
    assert_eq!(names(&bench.path("files")), ["größe x%.txt", "src"]);
    assert_eq!(bench.read("src/main.c"), "int main;");
    // What changes beside the folder is nothing new.
    repository.svn(&["mkdir", "-q", "-m", "Beside", &format!("{}/branches", repository.root())]);
    assert_eq!(source.look().await.unwrap(), first);
    repository.commit("Go on", &[("größe x%.txt", "2"), ("b", "3")]);
    let (second, _) = bench.fetch_head(&source).await;
    assert_eq!(second.commit.as_str(), "r4");
    let mut changed = source.changed(&first.commit, &second.commit, &bench.path("kept")).await.unwrap().unwrap();
    changed.sort();
    assert_eq!(changed, ["b", "größe x%.txt"]);
    assert_eq!(source.changed(&"r99".parse().unwrap(), &second.commit, &bench.path("kept")).await.unwrap(), None);
    bench.fetch(&source, &first.commit).await.unwrap();
    assert_eq!(names(&bench.path("files")), ["größe x%.txt", "src"]);
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let bench = Bench::new();
    let repository = Subversion::new(&bench.path("origin"));
    says(bench.svn(&format!("{}/none", repository.root())).look().await, &["looking at file://", "check the address"]);
    says(bench.svn("file:///nonexistent/x").look().await, &["check the address"]);
    let source = bench.svn(&repository.url());
    says(bench.fetch(&source, &"r99".parse().unwrap()).await, &["does not hold commit r99"]);
    says(bench.fetch(&source, &"12".repeat(20).parse().unwrap()).await, &["does not hold commit 1212"]);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    says(bench.svn(&format!("svn://{free}/x")).look().await, &["that this host reaches it"]);
}

#[tokio::test]
async fn externals_are_left_out() {
    let bench = Bench::new();
    let repository = Subversion::new(&bench.path("origin"));
    let other = Subversion::new(&bench.path("other"));
    other.commit("Theirs", &[("theirs", "x")]);
    repository.commit("Ours", &[("ours", "x")]);
    repository.set_property("svn:externals", &format!("{} vendored", other.url()));
    repository.commit("Point elsewhere", &[]);
    bench.fetch_head(&bench.svn(&repository.url())).await;
    assert_eq!(names(&bench.path("files")), ["ours"]);
}

/// A server with one user, which ends with the test.
struct Svnserve(Child);

impl Drop for Svnserve {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn svnserve(repository: &Subversion) -> (Svnserve, String) {
    let conf = repository.path.join("conf");
    fs::write(
        conf.join("svnserve.conf"),
        "[general]\nanon-access = none\nauth-access = write\npassword-db = passwd\nrealm = x\n",
    )
    .unwrap();
    fs::write(conf.join("passwd"), "[users]\nalice = sesame\n").unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("svnserve");
    command.args(["--daemon", "--foreground", "--listen-host", "127.0.0.1", "--listen-port", &port.to_string(), "--root"]);
    let child = command.arg(&repository.path).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let server = Svnserve(child);
    let listens = || {
        std::thread::sleep(Duration::from_millis(20));
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    };
    assert!((0..1000).any(|_| listens()), "svnserve does not listen");
    (server, format!("svn://127.0.0.1:{port}/trunk"))
}

#[tokio::test]
async fn svnserve_wants_a_password() {
    let bench = Bench::new();
    let repository = Subversion::new(&bench.path("origin"));
    repository.commit("Begin", &[("a", "1")]);
    let (_server, url) = svnserve(&repository);
    let kind = coord_shared::pipeline::SourceKind::Svn { url: url.clone() };
    let source = bench.source(kind.clone(), Some("alice:sesame"));
    bench.fetch_head(&source).await;
    assert_eq!(bench.read("a"), "1");
    says(bench.svn(&url).look().await, &["looking at svn://", "`credentials`"]);
    let text = says(bench.source(kind, Some("alice:wrong-word")).look().await, &["`credentials`"]);
    assert!(!text.contains("wrong-word"), "{text}");
}
