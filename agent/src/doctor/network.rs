//! Who can be reached: the coordinators, with our token and their clock, and the registries.

use super::Check;
use crate::clock;
use crate::config::Config;
use crate::images;
use crate::sync::coordinators::Coordinators;
use crate::sync::ledger::Ledger;
use coord_registry::{Registry, RegistryError};
use coord_shared::decide::planner::Target;
use coord_shared::names::ImageReference;
use coord_shared::wire::ErrorBody;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use reqwest::{Method, StatusCode};
use std::collections::BTreeMap;
use std::time::Duration;

/// For one coordinator or registry.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clocks this far apart make the ages in `coordctl status` wrong by as much.
const SKEW_NOTE: SignedDuration = SignedDuration::from_secs(5);
/// And this far apart, certificates may count as expired, or not valid yet.
const SKEW_PROBLEM: SignedDuration = SignedDuration::from_mins(10);
/// Registries that are asked; the others are left out.
const REGISTRIES_MAX: usize = 20;
/// A repository that nobody has: whatever a registry says of it, it answers.
const NO_REPOSITORY: &str = "coord-doctor/asks-whether-you-answer";
const CURE: &str = "check its [[registry]] entry in agent.toml, and the network";

pub(super) async fn checks(config: &Config) -> Vec<Check> {
    let mut checks = coordinators(config).await;
    checks.extend(registries(config).await);
    checks
}

async fn coordinators(config: &Config) -> Vec<Check> {
    if config.coordinators.is_empty() {
        return vec![Check::ok("coordinator", "none is configured: this host stands alone")];
    }
    let mut checks = Vec::new();
    for url in &config.coordinators {
        let one = Config { coordinators: vec![url.clone()], ..config.clone() };
        checks.extend(coordinator(&one, url).await);
    }
    checks
}

async fn coordinator(config: &Config, url: &str) -> Vec<Check> {
    let what = format!("coordinator {url}");
    let cost = "this host goes on with what it knows; changes and reports wait";
    let client = match Coordinators::new(config) {
        Ok(client) => client,
        Err(error) => return vec![Check::problem(what, crate::chain(&error), cost).cure("correct ca in agent.toml")],
    };
    // A wait that is none: whoever may ask is told so before anything is done, so the host does not count as alive for it.
    let path = format!("/v1/hosts/{}/state?wait=none", config.host);
    let answer = match client.request(Method::GET, &path).timeout(PATIENCE).send().await {
        Ok(answer) => answer,
        Err(error) => {
            let cure = "check its address and that it runs; with TLS, that ca is its authority";
            return vec![Check::problem(what, format!("does not answer: {}", crate::chain(&error)), cost).cure(cure)];
        }
    };
    let (status, theirs) = (answer.status(), date(answer.headers()));
    let error: Option<ErrorBody> = answer.json().await.ok();
    let mut checks = vec![match (status, error) {
        (StatusCode::BAD_REQUEST, _) => Check::ok(what, "answers, and takes the token of this host"),
        (_, Some(error)) => {
            let check = Check::problem(what, format!("answers {status}: {}", error.message), cost);
            match error.hint {
                Some(hint) => check.cure(hint),
                None => check,
            }
        }
        (_, None) => Check::problem(what, format!("answers {status}, and not as a coordinator does"), cost)
            .cure("is this really a coordinator? check coordinator in agent.toml"),
    }];
    checks.extend(theirs.map(|theirs| clock_check(theirs, clock::now().wall)));
    checks
}

fn date(headers: &reqwest::header::HeaderMap) -> Option<Timestamp> {
    let text = headers.get(reqwest::header::DATE)?.to_str().ok()?;
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// The header has whole seconds, so a second more or less says nothing.
fn clock_check(theirs: Timestamp, ours: Timestamp) -> Check {
    let skew = ours.duration_since(theirs);
    let found =
        format!("{} s {} the coordinator's", skew.abs().as_secs(), if skew.is_negative() { "behind" } else { "ahead of" });
    let cure = "run an NTP client (systemd-timesyncd, chrony) on both";
    if skew.abs() > SKEW_PROBLEM {
        Check::problem("clock", found, "certificates may count as expired or not valid yet; ages are wrong").cure(cure)
    } else if skew.abs() > SKEW_NOTE {
        Check::note("clock", found, "ages and times in `coordctl status` are off by as much").cure(cure)
    } else {
        Check::ok("clock", "as the coordinator's")
    }
}

/// One image for each registry: those that should run here, and where there is none, a name that nobody has.
async fn registries(config: &Config) -> Vec<Check> {
    let registry = match images::registry(config) {
        Ok(registry) => registry,
        Err(error) => {
            let check = Check::problem("registries", crate::chain(&error), "no image can be pulled");
            return vec![check.cure("correct the [[registry]] entries in agent.toml")];
        }
    };
    let mut wanted: BTreeMap<String, ImageReference> = BTreeMap::new();
    // The coordinator's own address is there for the image centre, which is asked by its name.
    let is_coordinator =
        |prefix: &str| config.coordinators.iter().any(|url| url.split_once("//").is_some_and(|(_, host)| host == prefix));
    for entry in config.registries.iter().filter(|entry| !is_coordinator(&entry.prefix)) {
        if let Ok(image) = format!("{}/{NO_REPOSITORY}", entry.prefix).parse::<ImageReference>() {
            wanted.entry(image.registry().to_owned()).or_insert(image);
        }
    }
    wanted.extend(desired_images(config).into_iter().map(|image| (image.registry().to_owned(), image)));
    if wanted.is_empty() {
        return vec![Check::ok("registries", "nothing that runs here names one, so none was asked")];
    }
    let asked = wanted.iter().take(REGISTRIES_MAX).map(|(name, image)| ask(&registry, name, image));
    join_all(asked).await
}

fn desired_images(config: &Config) -> Vec<ImageReference> {
    let ledger = Ledger::of_any_host(&config.state_dir).ok();
    let state = ledger.as_ref().and_then(Ledger::state);
    let desired = state.map(|state| crate::sync::desired::desired(state, &[])).unwrap_or_default();
    let images = desired.values().filter_map(|wanted| match &wanted.target {
        Target::Run(spec) => Some(spec.image.reference.clone()),
        Target::Rejected { .. } => None,
    });
    images.collect()
}

async fn ask(registry: &Registry, name: &str, image: &ImageReference) -> Check {
    let what = format!("registry {name}");
    let cost = "images from there cannot be pulled; those that are here run";
    let is_made_up = image.repository().ends_with(NO_REPOSITORY);
    match tokio::time::timeout(PATIENCE, registry.resolve(image)).await {
        Ok(Ok(_)) => Check::ok(what, format!("answers, and has {image}")),
        Ok(Err(RegistryError::NotFound { .. } | RegistryError::Unauthorized { .. })) if is_made_up => Check::ok(what, "answers"),
        // Which image was asked for matters only if somebody wants it.
        Ok(Err(error)) if is_made_up => {
            Check::problem(what, crate::chain(&error).replace(&format!("image {image}: "), ""), cost).cure(CURE)
        }
        Ok(Err(error)) => Check::problem(what, crate::chain(&error), cost).cure(CURE),
        Err(_) => Check::problem(what, format!("does not answer within {} s", PATIENCE.as_secs()), cost)
            .cure("check the network and its firewalls, or name a mirror or proxy in its [[registry]] entry"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn clocks_are_compared() {
        let check = |seconds: i64, expect: Verdict, part: &str| {
            let theirs = Timestamp::from_second(1_000_000).expect("in range");
            let check = clock_check(theirs, Timestamp::from_second(1_000_000 + seconds).expect("in range"));
            assert_eq!(check.verdict, expect, "{check:?}");
            assert!(check.found.contains(part), "{check:?}");
        };
        check(1, Verdict::Ok, "as the coordinator's");
        check(-20, Verdict::Note, "20 s behind");
        check(3600, Verdict::Problem, "3600 s ahead of");
    }
}
