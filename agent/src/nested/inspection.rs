//! The look at a second container that is ready but for its command: whether the files that it will see are those of its caches.

use super::caches::{Caches, Mounted};
use coord_runtime::{InspectFn, Inspection};
use coord_shared::wire::nested::Verified;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

/// What was seen. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Option<Found>>>);

type Found = Result<Vec<Verified>, String>;

impl Seen {
    /// In the order of the mounts; nothing where nobody has looked.
    pub(super) fn verified(&self) -> Vec<Verified> {
        self.get().and_then(Result::ok).unwrap_or_default()
    }

    /// The first difference, in words.
    pub(super) fn difference(&self) -> Option<String> {
        self.get()?.err()
    }

    fn get(&self) -> Option<Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Looks at these, and writes down what it sees.
pub(super) fn of(caches: Caches, mounted: Vec<Mounted>, seen: Seen) -> Inspection {
    let look = move |root: OwnedFd| {
        let (caches, mounted, seen) = (caches.clone(), mounted.clone(), seen.clone());
        let looking = async move {
            let found = caches.inspect(&mounted, &root).await;
            *seen.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
            found.map(drop)
        };
        Box::pin(looking) as Pin<Box<dyn Future<Output = Result<(), String>> + Send>>
    };
    let look: Arc<InspectFn> = Arc::new(look);
    Inspection(look)
}
