//! Texts from elsewhere, and entries from operators.

use crate::answer::parse_retry_after;
use crate::auth::{Challenge, parse_challenge};
use crate::route::Entries;
use crate::{ManifestOrIndex, Registry, RegistryConfig};
use std::time::Duration;

#[test]
fn challenges() {
    let check = |text: &str, expect: Option<Challenge>| assert_eq!(parse_challenge(text), expect, "{text}");
    let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
        Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned), scope: scope.map(str::to_owned) })
    };
    check("Basic realm=\"x\"", Some(Challenge::Basic));
    check("basic", Some(Challenge::Basic));
    check("Bearer realm=\"https://a/t\"", bearer("https://a/t", None, None));
    let full = "Bearer realm=\"https://a/t\", service=\"s\",scope=\"repository:a/b:pull,push\"";
    check(full, bearer("https://a/t", Some("s"), Some("repository:a/b:pull,push")));
    check("bearer Realm=https://a/t,service=s", bearer("https://a/t", Some("s"), None));
    check("Bearer realm=\"unfinished", bearer("unfinished", None, None));
    check("Bearer service=\"s\"", None);
    check("Negotiate", None);
    check("", None);
}

#[test]
fn an_image_leads_to_places() {
    let entry = |prefix: &str, insecure| RegistryConfig { prefix: prefix.to_owned(), insecure, ..RegistryConfig::default() };
    let to = |prefix: &str, location: &str, mirrors: &[&str]| RegistryConfig {
        location: (!location.is_empty()).then(|| location.to_owned()),
        mirror: mirrors.iter().map(|mirror| (*mirror).to_owned()).collect(),
        ..entry(prefix, false)
    };
    let configs = vec![
        entry("r.lan:5000", true),
        entry("r.lan:5000/shop", false),
        to("docker.io", "", &["cache.lan", "harbor.lan/hub"]),
        to("old.lan/team", "r.lan:5000/moved", &[]),
        RegistryConfig { insecure: true, ..to("plain.lan", "new.lan", &["cache.lan/plain"]) },
        to("whole.lan/app", "elsewhere.lan", &[]),
        entry("cache.lan", true),
        to("quay.lan", "", &["coord.internal/quay.lan"]),
        to("coord.internal", "127.0.0.1:7700", &[]),
        entry("127.0.0.1:7700", true),
    ];
    let entries = Entries::new(configs).unwrap();
    let check = |image: &str, expect: &[&str]| {
        let places = entries.places(&image.parse().unwrap()).unwrap();
        let urls: Vec<_> = places.iter().map(|place| format!("{}/{}", place.base_url(), place.repository())).collect();
        assert_eq!(urls, expect, "{image}");
        let mirrors = places.iter().filter(|place| place.is_mirror).count();
        assert_eq!(mirrors, places.len() - 1, "{image}: the location is last");
    };
    check("r.lan:5000/a/b", &["http://r.lan:5000/a/b"]);
    check("r.lan:5000/shop/web", &["https://r.lan:5000/shop/web"]);
    check("r.lan:5000/shopping/web", &["http://r.lan:5000/shopping/web"]);
    check("r.lan:50001/a", &["https://r.lan:50001/a"]);
    check("localhost:5000/a", &["https://localhost:5000/a"]);
    let hub =
        ["http://cache.lan/library/nginx", "https://harbor.lan/hub/library/nginx", "https://registry-1.docker.io/library/nginx"];
    check("nginx", &hub);
    // A location without a word of its own on how to reach it is reached as the entry says that covers it.
    check("old.lan/team/web", &["http://r.lan:5000/moved/web"]);
    check("plain.lan/web", &["http://cache.lan/plain/web", "http://new.lan/web"]);
    // A mirror has a place of its own, too.
    check("quay.lan/a/b", &["http://127.0.0.1:7700/quay.lan/a/b", "https://quay.lan/a/b"]);
    let error = entries.places(&"whole.lan/app".parse().unwrap()).err().unwrap().to_string();
    assert!(error.contains("has no path left for a repository"), "{error}");
}

#[test]
fn pauses_are_asked_for_in_seconds_or_as_dates() {
    let now = "2026-11-22T12:00:00Z".parse().unwrap();
    let check = |text: &str, expect: Option<u64>| {
        assert_eq!(parse_retry_after(text, now), expect.map(Duration::from_secs), "{text}");
    };
    check("7", Some(7));
    check(" 0 ", Some(0));
    check("86400", Some(600));
    check("Sun, 22 Nov 2026 12:00:30 GMT", Some(30));
    check("Sun, 22 Nov 2026 11:00:00 GMT", Some(0));
    check("Sun, 22 Nov 2037 12:00:00 GMT", Some(600));
    check("soon", None);
    check("-1", None);
}

#[test]
fn entries_that_could_only_surprise_are_refused() {
    let check = |toml_like: RegistryConfig, expect: &str| {
        let error = Registry::new(vec![toml_like], None).err().expect("refused").to_string();
        assert!(error.contains(expect), "{error}");
    };
    let entry = |prefix: &str| RegistryConfig { prefix: prefix.to_owned(), ..RegistryConfig::default() };
    check(entry("https://r.lan"), "without scheme");
    check(entry(""), "must be a host");
    check(RegistryConfig { username: Some("ann".to_owned()), ..entry("r.lan") }, "username and password go together");
    check(RegistryConfig { insecure: true, ca: Some("/x".into()), ..entry("r.lan") }, "ca has no meaning");
    check(RegistryConfig { ca: Some("/nonexistent.pem".into()), ..entry("r.lan") }, "cannot be read");
    let to = |location: &str| RegistryConfig { location: Some(location.to_owned()), ..entry("r.lan") };
    check(to("https://other.lan"), "the location \"https://other.lan\" must be a host");
    check(RegistryConfig { mirror: vec!["a.lan/".to_owned()], ..entry("r.lan") }, "the mirror \"a.lan/\" must be a host");
    check(RegistryConfig { mirror: vec!["a.lan".to_owned(); 17], ..entry("r.lan") }, "more than 16 mirrors");
    let helper = |name: &str| RegistryConfig { credential_helper: Some(name.to_owned()), ..entry("r.lan") };
    check(helper("../bin/sh"), "credential_helper is the part after");
    let both = RegistryConfig { username: Some("a".to_owned()), password: Some("b".to_owned()), ..helper("pass") };
    check(both, "username and credential_helper exclude each other");
    let proxy = |url: &str| RegistryConfig { proxy: Some(url.to_owned()), ..entry("r.lan") };
    check(proxy("socks5://p.lan"), "proxy must be a URL such as");
    check(proxy("p.lan:3128"), "proxy must be a URL such as");
    check(RegistryConfig { no_proxy: vec!["r.lan".to_owned()], ..entry("r.lan") }, "no_proxy belongs to proxy");
    let twice = Registry::new(vec![entry("r.lan"), entry("r.lan")], None).err().unwrap().to_string();
    assert!(twice.contains("two [[registry]] entries have the prefix \"r.lan\""), "{twice}");
    let secrets = RegistryConfig { password: Some("s3cret".to_owned()), ..proxy("http://ann:s3cret@p.lan:3128") };
    let shown = format!("{secrets:?}");
    assert!(!shown.contains("s3cret") && shown.contains("http://***@p.lan:3128"), "{shown}");
}

#[test]
fn manifests() {
    const LAYER: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let manifest = |layer: &str| {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{LAYER}","size":2}},"layers":[{layer}]}}"#
        )
    };
    let check = |text: String, expect: Result<&str, &str>| {
        let kind = ManifestOrIndex::parse(text.as_bytes()).map(|parsed| match parsed {
            ManifestOrIndex::Manifest(_) => "manifest",
            ManifestOrIndex::Index(_) => "index",
        });
        match (kind, expect) {
            (Ok(kind), Ok(expect)) => assert_eq!(kind, expect, "{text}"),
            (Err(error), Err(expect)) => assert!(error.contains(expect), "{text}: {error}"),
            (got, _) => panic!("{text}: {got:?}"),
        }
    };
    check(manifest(""), Ok("manifest"));
    check(r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(), Ok("index"));
    let docker = r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[]}"#;
    check(docker.to_owned(), Ok("index"));
    check(manifest("").replace("\"layers\":[]", "\"layers\":[],\"manifests\":[]"), Err("both a manifest and an index"));
    check(r#"{"schemaVersion":1,"name":"a","fsLayers":[]}"#.to_owned(), Err("schema 1"));
    check(r#"{"schemaVersion":2,"mediaType":"text/plain"}"#.to_owned(), Err("which is no image"));
    check("hello".to_owned(), Err("not a manifest"));
    let with_urls = format!(r#"{{"mediaType":"x/y","digest":"{LAYER}","size":2,"urls":["https://evil.example/x"]}}"#);
    check(manifest(&with_urls), Err("is to be fetched from elsewhere"));
    let foreign =
        format!(r#"{{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"{LAYER}","size":2}}"#);
    check(manifest(&foreign), Err("is to be fetched from elsewhere"));
    let sha512 = format!(r#"{{"mediaType":"x/y","digest":"sha512:{}","size":2}}"#, "a".repeat(128));
    check(manifest(&sha512), Err("does not start with \"sha256:\""));
    let many = vec![format!(r#"{{"mediaType":"x/y","digest":"{LAYER}","size":2}}"#); 501].join(",");
    check(manifest(&many), Err("501 layers, more than 500"));
    let index = vec!["{}"; 1001].join(",");
    check(format!(r#"{{"schemaVersion":2,"manifests":[{index}]}}"#), Err("an index of 1001 images"));
    let signed = r#"{"mediaType":"application/vnd.docker.distribution.manifest.v1+prettyjws","schemaVersion":2}"#;
    check(signed.to_owned(), Err("schema 1"));
    let chart = manifest("").replace("vnd.oci.image.config.v1", "vnd.cncf.helm.config.v1");
    check(chart.clone(), Err("an artifact of type \"application/vnd.cncf.helm.config.v1+json\", not a container image"));
    let named = chart.replacen('{', r#"{"artifactType":"application/vnd.example","#, 1);
    check(named, Err("an artifact of type \"application/vnd.example\""));
    let layer = |media_type: &str| format!(r#"{{"mediaType":"{media_type}","digest":"{LAYER}","size":2}}"#);
    check(manifest(&layer("application/vnd.in-toto+json")), Err("so this is an artifact"));
    check(manifest(&layer("application/vnd.oci.empty.v1+json")), Err("so this is an artifact"));
    check(manifest(&layer("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")), Err("is encrypted"));
    let subject = manifest("").replacen('{', &format!(r#"{{"subject":{},"#, layer("x/y")), 1);
    check(subject.replacen('{', r#"{"annotations":{"a":"b"},"unknown":1,"#, 1), Ok("manifest"));
}

#[test]
fn no_bytes_make_a_parser_panic() {
    let seeds = [
        format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"x/y","digest":"sha256:{}","size":2}},"layers":[]}}"#, "a".repeat(64)),
        r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"y","size":-1,"platform":{"os":"linux","architecture":"arm","variant":"v9"}}]}"#.to_owned(),
        "Bearer realm=\"https://a/t\", service=\"s\",scope=\"repository:a/b:pull,push\"".to_owned(),
    ];
    let mut state = 7_u32;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(state >> 8).unwrap() % below.max(1)
    };
    for round in 0..20_000 {
        let mut bytes = seeds[round % seeds.len()].clone().into_bytes();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = random(256).to_le_bytes()[0],
                1 => drop(bytes.drain(at..(at + random(9)).min(bytes.len()))),
                _ => bytes.insert(at, random(256).to_le_bytes()[0]),
            }
        }
        crate::fuzzing::manifest(&bytes);
        crate::fuzzing::challenge(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn the_documented_entries_are_good() {
    #[derive(serde::Deserialize)]
    struct File {
        registry: Vec<RegistryConfig>,
    }
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/registries.md")).unwrap();
    let example = page.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let file: File = toml::from_str(example).unwrap();
    let shown: Vec<_> = file.registry.iter().map(|entry| entry.prefix.clone()).collect();
    assert_eq!(shown, ["registry.lan:5000", "docker.io", "cache.lan:5000", "old.example.com/team"]);
    Entries::new(file.registry).unwrap();
    // Every key has its row.
    let keys = format!("{:?}", RegistryConfig::default());
    for key in keys.split([' ', ',', '{', '}']).filter_map(|word| word.strip_suffix(':')) {
        assert!(page.contains(&format!("`{key}`")), "{key} is not explained");
    }
}
