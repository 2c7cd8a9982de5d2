//! Every key of the format, in one place: what is honoured, what is to come, and what Compose calls otherwise.
//!
//! The parser decides by these tables which keys a document may have, and `docs/document.md` is generated from them: what is
//! written here is what holds.

mod honoured;
mod refused;

pub(super) use honoured::{INNER_KEYS, KEYS};
pub(super) use refused::{ELSEWHERE, NOT_YET};

/// A table of a document; the empty name is the document's top.
pub(super) struct Section {
    /// As in the file, without brackets.
    pub(super) name: &'static str,
    /// What its keys have in common.
    pub(super) about: &'static str,
}

pub(super) const SECTIONS: [Section; 6] = [
    Section { name: "", about: "What runs, where, and how its container is made." },
    Section { name: "resources", about: "Upper limits of each container. A change replaces the containers." },
    Section {
        name: "healthcheck",
        about: "How the agent asks whether a container is well. An instance counts as ready once it is; one that is unhealthy is \
                restarted as `restart` says. What is absent is as the image says. A change restarts nothing.",
    },
    Section {
        name: "restart_policy",
        about: "Bounds and pace of restarts (Compose's `deploy.restart_policy`). A change restarts nothing.",
    },
    Section { name: "logging", about: "Where the container's output goes. A change replaces the containers." },
    Section {
        name: "rollout",
        about: "How one revision gives way to the next, host by host (Compose's `update_config`). A change restarts nothing.",
    },
];

/// Tables within lists, which have no heading of their own.
pub(super) const INNER_SECTIONS: [Section; 2] = [
    Section { name: "volumes[]", about: "A table in `volumes`." },
    Section { name: "post_start[]", about: "A table in `post_start` or `pre_stop`." },
];

/// A key that is honoured.
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// What a value may be.
    pub(super) shape: &'static str,
    /// What an absent key means.
    pub(super) default: &'static str,
    pub(super) meaning: &'static str,
    /// A line of TOML, as it would stand in its section.
    pub(super) example: &'static str,
}

/// Shortens the table below to a line of facts per key.
const fn key(
    section: &'static str,
    name: &'static str,
    shape: &'static str,
    default: &'static str,
    meaning: &'static str,
    example: &'static str,
) -> Key {
    Key { section, name, shape, default, meaning, example }
}

/// What the format says of a key.
pub(super) enum Standing {
    Honoured,
    NotYet(&'static str),
    Elsewhere(String),
    /// With the key that was probably meant, as a hint.
    Unknown(Option<String>),
}

/// Whether `section` has the key, or the document the table, `name`.
pub(super) fn is_honoured(section: &str, name: &str) -> bool {
    let is_table = section.is_empty() && !name.is_empty() && SECTIONS.iter().any(|s| s.name == name);
    is_table || KEYS.iter().any(|key| key.section == section && key.name == name)
}

/// Looks up `name` in `section`.
pub(super) fn standing(section: &str, name: &str) -> Standing {
    if is_honoured(section, name) {
        return Standing::Honoured;
    }
    let path = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
    let find = |table: &'static [(&str, &'static str)]| table.iter().find(|(known, _)| *known == path).map(|(_, hint)| *hint);
    if let Some(hint) = find(NOT_YET) {
        return Standing::NotYet(hint);
    }
    if let Some(hint) = find(ELSEWHERE) {
        return Standing::Elsewhere(hint.to_owned());
    }
    match KEYS.iter().find(|key| key.name == name) {
        // In TOML, a key after a table's heading belongs to that table, whatever the indentation.
        Some(key) if key.section.is_empty() => {
            Standing::Elsewhere(format!("`{name}` belongs to the top: move it above the first [table]"))
        }
        Some(key) => Standing::Elsewhere(format!("`{name}` belongs under [{}]", key.section)),
        None => Standing::Unknown(nearest(section, name)),
    }
}

/// The keys of a table of the kind `section`, one of [`INNER_SECTIONS`].
pub(super) fn inner_keys(section: &str) -> impl Iterator<Item = &'static str> {
    INNER_KEYS.iter().filter(move |key| key.section == section).map(|key| key.name)
}

/// The cure for a key `name` that a table of the kind `section`, one of [`INNER_SECTIONS`], does not have.
pub(super) fn inner_hint(section: &str, name: &str) -> String {
    let keys: Vec<&'static str> = inner_keys(section).collect();
    if let Some(near) = closest(name, keys.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    match (section, name) {
        ("volumes[]", "consistency") => "remove the key".to_owned(),
        ("post_start[]", "privileged") => "remove the key; what is run has the container's own rights".to_owned(),
        (_, name) if is_honoured("", name) => format!("`{name}` belongs to the top: move it above the first [table]"),
        _ => format!("its keys are {}", keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")),
    }
}

/// Asks for the key of `section` that `name` was probably meant to be.
fn nearest(section: &str, name: &str) -> Option<String> {
    let tables = SECTIONS.iter().map(|s| s.name).filter(|table| section.is_empty() && !table.is_empty());
    let keys = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
    if let Some(key) = closest(name, keys.chain(tables)) {
        return Some(format!("did you mean `{key}`?"));
    }
    let of_section = |path: &'static str| match path.split_once('.') {
        Some((table, key)) => (table == section).then_some(key),
        None => section.is_empty().then_some(path),
    };
    let to_come = closest(name, NOT_YET.iter().filter_map(|(path, _)| of_section(path)))?;
    Some(format!("did you mean `{to_come}`? It is not supported yet"))
}

/// The candidate nearest to `text`, if it is near enough to be a slip: a third of its characters, spelling of `a_b`, `aB` and
/// `a-b` apart.
pub(super) fn closest(text: &str, candidates: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    // No candidate is half as long; measuring a hostile name against all of them would only cost time.
    const TEXT_MAX_BYTES: usize = 64;
    if text.len() > TEXT_MAX_BYTES {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_', ' '], "");
    let wanted = plain(text);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
