//! Targets: which hosts a document selects.

use super::reason::Reason;
use crate::document::Document;
use crate::names::{HostName, Labels};
use std::collections::{BTreeMap, BTreeSet};

/// The known hosts that `document` selects, and what is worth saying about its selectors.
pub fn targets(document: &Document, hosts: &BTreeMap<HostName, Labels>) -> (BTreeSet<HostName>, Vec<Reason>) {
    let selected: BTreeSet<HostName> = hosts
        .iter()
        .filter(|(host, labels)| document.hosts.iter().any(|selector| selector.matches(host, labels)))
        .map(|(host, _)| host.clone())
        .collect();
    let missing = document.hosts.iter().filter_map(|selector| selector.exact_host()).filter(|host| !hosts.contains_key(host));
    let mut reasons: Vec<Reason> = missing.map(|host| Reason::HostNotKnown { host }).collect();
    if selected.is_empty() && reasons.is_empty() {
        reasons.push(Reason::NoHostMatches);
    }
    (selected, reasons)
}
