//! What a run takes from a checkout before any step has touched it.

use coord_archive::Pattern;
use coord_shared::document::DOCUMENT_MAX_BYTES;
use coord_shared::names::Commit;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Whether one of these patterns names one of the changed paths; everything counts where there are no patterns.
pub(super) fn is_of_interest(patterns: &[String], changed: &[String]) -> bool {
    let known: Vec<Pattern> = patterns.iter().filter_map(|pattern| Pattern::new(pattern).ok()).collect();
    patterns.is_empty() || changed.iter().any(|path| known.iter().any(|pattern| pattern.covers(path.as_bytes())))
}

/// The deploy requirement as it lies in the repository. No link is followed. Errors in words for people. Blocks.
pub(super) fn deploy_document(workspace: &Path, path: &str, commit: &Commit) -> Result<String, String> {
    let short = commit.short();
    let failed = |what: String| format!("{path} {what}; correct document in [deploy], or the repository at {short}");
    let open = || {
        let top = rustix::fs::openat(CWD, workspace, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat2(&top, path, flags, Mode::empty(), resolve)
    };
    let file = match open() {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Err(failed("is not in the repository".to_owned())),
        Err(rustix::io::Errno::LOOP) => return Err(failed("is a symbolic link, or behind one".to_owned())),
        Err(error) => return Err(failed(format!("cannot be read: {error}"))),
    };
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err(failed("is no file".to_owned()));
    }
    let mut bytes = Vec::new();
    let limit = DOCUMENT_MAX_BYTES as u64;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| failed(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > limit {
        return Err(failed(format!("is larger than {DOCUMENT_MAX_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| failed("is no text".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_what_is_built_is_of_interest() {
        let check = |patterns: &[&str], changed: &[&str], expect: bool| {
            let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
            assert_eq!(is_of_interest(&owned(patterns), &owned(changed)), expect, "{patterns:?} {changed:?}");
        };
        check(&[], &[], true);
        check(&["src"], &["src/main.c"], true);
        check(&["src/**", "Cargo.toml"], &["README.md", "docs/src.md"], false);
        check(&["**/*.rs"], &["a/b/c.rs"], true);
        check(&["src"], &[], false);
    }

    #[test]
    fn the_document_is_what_the_repository_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        let commit: Commit = "r1".parse().expect("a commit");
        let check = |path: &str, expect: Result<&str, &str>| match (deploy_document(folder.path(), path, &commit), expect) {
            (Ok(text), Ok(expect)) => assert_eq!(text, expect),
            (Err(problem), Err(part)) => assert!(problem.contains(part) && problem.contains(path), "{problem}"),
            (got, expect) => panic!("{path}: {got:?} instead of {expect:?}"),
        };
        fs::create_dir(folder.path().join("deploy")).expect("made");
        fs::write(folder.path().join("deploy/web.toml"), "image = \"x\"\n").expect("written");
        fs::write(folder.path().join("deploy/large.toml"), vec![b'#'; DOCUMENT_MAX_BYTES + 1]).expect("written");
        std::os::unix::fs::symlink("/etc", folder.path().join("etc")).expect("a link");
        check("deploy/web.toml", Ok("image = \"x\"\n"));
        check("deploy/other.toml", Err("is not in the repository"));
        check("deploy/large.toml", Err("is larger than"));
        check("etc/passwd", Err("symbolic link"));
        check("deploy", Err("no file"));
    }
}
