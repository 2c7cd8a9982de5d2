//! Every crate that comes into the build has a licence that deny.toml allows.
//!
//! `cargo deny` says the same and more; this needs nothing but cargo, so that it is never left out.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result};
use coord_tests::process::describe;
use serde_json::Value;

struct Policy {
    allowed: BTreeSet<String>,
    /// Crates whose manifest names no licence, and the one that they have.
    clarified: BTreeMap<String, String>,
}

impl Policy {
    fn read() -> Result<Policy> {
        let text = std::fs::read_to_string(super::source::root().join("deny.toml")).context("read deny.toml")?;
        let licences = text.parse::<toml::Table>()?.remove("licenses").context("deny.toml has no [licenses]")?;
        let strings = |value: &toml::Value, key: &str| value.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        let allow = licences.get("allow").and_then(toml::Value::as_array).context("no licenses.allow")?;
        let clarify = licences.get("clarify").and_then(toml::Value::as_array);
        Ok(Policy {
            allowed: allow.iter().filter_map(toml::Value::as_str).map(str::to_owned).collect(),
            clarified: clarify
                .into_iter()
                .flatten()
                .filter_map(|entry| Some((strings(entry, "crate")?, strings(entry, "expression")?)))
                .collect(),
        })
    }

    /// Whether an SPDX expression can be satisfied. An old manifest's `/` means OR; `WITH` belongs to its licence.
    fn accepts(&self, expression: &str) -> bool {
        let spaced =
            expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "\u{a0}WITH\u{a0}");
        let mut words = spaced.split([' ', '\n']).filter(|word| !word.is_empty()).peekable();
        self.any(&mut words) && words.next().is_none()
    }

    fn any<'a>(&self, words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> bool {
        let mut accepted = self.all(words);
        while words.next_if_eq(&"OR").is_some() {
            accepted |= self.all(words);
        }
        accepted
    }

    fn all<'a>(&self, words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> bool {
        let mut accepted = self.one(words);
        while words.next_if_eq(&"AND").is_some() {
            accepted &= self.one(words);
        }
        accepted
    }

    fn one<'a>(&self, words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> bool {
        match words.next() {
            Some("(") => {
                let accepted = self.any(words);
                accepted && words.next() == Some(")")
            }
            Some(licence) => self.allowed.contains(&licence.replace('\u{a0}', " ")),
            None => false,
        }
    }
}

#[test]
fn an_expression_is_read_as_spdx_means_it() {
    let policy = Policy {
        allowed: ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into(),
        clarified: BTreeMap::new(),
    };
    let check = |expression: &str, expect: bool| assert_eq!(policy.accepts(expression), expect, "{expression}");
    check("MIT", true);
    check("GPL-3.0", false);
    check("GPL-3.0 OR MIT", true);
    check("GPL-3.0/MIT", true);
    check("GPL-3.0 AND MIT", false);
    check("(GPL-3.0 OR ISC) AND MIT", true);
    check("GPL-3.0 OR ISC AND MIT", true);
    check("GPL-3.0 AND ISC OR GPL-3.0", false);
    check("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true);
    check("MIT garbage", false);
    check("", false);
}

#[test]
fn every_licence_is_allowed() -> Result<()> {
    let policy = Policy::read()?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-musl"]);
    let output = command.current_dir(super::source::root()).output().context("run cargo metadata")?;
    assert!(output.status.success(), "{}", describe(&output));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let mut refused = Vec::new();
    for package in packages.iter().filter(|package| !package["source"].is_null()) {
        let name = package["name"].as_str().unwrap_or_default();
        let named = package["license"].as_str().map(str::to_owned);
        let licence = named.or_else(|| policy.clarified.get(name).cloned()).unwrap_or_default();
        if !policy.accepts(&licence) {
            refused.push(format!("{name} {}: {licence:?}", package["version"]));
        }
    }
    assert!(packages.len() > 100, "cargo metadata lists only {} packages", packages.len());
    assert!(refused.is_empty(), "deny.toml does not allow the licence of:\n{}", refused.join("\n"));
    Ok(())
}
