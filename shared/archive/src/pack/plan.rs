//! What goes into an archive, and under which name.

use super::walk::{Found, Root, What};
use super::{PackError, PackLimits};
use crate::Pattern;
use coord_shared::pipeline::Include;
use std::collections::BTreeMap;
use std::path::Path;

/// What is to be packed: the folder, and by name in the archive what each entry is.
pub(super) struct Plan {
    pub(super) root: Root,
    pub(super) entries: BTreeMap<Vec<u8>, Planned>,
}

/// One entry. A folder that is only there because of what is in it has no source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) source: Option<Vec<u8>>,
    pub(super) what: What,
}

pub(super) fn plan(root: &Path, include: &[Include], exclude: &[String], limits: &PackLimits) -> Result<Plan, PackError> {
    let root = Root::open(root)?;
    let excluded = exclude.iter().map(|pattern| Pattern::new(pattern)).collect::<Result<Vec<_>, _>>()?;
    let mut entries = Entries { by_name: BTreeMap::new(), limits, content_bytes: 0 };
    for include in include {
        let pattern = Pattern::new(&include.path)?;
        let place = Place::new(&pattern, include.to.as_deref())?;
        let mut count = 0_u64;
        root.walk(&pattern, &excluded, limits, &mut |found| {
            count += 1;
            let name = place.name(&found.path);
            entries.add(name, found)
        })?;
        if count == 0 {
            return Err(PackError::Nothing { pattern: include.path.clone(), root: root.path().to_owned() });
        }
    }
    Ok(Plan { root, entries: entries.by_name })
}

/// From a path in the folder to a name in the archive.
struct Place {
    /// Components at the beginning of a path that do not show in the archive.
    cut: usize,
    /// What stands there instead.
    prefix: Vec<u8>,
}

impl Place {
    fn new(pattern: &Pattern, to: Option<&str>) -> Result<Place, PackError> {
        let literals: Vec<&[u8]> = pattern.literals().collect();
        let keeps_last = pattern.is_literal() || pattern.is_whole_folder();
        let last = literals.last().copied().unwrap_or_default();
        let prefix = match to {
            None if keeps_last => last.to_vec(),
            None => Vec::new(),
            Some(to) => {
                let cleaned = place(to)?;
                // `bin/` is a folder that it goes into, `bin/server` its new name.
                match (to.ends_with('/') && pattern.is_literal(), cleaned.is_empty()) {
                    (true, true) => last.to_vec(),
                    (true, false) => [&cleaned[..], b"/", last].concat(),
                    (false, _) => cleaned,
                }
            }
        };
        Ok(Place { cut: literals.len(), prefix })
    }

    fn name(&self, path: &[u8]) -> Vec<u8> {
        let rest: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).skip(self.cut).collect();
        let parts = std::iter::once(&self.prefix[..]).filter(|prefix| !prefix.is_empty()).chain(rest);
        parts.collect::<Vec<_>>().join(&b'/')
    }
}

/// A place in the archive, cleaned: it is a pattern without wildcards.
fn place(to: &str) -> Result<Vec<u8>, PackError> {
    if matches!(to, "" | "." | "./" | "/") {
        return Ok(Vec::new());
    }
    let pattern = Pattern::new(to)?;
    Ok(pattern.literals().collect::<Vec<_>>().join(&b'/'))
}

struct Entries<'a> {
    by_name: BTreeMap<Vec<u8>, Planned>,
    limits: &'a PackLimits,
    content_bytes: u64,
}

impl Entries<'_> {
    fn add(&mut self, name: Vec<u8>, found: Found) -> Result<(), PackError> {
        let Found { path, what } = found;
        if let What::File { size, .. } = what {
            self.content_bytes = self.content_bytes.saturating_add(size);
            if self.content_bytes > self.limits.content_max_bytes {
                return Err(PackError::Limit { limit: format!("{} bytes", self.limits.content_max_bytes) });
            }
        }
        // The folder itself has no name in the archive; what it has does.
        if name.is_empty() {
            return Ok(());
        }
        let folders = name.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &name[..at]);
        for folder in folders.map(<[u8]>::to_vec).collect::<Vec<_>>() {
            self.put(folder, Planned { source: None, what: What::Directory })?;
        }
        self.put(name, Planned { source: Some(path), what })
    }

    fn put(&mut self, name: Vec<u8>, new: Planned) -> Result<(), PackError> {
        if let Some(old) = self.by_name.get(&name) {
            let both_folders = old.what == What::Directory && new.what == What::Directory;
            if both_folders || old.source == new.source {
                return Ok(());
            }
            let text = |planned: &Planned| {
                planned.source.as_ref().map_or_else(|| "a folder".to_owned(), |path| String::from_utf8_lossy(path).into_owned())
            };
            let to = String::from_utf8_lossy(&name).into_owned();
            return Err(PackError::SamePlace { first: text(old), second: text(&new), to });
        }
        if self.by_name.len() >= self.limits.entries_max {
            return Err(PackError::Limit { limit: format!("{} files and folders", self.limits.entries_max) });
        }
        self.by_name.insert(name, new);
        Ok(())
    }
}
