//! Git over the file system: branches, tags, history, what changes and what goes away.

use super::repository::Repository;
use super::{Bench, names, says};
use crate::{Limits, Source, User};
use coord_shared::pipeline::{Git, Reference, SourceKind};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::time::Duration;

#[tokio::test]
async fn the_newest_commit_of_a_branch_becomes_files() {
    let bench = Bench::new();
    let repository = Repository::new(&bench.path("origin"));
    let first = repository.commit("Begin", &[("src/main.c", "int main;"), ("run.sh", "#!/bin/sh\n")]);
    std::os::unix::fs::symlink("src/main.c", repository.path.join("link")).unwrap();
    fs::set_permissions(repository.path.join("run.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let second = repository.commit("Link it\n\nAt length.", &[("src/main.c", "int main(){}")]);
    let source = bench.branch(&repository.url(), "main");
    let (head, view) = bench.fetch_head(&source).await;
    assert_eq!((&head.commit, head.reference.as_str()), (&second, "main"));
    assert_eq!(
        (view.commit, view.subject.as_str(), view.author.as_str()),
        (second.clone(), "Link it", "Alice <alice@example.org>")
    );
    assert_eq!(view.at.to_string(), "2026-11-22T09:00:00Z");
    assert_eq!(names(&bench.path("files")), [".git", "link", "run.sh", "src"]);
    assert_eq!(bench.read("link"), "int main(){}");
    assert_eq!(fs::metadata(bench.path("files").join("run.sh")).unwrap().mode() & 0o777, 0o755);
    let owner = fs::metadata(bench.path("files").join("run.sh")).unwrap().uid();
    assert_eq!(owner, User::unprivileged().map_or(rustix::process::geteuid().as_raw(), |user| user.uid));
    // An older commit comes out of the mirror, even when the repository is gone.
    fs::rename(&repository.path, bench.path("moved")).unwrap();
    bench.fetch(&source, &first).await.unwrap();
    assert_eq!(bench.read("src/main.c"), "int main;");
    assert_eq!(source.changed(&first, &second, &bench.path("kept")).await.unwrap().unwrap(), ["link", "run.sh", "src/main.c"]);
}

#[tokio::test]
async fn builds_can_ask_git_what_they_build() {
    let bench = Bench::new();
    let repository = Repository::new(&bench.path("origin"));
    repository.commit("One", &[("a", "1")]);
    repository.git(&["tag", "-a", "-m", "First", "v1.0"]);
    repository.commit("Two", &[("a", "2")]);
    bench.fetch_head(&bench.branch(&repository.url(), "main")).await;
    let describe = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "safe.directory=*", "-C"]).arg(bench.path("files")).args(arguments);
        let output = git.output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned()
    };
    assert!(describe(&["describe", "--tags"]).starts_with("v1.0-1-g"), "{}", describe(&["describe", "--tags"]));
    assert_eq!(describe(&["status", "--porcelain"]), "");
    assert_eq!(describe(&["config", "remote.origin.url"]), repository.url());
    assert_eq!(describe(&["rev-parse", "HEAD"]), repository.head().as_str());
}

#[tokio::test]
async fn the_default_branch_is_what_the_repository_says() {
    let bench = Bench::new();
    let repository = Repository::new(&bench.path("origin"));
    repository.git(&["checkout", "-q", "-b", "trunk"]);
    let commit = repository.commit("Begin", &[("a", "1")]);
    let (head, _) = bench.fetch_head(&bench.git(&repository.url(), Reference::Branch(None))).await;
    assert_eq!((head.commit, head.reference.as_str()), (commit, "trunk"));
    // A branch whose name ends like another one's is another one.
    repository.git(&["branch", "x/main"]);
    let text = says(bench.branch(&repository.url(), "main").look().await, &["has no branch main", "its default branch is trunk"]);
    assert!(!text.contains("x/main"));
}

#[tokio::test]
async fn the_newest_tag_is_by_version() {
    let bench = Bench::new();
    let repository = Repository::new(&bench.path("origin"));
    repository.commit("Nine", &[("a", "9")]);
    repository.git(&["tag", "v1.9.0"]);
    let ten = repository.commit("Ten", &[("a", "10")]);
    repository.git(&["tag", "-a", "-m", "Ten", "v1.10.0"]);
    repository.commit("Candidate", &[("a", "11")]);
    repository.git(&["tag", "v1.10.0-rc1"]);
    repository.git(&["tag", "nightly-2"]);
    let source = bench.git(&repository.url(), Reference::Tags("v*".to_owned()));
    let (head, view) = bench.fetch_head(&source).await;
    assert_eq!((head.commit, head.reference.as_str(), view.subject.as_str()), (ten, "v1.10.0", "Ten"));
    assert_eq!(bench.read("a"), "10");
    says(bench.git(&repository.url(), Reference::Tags("w*".to_owned())).look().await, &["no tag that matches w*", "`tags`"]);
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let bench = Bench::new();
    let repository = Repository::new(&bench.path("origin"));
    says(bench.git(&repository.url(), Reference::Branch(None)).look().await, &["has no commit yet", "push one"]);
    says(bench.branch(&repository.url(), "main").look().await, &["has no branch main", "push it"]);
    let missing = format!("file://{}/none", bench.dir.path().display());
    says(bench.branch(&missing, "main").look().await, &["looking at file://", "/none failed", "check the address"]);
    repository.commit("Begin", &[("a", "1")]);
    let source = bench.branch(&repository.url(), "main");
    let invented = "12".repeat(20).parse().unwrap();
    says(bench.fetch(&source, &invented).await, &["does not hold commit 1212", "run the pipeline again"]);
    // The folder of a run that failed is not mixed with another's.
    fs::create_dir_all(bench.path("used/x")).unwrap();
    let head = source.look().await.unwrap();
    says(source.fetch(&head.commit, &bench.path("used"), &bench.path("kept"), |_| ()).await, &["is not empty"]);
}

#[tokio::test]
async fn a_forced_push_changes_what_is_built() {
    let bench = Bench::new();
    let repository = Repository::new(&bench.path("origin"));
    let base = repository.commit("Base", &[("a", "1")]);
    let lost = repository.commit("Lost", &[("a", "2")]);
    let source = bench.branch(&repository.url(), "main");
    bench.fetch(&source, &base).await.unwrap();
    repository.git(&["reset", "-q", "--hard", base.as_str()]);
    let found = repository.commit("Found", &[("b", "3")]);
    let (head, _) = bench.fetch_head(&source).await;
    assert_eq!(head.commit, found);
    assert_eq!(source.changed(&base, &found, &bench.path("kept")).await.unwrap().unwrap(), ["b"]);
    // The mirror had it already; a new one cannot know it once the repository has forgotten.
    assert_eq!(source.changed(&lost, &found, &bench.path("kept")).await.unwrap().map(|paths| paths.len()), Some(2));
    repository.git(&["reflog", "expire", "--expire=now", "--all"]);
    repository.git(&["gc", "-q", "--prune=now"]);
    assert_eq!(source.changed(&lost, &found, &bench.path("other")).await.unwrap(), None);
    says(source.fetch(&lost, &bench.path("lost"), &bench.path("other"), |_| ()).await, &["does not hold commit"]);
}

#[tokio::test]
async fn a_damaged_mirror_is_made_anew() {
    let bench = Bench::new();
    let repository = Repository::new(&bench.path("origin"));
    repository.commit("One", &[("a", "1")]);
    let source = bench.branch(&repository.url(), "main");
    bench.fetch_head(&source).await;
    let kept = bench.path("kept");
    // Ended in the middle: locks and half a pack are left.
    fs::write(kept.join("refs/coord/branch.lock"), "").unwrap();
    fs::write(kept.join("packed-refs.lock"), "").unwrap();
    fs::write(kept.join("objects/pack/tmp_pack_x"), "half").unwrap();
    repository.commit("Two", &[("a", "2")]);
    bench.fetch_head(&source).await;
    assert_eq!(bench.read("a"), "2");
    assert!(!kept.join("objects/pack/tmp_pack_x").exists());
    // A disk that lost something.
    fs::write(kept.join("config"), "[core\n").unwrap();
    repository.commit("Three", &[("a", "3")]);
    bench.fetch_head(&source).await;
    assert_eq!(bench.read("a"), "3");
}

#[tokio::test]
async fn limits_hold() {
    let mut bench = Bench::new();
    let repository = Repository::new(&bench.path("origin"));
    let noise: String = (0..300_000).map(|_| char::from(b'a' + fastrand_byte() % 26)).collect();
    repository.commit("Large", &[("noise", &noise)]);
    bench.limits = Limits { kept_bytes: 100_000, ..Limits::default() };
    let source = bench.branch(&repository.url(), "main");
    let head = source.look().await.unwrap();
    let error = bench.fetch(&source, &head.commit).await.expect_err("too large").to_string();
    assert!(error.contains("more than this host allows") || error.contains("File too large"), "{error}");
    bench.limits = Limits { files: 10, ..Limits::default() };
    let many: Vec<(String, String)> = (0..200).map(|n| (format!("d/{n}"), "x".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, content)| (name.as_str(), content.as_str())).collect();
    repository.commit("Many", &many);
    let source = bench.branch(&repository.url(), "main");
    let head = source.look().await.unwrap();
    says(bench.fetch(&source, &head.commit).await, &["it has more than 10 files", "more than this host allows"]);
    bench.limits = Limits { look: Duration::ZERO, fetch: Duration::ZERO, ..Limits::default() };
    let source = bench.branch(&repository.url(), "main");
    says(source.look().await, &["looking at", "took longer than 0 s"]);
    says(bench.fetch(&source, &head.commit).await, &["fetching", "took longer than 0 s"]);
}

/// Something that does not compress.
fn fastrand_byte() -> u8 {
    use std::cell::Cell;
    thread_local!(static STATE: Cell<u64> = const { Cell::new(0x9E37_79B9_7F4A_7C15) });
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        x.to_le_bytes()[3]
    })
}

#[tokio::test]
async fn submodules_come_only_on_request() {
    let bench = Bench::new();
    let library = Repository::new(&bench.path("library"));
    library.commit("Library", &[("lib.c", "lib")]);
    let repository = Repository::new(&bench.path("origin"));
    repository.git(&["submodule", "--quiet", "add", "../library", "lib"]);
    repository.commit("Use it", &[("a", "1")]);
    bench.fetch_head(&bench.branch(&repository.url(), "main")).await;
    assert!(names(&bench.path("files/lib")).is_empty());
    let kind = SourceKind::Git(Git { url: repository.url(), reference: Reference::Branch(None), submodules: true });
    let source: Source = bench.source(kind, None);
    bench.fetch_head(&source).await;
    assert_eq!(bench.read("lib/lib.c"), "lib");
}

#[tokio::test]
async fn an_abandoned_fetch_ends_its_programs() {
    let bench = Bench::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://{}/x", listener.local_addr().unwrap());
    let source = bench.branch(&url, "main");
    // It is connected, and nobody answers.
    let accepted = tokio::task::spawn_blocking(move || listener.accept());
    let (stream, _) = tokio::select! {
        head = source.look() => panic!("{head:?}"),
        accepted = accepted => accepted.unwrap().unwrap(),
    };
    let end = tokio::task::spawn_blocking(move || {
        use std::io::Read as _;
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut bytes = Vec::new();
        (&stream).read_to_end(&mut bytes)
    });
    // The connection's end is git's.
    end.await.unwrap().unwrap();
}
