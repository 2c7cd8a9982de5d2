//! One cache on the disk; see the crate's picture.

use crate::stage::{FOLDER_MODE, Staged};
use crate::{Amount, Budget, CacheError, Counts, Mounts, compare, kernels, list, measure, merge, remove_tree, scan, unpack};
use coord_shared::wire::nested::{Entry, Verified};
use rustix::fs::RenameFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is being made, and what is on its way out, has a name that no cache can have.
const UNFINISHED_PREFIX: &str = ".";
/// Names that are tried for what is on its way out: more than caches can be on their way out at once.
const GONE_TRIES: u32 = 1000;

/// A list that is about to take the place of `list`.
const NEXT_LIST: &str = "list.next";

/// The files of one cache. All calls block.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    /// Held while the disk is changed; `state` only for a moment, so that whoever asks for counts never waits.
    changing: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    current: u64,
    next_put: u64,
    counts: Counts,
    /// Generations that are not current but mounted, with the bytes that only they have.
    held: BTreeMap<u64, u64>,
}

impl Store {
    /// A new one, empty, with notes of the owner's; its folder is there with all of it or not at all.
    ///
    /// # Errors
    /// When it is there already, or cannot be made.
    pub fn create(folder: &Path, notes: &[u8]) -> Result<Store, CacheError> {
        let failed = |error: io::Error| CacheError::io("create", folder.as_os_str().as_encoded_bytes(), error);
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let new = folder.with_file_name(format!("{UNFINISHED_PREFIX}new-{name}"));
        remove_tree(&new)?;
        let files = new.join("g/0/files");
        DirBuilder::new().recursive(true).mode(0o700).create(&files).map_err(failed)?;
        fs::set_permissions(&files, Permissions::from_mode(FOLDER_MODE)).map_err(failed)?;
        fs::create_dir(new.join("put")).map_err(failed)?;
        list::write(&new.join("g/0/list"), &[])?;
        fs::write(new.join("current"), "0").map_err(failed)?;
        fs::write(new.join("notes"), notes).map_err(failed)?;
        rustix::fs::renameat_with(rustix::fs::CWD, &new, rustix::fs::CWD, folder, RenameFlags::NOREPLACE)
            .map_err(|error| failed(error.into()))?;
        Ok(Store::with(folder, State { current: 0, next_put: 0, counts: Counts::default(), held: BTreeMap::new() }))
    }

    /// One that is there. What an earlier process left half-done is removed, and so are generations that are neither current nor `in_use`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(folder: &Path, in_use: &BTreeSet<u64>) -> Result<Store, CacheError> {
        let failed = |error: io::Error| CacheError::io("open", folder.as_os_str().as_encoded_bytes(), error);
        let text = fs::read_to_string(folder.join("current")).map_err(failed)?;
        let current: u64 = text.trim().parse().map_err(|_| failed(io::Error::from(io::ErrorKind::InvalidData)))?;
        remove_tree(&folder.join("put"))?;
        fs::create_dir(folder.join("put")).map_err(failed)?;
        let mut held = BTreeMap::new();
        for name in fs::read_dir(folder.join("g")).map_err(failed)? {
            let path = name.map_err(failed)?.path();
            let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u64>().ok());
            match number {
                Some(number) if number == current => {}
                Some(number) if in_use.contains(&number) => {
                    held.insert(number, read_held(&path));
                }
                Some(_) | None => remove_tree(&path)?,
            }
        }
        choose_list(&folder.join("g").join(current.to_string()))?;
        let counts = list::read_counts(&folder.join("g").join(current.to_string()).join("list"))?;
        Ok(Store::with(folder, State { current, next_put: 0, counts, held }))
    }

    fn with(folder: &Path, state: State) -> Store {
        Store { folder: folder.to_path_buf(), changing: Mutex::new(()), state: Mutex::new(state) }
    }

    /// Names of the caches in a folder, after what was on its way in or out is removed.
    ///
    /// # Errors
    /// When the folder cannot be read, or something cannot be removed.
    pub fn recover(parent: &Path) -> Result<Vec<String>, CacheError> {
        let failed = |error: io::Error| CacheError::io("read", parent.as_os_str().as_encoded_bytes(), error);
        let mut names = Vec::new();
        for entry in fs::read_dir(parent).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            match entry.file_name().into_string() {
                Ok(name) if !name.starts_with(UNFINISHED_PREFIX) => names.push(name),
                Ok(_) | Err(_) => remove_tree(&entry.path())?,
            }
        }
        names.sort();
        Ok(names)
    }

    /// Removes it: at once under its name, and then what is in it. Whatever interrupts that, [`Store::recover`] goes on with it.
    ///
    /// # Errors
    /// When the disk does not let go of it.
    pub fn remove(folder: &Path) -> Result<(), CacheError> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let failed = |error: io::Error| CacheError::io("remove", name.as_bytes(), error);
        for number in 0..GONE_TRIES {
            let gone = folder.with_file_name(format!("{UNFINISHED_PREFIX}gone-{name}-{number}"));
            match rustix::fs::renameat_with(rustix::fs::CWD, folder, rustix::fs::CWD, &gone, RenameFlags::NOREPLACE) {
                Ok(()) => return remove_tree(&gone),
                Err(rustix::io::Errno::NOENT) => return Ok(()),
                Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
        Err(failed(io::Error::from(io::ErrorKind::AlreadyExists)))
    }

    /// Takes the files of a tar stream, to be put below the relative path `below`; nobody sees them yet.
    ///
    /// # Errors
    /// What is wrong with the stream, [`CacheError::OverQuota`], [`CacheError::DiskFull`]; nothing is left then.
    pub fn stage_archive(&self, below: &[u8], reader: impl Read, budget: Budget) -> Result<Staged, CacheError> {
        unpack::archive(self.next_put(), below, reader, budget)
    }

    /// Takes one file.
    ///
    /// # Errors
    /// As above.
    pub fn stage_file(&self, path: &[u8], mode: u32, reader: impl Read, budget: Budget) -> Result<Staged, CacheError> {
        unpack::file(self.next_put(), path, mode, reader, budget)
    }

    /// Takes a copy of a folder; what is neither file, folder nor link is passed over, and so is what is mounted in it.
    ///
    /// # Errors
    /// As above, and what cannot be read.
    pub fn stage_folder(&self, from: OwnedFd, budget: Budget) -> Result<Staged, CacheError> {
        unpack::folder(self.next_put(), from, budget)
    }

    /// Takes a copy of what anybody may read in a folder, read without any of this process's rights: for what the kernel shows as files.
    ///
    /// # Errors
    /// As above.
    pub fn stage_what_all_may_read(&self, from: OwnedFd, budget: Budget) -> Result<Staged, CacheError> {
        let archive = kernels::archive_of(from).map_err(|source| CacheError::Input { source })?;
        self.stage_archive(b"", archive, budget)
    }

    /// Makes visible what was taken, all at once: a new generation becomes the current one. Generations that are `in_use` stay as they are.
    ///
    /// # Errors
    /// Where a file would take a folder's place, or the other way round, or the disk does not do it; nothing has changed then.
    pub fn commit(&self, staged: Staged, in_use: &BTreeSet<u64>) -> Result<Counts, CacheError> {
        let _changing = self.change();
        let (before, counts) = (self.current(), self.counts());
        if staged.items.is_empty() {
            return Ok(counts);
        }
        let next =
            before.checked_add(1).ok_or_else(|| CacheError::io("put", b".", io::Error::from(io::ErrorKind::QuotaExceeded)))?;
        let failed = |error: io::Error| CacheError::io("put", b"files", error);
        let present = self.list_of(before)?;
        let is_one = merge::is_one_file(&present, &staged) && !in_use.contains(&before);
        let (entries, replaced) = merge::merged(present, &staged);
        if entries.len() as u64 > crate::ENTRIES_MAX {
            return Err(CacheError::TooMuch { limit: format!("{} paths", crate::ENTRIES_MAX) });
        }
        if is_one {
            let counts = self.put_in_place(before, &entries, &staged)?;
            self.hold_more(replaced);
            return Ok(counts);
        }
        // It takes the stage's own folder where there is nothing to join it with, as for the first put.
        let is_first = counts == Counts::default() && entries.len() == staged.items.len();
        let made = if is_first { staged.folder().to_path_buf() } else { staged.folder().join("joined") };
        if !is_first {
            let files = made.join("files");
            fs::create_dir(&made).and_then(|()| fs::create_dir(&files)).map_err(failed)?;
            let open = |path: &Path| fs::File::open(path).map(OwnedFd::from).map_err(failed);
            let to = open(&files)?;
            merge::link_tree(&open(&self.files(before))?, &to)?;
            merge::move_into(&staged.items, &open(&staged.folder().join("files"))?, &to)?;
        }
        list::write(&made.join("list"), &entries)?;
        let generation = self.generation(next);
        remove_tree(&generation)?;
        fs::rename(&made, &generation).map_err(failed)?;
        let is_held = in_use.contains(&before);
        if is_held {
            fs::write(self.generation(before).join("held"), replaced.to_string()).map_err(failed)?;
        }
        self.write_by_rename("current", next.to_string().as_bytes())?;
        let counts = Counts::of(&entries);
        {
            let mut state = self.lock();
            state.current = next;
            state.counts = counts;
            if is_held {
                state.held.insert(before, replaced);
            }
        }
        if !is_held {
            self.hold_more(replaced);
            remove_or_warn(&self.generation(before));
        }
        Ok(counts)
    }

    /// One file needs no generation of its own, which would cost as much as there are files: where nobody mounts the present one, a single
    /// rename puts it there. Whether that was done is found out by [`Store::open`], if this is not done to its end.
    fn put_in_place(&self, current: u64, entries: &[Entry], staged: &Staged) -> Result<Counts, CacheError> {
        let generation = self.generation(current);
        let (list, next) = (generation.join("list"), generation.join(NEXT_LIST));
        list::write(&next, entries)?;
        let from = staged.folder().join("files");
        let open = |path: &Path| fs::File::open(path).map(OwnedFd::from).map_err(|error| CacheError::io("put", b"files", error));
        let moved = open(&from).and_then(|from| merge::move_into(&staged.items, &from, &open(&self.files(current))?));
        if moved.is_err() {
            remove_or_warn(&next);
        }
        moved?;
        fs::rename(&next, &list).map_err(|error| CacheError::io("write", b"the list", error))?;
        let counts = Counts::of(entries);
        self.lock().counts = counts;
        Ok(counts)
    }

    /// A generation that is not current is not in use any more.
    pub fn release(&self, generation: u64) {
        let _changing = self.change();
        let Some(bytes) = self.lock().held.remove(&generation) else { return };
        remove_or_warn(&self.generation(generation));
        if self.lock().held.range(..generation).next().is_some() {
            self.hold_more(bytes);
        }
    }

    /// So many bytes are in no generation that is left, but for one that is mounted, perhaps: who has what is not known, so they count on.
    fn hold_more(&self, bytes: u64) {
        let held = self.lock().held.iter_mut().next_back().map(|(generation, held)| {
            *held = held.saturating_add(bytes);
            (*generation, *held)
        });
        if let Some((generation, held)) = held
            && let Err(error) = fs::write(self.generation(generation).join("held"), held.to_string())
        {
            tracing::warn!(%error, "how much an earlier state of a cache holds is not written down");
        }
    }

    /// The generation that counts.
    pub fn current(&self) -> u64 {
        self.lock().current
    }

    /// What is in it.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// What it takes of a quota, with the generations that are only held because they are in use.
    pub fn amount(&self) -> Amount {
        let state = self.lock();
        state.counts.amount().plus(Amount { bytes: state.held.values().sum(), entries: 0 })
    }

    /// The folder of a generation, to be mounted.
    pub fn files(&self, generation: u64) -> PathBuf {
        self.generation(generation).join("files")
    }

    /// The list of a generation.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn list_of(&self, generation: u64) -> Result<Vec<Entry>, CacheError> {
        list::read(&self.generation(generation).join("list"))
    }

    /// Whatever is there becomes the list of the current generation: somebody was allowed to write.
    ///
    /// # Errors
    /// When it has more than a list can hold, or cannot be read; the list stays as it is.
    pub fn rescan(&self) -> Result<Counts, CacheError> {
        let _changing = self.change();
        let current = self.current();
        let entries = scan(self.open_files(current)?, Mounts::Refuse)?;
        let name = format!("g/{current}/list");
        list::write(&self.folder.join("put/list"), &entries)?;
        fs::rename(self.folder.join("put/list"), self.folder.join(name))
            .map_err(|error| CacheError::io("write", b"the list", error))?;
        let counts = Counts::of(&entries);
        self.lock().counts = counts;
        Ok(counts)
    }

    /// What the current generation takes of a quota as it is on the disk, while somebody may write into it.
    ///
    /// # Errors
    /// [`CacheError::TooMuch`], or what cannot be read.
    pub fn measured(&self) -> Result<Amount, CacheError> {
        let measured = measure(&self.open_files(self.current())?, Mounts::Refuse)?;
        Ok(measured.amount().plus(Amount { bytes: self.lock().held.values().sum(), entries: 0 }))
    }

    /// Compares the current generation with its list.
    ///
    /// # Errors
    /// [`CacheError::Altered`] with the first path that differs.
    pub fn verify(&self) -> Result<Verified, CacheError> {
        let generation = self.current();
        compare(&self.open_files(generation)?, &self.list_of(generation)?, Mounts::Refuse)
    }

    /// The owner's notes.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn notes(folder: &Path) -> Result<Vec<u8>, CacheError> {
        fs::read(folder.join("notes")).map_err(|error| CacheError::io("read", b"the notes", error))
    }

    /// Replaces the owner's notes: they are there as a whole, before or after.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_notes(&self, notes: &[u8]) -> Result<(), CacheError> {
        self.write_by_rename("notes", notes)
    }

    fn open_files(&self, generation: u64) -> Result<OwnedFd, CacheError> {
        let opened = fs::File::open(self.files(generation));
        opened.map(OwnedFd::from).map_err(|error| CacheError::io("open", b"the files", error))
    }

    fn generation(&self, number: u64) -> PathBuf {
        self.folder.join("g").join(number.to_string())
    }

    fn next_put(&self) -> PathBuf {
        let mut state = self.lock();
        state.next_put += 1;
        self.folder.join("put").join(state.next_put.to_string())
    }

    fn write_by_rename(&self, name: &str, content: &[u8]) -> Result<(), CacheError> {
        let new = self.folder.join(format!("{name}.new"));
        let written = fs::write(&new, content).and_then(|()| fs::rename(&new, self.folder.join(name)));
        written.map_err(|error| CacheError::io("write", name.as_bytes(), error))
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A list that was written but not put into its place counts if it says what is there.
fn choose_list(generation: &Path) -> Result<(), CacheError> {
    let (list, next) = (generation.join("list"), generation.join(NEXT_LIST));
    if !next.exists() {
        return Ok(());
    }
    let failed = |error: io::Error| CacheError::io("open", b"the files", error);
    let files = OwnedFd::from(fs::File::open(generation.join("files")).map_err(failed)?);
    let says_so = list::read(&next).and_then(|entries| compare(&files, &entries, Mounts::Refuse));
    match says_so {
        Ok(_) => fs::rename(&next, &list).map_err(failed),
        Err(_) => remove_tree(&next),
    }
}

/// What cannot be removed now is removed when the store is opened the next time.
fn remove_or_warn(folder: &Path) {
    if let Err(error) = remove_tree(folder) {
        tracing::warn!(folder = %folder.display(), %error, "an earlier state of a cache is left behind");
    }
}

/// Bytes that only this generation has; none where nobody wrote how many.
fn read_held(generation: &Path) -> u64 {
    fs::read_to_string(generation.join("held")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
