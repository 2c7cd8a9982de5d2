//! How the image centre is reached: at the coordinator's own address, with the token that the agent has anyway.
//!
//! Documents name it `coord.internal`, wherever it listens. Somebody who writes an entry for it in `agent.toml` is believed instead.

use coord_registry::RegistryConfig;
use coord_shared::names::CENTRE;
use std::path::Path;

/// The centre looks at the token alone; a name makes its log readable.
const USER: &str = "agent";

/// The entries of `agent.toml`, and those that lead to the centre of each coordinator.
pub(super) fn with_centre(
    mut entries: Vec<RegistryConfig>,
    coordinators: &[String],
    token: &str,
    ca: Option<&Path>,
) -> Vec<RegistryConfig> {
    let places: Vec<Place> = coordinators.iter().filter_map(|url| Place::of(url)).collect();
    let Some((last, others)) = places.split_last() else { return entries };
    let mut add = |entry: RegistryConfig| {
        if entries.iter().all(|own| own.prefix != entry.prefix) {
            entries.push(entry);
        }
    };
    // All of them have the same images; the location is only the one that is asked after the others.
    add(RegistryConfig {
        prefix: CENTRE.to_owned(),
        location: Some(last.host.clone()),
        mirror: others.iter().map(|place| place.host.clone()).collect(),
        ..RegistryConfig::default()
    });
    for place in &places {
        add(RegistryConfig {
            prefix: place.host.clone(),
            insecure: place.is_plain,
            ca: ca.filter(|_| !place.is_plain).map(Path::to_owned),
            username: Some(USER.to_owned()),
            password: Some(token.to_owned()),
            // As every call to the coordinator.
            proxy: Some("none".to_owned()),
            ..RegistryConfig::default()
        });
    }
    entries
}

/// Where a coordinator listens.
struct Place {
    /// With its port, if that is not the scheme's.
    host: String,
    is_plain: bool,
}

impl Place {
    /// None for a coordinator below a path of another server: `/v2/` cannot be there.
    fn of(url: &str) -> Option<Self> {
        let url = reqwest::Url::parse(url).ok().filter(|url| url.path() == "/")?;
        let host = url.host_str()?;
        let is_plain = url.scheme() == "http";
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Some(Self { host, is_plain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_centre_lies_at_every_coordinator() {
        let check = |own: &[&str], coordinators: &[&str], expect: &[&str]| {
            let own = own.iter().map(|prefix| RegistryConfig { prefix: (*prefix).to_owned(), ..RegistryConfig::default() });
            let coordinators: Vec<String> = coordinators.iter().map(|url| (*url).to_owned()).collect();
            let entries = with_centre(own.collect(), &coordinators, "sesame", Some(Path::new("/ca.pem")));
            let said = entries.iter().map(|entry| {
                let how = if entry.insecure { " plain" } else { "" };
                let ca = if entry.ca.is_some() { " ca" } else { "" };
                let token = if entry.password.is_some() { " token" } else { "" };
                let to = entry.location.as_deref().map_or_else(String::new, |to| format!(" -> {to}"));
                format!("{}{to} {:?}{how}{ca}{token}", entry.prefix, entry.mirror)
            });
            assert_eq!(said.collect::<Vec<_>>(), expect, "{coordinators:?}");
        };
        check(&["r.lan"], &[], &["r.lan []"]);
        check(&[], &["https://c.lan:7700"], &["coord.internal -> c.lan:7700 []", "c.lan:7700 [] ca token"]);
        check(&[], &["http://127.0.0.1:7700"], &["coord.internal -> 127.0.0.1:7700 []", "127.0.0.1:7700 [] plain token"]);
        check(
            &[],
            &["https://a", "https://[fd00::1]:77"],
            &["coord.internal -> [fd00::1]:77 [\"a\"]", "a [] ca token", "[fd00::1]:77 [] ca token"],
        );
        check(&["coord.internal"], &["https://a"], &["coord.internal []", "a [] ca token"]);
        check(&[], &["https://proxy.lan/coord"], &[]);
    }
}
