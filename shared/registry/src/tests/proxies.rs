//! Going through proxies, and around them. The proxy is a fake registry too: it answers for whatever host it is asked.

use super::*;
use crate::fake::OCI_INDEX;
use std::process::Command;

const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;
/// Tells the child process of a test that it is one.
const CHILD: &str = "COORD_TEST_PROXY_CHILD";

fn entry(proxy: Option<&str>, no_proxy: &[&str]) -> RegistryConfig {
    RegistryConfig {
        prefix: "registry.invalid".to_owned(),
        insecure: true,
        proxy: proxy.map(str::to_owned),
        no_proxy: no_proxy.iter().map(|&host| host.to_owned()).collect(),
        ..RegistryConfig::default()
    }
}

#[tokio::test]
async fn an_entrys_proxy_is_used_but_for_its_exceptions() {
    let fake = FakeRegistry::start().await.unwrap();
    let digest = fake.put_manifest("a/b", "1", OCI_INDEX, INDEX);
    let proxy = format!("http://ann:s3cret@{}", fake.host());
    let image: ImageReference = "registry.invalid/a/b:1".parse().unwrap();
    let through = Registry::with_timeouts(vec![entry(Some(&proxy), &["other.invalid"])], None, QUICK).unwrap();
    assert_eq!(through.resolve(&image).await.unwrap(), digest);
    let request = fake.requests().pop().unwrap();
    assert_eq!(request.headers["host"], "registry.invalid");
    assert!(request.headers["proxy-authorization"].starts_with("Basic "));
    for around in [entry(Some(&proxy), &["registry.invalid"]), entry(Some("none"), &[])] {
        let registry = Registry::with_timeouts(vec![around], None, QUICK).unwrap();
        assert!(registry.resolve(&image).await.is_err(), "there is no such host");
    }
    assert_eq!(fake.requests().len(), 1);
}

#[tokio::test]
async fn a_dead_proxy_is_named_without_its_password() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let registry = Registry::with_timeouts(vec![entry(Some(&format!("http://ann:s3cret@{dead}")), &[])], None, QUICK).unwrap();
    let error = registry.resolve(&"registry.invalid/a/b:1".parse().unwrap()).await.unwrap_err();
    let text = crate::chain(&error);
    assert!(text.contains("cannot connect") && !text.contains("s3cret"), "{text}");
}

/// The environment is a process's own, so the client runs in a child: this very test, told by a variable.
#[tokio::test]
async fn the_environments_proxy_is_used_but_not_for_this_machine() {
    if let Ok(direct) = std::env::var(CHILD) {
        let (image, own) = ("registry.invalid/a/b:1".parse().unwrap(), format!("{direct}/a/b:1").parse().unwrap());
        let entries = vec![entry(None, &[]), RegistryConfig { prefix: direct, ..entry(None, &[]) }];
        let registry = Registry::with_timeouts(entries, None, QUICK).unwrap();
        registry.resolve(&image).await.unwrap();
        registry.resolve(&own).await.unwrap();
        return;
    }
    let (proxy, direct) = (FakeRegistry::start().await.unwrap(), FakeRegistry::start().await.unwrap());
    for fake in [&proxy, &direct] {
        fake.put_manifest("a/b", "1", OCI_INDEX, INDEX);
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "tests::proxies::the_environments_proxy_is_used_but_not_for_this_machine"]);
    child.env("HTTP_PROXY", format!("http://{}", proxy.host())).env(CHILD, direct.host());
    child.env("http_proxy", format!("http://{}", proxy.host())).env_remove("NO_PROXY").env_remove("no_proxy");
    let ended = tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    let hosts: Vec<_> = proxy.requests().into_iter().map(|request| request.headers["host"].clone()).collect();
    assert_eq!((hosts, direct.requests().len()), (vec!["registry.invalid".to_owned()], 1));
}
