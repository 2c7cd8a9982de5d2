//! Good documents and what they mean.

use super::LEAST;
use crate::document::{
    Container, Document, Nested, NestedNetwork, Network, Parallelism, PidsLimit, Resources, RestartPolicy, RestartSettings,
    Rollout, RolloutOrder, parse, workload_name,
};
use crate::quantity::{ByteSize, MilliCpus, Signal, Span};
use std::collections::BTreeMap;

fn read(text: &str) -> Document {
    parse(text).unwrap_or_else(|mistakes| panic!("{}", mistakes.render("test.toml", text, false)))
}

/// What the keys `more` make of the smallest document's container.
fn container(more: &str) -> Container {
    read(&format!("{LEAST}{more}")).container
}

fn pairs(expect: &[(&str, &str)]) -> BTreeMap<String, String> {
    expect.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_smallest_document_has_every_default() {
    let expect = Document {
        image: "docker.io/library/web:latest".parse().expect("an image"),
        hosts: vec!["web-1".parse().expect("a selector")],
        container: Container {
            entrypoint: None,
            command: None,
            working_dir: None,
            user: None,
            hostname: None,
            environment: BTreeMap::new(),
            labels: BTreeMap::new(),
            network: Network::None,
            read_only: false,
            stop_signal: None,
            resources: Resources::default(),
            ..Container::default()
        },
        restart: RestartPolicy::Always,
        stop_grace_period: Span::seconds(10),
        restart_policy: RestartSettings::default(),
        healthcheck: None,
        post_start: Vec::new(),
        pre_stop: Vec::new(),
        rollout: Rollout {
            parallelism: Parallelism::Count(1),
            order: RolloutOrder::StopFirst,
            monitor: Span::seconds(5),
            drain: Span::seconds(2),
        },
    };
    assert_eq!(read(LEAST), expect);
    assert_eq!(read(&format!("\u{feff}{}", LEAST.replace('\n', "\r\n"))), expect);
}

#[test]
fn a_full_document() {
    let document = read(
        r#"
        image = "registry.lan:5000/shop/web:1.4.2"
        hosts = ["web-1", "edge-*", "role=web"]
        entrypoint = ["/run.sh"]
        command = ["nginx", "-g", "daemon off;"]
        working_dir = "/srv"
        user = "app:1000"
        hostname = "Web.lan"
        environment = { LOG_LEVEL = "info" }
        labels = { team = "shop" }
        network = "none"
        read_only = true
        restart = "on-failure:5"
        stop_signal = "SIGQUIT"
        stop_grace_period = "1m30s"
        [resources]
        memory = "256MiB"
        cpus = 0.5
        pids = 200
        [rollout]
        parallelism = "25%"
        order = "start-first"
        monitor = "10s"
        drain = "30s"
        "#,
    );
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    let expect = Document {
        image: "registry.lan:5000/shop/web:1.4.2".parse().expect("an image"),
        hosts: ["web-1", "edge-*", "role=web"].map(|host| host.parse().expect("a selector")).to_vec(),
        container: Container {
            entrypoint: words(&["/run.sh"]),
            command: words(&["nginx", "-g", "daemon off;"]),
            working_dir: Some("/srv".to_owned()),
            user: Some("app:1000".to_owned()),
            hostname: Some("Web.lan".to_owned()),
            environment: pairs(&[("LOG_LEVEL", "info")]),
            labels: pairs(&[("team", "shop")]),
            network: Network::None,
            read_only: true,
            stop_signal: Some(Signal(3)),
            resources: Resources {
                memory: Some(ByteSize(256 << 20)),
                cpus: Some(MilliCpus(500)),
                pids: Some(PidsLimit::Count(200)),
                ..Resources::default()
            },
            ..Container::default()
        },
        restart: RestartPolicy::OnFailure(Some(5)),
        stop_grace_period: Span::seconds(90),
        restart_policy: RestartSettings::default(),
        healthcheck: None,
        post_start: Vec::new(),
        pre_stop: Vec::new(),
        rollout: Rollout {
            parallelism: Parallelism::Percent(25),
            order: RolloutOrder::StartFirst,
            monitor: Span::seconds(10),
            drain: Span::seconds(30),
        },
    };
    assert_eq!(document, expect);
}

#[test]
fn a_command_as_one_string() {
    fn check(command: &str, expect: &[&str]) {
        assert_eq!(container(&format!("command = '''{command}'''\n")).command.expect("a command"), expect, "{command}");
    }
    check("nginx -g 'daemon off;'", &["nginx", "-g", "daemon off;"]);
    check("  a\t b \n c ", &["a", "b", "c"]);
    check("", &[]);
    check(r#"a "" b"#, &["a", "", "b"]);
    check(r#"a"b c"d\ e"#, &["ab cd e"]);
    check(r#""a\"b\\c\d\$""#, &[r#"a"b\c\d$"#]);
    check("a#b x=*?~ 'p|q'", &["a#b", "x=*?~", "p|q"]);
    check("a \\\nb \"c\\\nd\"", &["a", "b", "cd"]);
}

#[test]
fn what_only_a_shell_could_do_is_no_command() {
    for command in [
        "a | b",
        "a > b",
        "a; b",
        "a && b",
        "(a)",
        "echo $HOME",
        "echo \"$HOME\"",
        "echo `id`",
        "a # b",
        "'a",
        "\"a",
        "a\\",
        "\"a\\",
    ] {
        assert!(parse(&format!("{LEAST}command = '''{command}'''\n")).is_err(), "{command}");
        // As an array every word stands for itself.
        assert!(parse(&format!("{LEAST}command = ['''{command}''']\n")).is_ok(), "{command}");
    }
}

#[test]
fn variables_and_labels_in_both_shapes() {
    fn check(value: &str, expect: &[(&str, &str)]) {
        assert_eq!(container(&format!("environment = {value}\n")).environment, pairs(expect), "{value}");
        assert_eq!(container(&format!("labels = {value}\n")).labels, pairs(expect), "{value}");
    }
    check(r#"{ A = "x=y", B = "" }"#, &[("A", "x=y"), ("B", "")]);
    check(r#"["A=x=y", "B="]"#, &[("A", "x=y"), ("B", "")]);
    check(
        "{ A = 8080, B = 0x1F, C = 1_000, D = -5, E = +5 }",
        &[("A", "8080"), ("B", "31"), ("C", "1000"), ("D", "-5"), ("E", "5")],
    );
    check("{ A = 1.50, B = true, C = false }", &[("A", "1.50"), ("B", "true"), ("C", "false")]);
    check(r#"{ "a.b c" = "1" }"#, &[("a.b c", "1")]);
    assert_eq!(container("labels = [\"a\"]\n").labels, pairs(&[("a", "")]));
    assert_eq!(container("[environment]\nA = 1\n").environment, pairs(&[("A", "1")]));
    // Only behind a heading a variable of this name is more likely a key that slipped there.
    for inline in ["environment = { user = 1 }\n", "environment = [\"user=1\"]\n", "environment.user = 1\n"] {
        assert_eq!(container(inline).environment, pairs(&[("user", "1")]));
    }
    assert_eq!(container("environment.A = 1\n").environment, pairs(&[("A", "1")]));
}

#[test]
fn values_at_their_limits() {
    assert_eq!(container("user = \"4294967294:0\"\n").user.as_deref(), Some("4294967294:0"));
    assert_eq!(container("[resources]\nmemory = \"4m\"\n").resources.memory, Some(ByteSize(4 << 20)));
    assert_eq!(container("[resources]\ncpus = 2\n").resources.cpus, Some(MilliCpus(2000)));
    assert_eq!(container("[resources]\npids = 4_194_304\n").resources.pids, Some(PidsLimit::Count(1 << 22)));
    assert_eq!(container(&format!("hostname = \"{}.b\"\n", "a".repeat(62))).hostname.map(|name| name.len()), Some(64));
    assert_eq!(container("entrypoint = []\ncommand = [\"x\"]\n").entrypoint, Some(vec![]));
    assert_eq!(container("command = []\n").command, Some(vec![]));
    for (text, expect) in
        [("\"1%\"", Parallelism::Percent(1)), ("\"100%\"", Parallelism::Percent(100)), ("1000000", Parallelism::Count(1_000_000))]
    {
        assert_eq!(read(&format!("{LEAST}rollout.parallelism = {text}\n")).rollout.parallelism, expect);
    }
    for (text, expect) in
        [("no", RestartPolicy::No), ("always", RestartPolicy::Always), ("on-failure", RestartPolicy::OnFailure(None))]
    {
        assert_eq!(read(&format!("{LEAST}restart = \"{text}\"\n")).restart, expect);
    }
}

#[test]
fn file_names() {
    fn check(file_name: &str, expect: Option<Option<&str>>) {
        let name = workload_name(file_name);
        let name = name.as_ref().map(|name| name.as_ref().ok().map(|name| name.as_str()));
        assert_eq!(name, expect, "{file_name}");
    }
    check("web.toml", Some(Some("web")));
    check("a-1.toml", Some(Some("a-1")));
    check("Web.toml", Some(None));
    check("web.v2.toml", Some(None));
    check("", None);
    check("toml", None);
    for other in [
        ".toml",
        ".web.toml",
        ".web.toml.swp",
        "web.toml~",
        "#web.toml#",
        ".#web.toml",
        "#web.toml",
        "4913",
        "web.txt",
        "web.toml.tmp",
    ] {
        check(other, None);
    }
}

#[test]
fn what_may_be_started_within() {
    let nested = |more: &str| container(more).nested;
    assert_eq!(nested(""), None);
    assert_eq!(nested("nested = {}"), Some(Nested::default()));
    // What is not said is never more than the container itself may have.
    assert_eq!(nested("nested = {}\nresources.pids = 200"), Some(Nested { pids: 200, ..Nested::default() }));
    assert_eq!(nested("nested = {}\nresources.pids = 1000"), Some(Nested { pids: 500, ..Nested::default() }));
    assert_eq!(nested("nested.pids = 3000\nresources.pids = \"unlimited\""), Some(Nested { pids: 3000, ..Nested::default() }));
    let all = Nested {
        containers: 64,
        memory: Some(ByteSize(1 << 30)),
        cpus: Some(MilliCpus(2000)),
        pids: 2048,
        images: vec!["registry.lan/*".parse().expect("a pattern"), "r.lan/tools/sh:1.*".parse().expect("a pattern")],
        caches: ByteSize(64 << 30),
        network: NestedNetwork::Parent,
    };
    let text = r#"
        runtime = "embedded"
        resources = { memory = "1GiB", cpus = 2 }
        [nested]
        containers = 64
        memory = "1GiB"
        cpus = 2
        pids = 2048
        images = ["registry.lan/*", "r.lan/tools/sh:1.*"]
        caches = "64GiB"
        network = "parent"
    "#;
    assert_eq!(nested(text), Some(all));
}

#[test]
fn what_a_document_does_not_say_is_not_in_its_fingerprint() {
    // Of a release that had no `nested`: a container that it started is the same container.
    let digest = crate::names::Digest::of(b"image");
    let before = "sha256:850772682819185f317977ea7eabc776f6ffea77a3eef8a9372740ab90c2f354";
    assert_eq!(read(LEAST).fingerprint(&digest).to_string(), before);
    assert_ne!(read(&format!("{LEAST}nested = {{}}")).fingerprint(&digest).to_string(), before);
}
