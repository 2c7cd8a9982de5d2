//! Attempts to get more than the permission says, through the door: each is refused with its code, and has no effect.
//!
//! What is tried from within second containers is in `nested_inside`, what comes as noise in `nested_noise`.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use coord_tests::image::entry::{Kind, archive, entry};
use coord_tests::nested::{Door, Nest};
use serde_json::{Value, json};

const PERMISSION: &str = "containers = 3, memory = \"256MiB\", cpus = 1, pids = 100, caches = \"1MiB\"";
const INVALID: &[&str] = &["invalid_request"];
/// A name that is none is looked for by nobody.
const NO_NAME: &[&str] = &["invalid_request", "not_found", "no_such_cache", "no_such_container"];

/// Asks for what must be refused; the answer must be one of `codes`.
fn refused(door: &Door, attempt: &str, method: &str, path: &str, body: &Value, codes: &[&str]) -> Result<()> {
    let code = door.refused(method, path, body).with_context(|| attempt.to_owned())?;
    ensure!(codes.contains(&code.as_str()), "{attempt}: {code}, not {codes:?}");
    Ok(())
}

/// Names of caches and containers, as the door tells them.
fn names(door: &Door) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for (path, key) in [("/v1/caches", "caches"), ("/v1/containers", "containers")] {
        let all = door.granted("GET", path, &Value::Null)?;
        let all = all[key].as_array().cloned().unwrap_or_default();
        // Whoever never ran may be remembered.
        let there = all.iter().filter(|row| row["state"] != "failed").filter_map(|row| row["name"].as_str());
        names.extend(there.map(|name| format!("{key}/{name}")));
    }
    Ok(names)
}

/// A container of the parent's own image that ends at once, with more keys.
fn child(nest: &Nest, more: &Value) -> Value {
    let mut asked = json!({ "image": nest.image, "command": ["true"] });
    let (into, from) = (asked.as_object_mut(), more.as_object());
    into.into_iter().zip(from).for_each(|(into, from)| into.extend(from.clone()));
    asked
}

#[test]
fn no_wider_container_can_be_asked_for() -> Result<()> {
    let nest = Nest::start()?;
    let parent = nest.idle("runner", PERMISSION)?;
    let door = parent.door();
    parent.ok("coord cache create work --path /work && coord cache put work /source/d00")?;
    let before = names(&door)?;
    let refuse = |attempt: &str, more: Value, codes: &[&str]| {
        refused(&door, attempt, "POST", "/v1/containers", &child(&nest, &more), codes)
    };
    // Keys that this door does not know, so that nobody believes to have got them, nor gets them.
    for (key, value) in [
        ("cap_add", json!(["SYS_ADMIN"])),
        ("capabilities", json!(["ALL"])),
        ("privileged", json!(true)),
        ("devices", json!(["/dev/kmsg"])),
        ("mounts", json!([{ "source": "/", "target": "/host" }])),
        ("volumes", json!(["/:/host"])),
        ("binds", json!(["/:/host:rw"])),
        ("volumes_from", json!(["runner.0"])),
        ("seccomp", json!("unconfined")),
        ("security", json!({ "no_new_privileges": false })),
        ("security_opt", json!(["systempaths=unconfined"])),
        ("pid", json!("host")),
        ("ipc", json!("host")),
        ("user_namespace", json!("host")),
        ("cgroup_parent", json!("/")),
        ("runtime", json!("crun")),
        ("nested", json!({ "containers": 64 })),
        ("nests", json!(true)),
        ("parent", json!("other.0-r1-1")),
        ("sysctls", json!({ "kernel.core_pattern": "|/x" })),
        ("oom_score_adj", json!(-1000)),
        ("ports", json!(["80:80"])),
        ("hostname", json!("host")),
    ] {
        refuse(&format!("the key {key}"), json!({ key: value }), INVALID)?;
    }
    // Values that say more than the permission.
    let network = &["network_not_allowed"];
    let limit = &["over_limit"];
    refuse("the host's network", json!({ "network": "host" }), INVALID)?;
    refuse("the parent's network without permission", json!({ "network": "parent" }), network)?;
    refuse("more memory than all may have", json!({ "memory": "1GiB" }), limit)?;
    refuse("more processors than all may have", json!({ "cpus": 2000 }), limit)?;
    refuse("more processes than all may have", json!({ "pids": 1000 }), limit)?;
    refuse("too little of a processor", json!({ "cpus": 2 }), INVALID)?;
    refuse("no limit of processes", json!({ "pids": 0 }), &["invalid_request", "over_limit"])?;
    refuse("negative memory", json!({ "memory": "-1" }), INVALID)?;
    refuse("a capability to drop that is none", json!({ "cap_drop": ["EVERYTHING; rm -rf /"] }), INVALID)?;
    refuse("a variable with a line of its own", json!({ "environment": [["A\u{0}B", "x"]] }), INVALID)?;
    refuse("a working folder outside", json!({ "working_dir": "../../.." }), INVALID)?;
    refuse("a working folder in a descriptor", json!({ "working_dir": "/proc/self/fd/7/../../.." }), INVALID)?;
    refuse("no program", json!({ "command": [] , "entrypoint": [""] }), &["invalid_request", "start_failed"])?;
    for name in ["..", "../../etc", "a/b", "", "A", "-x", "x\n", "runner.0", &"n".repeat(64)] {
        refuse(&format!("the name {name:?}"), json!({ "name": name }), INVALID)?;
    }
    for token in ["../../../etc/passwd", "short", &"t".repeat(65), "sixteen-letters!", "neverhandedover12"] {
        refuse(&format!("the token {token:?}"), json!({ "stdio": token }), &["invalid_request", "no_such_stdio"])?;
    }
    // Where caches are mounted.
    for path in
        ["/", "work", "../work", "/a/../../b", "/proc", "/proc/sys", "/sys/fs", "/dev", "/dev/shm", "/run/coord", "/a\u{0}b", ""]
    {
        let mount = json!({ "caches": [{ "name": "work", "path": path }] });
        refuse(&format!("a cache at {path:?}"), mount, INVALID)?;
    }
    refuse("a cache by a path", json!({ "caches": [{ "name": "../runner.0/work" }] }), INVALID)?;
    refuse("a cache that is not there", json!({ "caches": [{ "name": "none" }] }), &["no_such_cache"])?;
    refuse("a cache with a source", json!({ "caches": [{ "name": "work", "source": "/etc" }] }), INVALID)?;
    let twice = json!({ "caches": [{ "name": "work", "path": "/a" }, { "name": "work", "path": "/a" }] });
    refuse("two caches at one place", twice, INVALID)?;
    let many: Vec<Value> = (0..100).map(|number| json!({ "name": "work", "path": format!("/m{number}") })).collect();
    refuse("a hundred mounts", json!({ "caches": many }), &["invalid_request", "over_limit"])?;
    assert_eq!(names(&door)?, before, "nothing came of it");
    nest.end(&["runner"])
}

#[test]
fn no_other_image_can_be_asked_for() -> Result<()> {
    let nest = Nest::start()?;
    let registry = nest.host.registry.authority().to_owned();
    let allowed = format!("containers = 2, images = [\"{registry}/tools/*\", \"{registry}/exact\", \"{registry}/tagged:1.*\"]");
    let parent = nest.idle("runner", &allowed)?;
    // There is an image to be had under the forbidden name.
    nest.host.registry.push(&coord_tests::image::web::image("1")?, "secret", "1")?;
    let door = parent.door();
    let digest = format!("sha256:{}", "0".repeat(64));
    let (host, _) = registry.split_once(':').context("a port")?;
    for image in [
        format!("{registry}/secret:1"),
        format!("{registry}/secret@{digest}"),
        format!("{registry}/toolsmith/x:1"),
        format!("{registry}/exactly:1"),
        format!("{registry}/exact/more:1"),
        format!("{registry}/tagged:2"),
        format!("{registry}/tagged:11"),
        format!("{registry}/tools/../secret:1"),
        format!("{registry}/tools%2f..%2fsecret:1"),
        format!("{registry}.evil.example/tools/x:1"),
        format!("evil.example/{registry}/tools/x:1"),
        format!("{host}:1/tools/x:1"),
        format!("{registry}0/tools/x:1"),
        format!("user@{registry}/tools/x:1"),
        format!("http://{registry}/tools/x:1"),
        format!("{registry}/TOOLS/x:1"),
        format!("{registry}/tools/x:1\n"),
        format!(" {registry}/tools/x:1"),
        "busybox".to_owned(),
        "docker.io/library/busybox:latest".to_owned(),
        "runner".to_owned(),
        "../runner:1".to_owned(),
        digest.clone(),
        String::new(),
    ] {
        let asked = json!({ "image": image, "command": ["true"] });
        refused(&door, &image, "POST", "/v1/containers", &asked, &["image_not_allowed", "invalid_reference", "invalid_request"])?;
    }
    // A digest that its own image does not have is looked for, and not found.
    let own = nest.image.trim_end_matches(":1").to_owned();
    let asked = json!({ "image": format!("{own}@{digest}"), "command": ["true"] });
    refused(&door, "own@digest", "POST", "/v1/containers", &asked, &["image_not_allowed", "image_not_found"])?;
    assert!(!nest.host.ok(&["image", "ls"])?.contains("secret"), "it was not even fetched");
    parent.ok("coord run --image $IMAGE -- true")?;
    nest.end(&["runner"])
}

/// Archives that a cache must not take.
fn bad_archives() -> Vec<(&'static str, Vec<u8>)> {
    let long = format!("{}/x", "d/".repeat(4000));
    vec![
        ("..", archive(&[entry("../evil", 0o644, Kind::File(b"evil"))])),
        (".. in the middle", archive(&[entry("a/../../evil", 0o644, Kind::File(b"evil"))])),
        ("a hard link to outside", archive(&[entry("evil", 0o644, Kind::HardLink(b"/etc/passwd"))])),
        ("a hard link by ..", archive(&[entry("evil", 0o644, Kind::HardLink(b"../../../../etc/passwd"))])),
        ("a character device", archive(&[entry("evil", 0o666, Kind::Char(1, 5))])),
        ("a disk", archive(&[entry("evil", 0o666, Kind::Block(254, 0))])),
        ("a FIFO", archive(&[entry("evil", 0o666, Kind::Fifo)])),
        ("a long path", archive(&[entry(long.as_bytes(), 0o644, Kind::File(b"x"))])),
        (
            "through a link of the same archive",
            archive(&[entry("out", 0o777, Kind::Symlink(b"/tmp")), entry("out/evil", 0o644, Kind::File(b"evil"))]),
        ),
        ("an archive that is cut", archive(&[entry("evil", 0o644, Kind::File(&[7; 5000]))])[..3000].to_vec()),
        ("no archive", b"this is no archive".repeat(100)),
        ("a size that lies", {
            let mut tar = archive(&[entry("evil", 0o644, Kind::File(b"evil"))]);
            tar[124..136].copy_from_slice(b"77777777777\0");
            tar
        }),
    ]
}

#[test]
fn no_cache_leads_out_of_itself() -> Result<()> {
    let nest = Nest::start()?;
    let parent = nest.idle("runner", PERMISSION)?;
    let door = parent.door();
    let cache = |name: &str, path: &str| json!({ "name": name, "path": path });
    for name in ["..", ".", "../../../etc", "a/b", "/etc", "", "UP", "a b", "a\u{0}", "a\n", "-rf", &"c".repeat(64)] {
        refused(&door, &format!("a cache {name:?}"), "POST", "/v1/caches", &cache(name, "/work"), INVALID)?;
    }
    for path in
        ["/", "work", "/a/../..", "/proc", "/proc/1/root", "/sys", "/dev", "/run/coord", "//", "/a\u{0}", "", &"/p".repeat(3000)]
    {
        refused(&door, &format!("an open path {path:?}"), "POST", "/v1/caches", &cache("work", path), INVALID)?;
    }
    for (key, value) in [("source", json!("/etc")), ("host_path", json!("/etc")), ("owner", json!("other.0"))] {
        let mut asked = cache("work", "/work");
        asked[key] = value;
        refused(&door, &format!("the key {key}"), "POST", "/v1/caches", &asked, INVALID)?;
    }
    let mut large = cache("work", "/work");
    large["size"] = json!("1TiB");
    refused(&door, "a cache larger than all", "POST", "/v1/caches", &large, &["over_limit", "over_quota", "invalid_request"])?;

    door.granted("POST", "/v1/caches", &cache("work", "/work"))?;
    let entries = || -> Result<String> { Ok(door.ask("GET", "/v1/caches/work/list", b"")?.text()) };
    assert_eq!(entries()?, "");
    for path in [
        "../evil",
        "%2e%2e/evil",
        "..%2fevil",
        "a/../../evil",
        "%2fetc/passwd",
        "/etc/passwd",
        "a%00b",
        "",
        "%2e%2e%2f%2e%2e%2fcaches%2fother%2fx",
        "%ff%2f..",
        &"n".repeat(300),
        &"d/".repeat(3000),
    ] {
        let answer = door.ask("PUT", &format!("/v1/caches/work/files/{path}"), b"evil")?;
        assert!((400..500).contains(&answer.status), "{path:?}: {} {}", answer.status, answer.text());
    }
    for below in ["..", "../..", "/etc", "%2e%2e", "a/../..", "a%00"] {
        let tar = archive(&[entry("evil", 0o644, Kind::File(b"evil"))]);
        let answer = door.ask("PUT", &format!("/v1/caches/work/archive?path={below}"), &tar)?;
        assert!((400..500).contains(&answer.status), "{below:?}: {} {}", answer.status, answer.text());
    }
    for (attempt, tar) in &bad_archives() {
        let answer = door.ask("PUT", "/v1/caches/work/archive", tar)?;
        assert!(answer.status >= 400, "{attempt}: {} {}", answer.status, answer.text());
        assert!(answer.text().contains("\"code\""), "{attempt}: {}", answer.text());
        assert_eq!(entries()?, "", "{attempt}: something of it is there");
    }
    // Twice over: a link first, and then through it.
    let link = archive(&[entry("out", 0o777, Kind::Symlink(b"/tmp"))]);
    assert_eq!(door.ask("PUT", "/v1/caches/work/archive", &link)?.status, 200);
    let through = archive(&[entry("out/evil", 0o644, Kind::File(b"evil"))]);
    assert!(door.ask("PUT", "/v1/caches/work/archive", &through)?.status >= 400);
    assert!(door.ask("PUT", "/v1/caches/work/files/out/evil", b"evil")?.status >= 400);
    let deep = door.ask("PUT", "/v1/caches/work/archive?path=out", &archive(&[entry("evil", 0o644, Kind::File(b"x"))]))?;
    assert!(deep.status >= 400, "{}", deep.text());
    for place in ["/tmp/evil", "/etc/evil", "/evil"] {
        assert!(!std::path::Path::new(place).exists() && !parent.path(place).exists(), "{place} was written");
    }
    // A link to the host leads, in a second container, to that one's own files.
    let link = archive(&[entry("passwd", 0o777, Kind::Symlink(b"/etc/passwd"))]);
    assert_eq!(door.ask("PUT", "/v1/caches/work/archive", &link)?.status, 200);
    let seen = parent.ok("coord run --image $IMAGE --cache work:ro:/files -- cat /files/passwd")?;
    assert_eq!(seen, parent.ok("cat /etc/passwd")?);
    nest.end(&["runner"])
}

#[test]
fn no_folder_but_the_parents_own_can_be_published() -> Result<()> {
    let nest = Nest::start()?;
    let parent = nest.idle("runner", PERMISSION)?;
    let door = parent.door();
    parent.ok("ln -s /proc/1/root/source /root-link; ln -s ../../../../../../etc /up; mkdir /own; echo mine >/own/file")?;
    let publish = |from: &str| json!({ "name": "live", "path": "/live", "from": from });
    for from in ["", "own", "../own", "/own/file", "/none", "/a/../../etc", "/own\u{0}"] {
        let codes = &["invalid_request", "no_such_folder", "not_found", "not_a_folder"];
        refused(&door, &format!("publish {from:?}"), "POST", "/v1/caches", &publish(from), codes)?;
    }
    // Whatever else is published is the parent's, or is refused: never the host's.
    for from in ["/up", "/root-link", "/proc/1/root/etc", "/proc/self/root", "/proc/1/cwd", "/dev", "/sys/fs"] {
        let (status, said) = door.json("POST", "/v1/caches", &publish(from))?;
        if status >= 400 {
            assert!(said["code"].is_string(), "{from}: {said}");
            continue;
        }
        let listed = door.ask("GET", "/v1/caches/live/list", b"")?.text();
        let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
        assert!(
            !listed.contains("shadow") && !listed.contains(nest.host.path("").to_string_lossy().as_ref()),
            "{from}: {listed}"
        );
        let seen = parent.sh("coord run --image $IMAGE --cache live:ro -- cat /live/hostname")?;
        let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
        assert!(host.trim().is_empty() || seen.trim() != host.trim(), "{from} is the host's: {seen}");
        door.granted("DELETE", "/v1/caches/live", &Value::Null)?;
    }
    nest.end(&["runner"])
}

#[test]
fn nothing_of_another_parent_can_be_reached() -> Result<()> {
    let nest = Nest::start()?;
    let (mine, other) = (nest.idle("mine", PERMISSION)?, nest.idle("other", PERMISSION)?);
    other.ok("coord cache create secret --path /secret && echo hidden >/tmp/f && coord cache put secret /tmp/f")?;
    other.ok("coord cache create shared --path /shared && echo theirs >/tmp/f && coord cache put shared /tmp/f")?;
    other.ok("coord run -d --name victim --image $IMAGE -- sh -c 'echo whisper; exec sleep 100000'")?;
    let (door, their) = (mine.door(), other.door());
    assert_eq!(names(&door)?, BTreeSet::new(), "it sees nothing of theirs");
    let none = Value::Null;
    for (attempt, method, path, body) in [
        ("view a cache", "GET", "/v1/caches/secret", none.clone()),
        ("list a cache", "GET", "/v1/caches/secret/list", none.clone()),
        ("verify a cache", "POST", "/v1/caches/secret/verify", none.clone()),
        ("delete a cache", "DELETE", "/v1/caches/secret", none.clone()),
        ("view a container", "GET", "/v1/containers/victim", none.clone()),
        ("read a log", "GET", "/v1/containers/victim/logs", none.clone()),
        ("read a log by a path", "GET", "/v1/containers/..%2f..%2fother.0-r1-1%2fvictim/logs", none.clone()),
        ("wait", "POST", "/v1/containers/victim/wait", none.clone()),
        ("stop", "POST", "/v1/containers/victim/stop", json!({})),
        ("signal", "POST", "/v1/containers/victim/signal", json!({ "signal": "SIGKILL" })),
        ("run a program", "POST", "/v1/containers/victim/exec", json!({ "command": ["true"] })),
        ("view itself", "GET", "/v1/containers/mine.0", none.clone()),
        ("view its parent", "GET", "/v1/containers/other.0-r1-1", none.clone()),
    ] {
        refused(&door, attempt, method, path, &body, NO_NAME)?;
    }
    let put = door.ask("PUT", "/v1/caches/secret/files/x", b"x")?;
    assert!(put.status == 404 && put.text().contains("no_such_cache"), "{}", put.text());
    let mount = child(&nest, &json!({ "caches": [{ "name": "secret" }] }));
    refused(&door, "mount a cache", "POST", "/v1/containers", &mount, &["no_such_cache"])?;
    // The same name is another cache.
    mine.ok("coord cache create shared --path /shared && echo ours >/tmp/f && coord cache put shared /tmp/f")?;
    assert_eq!(mine.ok("coord run --image $IMAGE --cache shared:ro -- cat /shared/f")?, "ours\n");
    mine.ok("coord cache rm shared")?;
    assert_eq!(other.ok("coord run --image $IMAGE --cache shared:ro -- cat /shared/f")?, "theirs\n");
    // Its own door is all that it sees, and nothing there can be replaced.
    assert_eq!(mine.ok("ls /run/coord")?, "coord\nnested.sock\nstdio.sock\n");
    for attempt in [
        "echo x >/run/coord/coord",
        "rm /run/coord/nested.sock",
        "mv /run/coord/coord /tmp/",
        "touch /run/coord/new",
        "ln -sf /tmp /run/coord/stdio.sock",
        "umount /run/coord",
        "mount -o remount,rw /run/coord",
        "chmod 777 /run/coord",
        "mount -t tmpfs none /run/coord",
    ] {
        mine.fails(attempt)?;
    }
    assert_eq!(their.granted("GET", "/v1/containers/victim", &Value::Null)?["state"], "running");
    assert_eq!(other.ok("coord logs victim")?, "whisper\n");
    nest.end(&["mine", "other"])
}

#[test]
fn no_more_than_the_quota_also_at_once() -> Result<()> {
    const ASKED: usize = 12;
    let nest = Nest::start()?;
    let parent = nest.idle("runner", PERMISSION)?;
    let door = parent.door();
    let sleeps = child(&nest, &json!({ "command": ["sleep", "100000"] }));
    let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let asked: Vec<_> =
            (0..ASKED).map(|_| scope.spawn(|| door.json("POST", "/v1/containers", &sleeps).unwrap_or_default())).collect();
        asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let granted = answers.iter().filter(|(status, _)| (200..300).contains(status)).count();
    let refused = answers.iter().filter(|(_, said)| said["code"] == "too_many_containers").count();
    assert_eq!((granted, refused), (3, ASKED - 3), "{answers:?}");
    // Files of several puts at once, together more than all caches may hold.
    parent.ok("coord cache create one --path /one && coord cache create two --path /two")?;
    let half = vec![7_u8; 300 << 10];
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let put = |cache: &'static str, number: usize| {
            let (door, half) = (&door, &half);
            scope.spawn(move || {
                door.ask("PUT", &format!("/v1/caches/{cache}/files/f{number}"), half).map_or(0, |answer| answer.status)
            })
        };
        let puts: Vec<_> = (0..4).flat_map(|number| [put("one", number), put("two", number)]).collect();
        puts.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    // One that would have had room may be refused for another that is on its way; never are there more than fit.
    let granted = statuses.iter().filter(|status| **status == 200).count();
    assert!((1..=3).contains(&granted) && statuses.iter().all(|status| matches!(status, 200 | 507)), "{statuses:?}");
    let info = door.granted("GET", "/v1/info", &Value::Null)?;
    assert!(info["caches"][1].as_u64().is_some_and(|bytes| bytes <= 1 << 20), "{info}");
    // And caches without end.
    let mut made = 0;
    let last = loop {
        let (status, said) = door.json("POST", "/v1/caches", &json!({ "name": format!("c{made}"), "path": "/c" }))?;
        if status >= 300 {
            break said;
        }
        made += 1;
        assert!(made < 1000, "there is no end");
    };
    assert_eq!(last["code"], "too_many_caches");
    nest.end(&["runner"])
}
