//! Logins: which `[[registry]]` entries travel to which hosts.
//!
//! An entry goes to a host only if the operator shares it (`share_with_hosts`), and only while an image that the host runs or fetches
//! ahead is covered by it: the entry that the coordinator itself would use, so the longest prefix wins, shared or not. Entries for the
//! places that such an entry points to (its location, its mirrors) go along, if they are shared too.

use super::model::Model;
use crate::records::AssignRecord;
use coord_shared::names::Digest;
use coord_shared::wire::RegistryLogin;
use std::collections::{BTreeMap, BTreeSet};

/// One entry as a host would get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedRegistry {
    /// What would travel.
    pub login: RegistryLogin,
    /// Whether it may.
    pub is_shared: bool,
}

/// All entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Logins(pub Vec<SharedRegistry>);

impl Logins {
    /// What a host gets that was told `assign`, in the order of prefixes.
    pub(super) fn of_host(&self, model: &Model, assign: &AssignRecord) -> Vec<RegistryLogin> {
        if !self.0.iter().any(|entry| entry.is_shared) {
            return Vec::new();
        }
        let told = assign.instances.iter().chain(&assign.prefetch);
        let images = told.filter_map(|assigned| Some(&model.revision(&assigned.workload, assigned.revision)?.record.image));
        let names: BTreeSet<String> = images.map(|image| format!("{}/{}", image.registry(), image.repository())).collect();
        self.covering(names)
    }

    /// Names what [`Self::of_host`] answers; `None` for nothing.
    pub(super) fn digest(&self, model: &Model, assign: &AssignRecord) -> Option<Digest> {
        let logins = self.of_host(model, assign);
        let text = (!logins.is_empty()).then(|| serde_json::json!(logins).to_string())?;
        Some(Digest::of(text.as_bytes()))
    }

    fn covering(&self, names: BTreeSet<String>) -> Vec<RegistryLogin> {
        let mut found: BTreeMap<&str, &RegistryLogin> = BTreeMap::new();
        for name in names {
            let Some((login, rest)) = self.entry(&name) else { continue };
            found.insert(&login.prefix, login);
            // One step and no further: what covers a place says how to reach it, not where else to go.
            let places = login.location.iter().chain(&login.mirrors).map(|place| format!("{place}{rest}"));
            let theirs: Vec<&RegistryLogin> = places.filter_map(|place| self.entry(&place).map(|(login, _)| login)).collect();
            found.extend(theirs.into_iter().map(|login| (login.prefix.as_str(), login)));
        }
        found.into_values().cloned().collect()
    }

    /// The entry for `name`, if it is shared, and what of the name lies below its prefix.
    fn entry<'a, 'n>(&'a self, name: &'n str) -> Option<(&'a RegistryLogin, &'n str)> {
        let covering = self.0.iter().filter_map(|entry| Some((entry, rest_of(name, &entry.login.prefix)?)));
        let (entry, rest) = covering.max_by_key(|(entry, _)| entry.login.prefix.len())?;
        entry.is_shared.then_some((&entry.login, rest))
    }
}

/// What is left of `name` below `prefix`; whole path components only.
fn rest_of<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    name.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(prefix: &str, location: Option<&str>, is_shared: bool) -> SharedRegistry {
        let login = RegistryLogin {
            prefix: prefix.to_owned(),
            location: location.map(str::to_owned),
            mirrors: Vec::new(),
            insecure: false,
            username: Some("puller".to_owned()),
            password: Some("sesame".to_owned()),
        };
        SharedRegistry { login, is_shared }
    }

    #[test]
    fn the_longest_prefix_decides_and_only_what_is_shared_travels() {
        let logins = Logins(vec![
            entry("r.lan", None, true),
            entry("r.lan/shop", None, true),
            entry("r.lan/shop/secret", None, false),
            entry("hub.lan", Some("mirror.lan/hub"), true),
            entry("mirror.lan", None, false),
            entry("mirror.lan/hub", None, true),
            entry("one.lan", Some("two.lan"), true),
            entry("two.lan", Some("one.lan"), true),
        ]);
        let check = |names: &[&str], expect: &[&str]| {
            let got = logins.covering(names.iter().map(|name| (*name).to_owned()).collect());
            assert_eq!(got.iter().map(|login| login.prefix.as_str()).collect::<Vec<_>>(), expect, "{names:?}");
        };
        check(&[], &[]);
        check(&["other.lan/web", "r.lan.evil/web"], &[]);
        check(&["r.lan/web"], &["r.lan"]);
        check(&["r.lan/shop/web", "r.lan/shopping"], &["r.lan", "r.lan/shop"]);
        check(&["r.lan/shop/secret/web"], &[]);
        check(&["hub.lan/web"], &["hub.lan", "mirror.lan/hub"]);
        check(&["one.lan/web"], &["one.lan", "two.lan"]);
    }
}
