//! Every key of a format, in one place: what is honoured, what is to come, and what others call otherwise.
//!
//! There are three formats: documents (here), pipelines and recipes (in their own modules). The parser decides by these tables which
//! keys a text may have, and the reference is generated from them: what is written here is what holds.

mod honoured;
mod refused;

pub(crate) use honoured::{ARGS, HEALTHCHECK_BY_PROGRAM, HEALTHCHECK_TIMES, NESTED, PAIRS, RESOURCES, TEXTS};

use super::diagnostic::Rule;
use honoured::{HEALTHCHECK_BY_NETWORK, INNER_KEYS, KEYS};
use refused::{ELSEWHERE, NOT_YET};

/// A format: its tables and keys, and what it refuses.
pub(crate) struct Format {
    /// What a text of it is called, such as `document`.
    pub(crate) noun: &'static str,
    /// What to do with a text that is too long.
    pub(crate) too_large: &'static str,
    /// Its tables, in the order of the reference; the first one is the text's top.
    pub(crate) sections: &'static [Section],
    /// The keys of those.
    pub(crate) keys: &'static [Group],
    /// Tables within lists, which have no heading of their own.
    pub(crate) inner_sections: &'static [Section],
    /// The keys of those.
    pub(crate) inner_keys: &'static [Key],
    /// Keys that it will have, by dotted path, with what to do meanwhile.
    pub(crate) not_yet: &'static [(&'static str, &'static str)],
    /// Keys that people bring along, by dotted path, with where their meaning lives here.
    pub(crate) elsewhere: &'static [(&'static str, &'static str)],
    /// The rules that its texts can break.
    pub(crate) rules: &'static [Rule],
}

/// Keys, and the table in which they and their tables stand: one list may serve several tables and formats.
pub(crate) struct Group {
    /// Dotted; empty for the top.
    pub(crate) at: &'static str,
    pub(crate) keys: &'static [Key],
}

/// A table of a text; the empty name is the text's top.
pub(crate) struct Section {
    /// As in the file, without brackets.
    pub(crate) name: &'static str,
    /// What its keys have in common.
    pub(crate) about: &'static str,
}

/// The document's.
pub(crate) static DOCUMENT: Format = Format {
    noun: "document",
    too_large: "keep large data in the image; a document says only what to run",
    sections: &SECTIONS,
    keys: &[
        Group { at: "", keys: KEYS },
        Group { at: "", keys: RESOURCES },
        Group { at: "", keys: NESTED },
        Group { at: "", keys: HEALTHCHECK_BY_PROGRAM },
        Group { at: "", keys: HEALTHCHECK_BY_NETWORK },
        Group { at: "", keys: HEALTHCHECK_TIMES },
    ],
    inner_sections: &INNER_SECTIONS,
    inner_keys: INNER_KEYS,
    not_yet: NOT_YET,
    elsewhere: ELSEWHERE,
    rules: Rule::OF_DOCUMENTS,
};

const SECTIONS: [Section; 7] = [
    Section { name: "", about: "What runs, where, and how its container is made." },
    Section { name: "resources", about: "Upper limits of each container. A change replaces the containers." },
    Section {
        name: "nested",
        about: "What a container may start within itself: second containers, and file caches that hand them files ([guide](nested.md)). \
                With it, even empty (`nested = {}`), the container finds a socket and a program in `/run/coord`; without it, neither is \
                there. Second containers never have more rights than the container, count against its limits, and end with it. A change \
                replaces the containers.",
    },
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
const INNER_SECTIONS: [Section; 2] = [
    Section { name: "volumes[]", about: "A table in `volumes`." },
    Section { name: "post_start[]", about: "A table in `post_start` or `pre_stop`." },
];

/// A key that is honoured.
pub(crate) struct Key {
    /// The table, within the one of its [`Group`].
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    /// What a value may be.
    pub(crate) shape: &'static str,
    /// What an absent key means.
    pub(crate) default: &'static str,
    pub(crate) meaning: &'static str,
    /// A line of TOML, as it would stand in its section.
    pub(crate) example: &'static str,
}

/// Shortens the tables of keys to a line of facts per key.
pub(crate) const fn key(
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
pub(crate) enum Standing {
    Honoured,
    NotYet(&'static str),
    Elsewhere(String),
    /// With the key that was probably meant, as a hint.
    Unknown(Option<String>),
}

impl Format {
    /// Every key with the table in which it stands, in the order of the reference.
    pub(crate) fn all_keys(&self) -> impl Iterator<Item = (&'static str, &'static Key)> {
        self.sections.iter().flat_map(|section| self.keys_of(section.name).map(|key| (section.name, key)))
    }

    /// The keys of `section`, in order.
    pub(crate) fn keys_of(&self, section: &str) -> impl Iterator<Item = &'static Key> {
        let of_section = move |group: &Group, key: &Key| is_joined(section, group.at, key.section);
        self.keys.iter().flat_map(move |group| group.keys.iter().filter(move |key| of_section(group, key)))
    }

    /// The tables right within `section`, by the names that they have there.
    fn tables_of(&self, section: &str) -> impl Iterator<Item = &'static str> {
        let within = move |name: &'static str| match section {
            "" => Some(name),
            _ => name.strip_prefix(section)?.strip_prefix('.'),
        };
        self.sections.iter().filter_map(move |table| within(table.name)).filter(|name| !name.is_empty() && !name.contains('.'))
    }

    /// Whether `section` has the key or table `name`.
    pub(crate) fn is_honoured(&self, section: &str, name: &str) -> bool {
        self.tables_of(section).any(|table| table == name) || self.keys_of(section).any(|key| key.name == name)
    }

    /// Looks up `name` in `section`.
    pub(crate) fn standing(&self, section: &str, name: &str) -> Standing {
        if self.is_honoured(section, name) {
            return Standing::Honoured;
        }
        let find = |table: &'static [(&str, &'static str)]| {
            table.iter().find(|(known, _)| is_joined(known, section, name)).map(|(_, hint)| *hint)
        };
        if let Some(hint) = find(self.not_yet) {
            return Standing::NotYet(hint);
        }
        if let Some(hint) = find(self.elsewhere) {
            return Standing::Elsewhere(hint.to_owned());
        }
        match self.all_keys().find(|(_, key)| key.name == name) {
            // In TOML, a key after a table's heading belongs to that table, whatever the indentation.
            Some(("", _)) => Standing::Elsewhere(format!("`{name}` belongs to the top: move it above the first [table]")),
            Some((place, _)) => Standing::Elsewhere(format!("`{name}` belongs under [{place}]")),
            None => Standing::Unknown(self.nearest(section, name)),
        }
    }

    /// The keys of a table of the kind `section`, one of the inner ones.
    pub(crate) fn inner_keys(&self, section: &str) -> impl Iterator<Item = &'static str> {
        self.inner_keys.iter().filter(move |key| key.section == section).map(|key| key.name)
    }

    /// The cure for a key `name` that a table of the kind `section`, one of the inner ones, does not have.
    pub(crate) fn inner_hint(&self, section: &str, name: &str) -> String {
        let keys: Vec<&'static str> = self.inner_keys(section).collect();
        if let Some(near) = closest(name, keys.iter().copied()) {
            return format!("did you mean `{near}`?");
        }
        match (section, name) {
            ("volumes[]", "consistency") => "remove the key".to_owned(),
            ("post_start[]", "privileged") => "remove the key; what is run has the container's own rights".to_owned(),
            (_, name) if self.is_honoured("", name) => format!("`{name}` belongs to the top: move it above the first [table]"),
            _ => format!("its keys are {}", keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")),
        }
    }

    /// Asks for the key of `section` that `name` was probably meant to be.
    fn nearest(&self, section: &str, name: &str) -> Option<String> {
        let keys = self.keys_of(section).map(|key| key.name);
        if let Some(key) = closest(name, keys.chain(self.tables_of(section))) {
            return Some(format!("did you mean `{key}`?"));
        }
        let of_section = |path: &'static str| match path.rsplit_once('.') {
            Some((table, key)) => (table == section).then_some(key),
            None => section.is_empty().then_some(path),
        };
        let to_come = closest(name, self.not_yet.iter().filter_map(|(path, _)| of_section(path)))?;
        Some(format!("did you mean `{to_come}`? It is not supported yet"))
    }
}

/// Whether `path` is `table.name`; each may be empty.
pub(crate) fn is_joined(path: &str, table: &str, name: &str) -> bool {
    match (table, name) {
        ("", only) | (only, "") => path == only,
        _ => path.strip_prefix(table).and_then(|rest| rest.strip_prefix('.')) == Some(name),
    }
}

/// The candidate nearest to `text`, if it is near enough to be a slip: a third of its characters, spelling of `a_b`, `aB` and
/// `a-b` apart.
pub(crate) fn closest(text: &str, candidates: impl Iterator<Item = &'static str>) -> Option<&'static str> {
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
