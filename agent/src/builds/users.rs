//! The users that steps get: from the middle of the host's pool. Pure.

use coord_runtime::Isolation;

/// Numbers of 16 bits, as images use them.
const USERS_PER_CONTAINER: u32 = 65_536;
/// Ranges of users for steps: one for each that runs at a time.
const RANGES: u32 = 64;

/// The agent gives its ranges out from the beginning, and containers in somebody's foreground have theirs from
/// the end. Where the pool is too small for that, they meet.
pub(super) fn own_users(isolation: Isolation) -> Isolation {
    let ranges = isolation.user_count / USERS_PER_CONTAINER;
    let first = ranges / 2;
    let count = RANGES.min(ranges - first);
    Isolation {
        first_user: isolation.first_user.saturating_add(first.saturating_mul(USERS_PER_CONTAINER)),
        user_count: count.saturating_mul(USERS_PER_CONTAINER),
        ..isolation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_users_of_their_own() {
        let check = |ranges: u32, first: u32, count: u32| {
            let pool = Isolation { first_user: 1_000_000, user_count: ranges * USERS_PER_CONTAINER, ..Isolation::default() };
            let own = own_users(pool);
            let expect = (1_000_000 + first * USERS_PER_CONTAINER, count * USERS_PER_CONTAINER);
            assert_eq!((own.first_user, own.user_count), expect);
        };
        check(4000, 2000, 64);
        check(10, 5, 5);
        check(1, 0, 1);
    }
}
