//! Who may import whom, within a crate.

use super::source::{Offence, Source};
use super::{check, check_repository};

/// Parts of the agent that know nothing of the others: what a module below `agent/src` may not name.
const AGENT_STRANGERS: &[(&str, &[&str])] = &[
    ("volumes", &["coord_image", "coord_runtime", "coord_network"]),
    ("logs", &["coord_image", "coord_runtime", "coord_network", "volumes"]),
];
/// What steers the agent; none of the parts above may know it.
const AGENT_MIND: &[&str] =
    &["sync", "ledger", "observe", "execute", "supervise", "health", "report", "control", "agent", "daemon"];

/// Crates that have one place in the coordinator, and that place.
const COORDINATOR_HOMES: &[(&str, &[&str])] =
    &[("rusqlite", &["coordinator/src/store/"]), ("axum", &["coordinator/src/http/", "coordinator/src/http.rs"])];

fn agent_layers(source: &Source) -> Vec<Offence> {
    let Some(module) = module_of(source, "agent/src/") else { return Vec::new() };
    let Some((_, strangers)) = AGENT_STRANGERS.iter().find(|(name, _)| *name == module) else { return Vec::new() };
    let mut offences = Vec::new();
    for (line, name) in crate_imports(source) {
        if strangers.contains(&name.as_str()) || AGENT_MIND.contains(&name.as_str()) {
            offences.push(
                source.offence(line, format!("`{module}` must not know `{name}`: only execute and the agent's loop know both")),
            );
        }
    }
    offences
}

/// `agent/src/logs/tail.rs` and `agent/src/logs.rs` are both of `logs`.
fn module_of<'a>(source: &'a Source, folder: &str) -> Option<&'a str> {
    let rest = source.path.strip_prefix(folder)?.strip_suffix(".rs")?;
    rest.split('/').next()
}

/// The modules that a file names by `crate::module` or `crate::{module::..., other}`, with their lines; and the parts of the agent that
/// are crates of their own.
fn crate_imports(source: &Source) -> Vec<(usize, String)> {
    const START: &str = "crate::";
    const PARTS: [&str; 3] = ["coord_image", "coord_runtime", "coord_network"];
    let parts = source.code().flat_map(|(number, line)| {
        PARTS.iter().filter(move |part| line.contains(**part)).map(move |part| (number, (*part).to_owned()))
    });
    let mut imports: Vec<(usize, String)> = parts.collect();
    let code: Vec<(usize, &str)> = source.code().collect();
    for (index, (number, line)) in code.iter().enumerate() {
        for (at, _) in line.match_indices(START) {
            let rest = &line[at + START.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let following = code[index + 1..].iter().map(|(_, line)| *line);
                let text = [group].into_iter().chain(following).collect::<Vec<_>>().join("\n");
                imports.extend(group_heads(&text).into_iter().map(|name| (*number, name)));
            } else {
                imports.push((*number, identifier(rest)));
            }
        }
    }
    imports
}

/// The first name of each member of a `{a::b, c, d::{e, f}}` group, given what follows its opening brace.
fn group_heads(text: &str) -> Vec<String> {
    let (mut heads, mut depth, mut member) = (Vec::new(), 1, String::new());
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            heads.push(identifier(member.trim()));
            member.clear();
        } else {
            member.push(c);
        }
        if depth == 0 {
            break;
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn the_parts_of_the_agent_do_not_know_each_other() {
    check(agent_layers, "agent/src/volumes/a.rs", "use coord_runtime::Runtime;\n", &[1]);
    check(agent_layers, "agent/src/volumes.rs", "fn a() {\n    crate::sync::poll()\n}\n", &[2]);
    check(agent_layers, "agent/src/logs/a.rs", "use crate::{\n    clock,\n    ledger::{Ledger, Entry},\n};\n", &[1]);
    check(agent_layers, "agent/src/logs/a.rs", "use coord_image::Image;\n", &[1]);
    check(agent_layers, "agent/src/logs/a.rs", "use crate::clock::Clock;\nuse crate::logs::b;\n", &[]);
    check(agent_layers, "agent/src/execute.rs", "use coord_image::Image;\nuse coord_runtime::Runtime;\n", &[]);
    check_repository(agent_layers);
}

fn coordinator_homes(source: &Source) -> Vec<Offence> {
    if !source.is_in(&["coordinator/src/"]) {
        return Vec::new();
    }
    let mut offences = Vec::new();
    for (name, homes) in COORDINATOR_HOMES.iter().filter(|(_, homes)| !source.is_in(homes)) {
        let named = source.code().filter(|(_, line)| line.contains(&format!("{name}::")));
        offences.extend(named.map(|(line, _)| source.offence(line, format!("{name} is known in {} only", homes[0]))));
    }
    offences
}

#[test]
fn the_coordinator_names_its_engine_and_its_http_in_one_place() {
    check(coordinator_homes, "coordinator/src/control/a.rs", "use rusqlite::Connection;\n", &[1]);
    check(coordinator_homes, "coordinator/src/control/a.rs", "use axum::Json;\n", &[1]);
    check(coordinator_homes, "coordinator/src/store/sqlite.rs", "use rusqlite::Connection;\n", &[]);
    check(coordinator_homes, "coordinator/src/http/routes.rs", "use axum::Json;\n", &[]);
    check_repository(coordinator_homes);
}

/// Where the image store changes the disk. Each of these passes the places at which tests crash.
const DISK_HOMES: &[&str] = &[
    "agent/image/src/store/disk.rs",
    "agent/image/src/pipeline/",
    "agent/image/src/directories/",
    "agent/image/src/rootfs/",
    "agent/image/src/fetch/spool.rs",
];
/// Calls that change a disk.
const DISK_CHANGES: &[&str] = &[
    "fs::write(",
    "fs::rename(",
    "fs::remove_",
    "fs::create_dir",
    "fs::copy(",
    "fs::set_permissions(",
    "fs::hard_link(",
    "File::create",
    "DirBuilder",
    ".set_len(",
    ".sync_all(",
    ".sync_data(",
    ".write_all_at(",
    "::mkdirat(",
    "::renameat",
    "::unlinkat(",
    "::linkat(",
    "::symlinkat(",
    "::mknodat(",
    "::ftruncate(",
    "::fchmod",
    "::fchown",
    "::chownat(",
    "::utimensat(",
    "::futimens(",
    "::syncfs(",
    "::fsync(",
    "::fdatasync(",
];

fn disk_homes(source: &Source) -> Vec<Offence> {
    if !source.is_in(&["agent/image/src/"]) || source.is_in(DISK_HOMES) || source.is_test() {
        return Vec::new();
    }
    let product = source.code().take_while(|(_, line)| !line.contains("#[cfg(test)]") || line.contains("mod tests;"));
    let changes = product.filter(|(_, line)| DISK_CHANGES.iter().any(|change| line.contains(change)));
    let what = "changes the disk: use store/disk.rs, so that tests can crash there";
    changes.map(|(line, _)| source.offence(line, what)).collect()
}

#[test]
fn the_image_store_changes_the_disk_in_one_place() {
    check(disk_homes, "agent/image/src/store/collect.rs", "fs::rename(a, b)?;\n", &[1]);
    check(disk_homes, "agent/image/src/pull/mod.rs", "let x = 1;\nFile::create_new(path)?;\n", &[2]);
    check(disk_homes, "agent/image/src/store/disk.rs", "fs::rename(a, b)?;\n", &[]);
    check(disk_homes, "agent/image/src/tests/store.rs", "fs::rename(a, b)?;\n", &[]);
    check(disk_homes, "agent/image/src/store/sums.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n    fs::write(a, b);\n}\n", &[]);
    check(disk_homes, "agent/src/ledger.rs", "fs::rename(a, b)?;\n", &[]);
    check_repository(disk_homes);
}
