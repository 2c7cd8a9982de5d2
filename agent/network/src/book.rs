//! Who has which addresses: one small file, which survives the agent and not the host.
//!
//! Written before an address is used and after it is free again, each time as a whole under a new name; so whoever dies in between
//! leaves at worst a lease that nobody wants, which the next [`crate::Network::apply`] takes back. Several processes may use a book at
//! once (the agent, and a container in somebody's foreground): each locks it for a change, and a lease names the process that took it, so
//! that nobody takes back what a living other process has.

use crate::{Lease, NetworkError, Settings};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A lease takes some 250 bytes, and a bridge has 1023 ports.
const BOOK_MAX_BYTES: u64 = 4 << 20;

/// What is in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Pages {
    /// The slot given last.
    last: u32,
    leases: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    lease: Lease,
    holder: Holder,
}

/// A process, told apart from those that get its number later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    /// In the kernel's ticks since it booted (proc_pid_stat(5), field 22).
    started: u64,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Book {
    path: PathBuf,
    /// Locked while the file is changed.
    lock: File,
    pages: Pages,
    this: Holder,
    /// Leases that were given since nobody said what is wanted: whoever says it may not know them yet.
    young: BTreeSet<String>,
}

impl Book {
    /// Reads the book in `folder`, or begins one.
    pub(crate) fn open(folder: &Path) -> Result<Book, NetworkError> {
        let path = folder.join("leases.json");
        let failed = |what, source| NetworkError::Book { what, path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(|e| failed("make the folder of", e))?;
        let lock = File::create(folder.join("lock")).map_err(|e| failed("lock", e))?;
        let this = Holder::of(std::process::id()).unwrap_or_default();
        let mut book = Book { path, lock, pages: Pages::default(), this, young: BTreeSet::new() };
        book.read()?;
        Ok(book)
    }

    /// As far as this process knows: what it has changed itself, and what was there before.
    pub(crate) fn get(&self, container: &str) -> Option<&Lease> {
        self.pages.leases.get(container).map(|entry| &entry.lease)
    }

    pub(crate) fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.pages.leases.values().map(|entry| &entry.lease)
    }

    /// The container's lease; a new one, written down, if it has none.
    pub(crate) fn lease(&mut self, settings: &Settings, container: &str) -> Result<Lease, NetworkError> {
        self.change(|pages, this| {
            if let Some(entry) = pages.leases.get(container) {
                return Ok(entry.lease.clone());
            }
            let used: BTreeSet<_> = pages.leases.values().map(|entry| entry.lease.ipv4).collect();
            let Some((lease, slot)) = settings.next_lease(container, &used, pages.last) else {
                return Err(NetworkError::Full { pool: format!("{}/{}", settings.pool.0, settings.pool.1), used: used.len() });
            };
            pages.last = slot;
            pages.leases.insert(container.to_owned(), Entry { lease: lease.clone(), holder: this });
            Ok(lease)
        })
        .inspect(|lease| _ = self.young.insert(lease.container.clone()))
    }

    /// Takes a lease back. One that is not there is fine.
    pub(crate) fn release(&mut self, container: &str) -> Result<(), NetworkError> {
        self.young.remove(container);
        self.change(|pages, _| {
            pages.leases.remove(container);
            Ok(())
        })
    }

    /// The leases of containers that are not wanted any more. One that is young is left alone until it has been wanted once, and one that
    /// another living process has is not ours to judge.
    pub(crate) fn unwanted(&mut self, wanted: &[String]) -> Result<Vec<Lease>, NetworkError> {
        self.read()?;
        let wanted: BTreeSet<&String> = wanted.iter().collect();
        self.young.retain(|container| !wanted.contains(container));
        let others = |holder: Holder| holder != self.this && Holder::of(holder.pid) == Some(holder);
        let unwanted = self.pages.leases.iter().filter(|(container, entry)| {
            !wanted.contains(container) && !self.young.contains(*container) && !others(entry.holder)
        });
        Ok(unwanted.map(|(_, entry)| entry.lease.clone()).collect())
    }

    /// Changes the file as a whole; nobody else does meanwhile. After an error it is as before.
    fn change<T>(&mut self, change: impl FnOnce(&mut Pages, Holder) -> Result<T, NetworkError>) -> Result<T, NetworkError> {
        self.lock.lock().map_err(|e| self.failed("lock", e))?;
        let changed = self.read().and_then(|()| change(&mut self.pages, self.this)).and_then(|value| {
            let new = self.path.with_extension("new");
            let text = serde_json::to_vec(&self.pages).map_err(io::Error::other);
            let written = text.and_then(|text| std::fs::write(&new, text)).and_then(|()| std::fs::rename(&new, &self.path));
            written.map(|()| value).map_err(|e| self.failed("write", e))
        });
        let unlocked = self.lock.unlock().map_err(|e| self.failed("unlock", e));
        if changed.is_err() {
            let _ = self.read();
        }
        changed.and_then(|value| unlocked.map(|()| value))
    }

    fn read(&mut self) -> Result<(), NetworkError> {
        self.pages = match read(&self.path) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|source| NetworkError::Damaged { path: self.path.clone(), source })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Pages::default(),
            Err(error) => return Err(self.failed("read", error)),
        };
        Ok(())
    }

    fn failed(&self, what: &'static str, source: io::Error) -> NetworkError {
        NetworkError::Book { what, path: self.path.clone(), source }
    }
}

impl Holder {
    /// The living process of this number.
    fn of(pid: u32) -> Option<Holder> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        let started = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
        Some(Holder { pid, started })
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(BOOK_MAX_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_survive_and_are_taken_back_only_when_known_to_be_unwanted() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings::default();
        let mut book = Book::open(folder.path()).expect("a new book");
        let unwanted = |book: &mut Book, wanted: &[&str]| -> Vec<String> {
            let wanted: Vec<String> = wanted.iter().map(|container| (*container).to_owned()).collect();
            book.unwanted(&wanted).expect("read").into_iter().map(|lease| lease.container).collect()
        };
        let a = book.lease(&settings, "a").expect("a lease");
        assert_eq!(book.lease(&settings, "a").expect("the same"), a);
        assert!(unwanted(&mut book, &[]).is_empty(), "it is too young");
        assert!(unwanted(&mut book, &["a"]).is_empty());
        assert_eq!(unwanted(&mut book, &[]), ["a"]);

        let mut book = Book::open(folder.path()).expect("the book again");
        assert_eq!(unwanted(&mut book, &[]), ["a"], "what an earlier agent has given is not young");
        book.release("a").expect("released");
        let b = book.lease(&settings, "b").expect("a lease");
        assert_ne!(a.ipv4, b.ipv4, "an address just freed is not given again");
        assert!(Book::open(folder.path()).expect("the book again").get("a").is_none());
    }

    #[test]
    fn processes_share_a_book_and_leave_each_other_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings::default();
        let mut agent = Book::open(folder.path()).expect("a new book");
        let mut other = Book::open(folder.path()).expect("the same book");
        let mut process = std::process::Command::new("sleep").arg("20").spawn().expect("a process");
        other.this = Holder::of(process.id()).expect("it lives");
        let theirs = other.lease(&settings, "theirs").expect("a lease");
        let ours = agent.lease(&settings, "ours").expect("a lease");
        assert_ne!(theirs.ipv4, ours.ipv4);
        assert!(agent.unwanted(&["ours".to_owned()]).expect("read").is_empty(), "its holder lives");
        process.kill().and_then(|()| process.wait()).expect("ended");
        assert_eq!(agent.unwanted(&["ours".to_owned()]).expect("read"), [theirs]);
    }

    #[test]
    fn a_damaged_book_is_not_taken_for_an_empty_one() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("leases.json"), "{").expect("written");
        assert!(matches!(Book::open(folder.path()), Err(NetworkError::Damaged { .. })));
    }
}
