//! Repositories that want more than to be built.

use super::repository::Repository;
use super::{Bench, names, says};
use coord_shared::names::Commit;
use coord_shared::pipeline::{Git, Reference, SourceKind};
use std::fs;

/// Commits a tree that `git add` would not make: `entries` are `MODE TYPE NAME CONTENT`.
fn commit_raw(repository: &Repository, entries: &[(&str, &str, &str)]) -> Commit {
    let mut tree = Vec::new();
    for (mode, name, content) in entries {
        let id = repository.git_with(&["hash-object", "-w", "--stdin"], content.as_bytes());
        let id = id.trim();
        tree.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        tree.extend((0..20).map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).unwrap()));
    }
    let tree = repository.git_with(&["hash-object", "-t", "tree", "-w", "--stdin", "--literally"], &tree);
    let commit = repository.git(&["commit-tree", "-m", "Hostile", tree.trim()]);
    repository.git(&["update-ref", "refs/heads/main", commit.trim()]);
    commit.trim().parse().unwrap()
}

/// Must be refused, and leave nothing outside.
async fn check_refused(entries: &[(&str, &str, &str)]) {
    let bench = Bench::new();
    let repository = Repository::new(&bench.path("origin"));
    let commit = commit_raw(&repository, entries);
    let source = bench.branch(&repository.url(), "main");
    let text = says(bench.fetch(&source, &commit).await, &["fetching file://", "failed"]);
    assert!(text.contains("git fsck"), "{text}");
    assert!(!bench.path("outside").exists());
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_refused() {
    check_refused(&[("100755", ".git", "x")]).await;
    check_refused(&[("100755", "..", "x")]).await;
    check_refused(&[("100755", "../outside", "x")]).await;
    check_refused(&[("100755", ".GIT", "x")]).await;
    check_refused(&[("100755", "git~1", "x")]).await;
    check_refused(&[("100755", ".g\u{200c}it", "x")]).await;
    check_refused(&[("120000", ".gitmodules", "/etc/passwd")]).await;
}

#[tokio::test]
async fn a_link_leads_nowhere_while_files_are_written() {
    let bench = Bench::new();
    let outside = bench.path("outside");
    fs::create_dir(&outside).unwrap();
    let repository = Repository::new(&bench.path("origin"));
    std::os::unix::fs::symlink(&outside, repository.path.join("a")).unwrap();
    repository.commit("A link", &[]);
    bench.fetch_head(&bench.branch(&repository.url(), "main")).await;
    assert_eq!(fs::read_link(bench.path("files/a")).unwrap(), outside);
    // The same name as a link and as a folder with a file in it: git keeps one of them, and writes to neither's end.
    let inner = repository.git_with(&["hash-object", "-w", "--stdin"], b"x");
    let tree = repository.git_with(&["mktree"], format!("100644 blob {}\tpwned\n", inner.trim()).as_bytes());
    let link = repository.git_with(&["hash-object", "-w", "--stdin"], outside.to_string_lossy().as_bytes());
    let mut raw = Vec::new();
    for (mode, id) in [("120000", link.trim()), ("40000", tree.trim())] {
        raw.extend_from_slice(format!("{mode} a\0").as_bytes());
        raw.extend((0..20).map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).unwrap()));
    }
    let tree = repository.git_with(&["hash-object", "-t", "tree", "-w", "--stdin", "--literally"], &raw);
    let commit = repository.git(&["commit-tree", "-m", "Twice", tree.trim()]);
    repository.git(&["update-ref", "refs/heads/main", commit.trim()]);
    says(bench.fetch(&bench.branch(&repository.url(), "main"), &commit.trim().parse().unwrap()).await, &["failed"]);
    assert!(names(&outside).is_empty());
}

#[tokio::test]
async fn nothing_of_the_repository_is_run() {
    let bench = Bench::new();
    let repository = Repository::new(&bench.path("origin"));
    let proof = std::env::temp_dir().join(format!("coord-source-proof-{}", std::process::id()));
    let script = format!("#!/bin/sh\ntouch {}\n", proof.display());
    let attributes = "* filter=evil diff=evil merge=evil\n";
    repository.commit("Hooks", &[("hooks/post-checkout", &script), (".gitattributes", attributes), ("a", "1")]);
    let hooks = repository.path.join(".git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in ["post-checkout", "pre-receive", "post-upload-pack", "reference-transaction", "pre-auto-gc"] {
        fs::write(hooks.join(hook), &script).unwrap();
        fs::set_permissions(hooks.join(hook), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    repository.git(&["config", "uploadpack.packObjectsHook", &format!("touch {}; false", proof.display())]);
    bench.fetch_head(&bench.branch(&repository.url(), "main")).await;
    assert_eq!(bench.read("a"), "1");
    assert!(!proof.exists());
}

#[tokio::test]
async fn submodules_cannot_name_programs_or_files_of_the_host() {
    let check = async |url: &str, words: &[&str]| {
        let bench = Bench::new();
        let repository = Repository::new(&bench.path("origin"));
        let modules = format!("[submodule \"x\"]\n\tpath = x\n\turl = {url}\n");
        let commit = repository.commit("Base", &[(".gitmodules", &modules)]);
        repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},x")]);
        repository.git(&["commit", "-q", "-m", "Submodule"]);
        let kind = SourceKind::Git(Git { url: repository.url(), reference: Reference::Branch(None), submodules: true });
        let source = bench.source(kind, None);
        let head = source.look().await.unwrap();
        says(bench.fetch(&source, &head.commit).await, words);
    };
    check("ext::sh -c touch% /tmp/x", &["fetching", "failed"]).await;
    check("-u./payload", &["fetching", "failed"]).await;
    // A mirror of files leads to files only.
    check("https://127.0.0.1:1/x.git", &["fetching", "not allowed"]).await;
}
