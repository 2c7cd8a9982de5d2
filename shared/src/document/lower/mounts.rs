//! `volumes` and `tmpfs`: what is mounted into the container, in Compose's short and long forms.

use super::path;
use super::tables::{Inner, inner};
use crate::document::diagnostic::{Diagnostic, Rule};
use crate::document::keys::DOCUMENT;
use crate::document::parts::{Mount, MountSource, Propagation};
use crate::document::raw::{ENTRIES_MAX, Field, Mistakes, field, scalar_text};
use crate::names::VolumeName;
use crate::quantity::ByteSize;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Words for propagation; Compose knows both spellings.
const PROPAGATIONS: [(&str, Propagation); 6] = [
    ("rprivate", Propagation::Rprivate),
    ("private", Propagation::Rprivate),
    ("rslave", Propagation::Rslave),
    ("slave", Propagation::Rslave),
    ("rshared", Propagation::Rshared),
    ("shared", Propagation::Rshared),
];

/// Least size of a tmpfs: one page (x86 and ARM).
const TMPFS_MIN: ByteSize = ByteSize(4096);
/// Permissions with setuid, setgid and sticky bit.
const MODE_MAX: u32 = 0o7777;
const EXAMPLE: &str = "write for example \"data:/var/lib/data\", \"/srv/www:/www:ro\" or \"/cache\"";

/// All mounts, sorted by target: what lies within another comes behind it, and the order in the document changes nothing.
pub(super) fn mounts(root: &DeTable<'_>, mistakes: &mut Mistakes) -> Vec<Mount> {
    let mut mounts = Mounts { by_target: BTreeMap::new() };
    if let Some(volumes) = field(root, "", "volumes") {
        for entry in volumes.entries("an array of strings", mistakes).unwrap_or_default() {
            let mount = match entry.value.get_ref() {
                DeValue::Table(table) => long(&entry, table, mistakes),
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_) => short(&entry, mistakes),
            };
            mounts.add(&volumes, &entry, mount, mistakes);
        }
    }
    if let Some(tmpfs) = field(root, "", "tmpfs") {
        for entry in tmpfs.entries_or_text(mistakes).unwrap_or_default() {
            let mount = short_tmpfs(&entry, mistakes);
            mounts.add(&tmpfs, &entry, mount, mistakes);
        }
    }
    mounts.by_target.into_values().map(|(mount, _)| mount).collect()
}

struct Mounts {
    by_target: BTreeMap<String, (Mount, Range<usize>)>,
}

impl Mounts {
    fn add(&mut self, list: &Field<'_>, entry: &Field<'_>, mount: Option<Mount>, mistakes: &mut Mistakes) {
        let Some(mount) = mount else { return };
        if let Some((_, first)) = self.by_target.get(&mount.target) {
            let twice = entry.wrong(Rule::Duplicate, format!("something is mounted at {:?} already", mount.target));
            mistakes.push(twice.related(first.clone(), "first here").hint("give one of them another target"));
        } else if self.by_target.len() == ENTRIES_MAX {
            mistakes.push(list.is_wrong(Rule::TooMany, format!("makes more than {ENTRIES_MAX} mounts")));
        } else {
            self.by_target.insert(mount.target.clone(), (mount, entry.span()));
        }
    }
}

/// `SOURCE:TARGET:OPTIONS`.
fn short(entry: &Field<'_>, mistakes: &mut Mistakes) -> Option<Mount> {
    let text = entry.text_of("a string or a table", mistakes)?;
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] if target.starts_with('/') => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options),
        [_] => {
            let bad = entry.wrong(Rule::BadMount, format!("{text:?} does not say where in the container it is to be found"));
            mistakes.push(bad.hint(format!("write \"{text}:/PATH/IN/THE/CONTAINER\"")));
            return None;
        }
        _ => {
            mistakes.push(entry.wrong(Rule::BadMount, format!("{text:?} has more than three parts")).hint(EXAMPLE));
            return None;
        }
    };
    let source = match source {
        Some(source) => source_of(entry, source, mistakes),
        None => Some(MountSource::Anonymous),
    };
    let target = target_of(entry, target, mistakes);
    let mut mount = Mount { target: target?, source: source?, read_only: false };
    if options.is_empty() && parts.len() == 3 {
        mistakes.push(entry.wrong(Rule::BadMount, "there is nothing behind the second colon").hint("remove the colon"));
        return None;
    }
    let mut access = None;
    for option in options.split(',').filter(|_| !options.is_empty()) {
        if let Some(problem) = set_option(&mut mount, &mut access, option) {
            mistakes.push(problem(entry));
            return None;
        }
    }
    Some(mount)
}

/// Makes a report about an entry.
type Report = Box<dyn Fn(&Field<'_>) -> Diagnostic>;

/// Does what `option` says, or says why not.
fn set_option(mount: &mut Mount, access: &mut Option<bool>, option: &str) -> Option<Report> {
    let report = |problem: String, cure: &'static str| -> Option<Report> {
        Some(Box::new(move |entry| entry.wrong(Rule::BadMount, &problem).hint(cure)))
    };
    let known = PROPAGATIONS.iter().find(|(word, _)| *word == option).map(|(_, meaning)| *meaning);
    match (option, &mut mount.source, known) {
        ("ro" | "rw", _, _) => {
            let read_only = option == "ro";
            if access.is_some_and(|before| before != read_only) {
                return report("\"ro\" and \"rw\" contradict each other".to_owned(), "remove one of them");
            }
            *access = Some(read_only);
            mount.read_only = read_only;
        }
        ("nocopy", MountSource::Volume { no_copy, .. }, _) => *no_copy = true,
        ("nocopy", _, _) => return report("\"nocopy\" is for volumes with a name".to_owned(), "remove it"),
        (_, MountSource::Bind { propagation, .. }, Some(known)) => *propagation = known,
        (_, _, Some(_)) => {
            return report(format!("{option:?} is for files and folders of the host"), "remove it");
        }
        ("z" | "Z", _, _) => return report(format!("{option:?} is not known"), "remove it; nothing is relabelled for SELinux"),
        (_, _, None) => {
            let cure = "use \"ro\", \"rw\", \"nocopy\", \"rprivate\", \"rslave\" or \"rshared\", with commas between them";
            return report(format!("{option:?} is not an option of a mount"), cure);
        }
    }
    None
}

/// A name of a volume, or an absolute path.
fn source_of(entry: &Field<'_>, source: &str, mistakes: &mut Mistakes) -> Option<MountSource> {
    if source.starts_with('/') {
        return bind_source(entry, source, mistakes);
    }
    if source.starts_with(['.', '~']) {
        let relative = entry.wrong(Rule::BadMount, format!("{source:?} is relative, and a document has no folder to start from"));
        mistakes.push(relative.hint("write the absolute path on the host; the file or folder must be there"));
        return None;
    }
    match source.parse::<VolumeName>() {
        Ok(name) => Some(MountSource::Volume { name, no_copy: false }),
        Err(error) => {
            mistakes.push(entry.wrong(Rule::BadMount, error).hint(EXAMPLE));
            None
        }
    }
}

fn bind_source(entry: &Field<'_>, source: &str, mistakes: &mut Mistakes) -> Option<MountSource> {
    match path::normal(source) {
        Ok(path) => Some(MountSource::Bind { path, propagation: Propagation::default() }),
        Err(problem) => {
            let bad = entry.wrong(Rule::BadMount, format!("{source:?} {problem}"));
            mistakes.push(bad.hint("name a file or folder of the host by its absolute path"));
            None
        }
    }
}

fn target_of(entry: &Field<'_>, target: &str, mistakes: &mut Mistakes) -> Option<String> {
    path::mount_target(target)
        .map_err(|problem| {
            let bad = entry.wrong(Rule::BadMount, format!("{target:?} {problem}"));
            mistakes.push(bad.hint("name a folder of the container by its absolute path"));
        })
        .ok()
}

/// `TARGET:size=64m,mode=1777`.
fn short_tmpfs(entry: &Field<'_>, mistakes: &mut Mistakes) -> Option<Mount> {
    let text = entry.text(mistakes)?;
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let target = target_of(entry, target, mistakes)?;
    let (mut size, mut mode) = (None, None);
    for option in options.split(',').filter(|_| !options.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => match value.parse::<ByteSize>() {
                Ok(bytes) if bytes >= TMPFS_MIN => size = Some(bytes),
                Ok(_) => mistakes.push(entry.wrong(Rule::OutOfRange, format!("the size must be at least {TMPFS_MIN}"))),
                Err(error) => mistakes.push(entry.wrong(Rule::BadSize, error)),
            },
            Some(("mode", value)) => match octal(value) {
                Some(bits) => mode = Some(bits),
                None => mistakes.push(bad_mode(entry, value)),
            },
            _ => {
                let bad = entry.wrong(Rule::BadMount, format!("{option:?} is not an option of a tmpfs"));
                mistakes.push(bad.hint("write for example \"/tmp:size=64m,mode=1777\""));
            }
        }
    }
    Some(Mount { target, source: MountSource::Tmpfs { size, mode }, read_only: false })
}

fn octal(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= MODE_MAX)
}

fn bad_mode(entry: &Field<'_>, text: &str) -> Diagnostic {
    let bad = entry.wrong(Rule::BadMount, format!("{text:?} are no permissions in octal"));
    bad.hint("write for example 1777 or 0755, in quotes where it stands alone")
}

/// Compose's long form.
fn long(entry: &Field<'_>, table: &DeTable<'_>, mistakes: &mut Mistakes) -> Option<Mount> {
    let keys = Inner { path: &entry.path, table };
    keys.check(&DOCUMENT, "volumes[]", mistakes);
    let kind = keys.required("type", "type = \"volume\"", entry, mistakes);
    let kind = kind
        .and_then(|field| super::choice::choice(&field, &[("volume", "volume"), ("bind", "bind"), ("tmpfs", "tmpfs")], mistakes));
    let target = keys.required("target", "target = \"/var/lib/data\"", entry, mistakes);
    let target = target.and_then(|field| target_of(&field, field.text(mistakes)?, mistakes));
    let read_only = keys.field("read_only").and_then(|field| field.boolean(mistakes)).unwrap_or(false);
    let (kind, target) = (kind?, target?);
    for other in ["bind", "volume", "tmpfs"].into_iter().filter(|other| *other != kind) {
        if let Some(field) = keys.field(other) {
            let lost = field.wrong(Rule::BadMount, format!("it has no meaning where type is {kind:?}"));
            mistakes.push(lost.hint("remove it, or change the type"));
        }
    }
    let options = keys.field(kind);
    let source = keys.field("source");
    let source = match kind {
        "tmpfs" => long_tmpfs(source.as_ref(), options.as_ref(), mistakes),
        "bind" => long_bind(source.as_ref(), options.as_ref(), entry, mistakes),
        _ => long_volume(source.as_ref(), options.as_ref(), mistakes),
    };
    Some(Mount { target, source: source?, read_only })
}

fn long_tmpfs(source: Option<&Field<'_>>, options: Option<&Field<'_>>, mistakes: &mut Mistakes) -> Option<MountSource> {
    if let Some(source) = source {
        mistakes.push(source.wrong(Rule::BadMount, "a tmpfs has no source").hint("remove it"));
    }
    let (mut size, mut mode) = (None, None);
    if let Some(options) = options.and_then(|field| inner(field, &["size", "mode"], mistakes)) {
        size = options.field("size").and_then(|field| field.size(TMPFS_MIN, mistakes));
        mode = options.field("mode").and_then(|field| mode_of(&field, mistakes));
    }
    Some(MountSource::Tmpfs { size, mode })
}

/// Permissions: a text in octal, or an integer that is written in octal. A decimal one would hardly be meant as such.
fn mode_of(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<u32> {
    let mode = match field.value.get_ref() {
        DeValue::Integer(number) if number.radix() == 8 => {
            scalar_text(field.value.get_ref()).and_then(|text| text.parse().ok()).filter(|mode| *mode <= MODE_MAX)
        }
        DeValue::Integer(number) => {
            mistakes.push(bad_mode(field, number.as_str()));
            return None;
        }
        DeValue::String(text) => octal(text),
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            mistakes.push(field.wrong_type("a string"));
            return None;
        }
    };
    if mode.is_none() {
        let text: String = field.value.get_ref().as_str().unwrap_or("this number").chars().take(20).collect();
        mistakes.push(bad_mode(field, &text));
    }
    mode
}

fn long_bind(
    source: Option<&Field<'_>>,
    options: Option<&Field<'_>>,
    entry: &Field<'_>,
    mistakes: &mut Mistakes,
) -> Option<MountSource> {
    let Some(source) = source else {
        let missing = entry.is_wrong(Rule::MissingKey, "has no `source`");
        mistakes.push(missing.hint("name the file or folder of the host, as in source = \"/srv/www\""));
        return None;
    };
    let bound = bind_source(source, source.text(mistakes)?, mistakes);
    let mut chosen = Propagation::default();
    if let Some(options) = options.and_then(|field| inner(field, &["propagation"], mistakes)) {
        let field = options.field("propagation");
        chosen = field.and_then(|field| super::choice::choice(&field, &PROPAGATIONS, mistakes)).unwrap_or_default();
    }
    match bound? {
        MountSource::Bind { path, .. } => Some(MountSource::Bind { path, propagation: chosen }),
        other @ (MountSource::Volume { .. } | MountSource::Anonymous | MountSource::Tmpfs { .. }) => Some(other),
    }
}

fn long_volume(source: Option<&Field<'_>>, options: Option<&Field<'_>>, mistakes: &mut Mistakes) -> Option<MountSource> {
    let mut no_copy = false;
    if let Some(options) = options.and_then(|field| inner(field, &["nocopy"], mistakes)) {
        no_copy = options.field("nocopy").and_then(|field| field.boolean(mistakes)).unwrap_or(false);
    }
    let Some(source) = source else { return Some(MountSource::Anonymous) };
    let text = source.text(mistakes)?;
    match text.parse::<VolumeName>() {
        Ok(name) => Some(MountSource::Volume { name, no_copy }),
        Err(error) => {
            let bad = source.wrong(Rule::BadMount, error);
            mistakes.push(if text.starts_with('/') { bad.hint("for a folder of the host write type = \"bind\"") } else { bad });
            None
        }
    }
}
