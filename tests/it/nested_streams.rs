//! What `coord run` and `coord exec` carry between a second container and whoever sits at it, with a real agent.

use anyhow::Result;
use coord_tests::nested::Nest;

#[test]
fn streams_terminals_and_ends_are_carried() -> Result<()> {
    let nest = Nest::start()?;
    let parent = nest.idle("runner", "containers = 4, pids = 200, caches = \"16MiB\"")?;
    let run = |flags: &str, script: &str| parent.sh(&format!("coord run {flags} --image $IMAGE -- sh -c '{script}'"));
    let check = |flags: &str, script: &str, code: i32, out: &str, err: &str| -> Result<()> {
        let output = run(flags, script)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let got = (output.status.code(), text(&output.stdout), text(&output.stderr));
        assert_eq!(got, (Some(code), out.to_owned(), err.to_owned()), "{flags} {script}");
        Ok(())
    };
    check("", "echo out; echo err >&2; exit 7", 7, "out\n", "err\n")?;
    // Process 1 cannot be killed from within.
    check("--init", "kill -KILL $$; sleep 1", 128 + 9, "", "")?;
    check("--init", "kill -TERM $$; sleep 1", 128 + 15, "", "")?;
    check("-u 1000:1000", "echo reopened >/dev/stdout; id -u", 0, "reopened\n1000\n", "")?;
    check("-t", "test -t 0 && test -t 2 && stty size; echo $TERM >/dev/tty; exit 3", 3, "24 80\r\nxterm\r\n", "")?;
    // Nobody types, and it is told so.
    check("", "cat; echo over", 0, "over\n", "")?;
    let sums = parent.ok("head -c 3000000 /dev/urandom >/tmp/much; sha256sum </tmp/much; \
         coord run -i --image $IMAGE -- sha256sum </tmp/much; coord run -i --image $IMAGE -- cat </tmp/much | sha256sum")?;
    let sums: Vec<&str> = sums.lines().collect();
    assert!(sums.len() == 3 && sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
    // A reader that has read enough ends it, as in any pipeline.
    assert_eq!(parent.ok("coord run --image $IMAGE -- yes | head -n 1")?, "y\n");
    let (code, said) = parent.fails("coord run --image $IMAGE -- no-such-command")?;
    assert_eq!(code, 127, "{said}");
    let (code, said) = parent.fails("coord run --image $IMAGE -- /etc")?;
    assert_eq!(code, 126, "{said}");
    // Signals are its own.
    let script = "trap \"exit 42\" TERM; echo ready; while :; do sleep 0.05; done";
    let signalled = format!(
        "coord run --name signalled --image $IMAGE -- sh -c '{script}' >/tmp/said & pid=$!\n\
         until grep -q ready /tmp/said; do usleep 10000; done; kill -TERM $pid; wait $pid; echo $?"
    );
    assert_eq!(parent.ok(&signalled)?, "42\n");
    parent.ok("coord run -d --name sleeper --image $IMAGE -- sleep 100000")?;
    let output = parent.sh("echo typed | coord exec -i -e A=5 sleeper -- sh -c 'cat; echo err >&2; exit $A'")?;
    assert_eq!(
        (output.status.code(), output.stdout.as_slice(), output.stderr.as_slice()),
        (Some(5), &b"typed\n"[..], &b"err\n"[..])
    );
    assert_eq!(parent.ok("coord exec -t sleeper -- sh -c 'test -t 0 && echo yes'")?, "yes\r\n");
    parent.ok("coord stop --time 0 sleeper")?;
    assert_eq!(parent.ok("coord wait sleeper")?, "137\n");
    nest.end(&["runner"])
}
