//! Small phrases that several commands share.

use coord_shared::names::HostName;

/// Most hosts that are named in one line, unless all are asked for.
const HOSTS_MAX: usize = 6;

/// `web-1, web-2 and 40 more`.
pub(super) fn hosts(names: &[HostName], all: bool) -> String {
    let shown = if all || names.len() <= HOSTS_MAX + 1 { names.len() } else { HOSTS_MAX };
    let listed = names[..shown].iter().map(HostName::as_str).collect::<Vec<_>>().join(", ");
    match names.len() - shown {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

/// `1 document`, `2 documents`.
pub(super) fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_of_hosts_are_cut() {
        let names = |count: usize| (0..count).map(|n| format!("h{n}").parse().expect("a host name")).collect::<Vec<HostName>>();
        assert_eq!(hosts(&names(0), false), "");
        assert_eq!(hosts(&names(2), false), "h0, h1");
        assert_eq!(hosts(&names(7), false), "h0, h1, h2, h3, h4, h5, h6");
        assert_eq!(hosts(&names(8), false), "h0, h1, h2, h3, h4, h5 and 2 more");
        assert_eq!(hosts(&names(8), true), "h0, h1, h2, h3, h4, h5, h6, h7");
    }
}
