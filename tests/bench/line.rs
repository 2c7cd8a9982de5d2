//! From a push to a page that three hosts serve: each part of the line, ten times.
//!
//! A git repository of a small web service in C, a builder and three more hosts in namespaces of their own, over TLS. A webhook says that
//! there is a commit, as a Git hosting would. The parts are the coordinator's own account of the run; the whole is this program's clock,
//! from the moment at which `git push` has ended until every host serves the new version.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use coord_tests::fleet::{Fleet, Plan};
use coord_tests::hosts::SWITCH_ADDRESS;
use coord_tests::source::{Git, Repository};
use coord_tests::wait::wait_until;
use coord_tests::{say, shop};

use crate::table::{self, Table};

pub(crate) const USAGE: &str = "       coord-bench line [RUNS]";

const RUNS: usize = 10;
/// The first host builds.
const HOSTS: usize = 4;
const SERVED_LIMIT: Duration = Duration::from_secs(120);
const SECRET: &str = "sesame";

pub(crate) fn run(words: &[&str]) -> Result<()> {
    let runs = match words {
        [] => RUNS,
        [runs] => runs.parse()?,
        _ => bail!("unknown: {}\n{USAGE}", words.join(" ")),
    };
    let mut plan = Plan::hosts(HOSTS).builder(0).secret("shop-hook", SECRET);
    for number in 1..HOSTS {
        plan = plan.label(number, "role", "web");
    }
    let mut fleet = plan.start()?;
    shop::push_compiler(&fleet)?;
    let git = Git::start(&fleet.place(), (SWITCH_ADDRESS, 8080))?;
    let trigger = "[trigger]\npoll = \"never\"\nwebhook = { secret = \"shop-hook\" }\n";
    fleet.write_pipeline("shop", &shop::pipeline(&git.source(), trigger))?;
    // The first run pulls the compiler and clones the source.
    one(&mut fleet, &git, "0")?;
    let (mut whole, mut parts) = (Vec::new(), BTreeMap::<usize, (String, Vec<Duration>)>::new());
    for number in 1..=runs {
        let (time, stages) = one(&mut fleet, &git, &number.to_string())?;
        say(&format!("run {number}: {time:?}"));
        whole.push(time);
        for (at, (stage, took)) in stages.into_iter().enumerate() {
            parts.entry(at).or_insert_with(|| (stage, Vec::new())).1.push(took);
        }
    }
    let mut table = Table::new(&["part", "", "runs", "median", "p99", "least", "most"]);
    for (stage, times) in parts.into_values() {
        table.times(&stage, "", times);
    }
    table.times("all", "served by three hosts", whole);
    table::print(&[("From a push to a served page", &table)])
}

/// A commit, until every host serves it; and the run's own account.
fn one(fleet: &mut Fleet, git: &Git, version: &str) -> Result<(Duration, Vec<(String, Duration)>)> {
    let commit = git.commit(&format!("Version {version}"), &shop::version(version))?;
    let start = Instant::now();
    let login = format!("Authorization: Bearer {SECRET}");
    wait_until(SERVED_LIMIT, "the webhook is taken", || {
        let answer = fleet.request("POST", "/v1/pipelines/shop/webhook", &[&login], Some(b"{}"));
        answer.is_ok_and(|answer| answer.status < 300)
    })?;
    let place = fleet.place();
    let addresses: Vec<String> = fleet.lab()?.hosts()[1..].iter().map(|host| host.address().to_owned()).collect();
    let page = format!("shop {version}:");
    for address in addresses {
        let url = format!("http://{address}:{}/", shop::PORT);
        wait_until(SERVED_LIMIT, &format!("{address} serves version {version}"), || {
            let answer = place.run(&["curl", "-s", "--noproxy", "*", "-m", "5", &url]);
            answer.is_ok_and(|answer| answer.stdout.starts_with(page.as_bytes()))
        })?;
    }
    let time = start.elapsed();
    let run = fleet.wait_success("shop", &commit)?;
    let stages = run.stages.into_iter().map(|part| (part.stage, Duration::from_millis(part.took_ms.unwrap_or_default())));
    let stages: Vec<(String, Duration)> = stages.collect();
    ensure!(!stages.is_empty(), "the run tells no times");
    Ok((time, stages))
}
