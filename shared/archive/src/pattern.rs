//! Patterns over paths: `*` and `?` within a component, `**` over any number of them. Everything else means itself.

use std::fmt;

/// Parts of a pattern: each costs a bit of the state in which a walk through folders is.
const PARTS_MAX: usize = 60;

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pattern {pattern:?} {problem}")]
pub struct PatternError {
    pattern: String,
    problem: &'static str,
}

/// A pattern that is relative to some folder. The same for bytes that are no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    /// With `*` or `?`.
    Wild(Vec<u8>),
    /// `**`.
    Any,
}

/// Where a walk stands in a pattern: a bit for each part that the next component may be. Nothing set: nothing below can match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State(u64);

impl State {
    /// Whether something below may still match.
    pub(crate) fn is_alive(self) -> bool {
        self.0 != 0
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is empty or absolute, leads out by `..`, or has more than 60 components.
    pub fn new(text: &str) -> Result<Pattern, PatternError> {
        let fail = |problem| PatternError { pattern: text.to_owned(), problem };
        if text.starts_with('/') {
            return Err(fail("is absolute; write it relative to the folder that is packed"));
        }
        let mut parts = Vec::new();
        for part in text.split('/').filter(|part| !matches!(*part, "" | ".")) {
            if part == ".." || part.contains('\0') {
                return Err(fail("leads out of the folder that is packed; leave out the \"..\""));
            }
            // Twice `**` is once.
            if part == "**" && parts.last() == Some(&Part::Any) {
                continue;
            }
            parts.push(match part {
                "**" => Part::Any,
                _ if part.contains(['*', '?']) => Part::Wild(part.as_bytes().to_vec()),
                _ => Part::Literal(part.as_bytes().to_vec()),
            });
        }
        if parts.len() > PARTS_MAX {
            return Err(fail("has more than 60 components"));
        }
        // Where no component is named, it is the folder itself.
        if parts.is_empty() && !text.starts_with('.') {
            return Err(fail("is empty; name a path, or \".\" for everything"));
        }
        Ok(Pattern { text: text.to_owned(), parts })
    }

    /// Whether it matches a path, or a folder above that.
    pub fn covers(&self, path: &[u8]) -> bool {
        let mut state = self.start();
        if self.is_match(state) {
            return true;
        }
        path.split(|byte| *byte == b'/').any(|name| {
            state = self.step(state, name);
            self.is_match(state)
        })
    }

    /// Whether it matches this very path; the empty one is the folder itself.
    pub fn is_exact(&self, path: &[u8]) -> bool {
        let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        self.is_match(names.fold(self.start(), |state, name| self.step(state, name)))
    }

    /// The components before the first wildcard.
    pub(crate) fn literals(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map_while(|part| match part {
            Part::Literal(name) => Some(name.as_slice()),
            Part::Wild(_) | Part::Any => None,
        })
    }

    /// Whether it has no wildcard, and so names one thing.
    pub(crate) fn is_literal(&self) -> bool {
        self.literals().count() == self.parts.len()
    }

    /// Whether it is `DIR/**`, which is `DIR`.
    pub(crate) fn is_whole_folder(&self) -> bool {
        self.parts.last() == Some(&Part::Any) && self.literals().count() + 1 == self.parts.len()
    }

    pub(crate) fn start(&self) -> State {
        self.skip_any(1)
    }

    /// After one more component.
    pub(crate) fn step(&self, state: State, name: &[u8]) -> State {
        let mut next = 0;
        for (at, part) in self.parts.iter().enumerate().filter(|(at, _)| state.0 >> at & 1 == 1) {
            match part {
                Part::Any => next |= 1 << at,
                Part::Literal(literal) if literal == name => next |= 1 << (at + 1),
                Part::Wild(wild) if matches(wild, name) => next |= 1 << (at + 1),
                Part::Literal(_) | Part::Wild(_) => {}
            }
        }
        self.skip_any(next)
    }

    /// Whether all parts are used up.
    pub(crate) fn is_match(&self, state: State) -> bool {
        state.0 >> self.parts.len() & 1 == 1
    }

    /// `**` may be no component at all.
    fn skip_any(&self, mut state: u64) -> State {
        for (at, part) in self.parts.iter().enumerate() {
            if *part == Part::Any && state >> at & 1 == 1 {
                state |= 1 << (at + 1);
            }
        }
        State(state)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One component. Linear but for the last `*`, to which it goes back.
fn matches(wild: &[u8], name: &[u8]) -> bool {
    let (mut at, mut in_name) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match wild.get(at) {
            Some(b'*') => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                in_name = taken + 1;
            }
        }
    }
    wild[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, path: &str, expect: bool) {
        assert_eq!(Pattern::new(pattern).unwrap().covers(path.as_bytes()), expect, "{pattern} {path}");
    }

    #[test]
    fn a_component_is_matched_whole_and_a_folder_covers_what_is_below() {
        check("a/b", "a/b", true);
        check("a/b", "a/b/c", true);
        check("a/b", "a/bc", false);
        check("a/b", "a", false);
        check("./a//b/", "a/b", true);
        check(".", "anything/at/all", true);
        check("a/*.so", "a/x.so", true);
        check("a/*.so", "a/b/x.so", false);
        check("a/*.so", "a/x.so.1", false);
        check("a/?", "a/bc", false);
        check("a*b*c", "aXbYbZc", true);
        check("a*b*c", "aXbYbZ", false);
    }

    #[test]
    fn two_stars_are_any_number_of_components() {
        check("**/*.map", "x.map", true);
        check("**/*.map", "a/b/x.map", true);
        check("a/**/z", "a/z", true);
        check("a/**/z", "a/b/c/z", true);
        check("a/**/z", "a/b/c/y", false);
        check("a/**", "a/b", true);
        check("a/**", "b", false);
        check("**/**/**", "b", true);
    }

    #[test]
    fn what_leads_out_is_refused() {
        for bad in ["", "/", "/etc", "..", "a/../b", "a/..", &"a/".repeat(61)] {
            assert!(Pattern::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_its_square() {
        check(&"*a".repeat(100), &"a".repeat(250), true);
        check(&format!("{}b", "*a".repeat(100)), &"a".repeat(255), false);
    }
}
