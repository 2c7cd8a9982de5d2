//! Where caches may be mounted, and which folders may be published.

use super::{MOUNTS_MAX, invalid, refusal};
use crate::names::CacheName;
use crate::wire::ErrorBody;
use crate::wire::nested::{CacheView, NewChild};

/// Longest path that the kernel takes, without its final NUL.
const PATH_MAX_BYTES: usize = 4095;
/// What every container has there is the kernel's, or a door's.
const RESERVED: [&str; 4] = ["/proc", "/sys", "/dev", "/run/coord"];

/// Whether a cache may be mounted there.
pub(super) fn check_target(what: &str, path: &str) -> Result<(), ErrorBody> {
    check_source(what, path)?;
    match RESERVED.into_iter().find(|reserved| is_at_or_below(path, reserved)) {
        Some(reserved) => {
            Err(invalid(format!("{what} is {path:?}, and {reserved} is not for files"), "choose another path, as /work"))
        }
        None => Ok(()),
    }
}

/// Whether it is an absolute path, written in the one way in which it can be written, and not the root.
pub(super) fn check_source(what: &str, path: &str) -> Result<(), ErrorBody> {
    check_absolute(what, path)?;
    if path == "/" {
        return Err(invalid(format!("{what} is the root folder"), "name a folder in it, as /work"));
    }
    Ok(())
}

/// Whether it is an absolute path, written in the one way in which it can be written.
pub(super) fn check_absolute(what: &str, path: &str) -> Result<(), ErrorBody> {
    let problem = if path.len() > PATH_MAX_BYTES {
        return Err(invalid(
            format!("{what} has {} bytes, and no path has more than {PATH_MAX_BYTES}", path.len()),
            "choose a shorter one",
        ));
    } else if !path.starts_with('/') {
        "is not absolute"
    } else if path.chars().any(char::is_control) {
        "has control characters"
    } else if path.split('/').any(|part| part == "..") {
        "leads up by \"..\""
    } else if path != "/" && path[1..].split('/').any(|part| part.is_empty() || part == ".") {
        "has empty or \".\" parts"
    } else {
        return Ok(());
    };
    Err(invalid(format!("{what} is {path:?}, which {problem}"), "write an absolute path, as /work"))
}

/// Whether all that is to be mounted is there, and has a place of its own.
pub(super) fn check_mounts(asked: &NewChild, caches: &[CacheView]) -> Result<(), ErrorBody> {
    if asked.caches.len() > MOUNTS_MAX {
        let message = format!("{} caches are to be mounted, and {MOUNTS_MAX} are the most", asked.caches.len());
        return Err(invalid(message, "put files of several caches into one"));
    }
    let mut taken: Vec<(&CacheName, &str)> = Vec::new();
    for mount in &asked.caches {
        let name = &mount.name;
        let Some(cache) = caches.iter().find(|cache| cache.name == *name) else { return Err(no_such_cache(name)) };
        let target = mount.path.as_deref().unwrap_or(&cache.path);
        check_target(&format!("the path of cache {name}"), target)?;
        if let Some((other, there)) =
            taken.iter().find(|(_, there)| is_at_or_below(target, there) || is_at_or_below(there, target))
        {
            let message = format!("cache {name} at {target} and cache {other} at {there} would hide each other");
            return Err(invalid(message, "mount one of them elsewhere: --cache NAME:/other/path"));
        }
        taken.push((name, target));
    }
    Ok(())
}

fn no_such_cache(name: &CacheName) -> ErrorBody {
    let hint = format!("make it first: coord cache create {name} --path /work");
    refusal("no_such_cache", format!("there is no cache {name}"), Some(hint))
}

fn is_at_or_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
