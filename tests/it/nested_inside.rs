//! Attempts from within: what a second container must not do to its parent, to others, and to the host.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result};
use coord_tests::cell::host_namespaces;
use coord_tests::lone::LONE_LIMIT;
use coord_tests::nested::{Nest, Parent};
use coord_tests::probe::{self, HOST_VARIABLE};
use coord_tests::process::{proportional_memory, runs};
use coord_tests::wait::wait_until;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::isolation;

const PERMISSION: &str = "containers = 4, memory = \"256MiB\", pids = 300, caches = \"8MiB\"";
/// Bytes that an agent may gain by whatever one container does.
const GROWTH_BYTES_MAX: u64 = 12 << 20;

/// Runs a script in a second container, to its end; its exit code and all that it said.
fn inside(parent: &Parent, options: &str, script: &str) -> Result<(i32, String)> {
    let output = parent.sh(&format!("coord run --image $IMAGE {options} -- sh -c '{script}' 2>&1"))?;
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// The fields of `/proc/self/status`.
fn status(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
}

#[test]
fn a_second_container_is_as_closed_as_a_first() -> Result<()> {
    let nest = Nest::in_cell("", |_, _| Ok(()))?;
    let parent = nest.idle("runner", PERMISSION)?;
    let environment = format!("--env {HOST_VARIABLE}={}", host_namespaces());
    let found = probe::findings(&parent.ok(&format!("coord run --image $IMAGE {environment} -- /probe"))?);
    assert!(found.len() > 90 && found.contains_key(probe::LAST), "the probe tried {} lines only", found.len());
    isolation::check(&found);
    nest.end(&["runner"])
}

#[test]
fn a_second_container_has_no_right_that_its_parent_lacks() -> Result<()> {
    let nest = Nest::start()?;
    nest.publish("runner", PERMISSION, "cap_drop = [\"CHOWN\", \"SETUID\", \"NET_BIND_SERVICE\"]")?;
    let parent = nest.parent("runner")?;
    let (of_parent, of_child) = (parent.ok("cat /proc/1/status")?, inside(&parent, "", "cat /proc/self/status")?.1);
    let (of_parent, of_child) = (status(&of_parent), status(&of_child));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let bits = |of: &BTreeMap<String, String>| u64::from_str_radix(of.get(set).map_or("", String::as_str), 16);
        let (parents, childs) = (bits(&of_parent).context(set)?, bits(&of_child).context(set)?);
        assert_eq!(childs & !parents, 0, "{set}: {childs:x} is not within {parents:x}");
    }
    assert_eq!((of_child["Seccomp"].as_str(), of_child["NoNewPrivs"].as_str()), ("2", "1"));
    // The same users, no wider.
    let users = "cat /proc/self/uid_map /proc/self/gid_map";
    assert_eq!(inside(&parent, "", users)?.1, parent.ok(users)?);
    // And fewer, if that is asked for.
    let dropped = status(&inside(&parent, "--cap-drop ALL", "cat /proc/self/status")?.1);
    assert_eq!(dropped["CapEff"], "0000000000000000");
    nest.end(&["runner"])
}

#[test]
fn a_second_container_sees_only_itself() -> Result<()> {
    let nest = Nest::start()?;
    let parent = nest.idle("runner", PERMISSION)?;
    parent.ok("coord cache create work --path /files && coord cache put work /source/d00")?;
    let before = parent.ok("cat /proc/self/mountinfo")?;
    let of_host = fs::read_to_string("/proc/self/mountinfo")?;
    parent.ok(
        "coord run -d --name sibling --image $IMAGE --cache work:ro -- sh -c \"trap : TERM HUP INT; while :; do sleep 1; done\"",
    )?;
    assert_eq!(parent.ok("cat /proc/self/mountinfo")?, before, "a second container's mounts are not its parent's");
    let new = |text: &str| text.lines().filter(|line| line.contains("nested")).count();
    assert_eq!(new(&fs::read_to_string("/proc/self/mountinfo")?), new(&of_host), "nor the host's");
    for (attempt, script) in [
        ("a door of its own", "test -e /run/coord"),
        ("its parent's files", "test -e /proc/1/root/source/../run/coord"),
        ("other processes", "test $(ls -d /proc/[0-9]* | wc -l) -gt 4"),
        ("its parent's first process", "test \"$(cat /proc/1/comm)\" = sleep"),
        ("its parent's namespaces", "nsenter -t 1 -m -p -n true && test -e /run/coord"),
        ("a namespace of its own with rights", "unshare -Ur true || unshare -m true"),
        ("a mount", "mount -t tmpfs none /mnt || mount --bind /etc /tmp || mount -t proc proc /tmp"),
        (
            "groups",
            "for f in $(find /sys/fs/cgroup -name \"*max\" -o -name \"*limit_in_bytes\" -o -name cgroup.procs 2>/dev/null); do echo 1 >$f && exit 0; done 2>/dev/null; exit 1",
        ),
        ("a group of its own", "mkdir /sys/fs/cgroup/x /sys/fs/cgroup/*/x"),
        (
            "kernel files",
            "echo x >/proc/sysrq-trigger || echo x >/proc/sys/kernel/core_pattern || echo 1 >/proc/sys/vm/drop_caches",
        ),
        ("its parent by a signal", "kill -9 $(seq 2 400) && false; test ! -e /proc/1"),
        ("a device", "mknod /tmp/d b 254 0 && dd if=/tmp/d of=/dev/null count=1"),
    ] {
        let (code, said) = inside(&parent, "", script)?;
        assert_ne!(code, 0, "{attempt}: {said}");
    }
    // Everything that it can see: its own processes.
    let (_, said) = inside(&parent, "", "kill -9 -1 2>/dev/null; echo $(ls -d /proc/[0-9]* | wc -l)")?;
    assert!(said.trim().is_empty() || said.trim().parse::<u32>().is_ok_and(|count| count <= 5), "{said}");
    let sibling = parent.door().granted("GET", "/v1/containers/sibling", &Value::Null)?;
    assert_eq!(sibling["state"], "running", "{sibling}");
    assert!(runs(parent.init));
    nest.end(&["runner"])
}

#[test]
fn a_cache_gives_no_rights() -> Result<()> {
    let nest = Nest::start()?;
    let parent = nest.idle("runner", PERMISSION)?;
    parent.ok("coord cache create work --path /files && coord cache put work /source/d00")?;
    for (attempt, script) in [
        ("to write", "echo x >/files/new"),
        ("to change", "echo x >>/files/file-0000"),
        ("to delete", "rm -f /files/file-0000"),
        ("to change rights", "chmod 777 /files/file-0000"),
        ("to mount it anew", "mount -o remount,rw,bind /files /files"),
        ("by another path", "echo x >/proc/self/root/files/new || echo x >/proc/1/cwd/files/new"),
        ("by a descriptor", "cd /files && exec 3</files && echo x >/proc/self/fd/3/new"),
        ("by a mount of its mount", "mkdir /again && mount --bind /files /again && echo x >/again/new"),
        ("to take it away", "umount /files || umount -l /files || mv /files /away"),
    ] {
        let (code, said) = inside(&parent, "--cache work:ro", script)?;
        assert_ne!(code, 0, "{attempt}: {said}");
    }
    parent.ok("coord cache verify work")?;
    // What one second container leaves in it gives another one nothing.
    let leave = "cp /probe /files/su && chmod 6755 /files/su && chown 0:0 /files/su; mknod /files/zero c 1 5; ln -s /proc/1/root/etc /files/etc; true";
    let (code, said) = inside(&parent, "--cache work", leave)?;
    assert_eq!(code, 0, "{said}");
    let (code, said) = inside(&parent, "--cache work:ro -u 1000:1000", "/files/su rights")?;
    assert_eq!(code, 0, "a setuid program of a cache gives rights: {said}");
    let (code, said) = inside(&parent, "--cache work:ro", "test ! -e /files/zero || ! head -c 1 /files/zero")?;
    assert_eq!(code, 0, "a device of a cache can be opened: {said}");
    nest.end(&["runner"])
}

#[test]
fn bombs_harm_only_who_throws_them() -> Result<()> {
    let nest = Nest::start()?;
    let parent = nest.idle("runner", PERMISSION)?;
    let agent = nest.host.agent()?.pid();
    let before = proportional_memory(agent)?;
    parent.ok("coord run -d --name sibling --image $IMAGE -- sh -c 'while :; do usleep 100000; done'")?;
    parent.ok(
        "coord run -d --name forks --pids 60 --image $IMAGE -- sh -c 'b() { b | b & }; b; while :; do b; usleep 100000; done'",
    )?;
    let group = |child: &str| -> Result<Vec<Pid>> {
        let pids = nest.host.group().dirs().iter().map(|dir| pids_of(dir, child)).max_by_key(Vec::len);
        Ok(pids.unwrap_or_default())
    };
    wait_until(LONE_LIMIT, "the fork bomb is at its limit", || group("forks").is_ok_and(|pids| pids.len() > 30))?;
    assert!(group("forks")?.len() <= 60);
    // Meanwhile others start and answer.
    assert_eq!(inside(&parent, "", "echo alive")?.1, "alive\n");
    parent.ok("coord stop --time 0 forks || coord kill forks")?;
    wait_until(LONE_LIMIT, "all of it is gone", || group("forks").is_ok_and(|pids| pids.is_empty()))?;

    let (code, said) = inside(&parent, "--name eats --memory 32MiB", "exec tail /dev/zero")?;
    assert_eq!(code, 137, "{said}");
    let eaten = parent.door().granted("GET", "/v1/containers/eats", &Value::Null)?;
    assert_eq!(eaten["exit"]["oom_killed"], true, "{eaten}");
    // The sum counts, too: none of these has a limit of its own.
    let (code, said) = inside(&parent, "--name more", "exec tail /dev/zero")?;
    assert_eq!(code, 137, "{said}");
    // Output without end is read by whoever asked for it, and logged by the monitor: the agent keeps none of it.
    parent.ok("coord run --image $IMAGE -- sh -c 'yes | head -c 30000000' | wc -c | grep -x 30000000")?;
    let sibling = parent.door().granted("GET", "/v1/containers/sibling", &Value::Null)?;
    assert_eq!(sibling["state"], "running", "{sibling}");
    let after = proportional_memory(agent)?;
    assert!(after < before + GROWTH_BYTES_MAX, "the agent grew from {before} to {after}");
    assert_eq!(nest.host.agent()?.pid(), agent);
    nest.end(&["runner"])
}

/// Processes in the groups of a second container.
fn pids_of(dir: &std::path::Path, child: &str) -> Vec<Pid> {
    let mut pids = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains(child) {
            let mut waiting = vec![entry.path()];
            while let Some(dir) = waiting.pop() {
                let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
                pids.extend(text.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw));
                let below = fs::read_dir(&dir).into_iter().flatten().flatten();
                waiting.extend(below.map(|entry| entry.path()).filter(|path| path.is_dir()));
            }
        } else {
            pids.extend(pids_of(&entry.path(), child));
        }
    }
    pids
}

/// Hands descriptors over under a token; what came back.
fn hand_over(parent: &Parent, token: &str, files: &[i32]) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let socket = parent.door().socket.with_file_name("stdio.sock");
    let folder = fs::File::open(socket.parent().context("a folder")?)?;
    let mut stream = UnixStream::connect(format!("/proc/self/fd/{}/stdio.sock", folder.as_raw_fd()))?;
    stream.set_read_timeout(Some(LONE_LIMIT))?;
    let (text, rights) = ([std::io::IoSlice::new(token.as_bytes())], [ControlMessage::ScmRights(files)]);
    sendmsg::<()>(stream.as_raw_fd(), &text, if files.is_empty() { &[] } else { &rights }, MsgFlags::empty(), None)?;
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = [0; 64];
    let length = stream.read(&mut answer).unwrap_or(0);
    Ok(answer[..length].to_vec())
}

#[test]
fn only_streams_can_be_handed_over() -> Result<()> {
    const TOKEN: &str = "0123456789abcdef";
    let nest = Nest::start()?;
    let (mine, other) = (nest.idle("mine", PERMISSION)?, nest.idle("other", PERMISSION)?);
    let null = fs::File::options().read(true).write(true).open("/dev/null")?;
    let folder = fs::File::open("/")?;
    let path = rustix::fs::open("/etc/passwd", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty())?;
    let (null, folder, path) = (null.as_raw_fd(), folder.as_raw_fd(), path.as_raw_fd());
    for (attempt, token, files) in [
        ("a folder", TOKEN, &[null, folder, null][..]),
        ("a folder as the input", TOKEN, &[folder, null, null]),
        ("a descriptor without rights", TOKEN, &[path, null, null]),
        ("too few", TOKEN, &[null, null]),
        ("none", TOKEN, &[]),
        ("too many", TOKEN, &[null, null, null, null]),
        ("a hundred", TOKEN, &[null; 100]),
        ("a short token", "0123", &[null, null, null]),
        ("a long token", &"0123456789abcdef".repeat(5), &[null, null, null]),
        ("a path as the token", "../../../../etc/passwd", &[null, null, null]),
    ] {
        assert_ne!(hand_over(&mine, token, files)?, b"+", "{attempt}");
    }
    let asked = json!({ "image": nest.image, "command": ["true"], "stdio": TOKEN });
    let codes = ["invalid_request", "no_such_stdio"];
    assert!(codes.contains(&mine.door().refused("POST", "/v1/containers", &asked)?.as_str()));
    // What is handed over at one door is not to be had at another, and once only.
    assert_eq!(hand_over(&other, TOKEN, &[null, null, null])?, b"+");
    assert!(codes.contains(&mine.door().refused("POST", "/v1/containers", &asked)?.as_str()));
    other.door().granted("POST", "/v1/containers", &asked)?;
    assert!(codes.contains(&other.door().refused("POST", "/v1/containers", &asked)?.as_str()));
    // Thousands that nobody fetches do not eat up the agent's descriptors.
    for number in 0..300 {
        let _ = hand_over(&other, &format!("token-{number:011}").replace('-', "x"), &[null, null, null]);
    }
    let held = fs::read_dir(format!("/proc/{}/fd", nest.host.agent()?.pid()))?.count();
    assert!(held < 400, "{held} descriptors are held");
    mine.ok("coord run --image $IMAGE -- true")?;
    nest.end(&["mine", "other"])
}
