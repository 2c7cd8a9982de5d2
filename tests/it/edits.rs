//! Editing a document is all that it takes: what runs follows, and nothing else is disturbed.

use anyhow::{Context, Result};
use coord_tests::fleet::view::{pid_on, view};
use coord_tests::fleet::{FLEET_LIMIT, Plan, free_port};
use coord_tests::http;
use coord_tests::wait::wait_until;

/// The page begins with this greeting of this version.
fn wait_page(url: &str, begin: &str) -> Result<()> {
    let mut last = String::new();
    let waited = wait_until(FLEET_LIMIT, &format!("{url} says {begin:?}"), || {
        last = http::get(url).map_or_else(|error| format!("{error:#}"), |answer| answer.text());
        last.starts_with(begin)
    });
    waited.with_context(|| format!("last answer: {last:?}"))
}

#[test]
fn an_edit_of_environment_or_tag_changes_what_runs() -> Result<()> {
    let fleet = Plan::processes(1).start()?;
    fleet.push_web(&["1", "2"])?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let url = format!("http://{address}/");
    let document = |version: &str, greeting: &str| {
        format!(
            "image = {:?}\nhosts = [\"h0\"]\nnetwork = \"host\"\nenvironment = {{ GREETING = {greeting:?}, LISTEN = {address:?} }}\n",
            fleet.web(version)
        )
    };

    fleet.write_document("web", &document("1", "Hello"))?;
    wait_page(&url, "Hello from web 1 on ")?;
    fleet.write_document("web", &document("1", "Good day"))?;
    wait_page(&url, "Good day from web 1 on ")?;
    fleet.write_document("web", &document("2", "Good day"))?;
    wait_page(&url, "Good day from web 2 on ")?;
    let workload = fleet.wait_revision("web", 3)?;

    let history = fleet.history("web")?;
    let changed: Vec<Vec<&str>> = history.entries.iter().map(|e| e.changes.iter().map(|c| c.key.as_str()).collect()).collect();
    assert_eq!(changed.len(), 3, "{history:#?}");
    assert_eq!(changed[0], ["image"]);
    assert_eq!(changed[1], ["environment.GREETING"]);

    // What does not shape the container replaces no container.
    let pid = pid_on(&workload, "h0")?;
    fleet.write_document("web", &format!("# a word on why\nrestart = \"always\"\n{}", document("2", "Good day")))?;
    fleet.write_document("web", &format!("stop_grace_period = \"3s\"\n{}", document("2", "Good day")))?;
    let status = fleet.wait_status("the edit is published and accepted", |status| {
        view(status, "web").is_ok_and(|web| web.revision > workload.revision && web.ready == 1 && pid_on(&web, "h0").is_ok())
    })?;
    assert_eq!(pid_on(&view(&status, "web")?, "h0")?, pid);

    fleet.delete_document("web")?;
    fleet.wait_gone("web")?;
    assert_eq!(fleet.containers(0), [""; 0]);
    assert!(http::get(&url).is_err(), "nobody listens any more");
    Ok(())
}

#[test]
fn a_broken_document_keeps_the_last_good_revision() -> Result<()> {
    let fleet = Plan::processes(1).start()?;
    fleet.push_web(&["1"])?;
    let good = format!("image = {:?}\nhosts = [\"h0\"]\nnetwork = \"none\"\n", fleet.web("1"));
    fleet.write_document("web", &good)?;
    let before = fleet.wait_ready("web", &["h0"])?;

    fleet.write_document("web", &format!("{good}comand = [\"sleep\"]\n"))?;
    let status = fleet.wait_status("the mistake is shown", |status| !status.problems.is_empty())?;
    let problem = &status.problems[0];
    assert!(problem.source.contains("web.toml"), "{problem:?}");
    assert!(problem.summary.contains("comand") && problem.summary.contains('4'), "names key and line: {problem:?}");
    assert!(problem.detail.as_ref().is_some_and(|detail| detail.contains("did you mean")), "{problem:?}");
    let now = view(&status, "web")?;
    assert_eq!((now.revision, pid_on(&now, "h0")?), (before.revision, pid_on(&before, "h0")?));

    fleet.write_document("web", &good)?;
    let status = fleet.wait_status("the mistake is forgotten", |status| status.problems.is_empty())?;
    assert_eq!(pid_on(&view(&status, "web")?, "h0")?, pid_on(&before, "h0")?);
    Ok(())
}
