//! Tags: which match a pattern, and which of two is newer.

use std::cmp::Ordering;

/// Whether a tag matches: `*` stands for any run of characters, `?` for one.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            Some(_) | None => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (p, n) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Orders versions: numbers count as numbers (`v1.10` after `v1.9`), and what follows a `-` comes before the version itself
/// (`v2.0-rc1` before `v2.0`), as Semantic Versioning 2.0 (section 11) has it. Build metadata (`+...`) only breaks ties.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let ((a_main, a_pre), (b_main, b_pre)) = (split(a), split(b));
    let pre = match (a_pre, b_pre) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => compare_parts(a, b),
    };
    compare_parts(a_main, b_main).then(pre).then_with(|| a.cmp(b))
}

/// The version, and what is before its release. A `-` before the first digit belongs to the name (`release-1.2`).
fn split(tag: &str) -> (&str, Option<&str>) {
    let tag = tag.split('+').next().unwrap_or(tag);
    let digits = tag.find(|c: char| c.is_ascii_digit()).unwrap_or(tag.len());
    match tag[digits..].find('-') {
        Some(at) => (&tag[..digits + at], Some(&tag[digits + at + 1..])),
        None => (tag, None),
    }
}

fn compare_parts(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let ((left, a_rest), (right, b_rest)) = (part(a), part(b));
        let is_number = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
        let order = match (is_number(left), is_number(right)) {
            (true, true) => {
                let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
                left.len().cmp(&right.len()).then_with(|| left.cmp(right))
            }
            _ => left.cmp(right),
        };
        if order != Ordering::Equal || (left.is_empty() && right.is_empty()) {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
}

/// The first run of digits, or of anything else, and what follows it.
fn part(text: &str) -> (&str, &str) {
    let is_digit = text.starts_with(|c: char| c.is_ascii_digit());
    text.split_at(text.find(|c: char| c.is_ascii_digit() != is_digit).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_people_mean_them() {
        let check = |older: &str, newer: &str| {
            assert_eq!(compare(older, newer), Ordering::Less, "{older} < {newer}");
            assert_eq!(compare(newer, older), Ordering::Greater, "{newer} > {older}");
        };
        check("v1.9.0", "v1.10.0");
        check("v1.9", "v1.9.1");
        check("1.0.0-rc.1", "1.0.0");
        check("1.0.0-rc.2", "1.0.0-rc.10");
        check("v2.0.0-alpha", "v2.0.0-beta");
        check("release-1.9", "release-1.10");
        check("v1.0.0+1", "v1.0.0+2");
        check("v007", "v8");
        check("v99999999999999999999", "v100000000000000000000");
    }

    #[test]
    fn patterns_are_globs() {
        let check = |pattern: &str, name: &str, expect: bool| assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
        check("v*", "v1.2", true);
        check("v*", "1.2", false);
        check("v?.?", "v1.2", true);
        check("v?.?", "v1.20", false);
        check("*", "", true);
        check("release/*", "release/1/2", true);
        check("v1.*-rc*", "v1.2-rc3", true);
        check("", "v", false);
    }
}
