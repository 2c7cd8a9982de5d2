//! The line, whole: a commit is pushed, and with no other command three hosts serve it; or its tests fail, and nothing changes.
//!
//! One builder and three more hosts, each in namespaces of its own, over TLS. What is pushed is compiled for real.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coord_shared::wire::RunState;
use coord_tests::fleet::line::times;
use coord_tests::fleet::{FLEET_LIMIT, Fleet, Plan};
use coord_tests::hosts::SWITCH_ADDRESS;
use coord_tests::sinks::{HookSink, MailSink};
use coord_tests::source::{Git, Repository, Subversion};
use coord_tests::wait::{stays, wait_until};
use coord_tests::{say, shop};

/// Host 0 builds, the others serve.
const HOSTS: usize = 4;

fn start() -> Result<Fleet> {
    let smtp = format!("\n[smtp]\nhost = {SWITCH_ADDRESS:?}\nport = 25\ntls = \"none\"\nfrom = \"coord@example.org\"\n");
    let mut plan = Plan::hosts(HOSTS).builder(0).coordinator(&smtp).secret("shop-hook", "sesame");
    for number in 1..HOSTS {
        plan = plan.label(number, "role", "web");
    }
    let fleet = plan.start()?;
    shop::push_compiler(&fleet)?;
    Ok(fleet)
}

/// What each of the web hosts answers, asked from the switch.
fn pages(fleet: &mut Fleet) -> Result<Vec<String>> {
    let addresses: Vec<String> = fleet.lab()?.hosts()[1..].iter().map(|host| host.address().to_owned()).collect();
    let place = fleet.place();
    let page = |address: &String| {
        let url = format!("http://{address}:{}/", shop::PORT);
        let answer = place.run(&["curl", "-s", "--noproxy", "*", "-m", "5", &url])?;
        Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
    };
    addresses.iter().map(page).collect()
}

fn serve_version(pages: &[String], version: &str) -> bool {
    pages.iter().all(|page| page.starts_with(&format!("shop {version}: 9.00 on ")))
}

fn wait_served(fleet: &mut Fleet, version: &str) -> Result<()> {
    let mut last = Vec::new();
    let waited = wait_until(FLEET_LIMIT, &format!("three hosts serve version {version}"), || {
        last = pages(fleet).unwrap_or_default();
        serve_version(&last, version)
    });
    waited.with_context(|| format!("at last, they served {last:?}"))
}

/// A push, a second one, a broken one.
fn from_commits_to_pages(fleet: &mut Fleet, repository: &dyn Repository, mails: &MailSink, hook: &HookSink) -> Result<()> {
    let notify = format!("[notify]\non_failure = [\"email:ops@example.org\", \"webhook:{}\"]\n", hook.url());
    let poll = "[trigger]\npoll = \"5s\"\n";
    let first = repository.commit("Begin to sell", &shop::version("1"))?;
    fleet.write_pipeline("shop", &shop::pipeline(&repository.source(), &format!("{poll}{notify}")))?;
    wait_served(fleet, "1")?;
    say(&times(&fleet.wait_success("shop", &first)?));

    let second = repository.commit("Sell more", &shop::version("2"))?;
    wait_served(fleet, "2")?;
    let run = fleet.wait_success("shop", &second)?;
    say(&times(&run));
    let made = run.image.as_ref().context("no image")?;
    let web = fleet.wait_ready("web", &["h1", "h2", "h3"])?;
    let origin = web.origin.as_ref().context("the status shows no commit")?;
    assert_eq!(origin.commit.as_ref().map(ToString::to_string).as_deref(), Some(second.as_str()));
    assert_eq!(origin.subject, "Sell more");
    let manifest = fleet.api("GET", &format!("/v2/shop/manifests/{}", made.digest), None)?;
    assert_eq!(manifest.status, 200, "{}", manifest.text());

    let broken = repository.commit("Sell\r\nfor more", &shop::broken("3"))?;
    let run = fleet.wait_over("shop", &broken)?;
    assert_eq!(run.state, RunState::Failed, "{run:#?}");
    assert_eq!(run.image, None, "only what passed its tests becomes an image");
    is_told_once(fleet, mails, hook, &broken)?;
    ensure!(serve_version(&pages(fleet)?, "2"), "a commit whose tests fail changes nothing");
    assert_eq!(fleet.status()?.workloads.iter().filter_map(|web| web.revision).map(|r| r.0).max(), Some(2));

    let fourth = repository.commit("Mend the price", &shop::version("4"))?;
    wait_served(fleet, "4")?;
    say(&times(&fleet.wait_success("shop", &fourth)?));
    ensure!(mails.messages()?.len() == 1 && hook.posts()?.len() == 1, "nobody asked to be told of success");
    Ok(())
}

/// Exactly one message to each, with the step and what it said.
fn is_told_once(fleet: &Fleet, mails: &MailSink, hook: &HookSink, commit: &str) -> Result<()> {
    wait_until(FLEET_LIMIT, "both are told", || {
        mails.messages().is_ok_and(|mails| !mails.is_empty()) && hook.posts().is_ok_and(|posts| !posts.is_empty())
    })
    .with_context(|| fleet.coordinator().map(coord_tests::process::Process::log).unwrap_or_default())?;
    let told = || Ok::<_, anyhow::Error>((mails.messages()?, hook.posts()?));
    stays(Duration::from_secs(2), "nobody is told twice", || {
        told().is_ok_and(|(mails, posts)| mails.len() == 1 && posts.len() == 1)
    })?;
    let (mails, posts) = told()?;
    for (told, what) in [(&mails[0], "the mail"), (&posts[0].body, "the post")] {
        // Long lines of a mail are folded; what is looked for is short.
        for word in ["shop", "test.0", "10 % off 1000 is 900, not 1100", &commit[..commit.len().min(7)]] {
            ensure!(told.contains(word), "{what} does not say {word:?}:\n{told}");
        }
    }
    Ok(())
}

#[test]
fn a_commit_to_git_is_served_everywhere() -> Result<()> {
    let mut fleet = start()?;
    let place = fleet.place();
    let (mails, hook) = (MailSink::start(&place, (SWITCH_ADDRESS, 25))?, HookSink::start(&place, (SWITCH_ADDRESS, 8081))?);
    let git = Git::start(&place, (SWITCH_ADDRESS, 8080))?;
    from_commits_to_pages(&mut fleet, &git, &mails, &hook)
}

#[test]
fn a_commit_to_subversion_is_served_everywhere() -> Result<()> {
    let mut fleet = start()?;
    let place = fleet.place();
    let (mails, hook) = (MailSink::start(&place, (SWITCH_ADDRESS, 25))?, HookSink::start(&place, (SWITCH_ADDRESS, 8081))?);
    let svn = Subversion::start(&place, (SWITCH_ADDRESS, 3690))?;
    from_commits_to_pages(&mut fleet, &svn, &mails, &hook)
}
