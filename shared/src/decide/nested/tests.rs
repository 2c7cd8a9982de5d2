//! One line for each rule, with what whoever breaks it reads.

use super::*;
use crate::wire::nested::CacheMount;
use std::time::Duration;

fn permission() -> Nested {
    Nested {
        containers: 2,
        memory: Some(ByteSize(1 << 30)),
        cpus: Some(crate::quantity::MilliCpus(2000)),
        pids: 100,
        images: vec!["registry.lan/tools/*".parse().expect("a pattern")],
        caches: ByteSize(512 << 20),
        network: NestedNetwork::None,
    }
}

fn cache(name: &str, path: &str) -> CacheView {
    CacheView {
        name: name.parse().expect("a name"),
        path: path.to_owned(),
        kind: CacheKind::Store,
        because: None,
        from: None,
        files: 1,
        bytes: 100,
        created_at: Timestamp::UNIX_EPOCH,
        used_at: Timestamp::UNIX_EPOCH,
        expires_at: None,
        used_by: Vec::new(),
    }
}

fn in_use() -> InUse {
    InUse { containers: 1, caches: vec![cache("work", "/work"), cache("more", "/more")] }
}

fn child() -> NewChild {
    serde_json::from_str(r#"{"image": "registry.lan/tools/sh:1"}"#).expect("a request")
}

/// What comes of it: nothing, or code, message and cure.
fn outcome(result: Result<(), ErrorBody>) -> String {
    match result {
        Ok(()) => String::new(),
        Err(ErrorBody { code, message, hint, .. }) => format!("{code}: {message}; {}", hint.unwrap_or_default()),
    }
}

fn admitted(asked: &NewChild, permission: &Nested, in_use: &InUse) -> String {
    let own = "registry.lan/app:1".parse().expect("an image");
    let image = asked.image.parse().expect("an image");
    outcome(admit_child(permission, in_use, &own, asked, &image))
}

fn check_child(change: impl FnOnce(&mut NewChild), expect: &str) {
    let mut asked = child();
    change(&mut asked);
    assert_eq!(admitted(&asked, &permission(), &in_use()), expect);
}

fn check_cache(change: impl FnOnce(&mut NewCache), expect: &str) {
    let mut asked: NewCache = serde_json::from_str(r#"{"name": "new", "path": "/new"}"#).expect("a request");
    change(&mut asked);
    assert_eq!(outcome(admit_cache(&permission(), &in_use(), &asked)), expect);
}

fn mount(name: &str, path: Option<&str>) -> CacheMount {
    CacheMount { name: name.parse().expect("a name"), path: path.map(str::to_owned), read_only: false }
}

#[test]
fn only_so_many_run_at_a_time() {
    let full = InUse { containers: 2, ..in_use() };
    let expect = "too_many_containers: 2 of 2 second containers run or start already; \
                  wait until one has ended, or set nested.containers = 3 in the document";
    assert_eq!(admitted(&child(), &permission(), &full), expect);
    assert_eq!(admitted(&child(), &permission(), &in_use()), "");
}

#[test]
fn only_images_of_the_list_and_the_own_one() {
    check_child(|asked| asked.image = "registry.lan/app:1".to_owned(), "");
    check_child(
        |asked| asked.image = "registry.lan/app:2".to_owned(),
        "image_not_allowed: second containers of this one may not be made of registry.lan/app:2; \
         allowed are its own image and registry.lan/tools/*; add \"registry.lan/app\" to nested.images in the document",
    );
    check_child(
        |asked| asked.image = "evil.org/registry.lan/tools/sh:1".to_owned(),
        "image_not_allowed: second containers of this one may not be made of evil.org/registry.lan/tools/sh:1; \
         allowed are its own image and registry.lan/tools/*; add \"evil.org/registry.lan/tools/sh\" to nested.images in the document",
    );
    let own_only = Nested { images: Vec::new(), ..permission() };
    let expect = "image_not_allowed: second containers of this one may not be made of registry.lan/tools/sh:1; \
                  this container's own image is allowed; set nested.images = [\"registry.lan/tools/sh\"] in the document for this one";
    assert_eq!(admitted(&child(), &own_only, &in_use()), expect);
}

#[test]
fn the_parents_network_only_where_that_is_allowed() {
    check_child(|asked| asked.network = Some(NestedNetwork::None), "");
    check_child(
        |asked| asked.network = Some(NestedNetwork::Parent),
        "network_not_allowed: second containers may not see their parent's network; \
         ask for network \"none\", or set nested.network = \"parent\" in the document",
    );
    let wider = Nested { network: NestedNetwork::Parent, ..permission() };
    for network in [None, Some(NestedNetwork::None), Some(NestedNetwork::Parent)] {
        assert_eq!(admitted(&NewChild { network, ..child() }, &wider, &in_use()), "");
    }
}

#[test]
fn own_limits_are_within_those_of_all() {
    check_child(|asked| asked.memory = Some(ByteSize(1 << 30)), "");
    check_child(
        |asked| asked.memory = Some(ByteSize((1 << 30) + 1)),
        "over_limit: memory of 1073741825B is more than all second containers together may have, which is 1GiB; \
         ask for less, or set nested.memory = \"1073741825B\" in the document",
    );
    check_child(
        |asked| asked.memory = Some(ByteSize(4096)),
        "invalid_request: no container runs in 4KiB of memory; ask for 4MiB or more",
    );
    check_child(
        |asked| asked.cpus = Some(crate::quantity::MilliCpus(2500)),
        "over_limit: cpus of 2.5 is more than all second containers together may have, which is 2; \
         ask for less, or set nested.cpus = 2.5 in the document",
    );
    check_child(
        |asked| asked.pids = Some(101),
        "over_limit: pids of 101 is more than all second containers together may have, which is 100; \
         ask for less, or set nested.pids = 101 in the document",
    );
    check_child(
        |asked| asked.pids = Some(0),
        "invalid_request: no container runs without any process; leave the limit out, or ask for more",
    );
    check_child(
        |asked| asked.cpus = Some(crate::quantity::MilliCpus(2)),
        "invalid_request: no container runs with 0.002 of a CPU; ask for 0.01 or more, which is 10 thousandths",
    );
    let unlimited = Nested { memory: None, cpus: None, ..permission() };
    let asked = NewChild { memory: Some(ByteSize(1 << 40)), ..child() };
    assert_eq!(admitted(&asked, &unlimited, &in_use()), "");
}

#[test]
fn mounts_are_caches_that_are_there_each_at_a_place_of_its_own() {
    check_child(
        |asked| asked.caches = vec![mount("work", None), mount("more", Some("/work2")), mount("work", Some("/again"))],
        "",
    );
    check_child(
        |asked| asked.caches = vec![mount("none", None)],
        "no_such_cache: there is no cache none; make it first: coord cache create none --path /work",
    );
    let hide = "; mount one of them elsewhere: --cache NAME:/other/path";
    check_child(
        |asked| asked.caches = vec![mount("work", None), mount("more", Some("/work"))],
        &format!("invalid_request: cache more at /work and cache work at /work would hide each other{hide}"),
    );
    check_child(
        |asked| asked.caches = vec![mount("more", None), mount("work", Some("/more/in"))],
        &format!("invalid_request: cache work at /more/in and cache more at /more would hide each other{hide}"),
    );
    check_child(
        |asked| asked.caches = vec![mount("work", Some("/a/b")), mount("more", Some("/a"))],
        &format!("invalid_request: cache more at /a and cache work at /a/b would hide each other{hide}"),
    );
    check_child(
        |asked| asked.caches = (0..17).map(|number| mount("work", Some(&format!("/w{number}")))).collect(),
        "invalid_request: 17 caches are to be mounted, and 16 are the most; put files of several caches into one",
    );
    check_child(
        |asked| asked.caches = vec![mount("work", Some("/proc/1"))],
        "invalid_request: the path of cache work is \"/proc/1\", and /proc is not for files; choose another path, as /work",
    );
}

#[test]
fn paths_are_absolute_and_plain() {
    let check = |path: &str, problem: &str| {
        let expect = format!("invalid_request: the path of cache new is {path:?}, {problem}");
        check_cache(|asked| asked.path = path.to_owned(), &expect);
    };
    let cure = "write an absolute path, as /work";
    check("work", &format!("which is not absolute; {cure}"));
    check("", &format!("which is not absolute; {cure}"));
    check("/a/../etc", &format!("which leads up by \"..\"; {cure}"));
    check("/..", &format!("which leads up by \"..\"; {cure}"));
    check("/a//b", &format!("which has empty or \".\" parts; {cure}"));
    check("/a/", &format!("which has empty or \".\" parts; {cure}"));
    check("/./a", &format!("which has empty or \".\" parts; {cure}"));
    check("/a\0b", &format!("which has control characters; {cure}"));
    check("/a\nb", &format!("which has control characters; {cure}"));
    for reserved in ["/proc", "/sys/fs/cgroup", "/dev/shm", "/run/coord", "/run/coord/x"] {
        let top = if reserved.starts_with("/run") {
            "/run/coord".to_owned()
        } else {
            format!("/{}", &reserved[1..].split('/').next().unwrap())
        };
        check(reserved, &format!("and {top} is not for files; choose another path, as /work"));
    }
    check_cache(
        |asked| asked.path = "/".to_owned(),
        "invalid_request: the path of cache new is the root folder; name a folder in it, as /work",
    );
    check_cache(
        |asked| asked.path = format!("/{}", "a".repeat(4095)),
        "invalid_request: the path of cache new has 4096 bytes, and no path has more than 4095; choose a shorter one",
    );
    for fine in ["/work", "/run/coordinates", "/develop", "/a/..b/c.", "/процесс"] {
        check_cache(|asked| asked.path = fine.to_owned(), "");
    }
    check_cache(
        |asked| asked.from = Some("data".to_owned()),
        "invalid_request: the folder that cache new publishes is \"data\", which is not absolute; write an absolute path, as /work",
    );
    check_cache(
        |asked| asked.from = Some("/".to_owned()),
        "invalid_request: the folder that cache new publishes is the root folder; name a folder in it, as /work",
    );
}

#[test]
fn requests_make_sense() {
    let words = |count| Some(vec!["x".to_owned(); count]);
    check_child(|asked| asked.command = words(4096), "");
    check_child(
        |asked| asked.command = words(4097),
        "invalid_request: command and environment have 4097 words of 8194 bytes, and 4096 of 262144 are the most; \
         put what is long into a file of a cache",
    );
    check_child(
        |asked| asked.entrypoint = Some(vec!["a\0b".to_owned()]),
        "invalid_request: a word of the command has a NUL in it; no program can get one; leave it out",
    );
    for name in ["", "A=B", "A\0"] {
        check_child(
            |asked| asked.environment = vec![(name.to_owned(), "x".to_owned())],
            &format!(
                "invalid_request: {name:?} cannot be a variable of the environment, or its value has a NUL; \
                 write NAME=VALUE, with no = in the name"
            ),
        );
    }
    check_child(
        |asked| asked.working_dir = Some("../x".to_owned()),
        "invalid_request: the working folder is \"../x\", which is not absolute; write an absolute path, as /work",
    );
    check_child(|asked| asked.working_dir = Some("/".to_owned()), "");
    check_child(
        |asked| asked.user = Some("a\nb".to_owned()),
        "invalid_request: that cannot be a user; write a name or a number, with a group if need be, as 1000:100",
    );
    check_child(
        |asked| asked.stdio = Some("../../etc/passwd".to_owned()),
        "invalid_request: stdio is no token; a token has 16 to 64 letters and digits",
    );
    check_child(
        |asked| asked.verify_by_log = true,
        "invalid_request: verify_by_log without a cache compares nothing; name a cache: --cache NAME",
    );
    check_child(|asked| asked.cap_drop = vec!["net_raw".to_owned(), "CAP_CHOWN".to_owned(), "ALL".to_owned()], "");
    check_child(
        |asked| asked.cap_drop = vec!["NET_ROW".to_owned()],
        "invalid_request: there is no capability NET_ROW; write for example NET_RAW, or ALL",
    );
}

#[test]
fn capabilities_are_dropped_by_their_full_names() {
    let dropped = |names: &[&str]| {
        capabilities_dropped(&NewChild { cap_drop: names.iter().map(|name| (*name).to_owned()).collect(), ..child() })
    };
    assert_eq!(dropped(&["net_raw", "CAP_CHOWN", "CHOWN"]), ["CAP_CHOWN", "CAP_NET_RAW"]);
    assert_eq!(dropped(&["ALL"]).len(), 41);
    assert!(dropped(&[]).is_empty());
}

#[test]
fn caches_are_within_the_permission() {
    check_cache(|_| {}, "");
    check_cache(
        |asked| asked.name = "work".parse().expect("a name"),
        "cache_exists: there is a cache work already; choose another name, or delete it first: coord cache rm work",
    );
    check_cache(|asked| asked.size = Some(ByteSize(512 << 20)), "");
    check_cache(
        |asked| asked.size = Some(ByteSize(1 << 30)),
        "over_limit: a cache of 1GiB is more than all caches of this container may hold, which is 512MiB; \
         set nested.caches = \"1GiB\" in the document",
    );
    check_cache(
        |asked| asked.size = Some(ByteSize(0)),
        "invalid_request: cache new could hold nothing with a size of 0; leave size out, or write for example 64MiB",
    );
    check_cache(
        |asked| asked.ttl = Some(Span::seconds(0)),
        "invalid_request: a cache cannot live for 0s; ask for 1s to 365d, or for none: then it lives as long as its container",
    );
    check_cache(
        |asked| asked.ttl = Some(Span::seconds(366 * 86_400)),
        "invalid_request: a cache cannot live for 366d; ask for 1s to 365d, or for none: then it lives as long as its container",
    );
    let asked: NewCache = serde_json::from_str(r#"{"name": "new", "path": "/new"}"#).expect("a request");
    let none = Nested { caches: ByteSize(0), ..permission() };
    let expect = "over_limit: caches of this container may hold nothing; \
                  set for example nested.caches = \"512MiB\" in the document, or publish a folder of this container";
    assert_eq!(outcome(admit_cache(&none, &in_use(), &asked)), expect);
    let live = NewCache { from: Some("/data".to_owned()), ..asked.clone() };
    assert_eq!(outcome(admit_cache(&none, &in_use(), &live)), "");
    let full = InUse { containers: 0, caches: (0..64).map(|number| cache(&format!("c{number}"), "/c")).collect() };
    let expect = "too_many_caches: there are 64 caches, and a container cannot have more; delete one first: coord cache rm NAME";
    assert_eq!(outcome(admit_cache(&permission(), &full, &asked)), expect);
}

#[test]
fn only_stores_take_room() {
    let live = CacheView { kind: CacheKind::Live, bytes: 1 << 40, ..cache("live", "/live") };
    assert_eq!(bytes_in(&[cache("work", "/work"), live, cache("more", "/more")]), 200);
}

#[test]
fn time_to_live_counts_from_what_was_asked() {
    let at = |seconds| Mono(Duration::from_secs(seconds));
    let life =
        Life { created: at(100), used: at(150), ttl: Some(Span::seconds(60)), ttl_from: TtlFrom::Creation, is_mounted: true };
    let check = |life: Life, expect: Option<u64>| assert_eq!(expires(&life), expect.map(at), "{life:?}");
    check(life, Some(160));
    check(Life { ttl_from: TtlFrom::LastUse, ..life }, None);
    check(Life { ttl_from: TtlFrom::LastUse, is_mounted: false, ..life }, Some(210));
    check(Life { ttl: None, ..life }, None);
    // The wall clock jumped a day ahead: the same point is shown by the new one.
    let now = Now { mono: at(110), wall: Timestamp::UNIX_EPOCH + Duration::from_secs(86_400) };
    assert_eq!(expires_at(&life, now), Some(Timestamp::UNIX_EPOCH + Duration::from_secs(86_450)));
}
