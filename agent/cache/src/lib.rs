//! File caches: named stores of files that containers hand to each other.
//!
//! ```text
//!   CACHE/current              the number of the generation that counts
//!   CACHE/g/7/{files/,list}    a generation: what is mounted, and what stands in it, with digests
//!   CACHE/put/3/files/         files on their way in, seen by nobody
//! ```
//!
//! A put never touches what is visible: it is unpacked beside, joined with links to the files of the present generation, and becomes the
//! next generation by one rename of `current`. So it is visible as a whole or not at all, whenever the process ends, and whoever mounts an
//! earlier generation keeps what was verified. (One file alone is renamed into a generation that nobody mounts.) What is not `current` and not mounted is removed when the store is opened the next time.
//!
//! Nothing is synced: a cache does not outlive its container, and no container outlives the machine's boot.
//!
//! All names come from strangers. None is used but in a folder that is open, and no symbolic link is followed on the way.
//!
//! Deliberately absent: containers, mounts, clocks, and any word of whose caches they are.

mod budget;
mod compare;
mod content;
mod disk;
mod error;
mod kernels;
mod list;
mod merge;
mod path;
mod remove;
mod scan;
mod stage;
mod store;
#[cfg(test)]
mod tests;
mod unpack;
mod walk;

pub use budget::{Amount, Budget, Quota};
pub use compare::{compare, visible_at};
pub use disk::Mounts;
pub use error::CacheError;
pub use list::Counts;
pub use remove::remove_tree;
pub use scan::{measure, scan};
pub use stage::Staged;
pub use store::Store;
use walk::{Seen, walk};

/// Paths in a cache: each costs about 300 bytes of memory while it is compared, and the quota of bytes does not bound empty files.
pub const ENTRIES_MAX: u64 = 200_000;
/// Folders within folders; each holds a descriptor open while it is read.
pub const DEPTH_MAX: usize = 256;
