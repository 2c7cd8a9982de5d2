//! Every rule of a name, by example: what is taken, and in which words the rest is refused.
use super::*;

fn check<T: std::str::FromStr<Err = NameError> + std::fmt::Display>(text: &str, expect: Result<&str, &str>) {
    let got = text.parse::<T>();
    match (got, expect) {
        (Ok(name), Ok(shown)) => assert_eq!(name.to_string(), shown, "{text:?}"),
        (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text:?}: {error}"),
        (Ok(name), Err(part)) => panic!("{text:?} was taken as {name}, expected an error with {part:?}"),
        (Err(error), Ok(_)) => panic!("{text:?}: {error}"),
    }
}

#[test]
fn workload_names_are_dns_labels() {
    check::<WorkloadName>("web", Ok("web"));
    check::<WorkloadName>("a-1", Ok("a-1"));
    check::<WorkloadName>("", Err("is empty"));
    check::<WorkloadName>("Web", Err("lower case"));
    check::<WorkloadName>("web.x", Err("contains '.'"));
    check::<WorkloadName>("-web", Err("starts or ends with '-'"));
    check::<WorkloadName>(&"a".repeat(64), Err("longer than 63"));
}

#[test]
fn host_names_are_dns_names() {
    check::<HostName>("edge-1.lan", Ok("edge-1.lan"));
    check::<HostName>("a..b", Err("empty part"));
    check::<HostName>("a_b", Err("contains '_'"));
}

#[test]
fn digests_are_sha256() {
    let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Digest::of(b"").hex(), hex);
    check::<Digest>(&format!("sha256:{hex}"), Ok(&format!("sha256:{hex}")));
    check::<Digest>(&format!("sha512:{hex}"), Err("does not start with"));
    check::<Digest>(&format!("sha256:{}", hex.to_uppercase()), Err("lower-case hex"));
}

#[test]
fn image_references_take_dockers_defaults() {
    let digest = Digest::of(b"x");
    check::<ImageReference>("nginx", Ok("docker.io/library/nginx:latest"));
    check::<ImageReference>("shop/web:1", Ok("docker.io/shop/web:1"));
    check::<ImageReference>("localhost/web", Ok("localhost/web:latest"));
    check::<ImageReference>("registry.lan:5000/shop/web:1.4.2", Ok("registry.lan:5000/shop/web:1.4.2"));
    check::<ImageReference>("[::1]:5000/web", Ok("[::1]:5000/web:latest"));
    check::<ImageReference>(&format!("r.lan/web@{digest}"), Ok(&format!("r.lan/web@{digest}")));
    check::<ImageReference>(&format!("r.lan/web:1@{digest}"), Ok(&format!("r.lan/web:1@{digest}")));
    check::<ImageReference>("https://r.lan/web", Err("URL scheme"));
    check::<ImageReference>("r.lan/Web", Err("lower case"));
    check::<ImageReference>("r.lan:99999/web", Err("bad registry port"));
    check::<ImageReference>("r.lan/web:", Err("bad tag"));
    check::<ImageReference>("r.lan/web@sha256:1", Err("bad digest"));
    check::<ImageReference>("r.lan//web", Err("empty part"));
    check::<ImageReference>("r.lan/-web", Err("start and end with a letter"));
}

#[test]
fn instances_and_containers_have_one_spelling() {
    check::<InstanceId>("web.0", Ok("web.0"));
    check::<InstanceId>("web.00", Err("is not WORKLOAD.NUMBER"));
    check::<InstanceId>("web", Err("is not WORKLOAD.NUMBER"));
    check::<ContainerId>("a-r1.0-r3-12", Ok("a-r1.0-r3-12"));
    check::<ContainerId>("web.0-r3", Err("is not INSTANCE"));
    check::<ContainerId>("web.0-r+3-1", Err("is not INSTANCE"));
}

#[test]
fn selectors_match_names_globs_and_labels() {
    let host: HostName = "edge-7".parse().expect("a host name");
    let labels = Labels::from([("role".to_owned(), "web".to_owned())]);
    let selects = |selector: &str| selector.parse::<HostSelector>().expect("a selector").matches(&host, &labels);
    assert!(selects("edge-7"));
    assert!(selects("edge-*"));
    assert!(selects("*-?"));
    assert!(selects("role=web"));
    assert!(selects("role=w*"));
    assert!(!selects("edge"));
    assert!(!selects("edge-?7"));
    assert!(!selects("role=db"));
    assert!(!selects("zone=*"));
    check::<HostSelector>("", Err("is empty"));
    check::<HostSelector>("Edge-*", Err("lower case"));
    check::<HostSelector>("ro le=web", Err("label key"));
}
