//! `dns` and its kin, and `extra_hosts`: what the container finds in `/etc/resolv.conf` and `/etc/hosts`.

use crate::document::diagnostic::Rule;
use crate::document::parts::{Dns, HostAddress};
use crate::document::raw::{Field, Mistakes, field, nul};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Name servers that resolvers look at (resolv.conf(5), `MAXNS` in glibc and musl): one more would never be asked.
const SERVERS_MAX: usize = 3;
/// Longest domain, in bytes (RFC 1035 section 2.3.4).
const DOMAIN_MAX_BYTES: usize = 253;
/// Longest option: several times the longest that resolv.conf(5) knows.
const OPTION_MAX_BYTES: usize = 64;

pub(super) fn dns(root: &DeTable<'_>, mistakes: &mut Mistakes) -> Dns {
    let list = |key, mistakes: &mut Mistakes| {
        let field = field(root, "", key);
        field.and_then(|field| field.entries_or_text(mistakes)).unwrap_or_default()
    };
    let mut dns = Dns::default();
    let servers = list("dns", mistakes);
    if servers.len() > SERVERS_MAX
        && let Some(field) = field(root, "", "dns")
    {
        let many = format!("has {} entries, {SERVERS_MAX} are allowed: no resolver looks at more", servers.len());
        mistakes.push(field.is_wrong(Rule::TooMany, many));
    }
    for entry in servers {
        let Some(text) = entry.text(mistakes) else { continue };
        match text.parse() {
            Ok(address) => dns.servers.push(address),
            Err(_) => mistakes
                .push(entry.wrong(Rule::BadDns, format!("{text:?} is not an IP address")).hint("write for example \"10.0.0.2\"")),
        }
    }
    for entry in list("dns_search", mistakes) {
        let Some(text) = entry.text(mistakes) else { continue };
        if text == "." || is_name(text.trim_end_matches('.')) {
            dns.search.push(text.to_owned());
        } else {
            mistakes.push(entry.wrong(Rule::BadDns, format!("{text:?} is not a domain")).hint("write for example \"shop.lan\""));
        }
    }
    for entry in list("dns_opt", mistakes) {
        let Some(text) = entry.text(mistakes) else { continue };
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'.');
        if !text.is_empty() && text.len() <= OPTION_MAX_BYTES && text.bytes().all(good) {
            dns.options.push(text.to_owned());
        } else {
            let bad = entry.wrong(Rule::BadDns, format!("{text:?} is not an option of resolv.conf(5)"));
            mistakes.push(bad.hint("write one an entry, for example \"ndots:1\""));
        }
    }
    dns
}

pub(super) fn extra_hosts(field: &Field<'_>, mistakes: &mut Mistakes) -> BTreeMap<String, Vec<HostAddress>> {
    let mut hosts = BTreeMap::new();
    if let DeValue::Table(table) = field.value.get_ref() {
        if field.few_enough(table.len(), mistakes).is_none() {
            return hosts;
        }
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let path = format!("{}.{}", field.path, name.escape_debug());
            let entry = Field { path, value, has_heading: false };
            for address in entry.entries_or_text(mistakes).unwrap_or_default() {
                let Some(text) = address.text(mistakes) else { continue };
                add(&mut hosts, &address, (name, key.span()), text, mistakes);
            }
        }
        return hosts;
    }
    for entry in field.entries("a table", mistakes).unwrap_or_default() {
        let Some(text) = entry.text(mistakes) else { continue };
        // Addresses have colons of their own, names have none.
        match text.split_once(['=', ':']) {
            Some((name, address)) => add(&mut hosts, &entry, (name, entry.span()), address, mistakes),
            None => {
                let bare = entry.wrong(Rule::BadExtraHost, format!("{text:?} has no address"));
                mistakes.push(bare.hint("write it as \"NAME=ADDRESS\""));
            }
        }
    }
    hosts
}

fn add(
    hosts: &mut BTreeMap<String, Vec<HostAddress>>,
    entry: &Field<'_>,
    (name, place): (&str, Range<usize>),
    address: &str,
    mistakes: &mut Mistakes,
) {
    if name.contains('\0') {
        mistakes.push(nul(name, place));
        return;
    }
    if !is_name(name) {
        let bad = entry.wrong(Rule::BadExtraHost, format!("{name:?} is not a host name"));
        mistakes.push(bad.hint("write for example \"db.lan\""));
        return;
    }
    let bracketed = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let parsed = match (address, bracketed.unwrap_or(address).parse::<IpAddr>()) {
        ("host-gateway", _) => HostAddress::HostGateway,
        (_, Ok(ip)) => HostAddress::Ip(ip),
        (_, Err(_)) => {
            let bad = entry.wrong(Rule::BadExtraHost, format!("{address:?} is not an IP address"));
            mistakes.push(bad.hint("write for example \"10.0.0.5\", or \"host-gateway\" for the host itself"));
            return;
        }
    };
    let addresses = hosts.entry(name.to_owned()).or_default();
    if addresses.contains(&parsed) {
        let twice = entry.wrong(Rule::Duplicate, format!("{name:?} has the address {address:?} already"));
        mistakes.push(twice.hint("remove one of them"));
        return;
    }
    addresses.push(parsed);
}

/// Whether resolvers take `text` as a name: letters, digits, `-`, `_` in parts joined by dots.
fn is_name(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let part = |part: &str| !part.is_empty() && part.len() <= 63 && !part.starts_with('-') && part.bytes().all(good);
    text.len() <= DOMAIN_MAX_BYTES && text.split('.').all(part)
}
