//! What is kept of a parent and of its second containers, in memory and on disk. After a power cut none of it is asked for any more, because
//! the parent is gone: nothing is synced.

use super::ParentKind;
use super::places::{Places, names, read_record, write_record};
use coord_shared::document::Nested as Permission;
use coord_shared::names::{ChildName, PinnedImage};
use coord_shared::quantity::ByteSize;
use coord_shared::wire::nested::{ChildState, ChildView};
use serde::{Deserialize, Serialize};
use std::io;

/// A container that has a door.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct About {
    /// Its ID in its runtime.
    pub(super) container: String,
    /// As people name it.
    pub(super) shown: String,
    pub(super) kind: ParentKind,
    pub(super) permission: Permission,
    pub(super) image: PinnedImage,
}

impl About {
    pub(super) fn write(&self, places: &Places) -> io::Result<()> {
        write_record(&places.about(&self.container), self)
    }

    /// `None` for what is none, or was not finished.
    pub(super) fn read(places: &Places, parent: &str) -> Option<Self> {
        let about: Self = serde_json::from_str(&read_record(&places.about(parent)).ok()?).ok()?;
        (about.container == parent).then_some(about)
    }
}

/// A second container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Counts those of its parent, from 1.
    pub(super) number: u64,
    /// Its ID in the runtime.
    pub(super) container: String,
    /// The signal that asks it to end.
    #[serde(default)]
    pub(super) stop_signal: Option<i32>,
    /// Its own limit, for the words on its end.
    #[serde(default)]
    pub(super) memory: Option<ByteSize>,
    /// What is told of it.
    pub(super) view: ChildView,
}

impl Record {
    pub(super) fn write(&self, places: &Places, parent: &str) -> io::Result<()> {
        write_record(&places.child(parent, &self.view.name), self)
    }

    /// All that an agent has left of a parent's, by age.
    pub(super) fn all(places: &Places, parent: &str) -> Vec<Self> {
        let folder = places.children(parent);
        let found = names(&folder).into_iter().filter_map(|name| {
            let child: ChildName = name.strip_suffix(".json")?.parse().ok()?;
            let record: Self = serde_json::from_str(&read_record(&folder.join(&name)).ok()?).ok()?;
            (record.view.name == child).then_some(record)
        });
        let mut all: Vec<Self> = found.collect();
        all.sort_by_key(|record| record.number);
        all
    }

    /// Whether nothing more will come of it.
    pub(super) fn has_ended(&self) -> bool {
        has_ended(&self.view)
    }
}

/// Whether nothing more will come of it.
pub(super) fn has_ended(view: &ChildView) -> bool {
    match view.state {
        ChildState::Starting | ChildState::Running => false,
        ChildState::Exited | ChildState::Failed | ChildState::Unknown => true,
    }
}
