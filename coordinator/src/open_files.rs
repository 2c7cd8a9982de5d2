//! The limit of open files: every waiting agent holds one, and the usual soft limit of 1024 is far from what the machine can do.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files that are open besides connections: the store, the watched folder, registries, the runtime's own.
const RESERVED_FILES: u64 = 128;

/// Raises this process's soft limit as far as `connections` need and the hard limit allows (setrlimit(2)). Answers how many
/// connections there is room for.
pub(crate) fn make_room(connections: usize) -> usize {
    let wanted = (connections as u64).saturating_add(RESERVED_FILES);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return connections };
    let limit = soft.max(wanted.min(hard));
    if limit > soft
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, limit, hard)
    {
        tracing::warn!(error = %error, "cannot raise the limit of open files");
        return room(soft, connections);
    }
    room(limit, connections)
}

fn room(limit: u64, connections: usize) -> usize {
    let room = usize::try_from(limit.saturating_sub(RESERVED_FILES)).unwrap_or(usize::MAX).max(1);
    if room < connections {
        tracing::warn!(
            connections = room,
            wanted = connections,
            "fewer connections than configured: raise the limit of open files"
        );
    }
    room.min(connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_as_many_as_the_limit_leaves() {
        let check = |limit, connections, expect| assert_eq!(room(limit, connections), expect, "{limit} {connections}");
        check(1024, 100, 100);
        check(1024, 15_000, 896);
        check(64, 100, 1);
        check(u64::MAX, 15_000, 15_000);
    }

    #[test]
    fn the_soft_limit_is_raised() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("reads");
        let connections = usize::try_from(hard.min(4096) - RESERVED_FILES).expect("fits");
        assert_eq!(make_room(connections), connections);
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("reads");
        assert!(soft >= hard.min(4096));
    }
}
