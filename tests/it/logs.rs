//! `coordctl logs`: what containers write, through the coordinator, from hosts that nobody can dial.

use anyhow::Result;
use coord_tests::fleet::Plan;
use coord_tests::process::describe;

#[test]
fn logs_of_all_hosts_come_through_the_coordinator() -> Result<()> {
    let fleet = Plan::processes(2).start()?;
    fleet.push_web(&["1"])?;
    let command = "echo hello from $COORD_HOST; echo trouble >&2; exec sleep 1000";
    let document =
        format!("image = {:?}\nhosts = [\"h*\"]\nnetwork = \"none\"\ncommand = [\"sh\", \"-c\", {command:?}]\n", fleet.web("1"));
    fleet.write_document("web", &document)?;
    fleet.wait_ready("web", &["h0", "h1"])?;

    let all = fleet.coordctl(&["logs", "web"])?;
    assert!(all.status.success(), "{}", describe(&all));
    let said = String::from_utf8_lossy(&all.stdout);
    for host in ["h0", "h1"] {
        let line = said.lines().find(|line| line.ends_with(&format!("hello from {host}")));
        assert!(line.is_some_and(|line| line.contains(&format!("@{host}"))), "{said}");
    }
    assert_eq!(said.matches("trouble").count(), 2, "{said}");

    let one = fleet.coordctl(&["logs", "web", "--host", "h1", "--tail", "1"])?;
    let said = String::from_utf8_lossy(&one.stdout);
    assert_eq!(said.lines().count(), 1, "{}", describe(&one));

    let none = fleet.coordctl(&["logs", "nobody"])?;
    assert!(!none.status.success());
    let said = String::from_utf8_lossy(&none.stderr);
    assert!(said.contains("nobody"), "{said}");
    Ok(())
}
