//! What a host's cgroups are good for, found out by making one and taking it away again.

use super::v2::CONTROLLERS;
use super::{Cgroups, Tree};
use crate::{RuntimeError, systemd};
use std::fs;
use std::io;
use std::path::Path;

/// What a host's cgroups are good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupSurvey {
    /// `v2`, `hybrid`, `v1` or `none`.
    pub version: &'static str,
    /// Which of the controllers that limits need are there.
    pub controllers: Vec<&'static str>,
    /// Which are not.
    pub missing: Vec<&'static str>,
    /// Whether systemd is asked for them.
    pub is_systemd: bool,
    /// Whether the kernel can kill a whole group at once (`cgroup.kill`, Linux 5.14).
    pub kills_at_once: bool,
    /// Why no group can be made, where that is so.
    pub refused: Option<String>,
}

/// Looks at the cgroups of this host.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn survey() -> Result<CgroupSurvey, RuntimeError> {
    let Cgroups { unified, v1, .. } = Cgroups::detect(Path::new("/"))?;
    let version = match (&unified, v1.is_empty()) {
        (Some(_), true) => "v2",
        (Some(_), false) => "hybrid",
        (None, false) => "v1",
        (None, true) => "none",
    };
    let mut survey = CgroupSurvey {
        version,
        controllers: Vec::new(),
        missing: Vec::new(),
        is_systemd: systemd::is_running(),
        kills_at_once: false,
        refused: None,
    };
    let mut refused = |tree: &Tree, error: io::Error| {
        survey.refused = Some(format!("no cgroup can be made in {}: {error}", tree.mount.join(&tree.base).display()));
    };
    if let Some(tree) = &unified {
        match trial(tree, |group| group.join("cgroup.kill").exists()) {
            Ok(has_kill) => survey.kills_at_once = has_kill,
            Err(error) => refused(tree, error),
        }
        if v1.is_empty() {
            let listed = fs::read_to_string(tree.mount.join("cgroup.controllers")).unwrap_or_default();
            survey.controllers.extend(CONTROLLERS.iter().filter(|name| listed.split_whitespace().any(|word| word == **name)));
        }
    }
    for (name, tree) in &v1 {
        match (trial(tree, |_| ()), v2_name(name)) {
            (Ok(()), Some(name)) => survey.controllers.push(name),
            (Ok(()), None) => {}
            (Err(error), _) => survey.refused = Some(format!("no cgroup can be made for {name}: {error}")),
        }
    }
    survey.missing.extend(CONTROLLERS.iter().filter(|name| !survey.controllers.contains(name)));
    Ok(survey)
}

/// What v2 calls a v1 controller, if limits need it.
fn v2_name(v1: &str) -> Option<&'static str> {
    let name = if v1 == "blkio" { "io" } else { v1 };
    CONTROLLERS.into_iter().find(|known| *known == name)
}

/// Makes a group where ours would be, looks at it, and removes it.
fn trial<T>(tree: &Tree, look: impl FnOnce(&Path) -> T) -> io::Result<T> {
    let group = tree.mount.join(&tree.base).join(format!("coord-doctor-{}", std::process::id()));
    fs::create_dir(&group)?;
    let seen = look(&group);
    fs::remove_dir(&group)?;
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_grants_cgroups() {
        let survey = survey().expect("a survey");
        assert_eq!(survey.refused, None);
        assert_ne!(survey.version, "none");
        assert_eq!(survey.controllers.len() + survey.missing.len(), CONTROLLERS.len());
    }
}
