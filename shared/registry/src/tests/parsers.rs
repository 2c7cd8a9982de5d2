//! Texts from elsewhere, and entries from operators.

use crate::auth::{Challenge, parse_challenge};
use crate::config::{base_url, find};
use crate::{ManifestOrIndex, Registry, RegistryConfig};

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
fn the_longest_prefix_wins_and_only_at_a_slash() {
    let entry = |prefix: &str, insecure| RegistryConfig { prefix: prefix.to_owned(), insecure, ..RegistryConfig::default() };
    let configs = [entry("r.lan:5000", true), entry("r.lan:5000/shop", false), entry("docker.io", false)];
    let check = |image: &str, expect: Option<&str>, url: &str| {
        let image = image.parse().unwrap();
        let found = find(&configs, &image);
        assert_eq!((found.map(|config| config.prefix.as_str()), base_url(found, &image).as_str()), (expect, url), "{image}");
    };
    check("r.lan:5000/a/b", Some("r.lan:5000"), "http://r.lan:5000");
    check("r.lan:5000/shop/web", Some("r.lan:5000/shop"), "https://r.lan:5000");
    check("r.lan:5000/shopping/web", Some("r.lan:5000"), "http://r.lan:5000");
    check("r.lan:50001/a", None, "https://r.lan:50001");
    check("localhost:5000/a", None, "https://localhost:5000");
    check("nginx", Some("docker.io"), "https://registry-1.docker.io");
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
    let shown = format!("{:?}", RegistryConfig { password: Some("s3cret".to_owned()), ..entry("r.lan") });
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn manifests() {
    const LAYER: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let manifest = |layer: &str| {
        format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"x/y","digest":"{LAYER}","size":2}},"layers":[{layer}]}}"#)
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
}
