//! What a container is told when something cannot be done with its caches.

use coord_cache::CacheError;
use coord_shared::names::{CacheName, ChildName};
use coord_shared::quantity::Span;
use coord_shared::wire::ErrorBody;
use std::error::Error as _;

pub(super) fn refusal(code: &str, message: String, hint: Option<String>) -> ErrorBody {
    ErrorBody { code: code.to_owned(), message, hint, detail: None }
}

pub(super) fn no_such_cache(name: &CacheName) -> ErrorBody {
    let hint = format!("make it first: coord cache create {name} --path /work");
    refusal("no_such_cache", format!("there is no cache {name}"), Some(hint))
}

pub(super) fn not_a_store(name: &CacheName, from: &str) -> ErrorBody {
    let message = format!("cache {name} publishes the folder {from} as it is; no files are put into it");
    refusal("not_a_store", message, Some(format!("write into {from} itself, or make a cache without --from")))
}

pub(super) fn expired(name: &CacheName, ttl: Option<Span>) -> ErrorBody {
    refusal("cache_expired", time_is_over(name, ttl), Some("make it anew, with a longer --ttl".to_owned()))
}

pub(super) fn time_is_over(name: &CacheName, ttl: Option<Span>) -> String {
    let ttl = ttl.map(|ttl| format!(" of {ttl}")).unwrap_or_default();
    format!("cache {name}: its time to live{ttl} is over")
}

/// `verb` is what cannot be done, as in "deleted".
pub(super) fn in_use(name: &CacheName, by: &[ChildName], verb: &str) -> ErrorBody {
    let by: Vec<&str> = by.iter().map(ChildName::as_str).collect();
    let message = format!("cache {name} cannot be {verb}: {} mounts it", by.join(", "));
    let hint = format!("wait until these have ended, or end them: coord stop {}", by.join(" "));
    refusal("cache_in_use", message, Some(hint))
}

pub(super) fn in_writing(name: &CacheName, by: &[ChildName]) -> ErrorBody {
    let by: Vec<&str> = by.iter().map(ChildName::as_str).collect();
    let message = format!("no files can be put into cache {name} now: {} may write into it", by.join(", "));
    let hint = "wait until these have ended, mount it read-only (--cache NAME:ro), or use another cache".to_owned();
    refusal("cache_in_use", message, Some(hint))
}

/// Nobody may write into it, as there is too much already.
pub(super) fn over(name: &CacheName, limit: &str) -> ErrorBody {
    let hint = format!(
        "mount it read-only (--cache {name}:ro), delete what is not needed, or set nested.caches in the document to more"
    );
    refusal("over_quota", holds_too_much(name, limit), Some(hint))
}

pub(super) fn holds_too_much(name: &CacheName, limit: &str) -> String {
    format!("cache {name}: there is more in it than {limit}")
}

pub(super) fn read_only(name: &CacheName, from: &str) -> ErrorBody {
    let message =
        format!("nobody can write into cache {name}: the folder {from} is read-only in the container that publishes it");
    refusal("invalid_request", message, Some(format!("mount it read-only (--cache {name}:ro), or put the files into a cache")))
}

/// Something of the host's, which whoever asked cannot help.
pub(super) fn internal(message: String) -> ErrorBody {
    tracing::error!(error = %message, "a file cache cannot be served");
    refusal("internal", message, Some("the host's operator finds more in the agent's log".to_owned()))
}

/// The work was given up.
pub(super) fn ending() -> ErrorBody {
    refusal("unavailable", "the agent is ending".to_owned(), Some("ask again in a moment".to_owned()))
}

/// What went wrong with this cache.
pub(super) fn of(name: &CacheName, error: CacheError) -> ErrorBody {
    let said = format!("cache {name}: {error}");
    let hint = |text: &str| Some(text.to_owned());
    match error {
        CacheError::OverQuota { .. } => {
            refusal("over_quota", said, hint("put less, delete what is not needed, or set nested.caches in the document to more"))
        }
        CacheError::TooMuch { .. } => refusal("over_quota", said, hint("put fewer files, or pack them into an archive")),
        CacheError::DiskFull { .. } => refusal("disk_full", said, hint("nothing was changed; the host needs room for its agent")),
        CacheError::BadArchive(_) => {
            refusal("bad_archive", said, hint("nothing was changed; put a tar archive that is not compressed"))
        }
        CacheError::BadPath { .. } => {
            refusal("bad_archive", said, hint("nothing was changed; put files, folders and links with relative paths"))
        }
        CacheError::Input { ref source } => {
            refusal("bad_archive", format!("{said}: {source}"), hint("nothing was changed; put them again"))
        }
        CacheError::Altered { .. } => refusal("altered", said, hint("delete the cache, make it anew and put its files again")),
        CacheError::MountWithin { .. } => refusal("invalid_request", said, hint("publish a folder without mounts below it")),
        CacheError::Io { .. } | CacheError::List { .. } => {
            let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            internal(format!("{said}{source}"))
        }
    }
}
