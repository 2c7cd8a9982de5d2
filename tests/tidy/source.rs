//! The files of the repository, as the rules see them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A text file: its path from the repository's root, and what it says.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) text: String,
}

/// One place that breaks a rule.
pub(super) struct Offence {
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) what: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Tests and the harness: they may do what the product may not.
    pub(super) fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.contains("/tests/") || self.path.ends_with("tests.rs")
    }

    /// The file that names what it forbids.
    pub(super) fn is_rulebook(&self) -> bool {
        self.path == "tests/tidy/text.rs"
    }

    /// Below one of these folders.
    pub(super) fn is_in(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }

    pub(super) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The lines of code with their numbers: no comments, no docs.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    pub(super) fn offence(&self, line: usize, what: impl Into<String>) -> Offence {
        Offence { path: self.path.clone(), line, what: what.into() }
    }
}

/// The repository's root.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every text file, whether it is committed yet or not.
pub(super) fn repository() -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&root(), "", &mut sources);
    assert!(sources.len() > 20, "the repository is not here: {}", root().display());
    sources
}

fn collect(dir: &Path, prefix: &str, sources: &mut Vec<Source>) {
    /// Made by tools; nobody reads them.
    const SKIPPED: &[&str] = &[".git", "target", ".quickstart", "Cargo.lock"];
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("read {}: {error}", dir.display()));
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let (file, path) = (entry.path(), format!("{prefix}{name}"));
        if SKIPPED.contains(&name.as_str()) || file.is_symlink() {
            continue;
        }
        if file.is_dir() {
            collect(&file, &format!("{path}/"), sources);
        } else if let Ok(text) = fs::read_to_string(&file) {
            sources.push(Source { path, text });
        }
    }
}
