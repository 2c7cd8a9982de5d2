//! Tests of whole stores, on real folders. They run as root, as the agent does.

mod attacks;
mod killed;
mod puts;
mod verifying;

use crate::{Amount, Budget, CacheError, Counts, Quota, Store};
use coord_tar::{END_BYTES, Entry, Kind, padding, write_header};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A store in a folder of its own, and what it may hold.
struct Cache {
    folder: tempfile::TempDir,
    quota: Arc<Quota>,
    store: Store,
}

fn cache() -> Cache {
    cache_of(1 << 30)
}

fn cache_of(bytes: u64) -> Cache {
    let folder = tempfile::tempdir().expect("a folder");
    let quota = Arc::new(Quota::new(Some((bytes, format!("{bytes} bytes"))), Some((1000, "1000 paths".to_owned()))));
    let store = Store::create(&folder.path().join("work"), b"notes").expect("a store");
    Cache { folder, quota, store }
}

impl Cache {
    fn path(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Where the present files are.
    fn files(&self) -> PathBuf {
        self.store.files(self.store.current())
    }

    fn budget(&self) -> Budget {
        Budget::new(vec![Arc::clone(&self.quota)])
    }

    fn put(&self, archive: &[u8]) -> Result<Counts, CacheError> {
        self.put_below("", archive)
    }

    fn put_below(&self, below: &str, archive: &[u8]) -> Result<Counts, CacheError> {
        self.store.commit(self.store.stage_archive(below.as_bytes(), archive, self.budget())?, &BTreeSet::new())
    }

    fn put_file(&self, path: &str, content: &[u8]) -> Result<Counts, CacheError> {
        self.store.commit(self.store.stage_file(path.as_bytes(), 0o644, content, self.budget())?, &BTreeSet::new())
    }

    /// Opened anew, as by the next process.
    fn reopened(self) -> Cache {
        let store = Store::open(&self.path(), &BTreeSet::new()).expect("a store");
        Cache { store, ..self }
    }

    /// The list as short lines, checked against the disk.
    fn listed(&self) -> Vec<String> {
        self.store.verify().expect("what is there is what the list says");
        let entries = self.store.list_of(self.store.current()).expect("a list");
        assert_eq!(Counts::of(&entries), self.store.counts());
        entries.into_iter().map(|entry| format!("{:?} {:04o} {} {}", entry.kind, entry.mode, entry.size, entry.path)).collect()
    }

    /// Nothing is on its way, and nothing is counted that is not there.
    fn is_at_rest(&self) {
        assert_eq!(names(&self.path().join("put")), Vec::<String>::new(), "files on their way");
        assert_eq!(names(&self.path().join("g")), [self.store.current().to_string()], "generations");
        assert_eq!(self.quota.used(), Amount::default(), "what puts have taken is given back");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A tar archive.
#[derive(Default, Clone)]
struct Tar(Vec<u8>);

impl Tar {
    fn entry(mut self, entry: &Entry, content: &[u8]) -> Tar {
        write_header(&mut self.0, entry).expect("memory takes all");
        self.0.extend_from_slice(content);
        let length = self.0.len() + padding(content.len() as u64);
        self.0.resize(length, 0);
        self
    }

    fn file(self, path: impl AsRef<[u8]>, content: &[u8]) -> Tar {
        self.file_of(path, 0o644, content)
    }

    fn file_of(self, path: impl AsRef<[u8]>, mode: u16, content: &[u8]) -> Tar {
        self.entry(&Entry { path: path.as_ref().to_vec(), mode, size: content.len() as u64, ..Entry::default() }, content)
    }

    fn folder(self, path: &str, mode: u16) -> Tar {
        self.special(path, mode, Kind::Directory, "")
    }

    fn link(self, path: &str, target: &str) -> Tar {
        self.special(path, 0o777, Kind::Symlink, target)
    }

    fn hard_link(self, path: &str, target: &str) -> Tar {
        self.special(path, 0o644, Kind::HardLink, target)
    }

    fn special(self, path: &str, mode: u16, kind: Kind, link: &str) -> Tar {
        self.entry(&Entry { path: path.into(), link: link.into(), kind, mode, ..Entry::default() }, b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + END_BYTES, 0);
        self.0
    }
}

fn tar() -> Tar {
    Tar::default()
}
