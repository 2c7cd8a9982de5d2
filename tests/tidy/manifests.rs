//! Rules about Cargo.toml files: which crate may depend on which, and that all share the same lints.

use toml::{Table, Value};

use super::source::{Offence, Source};
use super::{check, check_repository};

/// The crates of this repository that each may use. The harness may use them all.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("coord-shared", &[]),
    ("coord-registry", &["coord-shared"]),
    ("coord-attach", &["coord-shared"]),
    ("coord-archive", &["coord-shared", "coord-tar"]),
    ("coord-image", &["coord-shared", "coord-registry", "coord-tar"]),
    ("coord-image-fuzz", &["coord-image", "coord-registry"]),
    ("coord-runtime", &[]),
    ("coord-cache", &["coord-shared", "coord-tar"]),
    ("coord-cli", &["coord-shared", "coord-attach", "coord-archive", "coord-tar"]),
    ("coord-network", &[]),
    ("coord-source", &["coord-shared"]),
    (
        "coord-agent",
        &[
            "coord-shared",
            "coord-attach",
            "coord-registry",
            "coord-archive",
            "coord-cache",
            "coord-image",
            "coord-runtime",
            "coord-network",
            "coord-source",
        ],
    ),
    ("coord-shim", &[]),
    ("coord-monitor", &[]),
    ("coord-store", &[]),
    ("coord-tar", &[]),
    ("coord-centre", &["coord-shared", "coord-registry", "coord-store"]),
    (
        "coordinator",
        &["coord-shared", "coord-registry", "coord-attach", "coord-archive", "coord-centre", "coord-store", "coord-tar"],
    ),
    ("coordctl", &["coord-shared", "coord-attach", "coord-archive"]),
    ("coord-probe", &[]),
];
/// Clocks, chance, files, processes and networks: nothing of this in the pure crate.
const IMPURE: &[&str] =
    &["fastrand", "getrandom", "libc", "nix", "notify", "rand", "reqwest", "rustix", "sysinfo", "tempfile", "tokio"];

fn parse(source: &Source) -> Option<Table> {
    let is_manifest = source.file_name() == "Cargo.toml" && source.path != "Cargo.toml";
    is_manifest.then(|| source.text.parse().unwrap_or_else(|error| panic!("{}: {error}", source.path)))
}

fn name(manifest: &Table) -> &str {
    manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str).unwrap_or_default()
}

fn dependencies<'a>(manifest: &'a Table, table: &str) -> Vec<&'a str> {
    let table = manifest.get(table).and_then(Value::as_table);
    table.into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

fn directions(source: &Source) -> Vec<Offence> {
    let Some(manifest) = parse(source) else { return Vec::new() };
    let crates: Vec<&str> = DIRECTIONS.iter().map(|(name, _)| *name).chain(["coord-tests"]).collect();
    let Some((name, allowed)) = DIRECTIONS.iter().find(|(known, _)| *known == name(&manifest)) else {
        let known = name(&manifest) == "coord-tests";
        return if known { Vec::new() } else { vec![source.offence(1, "a crate that DIRECTIONS does not know")] };
    };
    let mut offences = Vec::new();
    for used in ["dependencies", "dev-dependencies", "build-dependencies"].iter().flat_map(|table| dependencies(&manifest, table))
    {
        if crates.contains(&used) && !allowed.contains(&used) {
            offences.push(source.offence(1, format!("{name} must not depend on {used}")));
        }
    }
    offences
}

#[test]
fn crates_depend_in_one_direction() {
    let manifest =
        |name: &str, table: &str, uses: &str| format!("[package]\nname = \"{name}\"\n[{table}]\n{uses}.workspace = true\n");
    check(directions, "agent/Cargo.toml", &manifest("coord-agent", "dependencies", "coordinator"), &[1]);
    check(directions, "agent/Cargo.toml", &manifest("coord-agent", "dev-dependencies", "coordinator"), &[1]);
    check(directions, "agent/Cargo.toml", &manifest("coord-agent", "dependencies", "coord-shared"), &[]);
    check(directions, "shared/Cargo.toml", &manifest("coord-shared", "dependencies", "coord-registry"), &[1]);
    check(directions, "new/Cargo.toml", &manifest("new", "dependencies", "serde"), &[1]);
    check_repository(directions);
}

fn purity(source: &Source) -> Vec<Offence> {
    let Some(manifest) = parse(source) else { return Vec::new() };
    if name(&manifest) != "coord-shared" {
        return Vec::new();
    }
    let used = dependencies(&manifest, "dependencies");
    let impure = used.into_iter().filter(|used| IMPURE.contains(used));
    impure.map(|used| source.offence(1, format!("coord-shared is pure: no {used}"))).collect()
}

#[test]
fn the_shared_crate_is_pure() {
    check(purity, "shared/Cargo.toml", "[package]\nname = \"coord-shared\"\n[dependencies]\ntokio = \"1\"\n", &[1]);
    check(purity, "shared/Cargo.toml", "[package]\nname = \"coord-shared\"\n[dependencies]\nserde = \"1\"\n", &[]);
    check_repository(purity);
}

fn lints(source: &Source) -> Vec<Offence> {
    let Some(manifest) = parse(source) else { return Vec::new() };
    let shared = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(Value::as_bool);
    if shared == Some(true) { Vec::new() } else { vec![source.offence(1, "add [lints] workspace = true")] }
}

#[test]
fn every_crate_has_the_lints_of_the_workspace() {
    check(lints, "a/Cargo.toml", "[package]\nname = \"a\"\n", &[1]);
    check(lints, "a/Cargo.toml", "[package]\nname = \"a\"\n[lints]\nworkspace = true\n", &[]);
    check_repository(lints);
}
