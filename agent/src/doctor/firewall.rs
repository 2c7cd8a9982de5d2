//! Whether containers with a network of their own can be connected here: the program that writes our rules, a pool that is free, and
//! a firewall that lets forwarded packets pass. A packet must be accepted by every table that has a say, so ours cannot help it past
//! another one; and the host's own rules are the operator's.

use super::Check;
use crate::config::Config;
use coord_network::Network;
use serde::Deserialize;
use std::io;
use std::process::{Command, Stdio};

const COST: &str = "containers with network = \"bridge\" may not reach the outside, nor their published ports be reached";

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let listed = match run("nft", &["-j", "list", "chains"]) {
        Ok(listed) => listed,
        Err(error) => {
            let check = Check::problem("nft", format!("cannot be run: {error}"), "no container with network = \"bridge\" starts");
            return vec![check.cure("install the package nftables")];
        }
    };
    let mut checks = vec![Check::ok("nft", "there, and answers"), pool(config)];
    let legacy = run("iptables-legacy", &["-S", "FORWARD"]).unwrap_or_default();
    let rules = run("nft", &["list", "ruleset"]).unwrap_or_default() + &legacy;
    checks.push(forwarding(&listed, &legacy, &rules, &config.network.bridge));
    checks
}

fn pool(config: &Config) -> Check {
    let (pool, length) = config.network.pool;
    match Network::check_pools(&config.network) {
        Ok(()) => Check::ok("network pool", format!("{pool}/{length} is free")),
        Err(error) => Check::problem("network pool", crate::chain(&error), "no container with network = \"bridge\" starts"),
    }
}

#[derive(Deserialize)]
struct Listed {
    nftables: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    chain: Option<Chain>,
}

#[derive(Deserialize)]
struct Chain {
    family: String,
    table: String,
    name: String,
    hook: Option<String>,
    policy: Option<String>,
}

/// Judges the host's chains, as `nft -j list chains` and `iptables-legacy -S FORWARD` tell them. A firewall whose rules name the bridge
/// is taken to know about it.
fn forwarding(listed: &str, legacy: &str, rules: &str, bridge: &str) -> Check {
    const WHAT: &str = "forwarding";
    let chains: Vec<Chain> = serde_json::from_str::<Listed>(listed)
        .map(|listed| listed.nftables.into_iter().filter_map(|entry| entry.chain).collect())
        .unwrap_or_default();
    // Our own rules name it too, in these words and in none that other tools write.
    let ours = format!("iifname \"{bridge}\" accept");
    let is_named = rules.lines().map(str::trim).any(|line| {
        let mut words = line.split_whitespace().map(|word| word.trim_matches(['"', ',', '{', '}']));
        line != ours && words.clone().any(|word| word == bridge) && words.any(|word| word.eq_ignore_ascii_case("accept"))
    });
    let theirs = chains.iter().filter(|chain| chain.table != "coord");
    let mut at_forward = theirs.filter(|chain| chain.hook.as_deref() == Some("forward"));
    let iptables = format!(
        "iptables -I FORWARD -i {bridge} -j ACCEPT; iptables -I FORWARD -o {bridge} -j ACCEPT (the same with ip6tables; where \
         Docker runs, in DOCKER-USER instead of FORWARD), and make it permanent as your firewall does"
    );
    let dropping = at_forward.clone().find(|chain| chain.policy.as_deref() == Some("drop"));
    if is_named {
        return Check::ok(WHAT, format!("the host's firewall has rules for {bridge}"));
    }
    if at_forward.any(|chain| chain.table == "firewalld") {
        return Check::note(WHAT, "firewalld decides what is forwarded", COST)
            .cure(format!("firewall-cmd --permanent --zone=trusted --add-interface={bridge}; firewall-cmd --reload"));
    }
    if let Some(chain) = dropping {
        let found = format!("chain {} of table {} {} drops what no rule accepts", chain.name, chain.family, chain.table);
        let check = Check::note(WHAT, found, COST);
        return match (chain.name.as_str(), chain.family.as_str()) {
            ("FORWARD", "ip" | "ip6") => check.cure(iptables),
            _ => check.cure(format!(
                "add to it: iifname \"{bridge}\" accept; oifname \"{bridge}\" accept (what is not published is dropped by ours)"
            )),
        };
    }
    if legacy.lines().any(|line| line == "-P FORWARD DROP") {
        return Check::note(WHAT, "iptables (legacy) drops what no rule of its chain FORWARD accepts", COST).cure(iptables);
    }
    Check::ok(WHAT, "no firewall of the host drops forwarded packets by default")
}

fn run(program: &str, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_firewall_that_drops_is_named_with_its_cure() {
        let check = |chain: &str, legacy: &str, rules: &str, expect: Verdict, part: &str| {
            let listed = format!("{{\"nftables\": [{{\"metainfo\": {{}}}}, {chain}]}}");
            let check = forwarding(&listed, legacy, rules, "coord0");
            assert_eq!(check.verdict, expect, "{check:?}");
            assert!(format!("{check:?}").contains(part), "{check:?}");
        };
        let chain = |family: &str, table: &str, name: &str, policy: &str| {
            format!(
                "{{\"chain\": {{\"family\": \"{family}\", \"table\": \"{table}\", \"name\": \"{name}\", \"handle\": 1, \
                 \"hook\": \"forward\", \"prio\": 0, \"policy\": \"{policy}\"}}}}"
            )
        };
        let ours = "iifname \"coord0\" accept\n";
        check(&chain("ip", "filter", "FORWARD", "accept"), "", "", Verdict::Ok, "no firewall");
        check(&chain("ip", "coord", "forward", "drop"), "", ours, Verdict::Ok, "no firewall");
        check(&chain("ip", "filter", "FORWARD", "drop"), "", ours, Verdict::Note, "iptables -I FORWARD -i coord0");
        check(&chain("inet", "mine", "fwd", "drop"), "", "", Verdict::Note, "oifname \\\"coord0\\\" accept");
        check(&chain("inet", "firewalld", "filter_FORWARD", "accept"), "", "", Verdict::Note, "--add-interface=coord0");
        check(&chain("ip", "filter", "FORWARD", "accept"), "-P FORWARD DROP\n", "", Verdict::Note, "legacy");
        let theirs = "iifname \"coord0\" counter packets 0 bytes 0 accept\n";
        check(&chain("ip", "filter", "FORWARD", "drop"), "", theirs, Verdict::Ok, "has rules for coord0");
    }
}
