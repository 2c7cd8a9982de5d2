//! Second containers and file caches: what they are for, and every fault in between with its stated result. After each, nothing may be left.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use coord_tests::image::runner::FILES;
use coord_tests::lone::{LONE_LIMIT, LoneHost};
use coord_tests::nested::{Nest, Parent};
use coord_tests::process::{describe, runs};
use coord_tests::wait::{stays, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const EIGHT: &str = "containers = 8, pids = 200, caches = \"64MiB\"";
/// What the door's program ends with when it is refused something.
const REFUSED: i32 = 125;
/// A cache named `work` with the image's thousand files.
const PUBLISH: &str = "coord cache create work --path /work --ttl 30m && coord cache put work /source";

/// A second container that sleeps.
fn sleeper(name: &str) -> String {
    format!("coord run -d --name {name} --image $IMAGE --cache work:ro -- sleep 100000")
}

/// What a parent's `coord inspect` says of a second container.
fn view(parent: &Parent, name: &str) -> Result<Value> {
    parent.door().granted("GET", &format!("/v1/containers/{name}"), &Value::Null)
}

/// A second container's first process.
fn pid_of(parent: &Parent, name: &str) -> Result<Pid> {
    let pid = view(parent, name)?["pid"].as_i64().context("it runs")?;
    Ok(Pid::from_raw(i32::try_from(pid)?))
}

/// The list of a cache, as the door tells it.
fn list(parent: &Parent, cache: &str) -> Result<String> {
    let answer = parent.door().ask("GET", &format!("/v1/caches/{cache}/list"), b"")?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(answer.text())
}

/// Where a cache of a store has a file.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries.map(|entry| entry.path()).find_map(|path| {
        if path.is_dir() && !path.is_symlink() { find(&path, name) } else { path.ends_with(name).then_some(path) }
    })
}

#[test]
fn a_thousand_files_for_eight_second_containers_at_once() -> Result<()> {
    const SCRIPT: &str = r#"
set -eu
coord cache create work --path /work --ttl 30m
coord cache put work /source
for n in 1 2 3 4 5 6 7 8; do
    {
        code=0
        coord run --name c$n --image "$IMAGE" --cache work:ro -- check /work $n >/tmp/out-$n || code=$?
        echo "c$n ended with $code: $(cat /tmp/out-$n)"
    } &
done
wait
coord ps -a
coord cache rm work
echo "caches: $(coord cache ls --json)"
"#;
    let nest = Nest::start()?;
    let parent = nest.running("runner", EIGHT, SCRIPT)?;
    assert_eq!(parent.wait_exit()?, 0, "{:?}", nest.host.messages("runner.0"));
    let said = nest.host.messages("runner.0");
    for number in 1..=8 {
        let line = format!("c{number} ended with {number}: checked {}", FILES - 1);
        assert!(said.contains(&line), "{line}: {said:?}");
    }
    assert!(said.iter().any(|line| line.starts_with("caches:") && !line.contains("work")), "{said:?}");
    nest.end(&["runner"])
}

#[test]
fn what_is_verified_is_told() -> Result<()> {
    let nest = Nest::start()?;
    let parent = nest.idle("runner", EIGHT)?;
    parent.ok(PUBLISH)?;
    parent.ok("coord run --name one --image $IMAGE --cache work:ro -- check /work 0")?;
    let seen = view(&parent, "one")?;
    assert_eq!(seen["caches"][0]["verified"]["files"], FILES, "{seen}");
    assert_eq!((&seen["state"], &seen["exit"]["code"]), (&json!("exited"), &json!(0)));
    // The seed's own way: a container says what it sees, and its log is compared.
    parent.ok("coord run --name two --image $IMAGE --cache work:ro --verify-by-log -- check /work 0")?;
    assert_eq!(view(&parent, "two")?["caches"][0]["verified_by_log"], FILES);
    // A folder of the parent's own, live: what is written there is seen at once.
    parent.ok("mkdir /live && echo one >/live/a && coord cache create live --path /live --from /live")?;
    let live = parent.door().granted("GET", "/v1/caches/live", &Value::Null)?;
    assert_eq!(live["kind"], "live", "{live}");
    let follow = "until [ -e /live/b ]; do usleep 10000; done; cat /live/b";
    parent.ok(&format!("coord run -d --name three --image $IMAGE --cache live:ro -- sh -c '{follow}'"))?;
    parent.ok("echo two >/live/b.new && mv /live/b.new /live/b && coord wait three")?;
    assert_eq!(parent.ok("coord logs three")?, "two\n");
    // Where that cannot be done, a copy is made, and the answer says why.
    parent.ok("coord cache create copied --path /copied --from /run/coord")?;
    let copied = parent.door().granted("GET", "/v1/caches/copied", &Value::Null)?;
    assert!(copied["kind"] == "store" && copied["because"].as_str().is_some_and(|why| !why.is_empty()), "{copied}");
    nest.end(&["runner"])
}

#[test]
fn an_agent_that_is_killed_cuts_nothing() -> Result<()> {
    const LINES: usize = 400;
    // Each writes half of its lines, waits for the gate, and writes the others.
    const SCRIPT: &str = r#"
set -eu
coord cache create work --path /work
coord cache put work /source
gate() { until [ -e /tmp/go ]; do usleep 20000; done; echo go; }
say='i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo line $i; [ $i != 200 ] || read go; done; check /work $0'
for n in 1 2 3; do
    { code=0; gate | coord run -i --name c$n --image "$IMAGE" --cache work:ro -- sh -c "$say" $n >/tmp/out-$n || code=$?
      echo "c$n ended with $code: $(grep -c ^line /tmp/out-$n) lines, $(tail -n 1 /tmp/out-$n)"; } &
done
wait
coord cache rm work
"#;
    let mut nest = Nest::start()?;
    let init = nest.running("runner", EIGHT, SCRIPT)?.init;
    let inside = |name: &str| PathBuf::from(format!("/proc/{init}/root/tmp/{name}"));
    let said = |number: usize| fs::read_to_string(inside(&format!("out-{number}"))).unwrap_or_default();
    let half = wait_until(LONE_LIMIT, "all are half-way", || (1..=3).all(|number| said(number).contains("line 200\n")));
    half.with_context(|| format!("{:?}\n{}", nest.host.messages("runner.0"), nest.host.agent_log()))?;
    nest.host.kill_agent()?;
    fs::write(inside("go"), "")?;
    // Nobody is there but the kernel and the monitors: what the second containers write arrives all the same.
    let whole = format!("checked {}\n", FILES - 1);
    wait_until(LONE_LIMIT, "all have written everything", || (1..=3).all(|number| said(number).ends_with(&whole)))?;
    nest.host.start_agent()?;
    let parent = nest.parent_or_gone("runner");
    wait_until(LONE_LIMIT, "the exit codes are collected", || {
        let messages = nest.host.messages("runner.0");
        (1..=3).all(|number| {
            let line = format!("c{number} ended with {number}: {LINES} lines, {}", whole.trim_end());
            messages.contains(&line)
        })
    })
    .with_context(|| format!("{parent:?} {:?}\n{}", nest.host.messages("runner.0"), nest.host.agent_log()))?;
    nest.end(&["runner"])
}

#[test]
fn an_agent_that_is_replaced_keeps_detached_ones() -> Result<()> {
    let mut nest = Nest::start()?;
    let count = "i=0; until [ -e /gate/go ]; do i=$((i+1)); echo $i; usleep 20000; done; check /work 7";
    let before = {
        let parent = nest.idle("runner", EIGHT)?;
        parent.ok(&format!("{PUBLISH} && mkdir /gate && coord cache create gate --path /gate --from /gate"))?;
        parent.ok(&format!("coord run -d --name d --image $IMAGE --cache work:ro --cache gate:ro -- sh -c '{count}'"))?;
        pid_of(&parent, "d")?
    };
    nest.host.stop_agent()?;
    assert!(runs(before), "it does not end with the agent");
    nest.host.start_agent()?;
    let parent = nest.parent("runner")?;
    parent.wait_door()?;
    assert_eq!(pid_of(&parent, "d")?, before, "the same process, under the new agent");
    assert_eq!(parent.ok("coord cache verify work >/dev/null && touch /gate/go && coord wait d")?.trim(), "7");
    let log = parent.ok("coord logs d")?;
    let numbers: Vec<usize> = log.lines().map_while(|line| line.parse().ok()).collect();
    assert!(numbers.iter().enumerate().all(|(index, number)| *number == index + 1), "a hole in the log: {numbers:?}");
    assert!(log.ends_with(&format!("checked {}\n", FILES - 1)), "{log}");
    nest.end(&["runner"])
}

#[test]
fn a_parent_that_is_killed_takes_all_along() -> Result<()> {
    let nest = Nest::start()?;
    let parent = nest.idle("runner", EIGHT)?;
    parent.ok(&format!("{PUBLISH} && {} && {}", sleeper("one"), sleeper("two")))?;
    let children = [pid_of(&parent, "one")?, pid_of(&parent, "two")?];
    kill(parent.init, Signal::SIGKILL)?;
    wait_until(LONE_LIMIT, "the second containers end", || !children.into_iter().any(runs))?;
    // Also while its document still is there.
    nest.nothing_left()?;
    nest.end(&["runner"])
}

#[test]
fn a_parent_that_is_killed_while_no_agent_is_there_takes_all_along() -> Result<()> {
    let mut nest = Nest::start()?;
    let (init, children) = {
        let parent = nest.idle("runner", EIGHT)?;
        parent.ok(&format!("{PUBLISH} && {} && {}", sleeper("one"), sleeper("two")))?;
        (parent.init, [pid_of(&parent, "one")?, pid_of(&parent, "two")?])
    };
    nest.host.kill_agent()?;
    kill(init, Signal::SIGKILL)?;
    wait_until(LONE_LIMIT, "the kernel ends the second containers", || !children.into_iter().any(runs))?;
    nest.host.start_agent()?;
    nest.nothing_left()?;
    nest.end(&["runner"])
}

#[test]
fn a_cache_whose_time_is_over_ends_what_mounts_it() -> Result<()> {
    let nest = Nest::start()?;
    let parent = nest.idle("runner", EIGHT)?;
    parent.ok("coord cache create work --path /work --ttl 3s && coord cache put work /source")?;
    parent.ok("coord cache create other --path /other && coord cache put other /source")?;
    parent.ok("coord run -d --name other --image $IMAGE --cache other:ro -- sleep 100000")?;
    let (code, said) = parent.fails("coord run --name one --image $IMAGE --cache work:ro -- sleep 100000")?;
    assert_eq!(code, 137, "{said}");
    let seen = view(&parent, "one")?;
    let reason = seen["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("work") && reason.contains("time to live of 3s is over"), "{seen}");
    let gone = || parent.door().refused("GET", "/v1/caches/work", &Value::Null).is_ok_and(|code| code == "no_such_cache");
    wait_until(LONE_LIMIT, "the cache is deleted", gone)?;
    assert_eq!(view(&parent, "other")?["state"], "running", "others did not notice");
    nest.end(&["runner"])
}

#[test]
fn a_cache_takes_what_its_quota_allows_and_nothing_of_what_is_more() -> Result<()> {
    let nest = Nest::start()?;
    let parent = nest.idle("runner", "containers = 2, caches = \"1MiB\"")?;
    parent.ok(PUBLISH)?;
    let before = list(&parent, "work")?;
    assert_eq!(before.lines().filter(|line| line.contains("\"file\"")).count(), FILES);
    parent.ok("mkdir /big && cp -r /source/d00 /big/ && dd if=/dev/zero of=/big/zeros bs=1M count=2 2>/dev/null")?;
    let (code, said) = parent.fails("coord cache put work /big")?;
    assert!(code == REFUSED && said.contains("caches"), "{code} {said}");
    let door = parent.door();
    let answer = door.ask("PUT", "/v1/caches/work/files/zeros", &vec![0; 2 << 20])?;
    assert!(answer.text().contains("over_quota"), "{}", answer.text());
    assert_eq!(list(&parent, "work")?, before, "the cache is as it was");
    parent.ok("coord cache verify work && coord run --image $IMAGE --cache work:ro -- check /work 0")?;
    nest.end(&["runner"])
}

#[test]
fn a_full_disk_leaves_nothing_half_there() -> Result<()> {
    let small = |host: &LoneHost, cell: &coord_tests::cell::Cell| -> Result<()> {
        let folder = host.path("state/nested");
        fs::create_dir_all(&folder)?;
        cell.ok(&["mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "small", &folder.to_string_lossy()]).map(drop)
    };
    let nest = Nest::in_cell("", small)?;
    let parent = nest.idle("runner", "containers = 2, caches = \"1GiB\"")?;
    parent.ok(PUBLISH)?;
    let before = list(&parent, "work")?;
    parent.ok("mkdir /big && cp -r /source/d00 /big/ && dd if=/dev/zero of=/big/zeros bs=1M count=24 2>/dev/null")?;
    let (code, said) = parent.fails("coord cache put work /big")?;
    assert!(code == REFUSED && said.contains("disk"), "{code} {said}");
    let answer = parent.door().ask("PUT", "/v1/caches/work/files/zeros", &vec![0; 24 << 20])?;
    assert!(answer.text().contains("disk_full"), "{}", answer.text());
    assert_eq!(list(&parent, "work")?, before, "the cache is as it was");
    assert!(find(&parent.caches(), "zeros").is_none(), "nothing half there");
    parent.ok("coord cache verify work && coord run --image $IMAGE --cache work:ro -- check /work 0")?;
    nest.end(&["runner"])
}

#[test]
fn a_missing_image_is_told_and_one_that_is_not_allowed_is_not_asked_for() -> Result<()> {
    let nest = Nest::start()?;
    let registry = nest.host.registry.authority().to_owned();
    let parent = nest.idle("runner", &format!("containers = 2, images = [\"{registry}/tools/*\"]"))?;
    let (code, said) = parent.fails(&format!("coord run --image {registry}/tools/none:1 -- true"))?;
    assert!(code == REFUSED && said.contains("tools/none"), "{code} {said}");
    let door = parent.door();
    let asked = |image: &str| json!({ "image": image, "command": ["true"] });
    let missing = door.refused("POST", "/v1/containers", &asked(&format!("{registry}/tools/none:1")))?;
    let other = door.refused("POST", "/v1/containers", &asked(&format!("{registry}/other:1")))?;
    assert_eq!((missing.as_str(), other.as_str()), ("image_not_found", "image_not_allowed"));
    // What was refused never was: its name is free, and nothing of it is there.
    let all = door.granted("GET", "/v1/containers", &Value::Null)?;
    let running = all["containers"].as_array().context("a list")?.iter().filter(|child| child["state"] == "running").count();
    assert_eq!(running, 0, "{all}");
    nest.end(&["runner"])
}

#[test]
fn one_of_a_thousand_files_that_was_altered_is_named() -> Result<()> {
    let nest = Nest::start()?;
    let parent = nest.idle("runner", EIGHT)?;
    parent.ok(PUBLISH)?;
    let victim = find(&parent.caches(), "d13/file-0513").context("the file in the store")?;
    let whole = fs::read(&victim)?;
    let mut altered = whole.clone();
    altered[3] ^= 1;
    fs::write(&victim, &altered)?;
    let (code, said) = parent.fails("coord run --name one --image $IMAGE --cache work:ro -- echo it ran")?;
    assert!(code == REFUSED && said.contains("d13/file-0513") && !said.contains("it ran\n"), "{code} {said}");
    let refused = parent.door().refused("POST", "/v1/caches/work/verify", &Value::Null)?;
    assert_eq!(refused, "altered");
    // A file too many, and one too few.
    fs::write(&victim, &whole)?;
    let added = victim.with_file_name("file-added");
    fs::write(&added, "")?;
    let (_, said) = parent.fails("coord run --image $IMAGE --cache work:ro -- true")?;
    assert!(said.contains("d13/file-added"), "{said}");
    fs::remove_file(&added)?;
    fs::remove_file(&victim)?;
    let (_, said) = parent.fails("coord run --image $IMAGE --cache work:ro -- true")?;
    assert!(said.contains("d13/file-0513"), "{said}");
    fs::write(&victim, &whole)?;
    parent.ok("coord run --image $IMAGE --cache work:ro -- check /work 0")?;
    nest.end(&["runner"])
}

#[test]
fn a_container_without_the_permission_has_no_door() -> Result<()> {
    let nest = Nest::start()?;
    nest.host.write("plain", &format!("image = {:?}\nrestart = \"no\"\n", nest.image))?;
    let parent = nest.parent("plain")?;
    assert_eq!(parent.ok("ls -A /run 2>/dev/null; test ! -e /run/coord && echo none")?.trim(), "none");
    let doors = nest.seen_from_agent("state/nested/d");
    stays(Duration::from_millis(200), "it has no folder", || !doors.join(&parent.id).exists())?;
    assert!(parent.sh("/run/coord/coord ps").is_ok_and(|output| !output.status.success()), "{}", describe(&parent.sh("id")?));
    nest.end(&["plain"])
}
