//! What is written down of a cache, beside its files: all that an agent that starts has to know.

use coord_shared::decide::nested::Life;
use coord_shared::decide::{Mono, Now};
use coord_shared::names::ChildName;
use coord_shared::quantity::{ByteSize, Span};
use coord_shared::wire::nested::{CacheKind, NewCache, TtlFrom};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// See above. Times are those of the boot, which no jump of the wall clock touches: a cache does not outlive it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) path: String,
    pub(super) kind: CacheKind,
    pub(super) because: Option<String>,
    pub(super) from: Option<String>,
    pub(super) ttl: Option<Span>,
    pub(super) ttl_from: TtlFrom,
    pub(super) size: Option<ByteSize>,
    pub(super) created: Mono,
    pub(super) created_at: Timestamp,
    pub(super) used: Mono,
    pub(super) used_at: Timestamp,
    /// It is whole: a copy of a folder may still be on its way.
    pub(super) is_ready: bool,
    /// A container was allowed to write since the list was made.
    pub(super) is_list_old: bool,
    /// Files and bytes of a live one, when it was last looked at.
    pub(super) seen: (u64, u64),
    pub(super) mounts: Vec<MountRecord>,
}

/// A container that mounts it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MountRecord {
    pub(super) child: ChildName,
    pub(super) read_only: bool,
    /// Which state of a store.
    pub(super) generation: u64,
}

impl Record {
    pub(super) fn new(asked: &NewCache, kind: CacheKind, because: Option<String>, now: Now) -> Record {
        Record {
            path: asked.path.clone(),
            kind,
            because,
            from: asked.from.clone(),
            ttl: asked.ttl,
            ttl_from: asked.ttl_from,
            size: asked.size,
            created: now.mono,
            created_at: now.wall,
            used: now.mono,
            used_at: now.wall,
            is_ready: false,
            is_list_old: false,
            seen: (0, 0),
            mounts: Vec::new(),
        }
    }

    pub(super) fn life(&self) -> Life {
        let is_mounted = !self.mounts.is_empty();
        Life { created: self.created, used: self.used, ttl: self.ttl, ttl_from: self.ttl_from, is_mounted }
    }

    pub(super) fn touch(&mut self, now: Now) {
        self.used = now.mono;
        self.used_at = now.wall;
    }

    /// Who mounts it, each once.
    pub(super) fn children(&self) -> Vec<ChildName> {
        self.mounts.iter().map(|mount| mount.child.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Who may write into it.
    pub(super) fn writers(&self) -> Vec<ChildName> {
        let writing = self.mounts.iter().filter(|mount| !mount.read_only);
        writing.map(|mount| mount.child.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// States of the store that somebody mounts.
    pub(super) fn generations(&self) -> BTreeSet<u64> {
        self.mounts.iter().map(|mount| mount.generation).collect()
    }
}
