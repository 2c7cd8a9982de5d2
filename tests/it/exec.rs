//! `coordctl exec` and `coordctl logs --since`: into containers, through the coordinator, on hosts that nobody can dial.

use anyhow::{Context, Result};
use coord_tests::fleet::{Fleet, Plan};
use coord_tests::process::describe;
use std::io::Write as _;
use std::process::Stdio;

const SLEEPS: &str = "command = [\"sh\", \"-c\", \"echo first; exec sleep 1000\"]\nenvironment = { COLOUR = \"green\" }\n";

fn running(hosts: &[&str]) -> Result<Fleet> {
    let fleet = Plan::processes(hosts.len()).start()?;
    fleet.push_web(&["1"])?;
    fleet.write_document("web", &format!("image = {:?}\nhosts = [\"h*\"]\nnetwork = \"none\"\n{SLEEPS}", fleet.web("1")))?;
    fleet.wait_ready("web", hosts)?;
    Ok(fleet)
}

#[test]
fn a_program_runs_in_the_container_and_its_exit_code_comes_back() -> Result<()> {
    let fleet = running(&["h0"])?;
    let run = |args: &[&str]| fleet.coordctl(&[&["exec"], args].concat());
    let done = run(&["web", "--", "sh", "-c", "echo $COLOUR on $COORD_HOST; echo oops >&2; exit 7"])?;
    assert_eq!(done.status.code(), Some(7), "{}", describe(&done));
    assert_eq!(String::from_utf8_lossy(&done.stdout), "green on h0\n");
    assert_eq!(String::from_utf8_lossy(&done.stderr), "oops\n");

    let as_asked =
        run(&["web", "-e", "COLOUR=blue", "-w", "/bin", "-u", "1000:1000", "--", "sh", "-c", "echo $COLOUR $PWD $(id -u)"])?;
    assert_eq!(String::from_utf8_lossy(&as_asked.stdout), "blue /bin 1000\n", "{}", describe(&as_asked));

    // Refused in words, and nothing of it runs.
    for (args, words) in [
        (&["web", "--", "no-such-program"][..], "no-such-program"),
        (&["web", "--index", "4", "--", "true"], "no instance of workload web"),
        (&["nobody", "--", "true"], "nobody"),
    ] {
        let refused = run(args)?;
        assert!(!refused.status.success(), "{args:?}");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains(words), "{args:?}: {said}");
    }
    Ok(())
}

#[test]
fn a_stream_goes_in_and_comes_out_whole() -> Result<()> {
    let fleet = running(&["h0"])?;
    let data: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut command = fleet.coordctl_to_start(&["exec", "-i", "web", "--", "cat"])?;
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("start coordctl")?;
    let mut stdin = child.stdin.take().context("its input")?;
    let sent = data.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent));
    let output = child.wait_with_output()?;
    writer.join().expect("no panic")?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == data, "{} of {} bytes", output.stdout.len(), data.len());
    Ok(())
}

#[test]
fn one_of_many_must_be_named() -> Result<()> {
    let fleet = running(&["h0", "h1"])?;
    let which = fleet.coordctl(&["exec", "web", "--", "true"])?;
    let said = String::from_utf8_lossy(&which.stderr).into_owned();
    assert!(!which.status.success() && said.contains("--host"), "{said}");
    let there = fleet.coordctl(&["exec", "web", "--host", "h1", "--", "sh", "-c", "echo $COORD_HOST"])?;
    assert_eq!(String::from_utf8_lossy(&there.stdout), "h1\n", "{}", describe(&there));
    Ok(())
}

#[test]
fn logs_begin_at_the_time_that_is_asked_for() -> Result<()> {
    let fleet = running(&["h0"])?;
    let all = fleet.coordctl(&["logs", "web", "--since", "10m"])?;
    assert_eq!(String::from_utf8_lossy(&all.stdout), "first\n", "{}", describe(&all));
    let none = fleet.coordctl(&["logs", "web", "--since", "2100-01-01T00:00:00Z"])?;
    assert_eq!(String::from_utf8_lossy(&none.stdout), "", "{}", describe(&none));
    let bad = fleet.coordctl(&["logs", "web", "--since", "yesterday"])?;
    assert!(!bad.status.success() && String::from_utf8_lossy(&bad.stderr).contains("10m"), "{}", describe(&bad));
    Ok(())
}
