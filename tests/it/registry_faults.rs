//! A registry that misbehaves, as the person sees it who publishes a new version: what runs stays, and the status says
//! which image is in trouble, and what to do.

use std::time::Duration;

use anyhow::{Context, Result};
use coord_tests::faulty::{Fault, FaultyRegistry, Target};
use coord_tests::fleet::view::{pid_on, reasons, view};
use coord_tests::fleet::{Fleet, Plan};
use coord_tests::image::web;
use coord_tests::process::{Pid, runs};
use coord_tests::registry::TestRegistry;
use coord_tests::wait::stays;

/// The agent tries for about half a minute before it calls a pull failed.
const FAILED_LIMIT: Duration = Duration::from_secs(90);

/// What is spoilt, and the words of the reason that must name the trouble and its cure.
struct Case {
    target: Target,
    fault: Fault,
    words: &'static [&'static str],
}

const fn case(target: Target, fault: Fault, words: &'static [&'static str]) -> Case {
    Case { target, fault, words }
}

const CASES: [Case; 8] = [
    // Asked by the coordinator: not published at all.
    case(Target::Manifests, Fault::Status(401), &["not published", "access denied", "log in|username|docker login|password"]),
    case(Target::Manifests, Fault::Status(404), &["not published", "no such thing; check the name, or push it"]),
    case(Target::Manifests, Fault::Status(500), &["not published", "failed with status 500; see its log"]),
    // Asked by the agent: published, and not pulled.
    case(Target::Blobs, Fault::Status(401), &["pull failed", "access denied"]),
    case(Target::Blobs, Fault::Status(404), &["pull failed", "no such thing; check the name, or push it"]),
    case(Target::Blobs, Fault::WrongBytes, &["pull failed", "registry or something before it is broken"]),
    case(Target::Blobs, Fault::Truncated, &["pull failed", "blob sha256:"]),
    case(Target::Blobs, Fault::Status(500), &["pull failed", "failed with status 500; see its log"]),
];

/// A real registry with a version for each case, and the faulty one before it.
fn registries() -> Result<(TestRegistry, FaultyRegistry)> {
    let registry = TestRegistry::start()?;
    let cases = (0..CASES.len()).map(|number| format!("case-{number}"));
    for version in cases.chain(["good".to_owned(), "better".to_owned(), "drip".to_owned()]) {
        registry.push(&web::image(&version)?, "demo/web", &version)?;
    }
    let faulty = FaultyRegistry::start(registry.authority())?;
    Ok((registry, faulty))
}

fn publish(fleet: &Fleet, faulty: &FaultyRegistry, version: &str) -> Result<String> {
    let image = faulty.reference("demo/web", version);
    fleet.write_document("web", &format!("image = {image:?}\nhosts = [\"h0\"]\nnetwork = \"none\"\n"))?;
    Ok(image)
}

/// The old container runs, and the status says so.
fn is_unharmed(fleet: &Fleet, pid: Pid) -> Result<bool> {
    Ok(runs(pid) && pid_on(&view(&fleet.status()?, "web")?, "h0")? == pid)
}

#[test]
fn every_fault_is_named_with_its_cure_and_harms_nothing() -> Result<()> {
    let (_registry, faulty) = registries()?;
    let fleet = Plan::processes(1).registry(faulty.authority()).start()?;
    publish(&fleet, &faulty, "good")?;
    let pid = pid_on(&fleet.wait_ready("web", &["h0"])?, "h0")?;

    for (number, case) in CASES.iter().enumerate() {
        faulty.set(case.target, case.fault);
        let image = publish(&fleet, &faulty, &format!("case-{number}"))?;
        let what = format!("the status names {:?} of {:?}", case.fault, case.target);
        let status = fleet.wait_status_for(FAILED_LIMIT, &what, |status| {
            view(status, "web").is_ok_and(|web| {
                let said = reasons(&web);
                // Words with a bar are alternatives.
                let has = |word: &str| word.split('|').any(|word| said.contains(word));
                said.contains(&image) && case.words.iter().all(|word| has(word))
            })
        })?;
        assert_eq!(pid_on(&view(&status, "web")?, "h0")?, pid, "{what}: the old container runs on");
        assert!(runs(pid));
    }

    faulty.clear();
    publish(&fleet, &faulty, "better")?;
    let web = fleet.wait_ready("web", &["h0"])?;
    assert_eq!(reasons(&web), "");
    assert_ne!(pid_on(&web, "h0")?, pid);
    assert!(!runs(pid));
    Ok(())
}

#[test]
fn a_slow_drip_holds_up_nothing() -> Result<()> {
    let (_registry, faulty) = registries()?;
    let fleet = Plan::processes(1).registry(faulty.authority()).start()?;
    publish(&fleet, &faulty, "good")?;
    let pid = pid_on(&fleet.wait_ready("web", &["h0"])?, "h0")?;

    faulty.set(Target::Blobs, Fault::SlowDrip);
    publish(&fleet, &faulty, "drip")?;
    fleet.wait_status("the status says that the image is on its way", |status| {
        view(status, "web").is_ok_and(|web| reasons(&web).contains("pulling the image"))
    })?;
    stays(Duration::from_secs(3), "the old container runs on", || is_unharmed(&fleet, pid).unwrap_or(false))?;

    // Another image need not wait for the one that drips.
    faulty.clear();
    publish(&fleet, &faulty, "better")?;
    let web = fleet.wait_ready("web", &["h0"]).context("a newer revision overtakes the pull")?;
    assert_ne!(pid_on(&web, "h0")?, pid);
    Ok(())
}
