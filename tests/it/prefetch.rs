//! Images are fetched while a host waits for its turn, so that the turn itself waits for no registry.

use anyhow::Result;
use coord_shared::wire::PrefetchState;
use coord_tests::faulty::{Fault, FaultyRegistry, Target};
use coord_tests::fleet::view::{on, pid_on, view};
use coord_tests::fleet::{Fleet, Plan};
use coord_tests::image::web;
use coord_tests::process::runs;
use coord_tests::registry::TestRegistry;

const HOSTS: [&str; 3] = ["h0", "h1", "h2"];

fn publish(fleet: &Fleet, image: &str, more: &str) -> Result<()> {
    let rollout = "[rollout]\nparallelism = 1\nmonitor = \"1s\"";
    fleet.write_document("web", &format!("image = {image:?}\nhosts = [\"h*\"]\nnetwork = \"none\"\n{more}\n{rollout}\n"))
}

/// How far each waiting host is, as `coordctl status` has it.
fn ahead(fleet: &Fleet) -> Result<Vec<PrefetchState>> {
    let web = view(&fleet.status()?, "web")?;
    Ok(web.instances.iter().filter_map(|instance| instance.prefetch.clone()).collect())
}

#[test]
fn later_hosts_need_no_registry_when_their_turn_comes() -> Result<()> {
    let registry = TestRegistry::start()?;
    for version in ["1", "2"] {
        registry.push(&web::image(version)?, "demo/web", version)?;
    }
    let faulty = FaultyRegistry::start(registry.authority())?;
    let fleet = Plan::processes(HOSTS.len()).registry(faulty.authority()).start()?;
    publish(&fleet, &faulty.reference("demo/web", "1"), "")?;
    let before = fleet.wait_ready("web", &HOSTS)?;

    // Nobody gets the image yet: the hosts that wait are fetching it as well as the first one, and say so.
    let two = faulty.reference("demo/web", "2");
    faulty.set(Target::Blobs, Fault::Holds(50));
    publish(&fleet, &two, "command = [\"false\"]")?;
    fleet.wait_status("both that wait are fetching ahead", |_| {
        ahead(&fleet).is_ok_and(|states| {
            states.len() == 2
                && states.iter().all(|state| matches!(state, PrefetchState::Pulling { .. } | PrefetchState::Failed { .. }))
        })
    })?;
    let shown = fleet.coordctl(&["status", "web"])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("waits for its turn for revision 2") && shown.contains("; image "), "{shown}");

    // The first host fails, so the others wait on, with what they fetched.
    faulty.clear();
    let status = fleet.wait_status("both have the image before their turn", |_| {
        ahead(&fleet).is_ok_and(|states| states == [PrefetchState::Ready, PrefetchState::Ready])
    })?;
    let web = view(&status, "web")?;
    let waiting: Vec<&str> =
        HOSTS.into_iter().filter(|host| on(&web, host).is_ok_and(|instance| instance.prefetch.is_some())).collect();
    for host in &waiting {
        let pid = pid_on(&web, host)?;
        assert!(runs(pid) && pid == pid_on(&before, host)?, "{host}: what is fetched ahead touches nothing");
    }

    // The cure is published when no layer can be had any more (what the tag stands for is asked again); nobody needs one.
    faulty.set(Target::Blobs, Fault::HungUp);
    publish(&fleet, &two, "")?;
    let after = fleet.wait_revision("web", 3)?;
    for host in waiting {
        assert_ne!(pid_on(&after, host)?, pid_on(&before, host)?);
    }
    assert_eq!(ahead(&fleet)?, []);
    Ok(())
}
