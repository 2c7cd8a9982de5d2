//! What a pull in flight holds: layers that no prune takes, and things under `tmp/` that go away with it.

use super::{Inner, disk, layout};
use coord_shared::names::Digest;
use std::path::PathBuf;
use std::sync::Arc;

/// A layer that somebody needs.
pub(super) struct Pin {
    holders: usize,
    /// Held by whoever is making the layer.
    making: Arc<tokio::sync::Mutex<()>>,
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
        let mut pins = inner.pins();
        for name in &names {
            pins.entry(name.clone()).or_insert_with(|| Pin { holders: 0, making: Arc::default() }).holders += 1;
        }
        drop(pins);
        Pins { inner: Arc::clone(inner), names }
    }

    /// What to hold while making the layer. Only for layers that are pinned here.
    pub(crate) fn making(&self, diff_id: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        self.inner.pins().get(diff_id).map(|pin| Arc::clone(&pin.making)).unwrap_or_default()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut pins = self.inner.pins();
        for name in &self.names {
            if let Some(pin) = pins.get_mut(name) {
                pin.holders -= 1;
                if pin.holders == 0 {
                    pins.remove(name);
                }
            }
        }
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
