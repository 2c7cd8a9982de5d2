//! What ports, mounts, rights, devices and checks are read as, and that they are written as they were read.

use super::LEAST;
use crate::document::{Container, Document, Healthcheck, Network, PidsLimit, diff, parse};
use crate::quantity::{ByteSize, Span};

fn read(more: &str) -> Document {
    let text = format!("{LEAST}{more}\n");
    parse(&text).unwrap_or_else(|mistakes| panic!("{}", mistakes.render("test.toml", &text, false)))
}

fn container(more: &str) -> Container {
    read(more).container
}

fn shown<T: std::fmt::Display>(parts: &[T]) -> Vec<String> {
    parts.iter().map(ToString::to_string).collect()
}

#[test]
fn ports_open_doors() {
    fn check(ports: &str, expect: &[&str]) {
        let container = container(&format!("ports = {ports}"));
        assert_eq!(shown(&container.ports), expect, "{ports}");
        assert_eq!(container.network, if expect.is_empty() { Network::None } else { Network::Bridge });
    }
    check(r#"["8080:80"]"#, &["8080:80"]);
    check(r#"["127.0.0.1:8080:80/udp", "[::1]:8080:80/tcp"]"#, &["127.0.0.1:8080:80/udp", "[::1]:8080:80"]);
    check(r#"["8000-8002:9000-9002/udp"]"#, &["8000:9000/udp", "8001:9001/udp", "8002:9002/udp"]);
    check(r#"["0.0.0.0:80:80", "[::]:80:80", "80:80/udp"]"#, &["80:80/udp", "0.0.0.0:80:80", "[::]:80:80"]);
    check(r#"["127.0.0.1:80:80", "127.0.0.2:80:80", "81:80"]"#, &["81:80", "127.0.0.1:80:80", "127.0.0.2:80:80"]);
    check("[]", &[]);
    assert_eq!(container("ports = [\"1001-2000:1-1000\"]").ports.len(), 1000);
    assert!(parse(&format!("{LEAST}ports = [\"0.0.0.0:80:80\", \"10.0.0.1:80:80\"]\n")).is_err());
}

#[test]
fn exposed_ports_are_known_once() {
    let container = container("expose = [80, \"80/tcp\", \"53/udp\", \"8000-8002\"]");
    assert_eq!(shown(&container.expose), ["53/udp", "80", "8000", "8001", "8002"]);
}

#[test]
fn names_and_resolvers() {
    fn check(hosts: &str, expect: &[(&str, &[&str])]) {
        let hosts = container(&format!("extra_hosts = {hosts}")).extra_hosts;
        let hosts: Vec<(String, Vec<String>)> = hosts.into_iter().map(|(name, addresses)| (name, shown(&addresses))).collect();
        let expect: Vec<(String, Vec<String>)> =
            expect.iter().map(|(name, addresses)| ((*name).to_owned(), shown(addresses))).collect();
        assert_eq!(hosts, expect);
    }
    check(
        r#"["db=10.0.0.1", "db:::1", "gw:host-gateway", "v6=[fe80::1]"]"#,
        &[("db", &["10.0.0.1", "::1"]), ("gw", &["host-gateway"]), ("v6", &["fe80::1"])],
    );
    check(
        r#"{ "db.lan" = ["10.0.0.1", "::1"], My_Host = "host-gateway" }"#,
        &[("My_Host", &["host-gateway"]), ("db.lan", &["10.0.0.1", "::1"])],
    );
    let dns = container("network = \"bridge\"\ndns = \"10.0.0.2\"\ndns_search = [\"lan\", \".\"]\ndns_opt = [\"ndots:1\"]").dns;
    assert_eq!(shown(&dns.servers), ["10.0.0.2"]);
    assert_eq!((shown(&dns.search), shown(&dns.options)), (shown(&["lan", "."]), shown(&["ndots:1"])));
}

#[test]
fn mounts_in_short_and_in_long() {
    fn check(keys: &str, expect: &[&str]) {
        assert_eq!(shown(&container(keys).mounts), expect, "{keys}");
    }
    check(r#"volumes = ["data:/var/lib/data"]"#, &["data:/var/lib/data"]);
    check(r#"volumes = ["data:/data:ro,nocopy", "/cache"]"#, &["/cache", "data:/data:nocopy,ro"]);
    check(r#"volumes = ["/srv//www/./:/www/:ro,rslave", "/:/host:rw,rshared"]"#, &["/:/host:rshared", "/srv/www:/www:rslave,ro"]);
    check(r#"volumes = ["a:/dev/a", "b:/procs", "c:/dev/shm"]"#, &["a:/dev/a", "c:/dev/shm", "b:/procs"]);
    check(r#"tmpfs = "/run""#, &["/run"]);
    check(r#"tmpfs = ["/tmp:size=64m,mode=1777", "/a:mode=0700"]"#, &["/a:mode=700", "/tmp:size=64MiB,mode=1777"]);
    check(
        r#"volumes = [
            { type = "bind", source = "/srv", target = "/srv", read_only = true, bind = { propagation = "shared" } },
            { type = "volume", source = "data", target = "/data", volume = { nocopy = true } },
            { type = "volume", target = "/anonymous" },
            { type = "tmpfs", target = "/t", tmpfs = { size = "1g", mode = 0o755 } },
            { type = "tmpfs", target = "/u", tmpfs = { mode = "0755" } },
        ]"#,
        &["/anonymous", "data:/data:nocopy", "/srv:/srv:rshared,ro", "/t:size=1GiB,mode=755", "/u:mode=755"],
    );
    // What lies within another comes behind it, wherever it was written.
    check(r#"volumes = ["b:/a/b", "c:/a-c", "a:/a"]"#, &["a:/a", "c:/a-c", "b:/a/b"]);
}

#[test]
fn the_order_of_a_list_without_order_replaces_nothing() {
    fn same(one: &str, other: &str) {
        let image = crate::names::Digest::of(b"image");
        assert_eq!(read(one).fingerprint(&image), read(other).fingerprint(&image), "{one} {other}");
        assert!(diff(Some(&read(one)), Some(&read(other))).is_empty());
    }
    same(r#"volumes = ["a:/a", "b:/b"]"#, r#"volumes = ["b:/b", { type = "volume", source = "a", target = "/a/" }]"#);
    same(r#"ports = ["80:80", "81:81"]"#, r#"ports = ["81:81/tcp", "80:80"]"#);
    same(r#"cap_add = ["NET_ADMIN", "cap_sys_time"]"#, r#"cap_add = ["SYS_TIME", "CAP_NET_ADMIN"]"#);
    same(r#"resources.cpuset = "0-3,8""#, r#"resources.cpuset = "8,2-3,0,1,3""#);
    same(r#"security_opt = ["no-new-privileges:true"]"#, "");
    same(r#"ipc = "private""#, "");
    same("ulimits = { nofile = 5 }", "ulimits = { nofile = { soft = 5, hard = 5 } }");
}

#[test]
fn capabilities_named_stand_against_all() {
    fn check(keys: &str, add: usize, drop: usize) -> (Vec<String>, Vec<String>) {
        let security = container(keys).security;
        assert_eq!((security.cap_add.len(), security.cap_drop.len()), (add, drop), "{keys}");
        (security.cap_add.into_iter().collect(), security.cap_drop.into_iter().collect())
    }
    check("cap_add = [\"ALL\"]", 41, 0);
    check("cap_drop = [\"all\"]", 0, 41);
    let (add, drop) = check("cap_add = [\"CHOWN\"]\ncap_drop = [\"ALL\"]", 1, 40);
    assert!(add == ["CAP_CHOWN"] && !drop.contains(&"CAP_CHOWN".to_owned()));
    let (add, drop) = check("cap_add = [\"CAP_ALL\"]\ncap_drop = [\"sys_admin\"]", 40, 1);
    assert!(drop == ["CAP_SYS_ADMIN"] && !add.contains(&"CAP_SYS_ADMIN".to_owned()));
}

#[test]
fn devices_by_file_and_by_name() {
    let container = container(
        r#"devices = ["/dev/a", "/dev/b:/dev/c", "/dev/d:rwm", "/dev/e:r", "/dev/f:/dev/g:w", "nvidia.com/gpu=all", "v.x/c-1=0:1"]"#,
    );
    assert_eq!(
        shown(&container.devices),
        ["/dev/a", "/dev/b:/dev/c", "/dev/d", "/dev/e:r", "/dev/f:/dev/g:w", "nvidia.com/gpu=all", "v.x/c-1=0:1"]
    );
}

#[test]
fn limits_of_processes() {
    let limits = container("ulimits = { nofile = { soft = 1024, hard = -1 }, core = 0, memlock = -1 }").ulimits;
    let limits: Vec<(&str, String)> = limits.iter().map(|(name, limit)| (name.as_str(), limit.to_string())).collect();
    let expect = [("core", "0"), ("memlock", "-1"), ("nofile", "{ soft = 1024, hard = -1 }")];
    assert_eq!(limits, expect.map(|(name, limit)| (name, limit.to_owned())));
    let resources = container(
        "resources = { memory = \"8m\", memory_swap = \"8m\", memory_reservation = \"8m\", cpuset = \"0, 2-3,1\", pids = \"unlimited\", io_weight = 1 }",
    )
    .resources;
    assert_eq!(resources.cpuset.map(|cpus| cpus.0).as_deref(), Some("0-3"));
    assert_eq!((resources.memory_swap, resources.pids), (Some(ByteSize(8 << 20)), Some(PidsLimit::Unlimited)));
    assert_eq!(container("[sysctls]\n\"net.core.somaxconn\" = 1024").sysctls["net.core.somaxconn"], "1024");
}

#[test]
fn checks_ask_in_one_way() {
    fn check(keys: &str, expect: &str) {
        let text = format!("network = \"host\"\n[healthcheck]\n{keys}");
        let probe = read(&text).healthcheck.and_then(|check| check.probe).expect("a probe");
        assert_eq!(probe.to_string(), expect, "{keys}");
    }
    check(r#"test = ["CMD", "curl", "-f"]"#, "curl -f");
    check(r#"test = ["CMD-SHELL", "a | b"]"#, "/bin/sh -c a | b");
    check(r#"test = "a | b""#, "/bin/sh -c a | b");
    check(r#"http = "http://:8080/healthz?full=1#top""#, "http://:8080/healthz?full=1");
    check(r#"http = "http://shop.lan""#, "http://shop.lan:80/");
    check(r#"http = "http://[::1]:81?x""#, "http://[::1]:81/?x");
    check(r#"tcp = ":5432""#, ":5432");
    check(r#"tcp = "localhost:5432""#, ":5432");
    let off = Some(Healthcheck { disable: true, ..Healthcheck::default() });
    assert_eq!(read("healthcheck.disable = true").healthcheck, off);
    assert_eq!(read("healthcheck.test = [\"NONE\"]").healthcheck, off);
    assert_eq!(read("healthcheck = { disable = false }").healthcheck, None);
    // Only the image's check, at another pace.
    let paced = read("healthcheck = { interval = \"1s\", start_period = \"0s\", retries = 1 }").healthcheck.expect("a check");
    assert_eq!((paced.probe, paced.interval, paced.retries), (None, Some(Span::seconds(1)), Some(1)));
}

#[test]
fn hooks_in_order() {
    let hooks = read(
        "[[post_start]]\ncommand = \"warm up\"\n[[post_start]]\ncommand = [\"b\"]\nuser = \"app\"\nworking_dir = \"/w\"\n[post_start.environment]\nA = 1\n",
    )
    .post_start;
    let commands: Vec<&[String]> = hooks.iter().map(|hook| hook.command.as_slice()).collect();
    assert_eq!(commands, [&["warm".to_owned(), "up".to_owned()][..], &["b".to_owned()]]);
    assert_eq!((hooks[1].user.as_deref(), hooks[1].working_dir.as_deref()), (Some("app"), Some("/w")));
    assert_eq!(hooks[1].environment["A"], "1");
}

#[test]
fn what_is_loosened_is_said() {
    fn check(keys: &str, expect: &[&str]) {
        assert_eq!(read(keys).loosened(), expect, "{keys}");
    }
    check("", &[]);
    check(
        "network = \"bridge\"\ncap_add = [\"CHOWN\"]\ncap_drop = [\"ALL\"]\ninit = true\nvolumes = [\"/srv:/srv\", \"a:/a\"]",
        &[],
    );
    check("cap_add = [\"NET_ADMIN\", \"SYS_TIME\"]", &["capability NET_ADMIN", "capability SYS_TIME"]);
    check("cap_add = [\"ALL\"]", &["30 more capabilities"]);
    check(
        "privileged = true\npid = \"host\"",
        &["privileged: all capabilities and devices, no seccomp, host's users", "host's process IDs"],
    );
    check(
        "security_opt = [\"seccomp:unconfined\", \"unmask=ALL\", \"no-new-privileges:false\"]\nuserns_mode = \"host\"\nipc = \"host\"\nnetwork = \"host\"",
        &["no seccomp", "kernel interfaces unmasked", "new privileges", "host's users", "host's IPC", "host's network"],
    );
    check(
        "devices = [\"/dev/kvm\", \"a.b/c=d\"]\nvolumes = [\"/:/host\", \"/run/docker.sock:/d.sock\", \"/srv:/srv:rshared\"]\noom_score_adj = -5\nresources.pids = \"unlimited\"",
        &[
            "device /dev/kvm",
            "device a.b/c=d",
            "host's /run/docker.sock",
            "host's /",
            "mounts of /srv shared with the host",
            "no limit of processes",
            "ended late when the host is out of memory",
        ],
    );
}
