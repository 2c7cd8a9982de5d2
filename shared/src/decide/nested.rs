//! What a container may start within itself: whether one more second container or file cache is within its permission, and when a
//! cache's time is over.
//!
//! Whoever is refused is told what the document says, and which of its keys would change that. Deliberately absent: which containers and
//! caches there are (an argument), bytes that are being put (counted as they come), and what is done when time is over.

mod limits;
mod paths;
#[cfg(test)]
mod tests;

use super::{Mono, Now};
use crate::document::{Nested, NestedNetwork};
use crate::names::ImageReference;
use crate::quantity::{ByteSize, Span};
use crate::wire::ErrorBody;
use crate::wire::nested::{CacheKind, CacheView, NewCache, NewChild, TtlFrom};
use jiff::Timestamp;

/// Caches of one container at a time: each costs a folder and a list.
pub const CACHES_MAX: usize = 64;
/// Caches that one second container may mount.
pub const MOUNTS_MAX: usize = 16;
/// Longest time to live, in seconds: whoever wants more wants a cache that lives as long as its container.
const TTL_MAX_S: u64 = 365 * 86_400;

/// What a container uses of its permission.
#[derive(Debug, Clone, Default)]
pub struct InUse {
    /// Second containers that run or are being started.
    pub containers: u32,
    /// Its caches, as they are.
    pub caches: Vec<CacheView>,
}

/// How long a cache has been there, and what may end it.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    /// When it was made.
    pub created: Mono,
    /// When files were last put, or a container that mounts it last started or ended.
    pub used: Mono,
    /// How long it lives; as long as its container where absent.
    pub ttl: Option<Span>,
    /// Since when that counts.
    pub ttl_from: TtlFrom,
    /// A container mounts it.
    pub is_mounted: bool,
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
    limits::check_form(asked)?;
    if image != own && !permission.images.iter().any(|pattern| pattern.matches(image)) {
        let message = format!("second containers of this one may not be made of {image}");
        return Err(refusal("image_not_allowed", message, Some(limits::image_hint(&permission.images, image))));
    }
    if permission.network == NestedNetwork::None && asked.network == Some(NestedNetwork::Parent) {
        let message = "second containers may not see their parent's network".to_owned();
        let hint = "ask for network \"none\", or set nested.network = \"parent\" in the document".to_owned();
        return Err(refusal("network_not_allowed", message, Some(hint)));
    }
    limits::check(permission, asked)?;
    paths::check_mounts(asked, &in_use.caches)?;
    if in_use.containers >= permission.containers {
        let message = format!("{} of {} second containers run or start already", in_use.containers, permission.containers);
        let hint = format!(
            "wait until one has ended, or set nested.containers = {} in the document",
            in_use.containers.saturating_add(1)
        );
        return Err(refusal("too_many_containers", message, Some(hint)));
    }
    Ok(())
}

/// Whether one more cache may be made.
///
/// # Errors
/// `cache_exists`, `too_many_caches`, `over_limit`, `invalid_request`.
pub fn admit_cache(permission: &Nested, in_use: &InUse, asked: &NewCache) -> Result<(), ErrorBody> {
    let name = &asked.name;
    paths::check_target(&format!("the path of cache {name}"), &asked.path)?;
    if let Some(from) = &asked.from {
        paths::check_source(&format!("the folder that cache {name} publishes"), from)?;
    }
    if let Some(Span(ttl)) = asked.ttl
        && (ttl.is_zero() || ttl.as_secs() > TTL_MAX_S)
    {
        let message = format!("a cache cannot live for {}", Span(ttl));
        return Err(invalid(message, "ask for 1s to 365d, or for none: then it lives as long as its container"));
    }
    if asked.size == Some(ByteSize(0)) {
        return Err(invalid(
            format!("cache {name} could hold nothing with a size of 0"),
            "leave size out, or write for example 64MiB",
        ));
    }
    if let Some(size) = asked.size.filter(|size| *size > permission.caches) {
        let message =
            format!("a cache of {size} is more than all caches of this container may hold, which is {}", permission.caches);
        return Err(refusal("over_limit", message, Some(format!("set nested.caches = \"{size}\" in the document"))));
    }
    if permission.caches == ByteSize(0) && asked.from.is_none() {
        let hint = "set for example nested.caches = \"512MiB\" in the document, or publish a folder of this container";
        return Err(refusal("over_limit", "caches of this container may hold nothing".to_owned(), Some(hint.to_owned())));
    }
    if in_use.caches.iter().any(|cache| cache.name == *name) {
        let hint = format!("choose another name, or delete it first: coord cache rm {name}");
        return Err(refusal("cache_exists", format!("there is a cache {name} already"), Some(hint)));
    }
    if in_use.caches.len() >= CACHES_MAX {
        let message = format!("there are {CACHES_MAX} caches, and a container cannot have more");
        return Err(refusal("too_many_caches", message, Some("delete one first: coord cache rm NAME".to_owned())));
    }
    Ok(())
}

/// The capabilities that a second container is to be without, in the form `CAP_NET_RAW`; `ALL` is spelt out.
pub fn capabilities_dropped(asked: &NewChild) -> Vec<String> {
    limits::capabilities(&asked.cap_drop)
}

/// Bytes in the stores of these caches. What is published live takes no room.
pub fn bytes_in(caches: &[CacheView]) -> u64 {
    caches.iter().filter(|cache| cache.kind == CacheKind::Store).map(|cache| cache.bytes).sum()
}

/// When a cache is to be deleted, as things are; never where its time does not run. No jump of the wall clock changes that.
pub fn expires(life: &Life) -> Option<Mono> {
    let ttl = life.ttl?.0;
    match life.ttl_from {
        TtlFrom::Creation => Some(life.created.after(ttl)),
        TtlFrom::LastUse if life.is_mounted => None,
        TtlFrom::LastUse => Some(life.used.after(ttl)),
    }
}

/// The same, as people read it.
pub fn expires_at(life: &Life, now: Now) -> Option<Timestamp> {
    expires(life).map(|at| now.wall_at(at))
}

fn refusal(code: &str, message: String, hint: Option<String>) -> ErrorBody {
    ErrorBody { code: code.to_owned(), message, hint, detail: None }
}

fn invalid(message: String, hint: &str) -> ErrorBody {
    refusal("invalid_request", message, Some(hint.to_owned()))
}
