//! Who has which addresses: one small file, which survives the agent and not the host.
//!
//! Written before an address is used and after it is free again, each time as a whole under a new name; so whoever dies in between
//! leaves at worst a lease that nobody wants, which the next [`crate::Network::apply`] takes back.

use crate::{Lease, NetworkError, Settings};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// A lease takes some 200 bytes, and a bridge has 1023 ports.
const BOOK_MAX_BYTES: u64 = 4 << 20;

/// What is in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Pages {
    /// The slot given last.
    last: u32,
    leases: BTreeMap<String, Lease>,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Book {
    path: PathBuf,
    pages: Pages,
    /// Leases that were given since nobody said what is wanted: whoever says it may not know them yet.
    young: BTreeSet<String>,
}

impl Book {
    /// Reads the book in `folder`, or begins one.
    pub(crate) fn open(folder: &Path) -> Result<Book, NetworkError> {
        let path = folder.join("leases.json");
        let failed = |what, source| NetworkError::Book { what, path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(|e| failed("make the folder of", e))?;
        let pages = match read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|e| failed("understand", io::Error::other(e)))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Pages::default(),
            Err(error) => return Err(failed("read", error)),
        };
        Ok(Book { path, pages, young: BTreeSet::new() })
    }

    pub(crate) fn get(&self, container: &str) -> Option<&Lease> {
        self.pages.leases.get(container)
    }

    pub(crate) fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.pages.leases.values()
    }

    /// The container's lease; a new one, written down, if it has none.
    pub(crate) fn lease(&mut self, settings: &Settings, container: &str) -> Result<Lease, NetworkError> {
        if let Some(lease) = self.get(container) {
            return Ok(lease.clone());
        }
        let used: BTreeSet<_> = self.leases().map(|lease| lease.ipv4).collect();
        let Some((lease, slot)) = settings.next_lease(container, &used, self.pages.last) else {
            return Err(NetworkError::Full { pool: format!("{}/{}", settings.pool.0, settings.pool.1), used: used.len() });
        };
        let before = std::mem::replace(&mut self.pages.last, slot);
        self.pages.leases.insert(container.to_owned(), lease.clone());
        self.young.insert(container.to_owned());
        if let Err(error) = self.write() {
            self.pages.last = before;
            self.pages.leases.remove(container);
            self.young.remove(container);
            return Err(error);
        }
        Ok(lease)
    }

    /// Takes a lease back. One that is not there is fine.
    pub(crate) fn release(&mut self, container: &str) -> Result<(), NetworkError> {
        self.young.remove(container);
        match self.pages.leases.remove(container) {
            None => Ok(()),
            Some(lease) => self.write().inspect_err(|_| {
                self.pages.leases.insert(container.to_owned(), lease);
            }),
        }
    }

    /// The leases of containers that are not wanted any more. One that is young is left alone until it has been wanted once.
    pub(crate) fn unwanted(&mut self, wanted: &[String]) -> Vec<Lease> {
        let wanted: BTreeSet<&String> = wanted.iter().collect();
        self.young.retain(|container| !wanted.contains(container));
        let leases = self.pages.leases.iter();
        leases
            .filter(|(container, _)| !wanted.contains(container) && !self.young.contains(*container))
            .map(|(_, lease)| lease.clone())
            .collect()
    }

    fn write(&self) -> Result<(), NetworkError> {
        let new = self.path.with_extension("new");
        let written = serde_json::to_vec(&self.pages).map_err(io::Error::other);
        let written = written.and_then(|text| std::fs::write(&new, text)).and_then(|()| std::fs::rename(&new, &self.path));
        written.map_err(|source| NetworkError::Book { what: "write", path: self.path.clone(), source })
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
        let a = book.lease(&settings, "a").expect("a lease");
        assert_eq!(book.lease(&settings, "a").expect("the same"), a);
        assert!(book.unwanted(&[]).is_empty(), "it is too young");
        assert!(book.unwanted(&["a".to_owned()]).is_empty());
        assert_eq!(book.unwanted(&[]).first(), Some(&a));

        let mut book = Book::open(folder.path()).expect("the book again");
        assert_eq!(book.unwanted(&[]).first(), Some(&a), "what an earlier agent has given is not young");
        book.release("a").expect("released");
        let b = book.lease(&settings, "b").expect("a lease");
        assert_ne!(a.ipv4, b.ipv4, "an address just freed is not given again");
        assert!(Book::open(folder.path()).expect("the book again").get("a").is_none());
    }

    #[test]
    fn a_damaged_book_is_not_taken_for_an_empty_one() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("leases.json"), "{").expect("written");
        assert!(matches!(Book::open(folder.path()), Err(NetworkError::Book { what: "understand", .. })));
    }
}
