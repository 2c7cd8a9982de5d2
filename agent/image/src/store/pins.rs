//! What pulls in flight hold: layers that no prune takes, and things under `tmp/` that go away with them.
//!
//! Who removes does not stop the others meanwhile: pins are noted while he reads what is needed, and what he takes away he claims first,
//! name by name. A pull that wants a claimed layer waits as it would for another pull that makes it, finds it gone, and makes it.

use super::{Inner, disk, layout};
use coord_shared::names::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Who needs what.
#[derive(Default)]
pub(super) struct Board {
    /// Diff ids, and names of chains.
    pins: BTreeMap<Digest, Pin>,
    /// What was pinned at any time since somebody began to remove.
    noted: Option<BTreeSet<Digest>>,
}

/// A layer that somebody needs.
#[derive(Default)]
struct Pin {
    holders: usize,
    /// Held by whoever is making the layer, or takes it away.
    making: Arc<Mutex<()>>,
}

impl Board {
    fn pin(&mut self, name: &Digest) {
        if let Some(noted) = &mut self.noted {
            noted.insert(name.clone());
        }
        self.pins.entry(name.clone()).or_default().holders += 1;
    }

    fn release(&mut self, name: &Digest) {
        let Some(pin) = self.pins.get_mut(name) else { return };
        pin.holders -= 1;
        if pin.holders == 0 {
            self.pins.remove(name);
        }
    }

    fn is_wanted(&self, name: &Digest) -> bool {
        self.pins.contains_key(name) || self.noted.as_ref().is_some_and(|noted| noted.contains(name))
    }
}

/// Layers that a pull needs; no prune takes them while this lives.
pub(crate) struct Pins {
    inner: Arc<Inner>,
    /// Diff ids, and the name of their chain.
    names: Vec<Digest>,
}

impl Pins {
    /// For an image of these layers, bottom first: they and what belongs to them together stay.
    pub(crate) fn new(inner: &Arc<Inner>, diff_ids: Vec<Digest>) -> Pins {
        let mut names = diff_ids;
        names.push(layout::chain_of(&names));
        let mut board = inner.pins();
        for name in &names {
            board.pin(name);
        }
        drop(board);
        Pins { inner: Arc::clone(inner), names }
    }

    /// What to hold while making the layer. Only for layers that are pinned here.
    pub(crate) fn making(&self, diff_id: &Digest) -> Arc<Mutex<()>> {
        self.inner.pins().pins.get(diff_id).map(|pin| Arc::clone(&pin.making)).unwrap_or_default()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut board = self.inner.pins();
        for name in &self.names {
            board.release(name);
        }
    }
}

/// A name that nobody needs, and that nobody gets hold of while this lives.
pub(super) struct Claim<'a> {
    inner: &'a Inner,
    name: Digest,
    _making: OwnedMutexGuard<()>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.inner.pins().release(&self.name);
    }
}

/// While this lives, whatever is pinned counts as needed, also when it is let go again. For one at a time.
pub(super) struct Noting<'a>(&'a Inner);

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        self.0.pins().noted = None;
    }
}

impl Inner {
    /// The layers and chains that are needed now.
    pub(super) fn pinned(&self) -> Vec<Digest> {
        self.pins().pins.keys().cloned().collect()
    }

    pub(super) fn note_pins(&self) -> Noting<'_> {
        let mut board = self.pins();
        board.noted = Some(board.pins.keys().cloned().collect());
        Noting(self)
    }

    /// Gets hold of a name to take it away; None if somebody needs it.
    pub(super) fn claim(&self, name: &Digest) -> Option<Claim<'_>> {
        let mut board = self.pins();
        if board.is_wanted(name) {
            return None;
        }
        let pin = Pin { holders: 1, making: Arc::default() };
        let making = Arc::clone(&pin.making).try_lock_owned().ok()?;
        board.pins.insert(name.clone(), pin);
        Some(Claim { inner: self, name: name.clone(), _making: making })
    }
}

/// Something under `tmp/` that is removed unless it was renamed away.
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = disk::remove(&self.path) {
            tracing::warn!(error = %coord_registry::chain(&error), "left behind until the next start");
        }
    }
}

/// Removes things under `tmp/`; what cannot be removed now is tried again at the next start.
pub(super) fn sweep(paths: &[PathBuf]) {
    for path in paths {
        if let Err(error) = disk::remove(path) {
            tracing::warn!(error = %coord_registry::chain(&error), "left behind until the next start");
        }
    }
}

/// The same in a thread of its own: an image of many files can take a disk minutes.
pub(super) fn sweep_behind(paths: Vec<PathBuf>) {
    if paths.is_empty() {
        return;
    }
    if let Err(error) = std::thread::Builder::new().name("sweep".to_owned()).spawn(move || sweep(&paths)) {
        tracing::warn!(%error, "no thread to remove with; left behind until the next start");
    }
}
